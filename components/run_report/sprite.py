"""Many small images as one PNG inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

# Seven colours of cividis (Nuñez, Anderton and Renslow, 2018), which all kinds of colour vision see as the same ramp.
_CIVIDIS = np.array(
    [(0, 34, 78), (36, 56, 108), (87, 92, 109), (124, 123, 120), (166, 157, 117), (211, 193, 100), (254, 232, 56)]
)


def data_uri(pixels: np.ndarray, columns: int) -> str:
    """[n, H, W, C] uint8, C 1 or 3, in rows of `columns` without gaps; what is left of the last row is empty."""
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, height, width, channels), np.uint8)
    filled[:count] = pixels
    grid = filled.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    whole = grid.reshape(rows * height, columns * width, channels)
    file = io.BytesIO()
    Image.fromarray(whole[..., 0] if channels == 1 else whole).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def to_bytes(means: np.ndarray) -> np.ndarray:
    """Means in [0, 1] as uint8."""
    return np.rint(255 * np.asarray(means).clip(0, 1)).astype(np.uint8)


def ramp(shares: np.ndarray) -> np.ndarray:
    """[..., H, W] in [0, 1] as colours from dark blue to yellow: [..., H, W, 3] uint8."""
    at = np.linspace(0, 1, len(_CIVIDIS))
    return np.stack([np.interp(shares, at, _CIVIDIS[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)
