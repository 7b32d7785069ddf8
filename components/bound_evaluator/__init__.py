"""The gate on quality: blesses a model by its bound on a held-out split, in nats an image."""
