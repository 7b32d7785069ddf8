"""Paths between latent variables, along which a drawing becomes another."""

from __future__ import annotations

import itertools

import numpy as np

_STRAIGHT = 1e-3
"""Radians between two directions, from 0 or from pi, at which an arc cannot be told from a line."""


def between(first: np.ndarray, last: np.ndarray, points: int) -> np.ndarray:
    """Returns points on the arc from one z [T, Z] to another: [points, T, Z], both ends among them.

    All of an image's T Z numbers are one vector, which turns from one direction to the other at even speed. Of standard
    normal vectors nearly all are of about the same length, and a straight line leads through ones that are shorter than
    any the model has decoded.
    """
    shares = np.linspace(0, 1, points)[:, None, None]
    a, b = (np.asarray(z, np.float64) for z in (first, last))
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(np.vdot(a, b) / lengths, -1, 1)) if lengths else 0.0
    if not _STRAIGHT < angle < np.pi - _STRAIGHT:
        path = (1 - shares) * a + shares * b
    else:
        path = (np.sin((1 - shares) * angle) * a + np.sin(shares * angle) * b) / np.sin(angle)
    return path.astype(np.float32)


def through(points: np.ndarray, frames: int) -> np.ndarray:
    """Returns a path through z [n, T, Z] in order, so many frames from each to the next: [(n - 1) frames + 1, T, Z]."""
    arcs = [between(first, last, frames + 1)[:-1] for first, last in itertools.pairwise(points)]
    return np.concatenate([*arcs, np.asarray(points[-1:], np.float32)])
