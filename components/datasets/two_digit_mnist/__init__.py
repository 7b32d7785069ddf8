"""The `two_digit_mnist` data set: two MNIST digits in a 60 x 60 image."""
