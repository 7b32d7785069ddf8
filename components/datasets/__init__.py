"""TFDS builders of the data sets that TensorFlow Datasets does not have, each a folder in TFDS's own convention."""
