"""The `svhn` data set: street view house numbers, a whole number in each image of 64 x 64 pixels."""
