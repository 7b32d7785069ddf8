"""TFX components: data sets in, tf.Example out; then the gates between training and serving. One folder each."""
