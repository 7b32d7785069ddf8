"""Ingests a TFDS data set: reads it, checks every image, binarises it and writes tf.Examples."""
