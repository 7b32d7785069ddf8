"""The table with our row in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.paper.last_evaluation import LastEvaluation
from pipeline.paper.results_table import classifier_markdown, markdown
from trainer import tasks


def _evaluation(task_name: str, **changes: Any) -> LastEvaluation:
    bound = {"mean": 5123.456, "standard_deviation": 9.0, "standard_error": 1.25}
    values: dict[str, Any] = {"blessed": True, "metrics": {"count": 4_701, "nll_bound": bound}, **changes}
    return LastEvaluation(
        split="test",
        model_number="5",
        model_dir=Path(),
        task=json.loads(tasks.get(task_name).to_json()),
        examples=Path(),
        **values,
    )


def test_our_row_stands_beside_those_of_table_2() -> None:
    scores = {"samples": 50, "importance_weighted_bound": {"mean": 79.123, "standard_error": 0.2}}
    page = markdown(_evaluation("mnist"), scores)
    assert "Model 5 after 60,000 steps, on the 4,701 images of split `test`. The gate passed it." in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[:5] == [
        "|  | -log p(x), nats an image | standard error | source |",
        "| **this model**, the bound | ≤ 5123.46 | 1.25 | measured |",
        "| **this model**, importance-weighted with 50 samples an image, which is not the bound | ≤ 79.12 | 0.20 "
        "| measured |",
        "| DRAW without attention | ≤ 87.40 |  | the paper's Table 2 |",
        "| DRAW | ≤ 80.97 |  | the paper's Table 2 |",
    ]
    assert all("not in the paper" in row for row in rows[5:])
    assert "bits per dimension" not in page


def test_colour_has_bits_per_dimension_and_their_warning() -> None:
    page = markdown(_evaluation("svhn"), None)
    assert "| **this model**, the bound | 5,123.46 | 1.25 | 0.8449 | measured |" in page
    assert "| DRAW, where the curve ends | about 5,070 |  |  | the paper's Fig. 11 |" in page
    assert "It is no compression cost" in page


def test_a_classifiers_error_stands_beside_those_of_table_1() -> None:
    error = {"mean": 0.0412, "interval_95": [0.0375, 0.0453]}
    evaluation = _evaluation("cluttered_mnist", metrics={"count": 10_000, "error": error})
    page = classifier_markdown(evaluation)
    assert "| **this model** | 4.12 % | 3.75 to 4.53 % | measured |" in page
    assert "| differentiable RAM, 8 glimpses | 3.36 % |  | the paper's Table 1 |" in page
    error["mean"] = None
    with pytest.raises(ValueError, match="error of model 5 is not finite"):
        classifier_markdown(evaluation)


def test_data_that_are_not_the_papers_are_compared_with_nothing() -> None:
    page = markdown(_evaluation("digits", blessed=False), None)
    assert "80.97" not in page and "The paper gives no number for these data." in page
    assert "The gate refused it." in page


def test_a_bound_that_is_not_finite_makes_no_table() -> None:
    bound = {"mean": None, "standard_error": None}
    with pytest.raises(ValueError, match="not finite"):
        markdown(_evaluation("mnist", metrics={"count": 3, "nll_bound": bound}), None)
