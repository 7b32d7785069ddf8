"""Cuts the number out of an image and resizes it to 64 x 64 pixels, as Goodfellow et al. (2013) do."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from components.datasets.svhn.digit_struct import Digit

SIDE = 64
"""Rows and columns of the result."""

GROWTH = 0.3
"""Fraction of its width and height by which the box around all digits grows, half of it on each side."""


class Unusable(Exception):
    """An image that cannot become an example. The message is the reason, by which such images are counted."""


def features(png: bytes, digits: Sequence[Digit]) -> dict[str, Any]:
    """Returns `image` [64, 64, 3] uint8, `labels` [n], the digits 0 to 9, and `boxes` [n, 4] float32.

    A box is (left, top, width, height) in pixels of the original image. The image is the part of the original within
    the grown box around all digits; nothing is made up beyond the border. Width and height are scaled separately, so
    a long number becomes narrow.

    Raises:
      Unusable: if there is no digit, a box has no size, a label is no digit, or the image cannot be read.
    """
    if not digits:
        raise Unusable("no boxes")
    # Written so that a NaN fails it.
    if not all(digit.width > 0 and digit.height > 0 and math.isfinite(digit.left + digit.top) for digit in digits):
        raise Unusable("a box without size")
    if not all(1 <= digit.label <= 10 for digit in digits):
        raise Unusable("a label that is no digit")
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            image.load()
            box = _box(digits, *image.size)
            pixels = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    # What Pillow raises for a broken PNG depends on where it is broken.
    except (OSError, SyntaxError, ValueError) as error:
        raise Unusable("an unreadable image") from error
    return {
        "image": np.asarray(pixels),
        "labels": [digit.label % 10 for digit in digits],
        "boxes": np.array([(digit.left, digit.top, digit.width, digit.height) for digit in digits], np.float32),
    }


def _box(digits: Sequence[Digit], columns: int, rows: int) -> tuple[float, float, float, float]:
    """Returns left, top, right and bottom of the part to cut out."""
    left, right = min(digit.left for digit in digits), max(digit.left + digit.width for digit in digits)
    top, bottom = min(digit.top for digit in digits), max(digit.top + digit.height for digit in digits)
    more_columns, more_rows = GROWTH / 2 * (right - left), GROWTH / 2 * (bottom - top)
    left, right = max(left - more_columns, 0), min(right + more_columns, columns)
    top, bottom = max(top - more_rows, 0), min(bottom + more_rows, rows)
    if right - left < 1 or bottom - top < 1:
        raise Unusable("boxes outside the image")
    return left, top, right, bottom
