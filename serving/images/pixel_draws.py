"""Draws the pixels of a grey image as 0 or 1, the same for the same image, seed and id wherever it is done."""

from __future__ import annotations

import hashlib

import numpy as np

SEED = 0
"""Ingestion's. Not the recipe's seed, so that every training run is judged on the same pixels."""


def draw_pixels(intensities: np.ndarray, *, identity: bytes, seed: int = SEED) -> np.ndarray:
    """Makes 0 and 1, uint8, of intensities, uint8: 1 with the intensity / 255 as the probability.

    It depends on image, seed and id alone, so neither the number of workers nor the order in which they meet the
    images can change it.
    """
    key = hashlib.sha256(f"{seed}:".encode() + identity).digest()[:16]
    # Raw words of the bit generator: unlike Generator's methods, NumPy promises never to change them (NEP 19).
    words = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(intensities.size)
    # Uniform over 0..254: one is below an intensity v with probability v / 255.
    return ((words % 255).reshape(intensities.shape) < intensities).astype(np.uint8)
