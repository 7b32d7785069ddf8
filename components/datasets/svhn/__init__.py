"""The `svhn` data set: street view house numbers, the whole number of a house in an image of 64 x 64 pixels."""
