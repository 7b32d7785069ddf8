"""Judges a trained model on a held-out split, against fixed limits and the model before it, and blesses it."""
