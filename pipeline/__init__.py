"""Wires data, training, gate and push into one TFX pipeline, and runs it."""
