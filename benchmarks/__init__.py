"""Measurements: speed and load. None of them is a test."""
