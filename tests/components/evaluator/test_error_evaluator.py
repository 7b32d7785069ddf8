"""ErrorEvaluator on a classifier whose answers a test knows: error, interval, classes, baseline, gate, blessing."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components.evaluator.component import ErrorEvaluator
from components.evaluator.evaluation import wilson_interval
from components.evaluator.executor import ErrorExecutor
from components.evaluator.moments import Moments
from tests.components import tiny_models
from tests.components.evaluator.execution import Result, execute
from tests.components.tiny_models import KnownAnswers, expected_errors
from trainer.task import ErrorGate
from trainer.tasks import CLUTTERED_MNIST_SMALL


@pytest.fixture
def evaluate(digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path) -> Callable[..., Result]:
    defaults = {"examples": digits_examples, "split": "test", "max_error": 1.0, "tolerance": 0.05}

    def run(model: types.Artifact, baseline: types.Artifact | None = None, **changes: object) -> Result:
        return execute(ErrorExecutor, tmp_path, model=model, baseline=baseline, **{**defaults, **changes})

    return run


def test_error_interval_and_classes_are_those_of_the_split(
    evaluate: Callable[..., Result], error_model: types.Artifact, images_and_labels: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = images_and_labels
    wrong = expected_errors(images, 7)
    assert 40 < wrong.sum() < 100
    result = evaluate(error_model)
    overall = result.evaluation["overall"]
    assert overall["count"] == 500 and overall["error"]["mean"] == pytest.approx(wrong.mean(), abs=1e-12)
    cross_entropy = np.where(wrong, -math.log(0.4 / 9), -math.log(0.6)).mean()
    assert overall["cross_entropy"]["mean"] == pytest.approx(cross_entropy, rel=1e-5)
    low, high = overall["error"]["interval_95"]
    # The limits are the proportions from which what was found is 1.96 standard deviations away.
    for limit in (low, high):
        distance = abs(limit - wrong.mean()) / math.sqrt(limit * (1 - limit) / 500)
        assert distance == pytest.approx(1.959964, rel=1e-5)
    assert low < wrong.mean() < high
    by_label = result.evaluation["by_label"]
    assert list(by_label) == [str(label) for label in range(10)]
    for label, statistics in by_label.items():
        rows = labels == int(label)
        assert statistics["count"] == rows.sum()
        assert statistics["error"]["mean"] == pytest.approx(wrong[rows].mean(), abs=1e-12)
    line = f"| overall | 500 | {wrong.sum()} | {wrong.mean():.2%} | {low:.2%} to {high:.2%} |"
    assert (
        line in result.report and result.report.startswith("# Blessed\n") and "There is no baseline." in result.report
    )


@pytest.mark.parametrize(("margin", "blessed"), [(1e-6, True), (-1e-6, False)])
def test_the_greatest_error_is_the_gate_as_pusher_reads_it(
    margin: float,
    blessed: bool,
    evaluate: Callable[..., Result],
    error_model: types.Artifact,
    images_and_labels: tuple[np.ndarray, np.ndarray],
) -> None:
    result = evaluate(error_model, max_error=float(expected_errors(images_and_labels[0], 7).mean()) + margin)
    assert result.evaluation["blessed"] is blessed
    assert PusherExecutor().CheckBlessing({"model_blessing": [result.blessing]}) is blessed
    assert result.blessing.get_int_custom_property("current_model_id") == 11
    (file,) = pathlib.Path(result.blessing.uri).iterdir()
    assert file.name == ("BLESSED" if blessed else "NOT_BLESSED")
    assert ("above the greatest allowed" in file.read_text()) is not blessed


@pytest.mark.parametrize(("margin", "blessed"), [(1e-6, True), (-1e-6, False)])
def test_a_baseline_is_compared_pair_by_pair(
    margin: float,
    blessed: bool,
    evaluate: Callable[..., Result],
    error_model: types.Artifact,
    images_and_labels: tuple[np.ndarray, np.ndarray],
    tmp_path: pathlib.Path,
) -> None:
    ours, theirs = expected_errors(images_and_labels[0], 5), expected_errors(images_and_labels[0], 7)
    difference = ours.astype(float) - theirs
    assert difference.mean() > 0 and difference.min() == -1
    candidate = tiny_models.error_model(tmp_path / "candidate", 5)
    result = evaluate(candidate, error_model, tolerance=float(difference.mean()) + margin)
    paired = result.evaluation["overall"]["error_minus_baseline"]
    assert paired["mean"] == pytest.approx(difference.mean(), abs=1e-12)
    assert paired["standard_error"] == pytest.approx(difference.std(ddof=1) / math.sqrt(500), rel=1e-9)
    assert result.evaluation["overall"]["baseline_error"]["mean"] == pytest.approx(theirs.mean(), abs=1e-12)
    assert result.evaluation["blessed"] is blessed
    assert result.blessing.get_int_custom_property("baseline_model_id") == 11
    assert "error less the baseline's, paired" in result.report
    assert ("above the baseline's" in "".join(result.evaluation["reasons"])) is not blessed


def test_a_baseline_on_other_images_is_ignored(
    evaluate: Callable[..., Result], error_model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    data = dataclasses.replace(CLUTTERED_MNIST_SMALL.data, builder="cluttered_mnist/mnist-1000000:1.0.0")
    baseline = tiny_models.error_model(
        tmp_path / "other", 10**9, task=dataclasses.replace(CLUTTERED_MNIST_SMALL, data=data)
    )
    result = evaluate(error_model, baseline, tolerance=0.0)
    assert result.evaluation["blessed"] and "mnist-1000000" in result.evaluation["baseline_ignored"]


class Undefined(KnownAnswers):
    def scores(self, answer: tf.Tensor) -> tf.Tensor:
        return tf.where((answer == 3)[:, None], math.nan, super().scores(answer))


def test_an_answer_that_is_no_number_is_no_right_one(
    evaluate: Callable[..., Result],
    images_and_labels: tuple[np.ndarray, np.ndarray],
    tmp_path: pathlib.Path,
) -> None:
    result = evaluate(tiny_models.error_model(tmp_path / "model", 10**9, kind=Undefined))
    threes = int((images_and_labels[1] == 3).sum())
    reasons = [f"{name} is not finite for {threes} of 500 examples" for name in ("error", "cross_entropy")]
    assert result.evaluation["reasons"] == reasons
    assert result.evaluation["overall"]["error"] | {"interval_95": None} == {
        "mean": None, "standard_deviation": None, "standard_error": None, "non_finite": threes, "interval_95": None,
    }  # fmt: skip
    assert result.evaluation["by_label"]["4"]["error"]["mean"] == 0


class Certain(KnownAnswers):
    def scores(self, answer: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(answer, 10)


def test_certainty_in_the_wrong_is_finite(evaluate: Callable[..., Result], tmp_path: pathlib.Path) -> None:
    overall = evaluate(tiny_models.error_model(tmp_path / "model", 7, kind=Certain)).evaluation["overall"]
    assert overall["cross_entropy"]["non_finite"] == 0
    assert overall["cross_entropy"]["mean"] == pytest.approx(overall["error"]["mean"] * 149 * math.log(2), rel=1e-6)


def test_a_label_that_the_model_has_no_class_for_is_an_error(
    evaluate: Callable[..., Result], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(Exception, match=r"Labels \['9'\] are none of the classes"):
        evaluate(tiny_models.error_model(tmp_path / "model", 10**9, classes=9))


@pytest.mark.parametrize(
    ("wrong", "count", "expected"),
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 100, (0.0215, 0.1118))],
)
def test_the_interval_by_published_values(wrong: int, count: int, expected: tuple[float, float]) -> None:
    error = Moments.from_values(np.arange(count) < wrong)
    assert wilson_interval(error) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("values", [(1.5, 0.0), (0.5, -0.1), (math.nan, 0.0)])
def test_a_threshold_that_is_no_fraction_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="it must be a fraction"):
        ErrorGate(max_error=values[0], tolerance=values[1])


def test_a_threshold_may_be_given_at_run_time() -> None:
    channels = {
        name: types.Channel(type=kind)
        for name, kind in (("examples", standard_artifacts.Examples), ("model", standard_artifacts.Model))
    }
    parameter = RuntimeParameter("max_error", ptype=float, default=0.06)
    component = ErrorEvaluator(**channels, split="test", max_error=parameter, tolerance=1)
    assert component.exec_properties == {
        "split": "test",
        "max_error": parameter,
        "tolerance": 1.0,
        "pushed_models": None,
    }
