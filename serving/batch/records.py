"""What flows through the job: images, their scores, and what was turned away."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from serving.batch.estimate import Estimate


class Place(NamedTuple):
    """Where in the input something stands."""

    path: str
    row: int | None = None
    """From 0; None for a whole file."""

    def __str__(self) -> str:
        return self.path if self.row is None else f"{self.path}, row {self.row}"


class Image(NamedTuple):
    """One that the model takes, as far as can be told without asking it."""

    id: bytes
    pixels: np.ndarray
    """[H, W, C] float32."""
    place: Place


class Rejected(NamedTuple):
    """A row, or the rest of a file, that has no score."""

    id: bytes | None
    place: Place
    reason: str


class Scored(NamedTuple):
    """An image and what its samples say."""

    id: bytes
    place: Place
    estimate: Estimate
    pixels: np.ndarray | None
    """Kept where pictures were asked for."""


def text_of_id(identity: bytes) -> str:
    """As outputs show it."""
    return identity.decode(errors="backslashreplace")
