"""Measurements of speed, and comparisons of recipes."""
