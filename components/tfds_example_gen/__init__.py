"""An ExampleGen that reads a TFDS data set, checks every image and binarises it."""
