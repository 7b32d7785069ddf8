"""TFDS builders of data sets that TensorFlow Datasets lacks, each a folder in TFDS's own convention."""
