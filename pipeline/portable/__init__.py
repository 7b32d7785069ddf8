"""Exported models for runtimes other than TensorFlow."""
