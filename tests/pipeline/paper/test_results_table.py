"""The table with our row in it, and the scores behind the importance-weighted one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.paper.importance_weighting import Mean, importance_weighted_bound
from pipeline.paper.last_evaluation import LastEvaluation, NoEvaluation, last_evaluation
from pipeline.paper.results_table import classifier_markdown, markdown
from serving.batch.saved_model import SavedModelScorer
from serving.batch.seeds import seeds_of_ids, seeds_of_samples
from tests import tiny
from tests.serving.model_server import export_model
from trainer import tasks


def _evaluation(task_name: str, **changes: Any) -> LastEvaluation:
    bound = {"mean": 5123.456, "standard_deviation": 9.0, "standard_error": 1.25}
    found = {"split": "test", "blessed": True, "overall": {"count": 4_701, "nll_bound": bound}}
    return LastEvaluation(
        found={**found, **changes},
        model_number="5",
        model_dir=Path(),
        task=json.loads(tasks.get(task_name).to_json()),
        examples=Path(),
    )


def test_our_row_stands_beside_those_of_table_2() -> None:
    page = markdown(_evaluation("mnist"), 50, Mean(10_000, 79.123, 0.2))
    assert "Model 5 after 150,000 steps, on the 4,701 images of split `test`. The gate passed it." in page
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
    page = markdown(_evaluation("svhn"), 0, None)
    assert "| **this model**, the bound | 5,123.46 | 1.25 | 0.8449 | measured |" in page
    assert "| DRAW, where the curve ends | about 5,070 |  |  | the paper's Fig. 11 |" in page
    assert "bits per dimension are a compression cost" in page


def test_a_classifiers_error_stands_beside_those_of_table_1() -> None:
    error = {"mean": 0.0412, "interval_95": [0.0375, 0.0453]}
    evaluation = _evaluation("cluttered_mnist", overall={"count": 10_000, "error": error})
    page = classifier_markdown(evaluation)
    assert "| **this model** | 4.12 % | 3.75 to 4.53 % | measured |" in page
    assert "| differentiable RAM, 8 glimpses | 3.36 % |  | the paper's Table 1 |" in page
    error["mean"] = None
    with pytest.raises(ValueError, match="error of model 5 is not finite"):
        classifier_markdown(evaluation)


def test_data_that_are_not_the_papers_are_compared_with_nothing() -> None:
    page = markdown(_evaluation("digits", blessed=False), 0, None)
    assert "80.97" not in page and "The paper gives no number for these data." in page
    assert "The gate refused it." in page


def test_a_bound_that_is_not_finite_makes_no_table() -> None:
    bound = {"mean": None, "standard_error": None}
    with pytest.raises(ValueError, match="not finite"):
        markdown(_evaluation("mnist", overall={"count": 3, "nll_bound": bound}), 0, None)


def test_without_a_run_there_is_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(NoEvaluation, match="Train a model with `draw run`"):
        last_evaluation(tmp_path / "metadata.db")


def test_the_importance_weighted_bound_goes_on_where_it_was(tmp_path: Path) -> None:
    task = dataclasses.replace(tiny.MODELS["attention"])
    model_dir = export_model(task, tmp_path / "model") / "3"
    images = tiny.make_images(task, 9)
    (tmp_path / "split").mkdir()
    tiny.write_examples(tmp_path / "split", images)
    samples, record = 70, tmp_path / "report" / "record.jsonl"

    ids = [f"example-{index}".encode() for index in range(9)]
    seeds = seeds_of_samples(np.repeat(seeds_of_ids(ids), samples, axis=0), np.tile(np.arange(samples), 9))
    scores = SavedModelScorer(str(model_dir)).score(np.repeat(images, samples, axis=0).astype(np.float32), seeds)
    weights = scores.log_weight.astype(np.float64).reshape(9, samples)
    expected = np.log(samples) - np.logaddexp.reduce(weights, axis=1)

    def bound() -> Mean:
        return importance_weighted_bound(model_dir, tmp_path / "split", samples, record, lambda line: None)

    whole = bound()
    assert whole.images == 9
    assert whole.bound == pytest.approx(expected.mean(), rel=1e-5)
    assert whole.standard_error == pytest.approx(expected.std(ddof=1) / 3, rel=1e-4)

    # As an interruption leaves it: some images, and half a line.
    lines = record.read_text().splitlines()
    done = [line for line in lines if line][:4]
    marked = [{**json.loads(line), "bound": 1000.0} for line in done]
    record.write_text("".join(json.dumps(line) + "\n" for line in marked) + lines[-1][:20])
    shift = sum(1000.0 - json.loads(line)["bound"] for line in done) / 9
    assert bound().bound == pytest.approx(whole.bound + shift, rel=1e-6)
    assert bound().bound == pytest.approx(whole.bound + shift, rel=1e-6)
