"""The elements of the job's Beam pipeline: images, their scores, and rejected rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from serving.batch.estimate import Estimate


class Place(NamedTuple):
    """A file of the input, or a row in it."""

    path: str
    row: int | None = None
    """From 0; None for a whole file."""


class Image(NamedTuple):
    """An image whose shape and range the model takes."""

    id: bytes
    pixels: np.ndarray
    """[H, W, C] float32."""
    place: Place


class Rejected(NamedTuple):
    """A row, or the rest of a file, that has no score."""

    id: bytes | None
    place: Place
    reason: str
    rows: int | None = 1
    """How many rows are lost with it; None where nobody can tell, which makes the job fail."""


class PassedOver(NamedTuple):
    """A file of the input that the job does not open."""

    path: str
    reason: str


class Scored(NamedTuple):
    """An image with the estimate from its samples."""

    id: bytes
    place: Place
    estimate: Estimate
    pixels: np.ndarray | None
    """Kept if pictures were asked for."""


def printable_id(identity: bytes) -> str:
    """Decodes an id as the outputs show it."""
    return identity.decode(errors="backslashreplace")
