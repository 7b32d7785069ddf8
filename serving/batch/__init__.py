"""Batch scoring: the bound, and the importance-weighted bound, of as many images as there are."""
