"""The importance-weighted bound of a split: what it is, when it is computed, and when an earlier one is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.paper import split_scores
from pipeline.paper.last_evaluation import LastEvaluation
from pipeline.paper.split_scores import score_split
from serving.batch.saved_model_scorer import SavedModelScorer
from serving.batch.seeds import seeds_for_ids, seeds_for_samples
from tests import tiny
from tests.serving.model_server import export_model

TASK = tiny.MODELS["attention"]
IMAGES, SAMPLES = 9, 70


@pytest.fixture
def evaluation(tmp_path: Path) -> LastEvaluation:
    (tmp_path / "Split-judge").mkdir()
    tiny.write_examples(tmp_path / "Split-judge", tiny.make_images(TASK, IMAGES))
    return LastEvaluation(
        metrics={},
        split="judge",
        blessed=True,
        model_number="3",
        model_dir=export_model(TASK, tmp_path / "model") / "3",
        task={},
        examples=tmp_path / "Split-judge",
    )


def _score(evaluation: LastEvaluation) -> tuple[float, float]:
    summary = score_split(evaluation, SAMPLES, evaluation.examples.with_name("report"), lambda line: None)
    assert (summary["images"], summary["samples"]) == (IMAGES, SAMPLES)
    bound = summary["importance_weighted_bound"]
    return bound["mean"], bound["standard_error"]


def test_it_is_minus_the_log_of_the_mean_weight_and_computed_once(
    evaluation: LastEvaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tiny.make_images(TASK, IMAGES).astype(np.float32)
    ids = [f"example-{index}".encode() for index in range(IMAGES)]
    samples = np.tile(np.arange(SAMPLES), IMAGES)
    seeds = seeds_for_samples(np.repeat(seeds_for_ids(ids), SAMPLES, axis=0), samples)
    scores = SavedModelScorer(str(evaluation.model_dir)).score(np.repeat(images, SAMPLES, axis=0), seeds)
    weights = scores.log_weight.astype(np.float64).reshape(IMAGES, SAMPLES)
    expected = np.log(SAMPLES) - np.logaddexp.reduce(weights, axis=1)

    bound, error = _score(evaluation)
    assert bound == pytest.approx(expected.mean(), rel=1e-5)
    assert error == pytest.approx(expected.std(ddof=1) / 3, rel=1e-4)

    with monkeypatch.context() as context:
        context.setattr(split_scores, "score_batch", lambda *arguments, **options: pytest.fail("scored again"))
        assert _score(evaluation) == (bound, error)

    # Another model in the same place, whose files are older than the scores.
    shutil.rmtree(evaluation.model_dir)
    export_model(TASK, evaluation.model_dir.parent, seed=8)
    for path in evaluation.model_dir.rglob("*"):
        os.utime(path, (0, 0))
    assert abs(_score(evaluation)[0] - bound) > 1e-3


def test_what_a_killed_job_left_counts_for_nothing(evaluation: LastEvaluation) -> None:
    bound, _ = _score(evaluation)
    (kept,) = evaluation.examples.with_name("report").iterdir()
    summary = kept / "split-summary.json"
    assert kept.name.startswith(f"model-3-judge-{SAMPLES}-samples-")
    # All files but the last, and one of a job that was not even that far.
    summary.unlink()
    (kept / "split-unfinished-0a1b2c3d").mkdir()
    assert _score(evaluation)[0] == pytest.approx(bound)
    assert not (kept / "split-unfinished-0a1b2c3d").exists()


def test_an_image_without_a_score_is_told(evaluation: LastEvaluation) -> None:
    shutil.rmtree(evaluation.examples)
    evaluation.examples.mkdir()
    tiny.write_examples(evaluation.examples, tiny.make_images(TASK, IMAGES, binary=False))
    with pytest.raises(ValueError, match=r"9 images have no finite score: .*split-rejected-\* say why"):
        _score(evaluation)
