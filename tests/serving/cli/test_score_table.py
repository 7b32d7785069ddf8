"""Scores as a table and as CSV."""

from __future__ import annotations

import csv
import re

import numpy as np

from serving.cli.score_table import COLUMNS, as_csv, as_table
from serving.client import Scores
from serving.reference.image_scores import CALIBRATED


def _scores(count: int) -> Scores:
    rng = np.random.default_rng(3)
    steps = rng.uniform(1, 2, (count, 3)).astype(np.float32)
    reconstruction = rng.uniform(50, 90, count).astype(np.float32)
    kl = steps.sum(axis=1)
    return Scores(reconstruction + kl, reconstruction, kl, steps, -reconstruction)


def test_csv_keeps_every_bit() -> None:
    scores = _scores(30)
    rows = list(csv.DictReader(as_csv(scores).splitlines()))
    assert [row["image"] for row in rows] == [str(place) for place in range(30)]
    for name in ("nll_bound", "reconstruction", "kl", "log_weight"):
        np.testing.assert_array_equal(np.array([row[name] for row in rows], np.float32), getattr(scores, name))
    for step in range(3):
        values = np.array([row[f"kl_{step + 1}"] for row in rows], np.float32)
        np.testing.assert_array_equal(values, scores.kl_per_step[:, step])


def test_each_number_is_below_its_heading() -> None:
    """Grey and colour images have a distance and no complexity."""
    places = {"percentile": 3.0, "typicality": 0.06, "mahalanobis": 1.5, "mahalanobis_percentile": 70.0}
    scores = _scores(2)._replace(**{name: np.full(2, value) for name, value in places.items()})
    for row in csv.DictReader(as_csv(scores).splitlines()):
        assert {name: row[name] for name in CALIBRATED} == {
            name: str(places.get(name, "")).removesuffix(".0") for name in CALIBRATED
        }


def test_the_table_ends_with_the_mean_over_all_images() -> None:
    scores = _scores(23)
    heading, *rows = as_table(scores).splitlines()
    assert heading.split() == ["image", "nll_bound", "reconstruction", "kl", "log_weight"]
    assert [row.split()[0] for row in rows[:20]] == [str(place) for place in range(20)]
    assert rows[7].split()[1] == f"{scores.nll_bound[7]:.2f}"
    assert rows[20] == "... and 3 more"
    assert rows[21].split()[:2] == ["mean", f"{scores.nll_bound.mean():.2f}"]
    error = scores.nll_bound.std(ddof=1) / np.sqrt(23)
    assert rows[22].split()[:3] == ["±", "s.e.", f"{error:.2f}"]
    assert len({len(row) for row in (heading, *rows[:20], rows[21], rows[22])}) == 1


def test_headings_stand_apart_and_above_their_numbers() -> None:
    rng = np.random.default_rng(5)
    scores = _scores(3)._replace(**{name: rng.uniform(1, 9, 3) for name in CALIBRATED})
    heading, *rows = as_table(scores).splitlines()
    assert heading.split() == ["image", *COLUMNS, *CALIBRATED]
    ends = [match.end() for match in re.finditer(r"\S+", heading)][1:]
    for row in rows[:3]:
        assert [match.end() for match in re.finditer(r"\S+", row)][1:] == ends


def test_one_image_has_no_standard_error() -> None:
    assert [row.split()[0] for row in as_table(_scores(1)).splitlines()] == ["image", "0", "mean"]
