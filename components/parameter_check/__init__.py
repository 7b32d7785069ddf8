"""Checks the parameters of a run before anything is made by them."""
