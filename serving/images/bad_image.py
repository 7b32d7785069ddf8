"""The error of an image that cannot be used."""


class BadImage(ValueError):
    """An image that the model does not take; the message says why."""
