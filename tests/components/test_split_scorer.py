"""SplitScorer on ingested digits: a row for each image, or a failure that says why."""

from __future__ import annotations

import json
import math
import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components.split_scorer import Executor, SplitScorer
from tests.components.ingestion import by_id, records
from tests.components.tiny_models import KL_PER_STEP, KnownBound, Outputs, bound_model

BEAM_ARGUMENTS = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]


def _score(
    model: types.Artifact, examples: types.Artifact, uri: pathlib.Path, split: str | None = None
) -> pathlib.Path:
    scores = standard_artifacts.InferenceResult()
    scores.uri = str(uri)
    uri.mkdir()
    Executor(BaseBeamExecutor.Context(beam_pipeline_args=BEAM_ARGUMENTS)).Do(
        {"model": [model], "examples": [examples]}, {"scores": [scores]}, {"split": split, "samples": 2}
    )
    return uri


def test_every_image_of_the_split_has_a_row(
    digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path
) -> None:
    folder = _score(bound_model(tmp_path / "model", offset=0.5), digits_examples, tmp_path / "scores")
    rows = {row["id"]: row for file in folder.glob("split-scores-*") for row in pq.read_table(file).to_pylist()}
    images = by_id(records(digits_examples, "test"))
    assert rows.keys() == images.keys()
    for identity, row in rows.items():
        ink = np.frombuffer(images[identity]["image"], np.uint8).sum()  # type: ignore[arg-type]
        assert row["nll_bound"] == pytest.approx(0.5 + ink / 100 + sum(KL_PER_STEP), rel=1e-6)
        assert row["importance_weighted_bound"] == pytest.approx(row["nll_bound"], rel=1e-6)
        assert row["bits_per_dimension"] == pytest.approx(row["nll_bound"] / math.log(2) / 784)
        assert row["samples"] == 2
    summary = json.loads((folder / "split-summary.json").read_text())
    assert (summary["images"], summary["rejected"]) == (500, 0)
    assert {path.name.partition("-0")[0] for path in folder.iterdir()} == {"split-scores", "split-summary.json"}


class RefusesMuchInk(KnownBound):
    """Scores no image with more ink than LIMIT."""

    LIMIT = 150

    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        ink = tf.reduce_sum(image, axis=[1, 2, 3])
        tf.debugging.Assert(tf.reduce_all(ink <= self.LIMIT), ["too much ink"])
        return super().score(image, seed)


def test_an_image_that_cannot_be_scored_fails_the_stage_with_the_reason(
    digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path
) -> None:
    images = by_id(records(digits_examples, "test")).values()
    refused = sum(np.frombuffer(image["image"], np.uint8).sum() > RefusesMuchInk.LIMIT for image in images)  # type: ignore[arg-type]
    assert 0 < refused < 100
    message = rf"^{refused} of the examples in split 'test' could not be scored; the first of them: .*too much ink"
    with pytest.raises(RuntimeError, match=message):
        _score(bound_model(tmp_path / "model", RefusesMuchInk), digits_examples, tmp_path / "scores")


def test_a_model_that_cannot_score_is_refused(
    digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path
) -> None:
    KnownBound().save(tmp_path / "model" / "Format-Serving", ("sample",))
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "model")
    with pytest.raises(ValueError, match="has no signature 'score'"):
        _score(model, digits_examples, tmp_path / "scores", split="test")


def test_the_number_of_samples_may_be_a_runtime_parameter() -> None:
    channels = {
        "examples": types.Channel(type=standard_artifacts.Examples),
        "model": types.Channel(type=standard_artifacts.Model),
    }
    parameter = RuntimeParameter("samples", ptype=int, default=10)
    component = SplitScorer(**channels, split="test", samples=parameter)
    assert component.exec_properties == {"split": "test", "samples": parameter}
    assert component.outputs["scores"].type is standard_artifacts.InferenceResult
