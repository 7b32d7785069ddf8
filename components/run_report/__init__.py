"""The last stage of a run: all that there is to know about it on one HTML page that needs no network."""
