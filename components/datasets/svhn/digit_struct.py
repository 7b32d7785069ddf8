"""Reads digitStruct.mat, MATLAB's file with the boxes of all digits in one part of SVHN."""

from __future__ import annotations

import dataclasses
import os

import h5py
import numpy as np

NAMES_AT_ONCE = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Digit:
    """One digit and its box, in pixels; (0, 0) is the image's top left corner, where MATLAB has (1, 1)."""

    label: int
    """1 to 9, and 10 for the digit 0."""
    left: float
    top: float
    width: float
    height: float


class DigitStruct:
    """The file, open for reading. MATLAB 7.3 writes HDF5 in which a struct's fields are references into `#refs#`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the file; raises ValueError if it is damaged or of another kind."""
        try:
            self._file = h5py.File(path, "r")
            self._names, self._boxes = self._file["digitStruct/name"], self._file["digitStruct/bbox"]
        except (OSError, KeyError) as error:
            raise ValueError(
                f"{path} cannot be read as SVHN's digitStruct.mat: {error}. Fetch the part of SVHN that it belongs to "
                "again."
            ) from error

    def rows(self) -> dict[str, int]:
        """Returns the row of each image by its file's name; the rows are in no reliable order."""
        rows = {}
        for first in range(0, len(self._names), NAMES_AT_ONCE):
            for row, reference in enumerate(self._names[first : first + NAMES_AT_ONCE, 0], start=first):
                rows["".join(map(chr, self._file[reference][()].ravel()))] = row
        return rows

    def digits(self, row: int) -> list[Digit]:
        """Returns the digits of one image as they were annotated, from left to right; none if it has no box."""
        boxes = self._file[self._boxes[row, 0]]
        # MATLAB writes an empty struct as a plain array of its sizes.
        if not isinstance(boxes, h5py.Group):
            return []
        labels, lefts, tops, widths, heights = (
            self._values(boxes[field]) for field in ("label", "left", "top", "width", "height")
        )
        return [
            Digit(label=int(label), left=left - 1, top=top - 1, width=width, height=height)
            for label, left, top, width, height in zip(labels, lefts, tops, widths, heights, strict=True)
        ]

    def _values(self, field: h5py.Dataset) -> list[float]:
        """Reads a field, which holds the value of a single digit itself, and references to those of several."""
        if h5py.check_ref_dtype(field.dtype) is None:
            return [float(value) for value in np.ravel(field[()])]
        return [float(np.ravel(self._file[reference][()])[0]) for reference in field[()].ravel()]
