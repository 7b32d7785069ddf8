"""The gate on servability: blesses a model that a fresh process can load and ask."""
