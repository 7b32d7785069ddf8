"""The `cluttered_mnist` data set: one MNIST digit among pieces of others in a 100 x 100 image."""
