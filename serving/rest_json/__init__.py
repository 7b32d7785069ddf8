"""JSON of TF Serving's REST API to NumPy arrays and back, without TensorFlow, for a process of its own starts fast."""
