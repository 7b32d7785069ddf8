"""The gate on quality of a classifier: blesses a model by its error on a held-out split."""
