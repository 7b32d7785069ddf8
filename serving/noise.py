"""The standard normal noise that a seed stands for, as the exported models draw it, without TensorFlow.

TensorFlow's stateless generator: Philox 4x32-10 (Salmon et al., 2011), keyed by a scrambled seed, and the transform of
Box and Muller. So what decodes latent variables elsewhere, such as ONNX Runtime, draws the very image that `sample`
draws of a seed.
"""

from __future__ import annotations

import numpy as np

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_SCRAMBLING_KEY = (0x3EC8F720, 0x02461E29)
_LEAST_UNIFORM = np.float32(1e-7)
"""In place of 0, which has no logarithm."""
_NUMBERS_AT_ONCE = 2**20
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def seed_noise(seeds: np.ndarray, steps: int, latents: int) -> np.ndarray:
    """Draws the noise of each seed: [n, 2] int64 to [n, T, Z] float32.

    A row depends on its own seed alone, and is what `sample`, `score` and `reconstruct` draw of it, but for rounding.
    """
    rows = max(1, _NUMBERS_AT_ONCE // (steps * latents))
    noise = np.empty((len(seeds), steps * latents), np.float32)
    for first in range(0, len(seeds), rows):
        noise[first : first + rows] = _row_noise(seeds[first : first + rows], steps * latents)
    return noise.reshape(-1, steps, latents)


def _row_noise(seeds: np.ndarray, numbers: int) -> np.ndarray:
    words = np.ascontiguousarray(seeds, np.int64).view(np.uint64)
    halves = [part for word in (words[:, 0], words[:, 1]) for part in (word & _WORD, word >> _HALF)]
    scrambled = _philox(halves, [np.array(part, np.uint64) for part in _SCRAMBLING_KEY])
    key = [part[:, None] for part in scrambled[:2]]
    block = np.arange(-(-numbers // 4), dtype=np.uint64)[None]
    # A block's number is in the counter's lower half, and the seed in its upper one.
    counter = [block & _WORD, block >> _HALF, scrambled[2][:, None], scrambled[3][:, None]]
    drawn = np.stack(_philox(counter, key), axis=-1)
    normal = _box_muller(_uniform(drawn[..., ::2]), _uniform(drawn[..., 1::2]))
    return normal.reshape(len(seeds), -1)[:, :numbers]


def _philox(counter: list[np.ndarray], key: list[np.ndarray]) -> list[np.ndarray]:
    """Four words of 32 bits from a counter of four and a key of two, all held in 64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        low, high = (word * np.uint64(factor) for word, factor in zip((c0, c2), _MULTIPLIERS, strict=True))
        c0, c1, c2, c3 = (high >> _HALF) ^ c1 ^ k0, high & _WORD, (low >> _HALF) ^ c3 ^ k1, low & _WORD
        k0, k1 = ((part + np.uint64(step)) & _WORD for part, step in zip((k0, k1), _KEY_STEPS, strict=True))
    return [c0, c1, c2, c3]


def _uniform(words: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) of the lower 23 bits, which become a float's fraction."""
    return (words & np.uint64(0x7FFFFF)).astype(np.float32) / np.float32(2**23)


def _box_muller(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(first, _LEAST_UNIFORM)))
    angle = np.float32(2 * np.pi) * second
    return np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=-1)
