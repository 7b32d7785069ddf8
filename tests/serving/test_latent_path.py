"""Paths between latent variables: their ends, their lengths, and what has no direction."""

from __future__ import annotations

import numpy as np
import pytest

from serving import latent_path

A, B, C = np.random.default_rng(3).standard_normal((3, 6, 40)).astype(np.float32)


def test_an_arc_begins_and_ends_where_it_should_and_turns_evenly() -> None:
    path = latent_path.between(A, B, 7)
    assert path.dtype == np.float32
    np.testing.assert_allclose(path[[0, -1]], [A, B], atol=1e-6)
    same = latent_path.between(A / np.linalg.norm(A), B / np.linalg.norm(B), 7).reshape(7, -1)
    np.testing.assert_allclose(np.linalg.norm(same, axis=1), 1, atol=1e-5)
    angles = np.arccos((same[1:] * same[:-1]).sum(axis=1))
    np.testing.assert_allclose(angles, angles.mean(), rtol=1e-3)


@pytest.mark.parametrize("other", [A, -A, 2 * A, 0 * A], ids=["same", "opposite", "longer", "zero"])
def test_what_has_no_arc_has_a_line(other: np.ndarray) -> None:
    shares = np.linspace(0, 1, 5)[:, None, None]
    np.testing.assert_allclose(latent_path.between(A, other, 5), (1 - shares) * A + shares * other, atol=1e-5)


def test_a_path_leads_through_all_points() -> None:
    path = latent_path.through(np.stack([A, B, C]), 4)
    assert path.shape == (9, 6, 40)
    np.testing.assert_allclose(path[::4], [A, B, C], atol=1e-6)
