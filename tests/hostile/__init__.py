"""What somebody hostile, or only unlucky, does to a server, a client and a batch job."""
