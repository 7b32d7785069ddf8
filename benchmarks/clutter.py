"""Compose cluttered digits with JAX on the accelerator: every training image is new, and none is ever stored.

What `components/datasets/cluttered_mnist` composes on a processor: of the same words the same images. It has to
be written again, for there is no TensorFlow on that machine.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

SIDE = 28
"""Rows and columns of a digit."""
SIZE = 100
"""Rows and columns of an image."""
DISTRACTORS = 8
PIECE = 8
"""Rows, and columns, of a distractor."""
DRAWS = 5 * DISTRACTORS + 3
"""Random words for each image."""


def compose(digits: jax.Array, labels: jax.Array, words: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compose images [n, 100, 100, 1] float32 in [0, 255], and their labels [n].

    Takes the digits [d, 28, 28], their labels [d], and words [n, 43] uint32: for each distractor, then for the whole
    digit, which one, from where (a distractor alone), and the top and left that it is put at.
    """
    pieces = words[:, : 5 * DISTRACTORS].reshape(-1, DISTRACTORS, 5).astype(jnp.uint32)
    whole = words[:, 5 * DISTRACTORS :].astype(jnp.uint32)
    offsets = _places(pieces[..., 1], SIDE, PIECE), _places(pieces[..., 2], SIDE, PIECE)
    cut = digits[(pieces[..., 0] % len(digits))[..., None, None], offsets[0][..., :, None], offsets[1][..., None, :]]
    canvas = jnp.zeros((len(words), SIZE, SIZE))
    canvas = _add(canvas, cut, _places(pieces[..., 3], SIZE, PIECE), _places(pieces[..., 4], SIZE, PIECE))
    chosen = whole[:, 0] % len(digits)
    tops, lefts = _places(whole[:, 1], SIZE, SIDE), _places(whole[:, 2], SIZE, SIDE)
    canvas = _add(canvas, digits[chosen][:, None], tops[:, None], lefts[:, None])
    return jnp.minimum(canvas, 255.0)[..., None], labels[chosen]


def _places(words: jax.Array, outer: int, inner: int) -> jax.Array:
    """Rows, or columns, [..., inner] of a square of `inner` at a uniform place in one of `outer`."""
    return (words % (outer - inner + 1))[..., None] + jnp.arange(inner, dtype=words.dtype)


def _add(canvas: jax.Array, patches: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Add patches [n, k, h, w] at rows [n, k, h] and columns [n, k, w] of the canvas [n, H, W]."""
    images = jnp.arange(len(canvas))[:, None, None, None]
    return canvas.at[images, rows[..., :, None], columns[..., None, :]].add(patches.astype(canvas.dtype))
