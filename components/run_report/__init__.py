"""The last stage of a run: its report, one HTML page that needs no network."""
