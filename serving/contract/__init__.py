"""Checks that a running server keeps to the contract of DRAW's signatures and to TF Serving's protocol."""
