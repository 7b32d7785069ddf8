"""DRAW in TensorFlow: the equations, the model, the training loop and the export."""
