"""What reading files gives, as elements of a Beam pipeline: images, rejected rows, and files passed over."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """A file of the input, or a row in it."""

    path: str
    row: int | None = None
    """From 0; None for a whole file. No two images have one place."""


class Image(NamedTuple):
    """An image whose shape and range the model takes."""

    id: bytes
    pixels: np.ndarray
    """[H, W, C] float32."""
    place: Place


class Rejected(NamedTuple):
    """A row that is not used, or all rows of a file from some place on."""

    id: bytes | None
    place: Place
    reason: str
    rows: int | None = 1
    """How many rows these are; None where nobody can tell, which makes the job fail."""


class PassedOver(NamedTuple):
    """A file of the input that is not opened, such as README.txt."""

    path: str
    """As `printable_path` gives it."""
    reason: str


class PassedOverFiles(NamedTuple):
    """How many files are not opened, and the first of them."""

    files: int
    first: tuple[PassedOver, ...]

    def to_json(self) -> dict[str, object]:
        """Returns both as the summary has them."""
        return {"files": self.files, "first": [passed._asdict() for passed in self.first]}


def printable_id(identity: bytes) -> str:
    """Decodes an id as the outputs show it, without NUL, which CSV cannot hold."""
    return identity.decode(errors="backslashreplace").replace("\0", "\\x00")


def printable_path(path: str) -> str:
    """Returns a path as people are shown it, also where its bytes are no UTF-8, which Python keeps as surrogates."""
    return printable_id(os.fsencode(path))
