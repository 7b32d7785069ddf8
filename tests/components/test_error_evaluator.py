"""ErrorEvaluator on a classifier whose answers a test knows: error, interval, classes, baseline, gate, blessing."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components.error_evaluator import wilson
from components.error_evaluator.component import ErrorEvaluator
from components.error_evaluator.executor import Executor
from components.error_evaluator.verdict import Thresholds
from tests.components.ingestion import by_id, records
from trainer.task import Task
from trainer.tasks import CLUTTERED_MNIST_SMALL

Outputs = dict[str, tf.Tensor]
TASK = CLUTTERED_MNIST_SMALL


class KnownAnswers(tf.Module):
    """Knows the label from the example itself, and gives another class where the image's ink is a multiple of `odd`."""

    def __init__(self, odd: int, task: Task, directory: pathlib.Path, *, classes: int = 10) -> None:
        super().__init__()
        self._odd, self._classes = odd, classes
        directory.mkdir(exist_ok=True)
        task_file = directory / "task.json"
        task_file.write_text(task.to_json())
        self.task_json = tf.saved_model.Asset(str(task_file))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify_examples(self, inputs: tf.Tensor) -> Outputs:
        features = {name: tf.io.FixedLenFeature([], kind) for name, kind in (("image", tf.string), ("label", tf.int64))}
        parsed = tf.io.parse_example(inputs, features)
        ink = tf.reduce_sum(tf.cast(tf.io.decode_raw(parsed["image"], tf.uint8), tf.int64), axis=1)
        label = parsed["label"]
        shown = tf.where(ink % self._odd == 0, (label + 1) % 10, label)
        classes = tf.tile([[str(k) for k in range(self._classes)]], [tf.size(inputs), 1])
        return {"classes": classes, "scores": self.scores(shown)}

    def scores(self, shown: tf.Tensor) -> tf.Tensor:
        """0.6 for the class that is shown, the rest for the others."""
        return tf.one_hot(shown, self._classes, 0.6, 0.4 / (self._classes - 1))


def wrong_by(odd: int, images: np.ndarray) -> np.ndarray:
    """Which of the images [n, 784] KnownAnswers(odd) gets wrong."""
    return images.astype(np.int64).sum(axis=1) % odd == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    evaluation: dict[str, Any]
    report: str
    blessing: types.Artifact


@pytest.fixture
def evaluate(digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path) -> Callable[..., Result]:
    def run(
        model: types.Artifact,
        baseline: types.Artifact | None = None,
        *,
        max_error: float = 1.0,
        tolerance: float = 0.05,
    ) -> Result:
        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        for artifact, folder in ((evaluation, "evaluation"), (blessing, "blessing")):
            artifact.uri = str(tmp_path / folder)
            pathlib.Path(artifact.uri).mkdir()
        Executor(BaseBeamExecutor.Context(beam_pipeline_args=[])).Do(
            {"model": [model], "examples": [digits_examples], "baseline_model": [baseline] if baseline else []},
            {"evaluation": [evaluation], "blessing": [blessing]},
            {"split": "test", "max_error": max_error, "tolerance": tolerance},
        )
        folder = pathlib.Path(evaluation.uri)
        return Result(
            evaluation=json.loads((folder / "evaluation.json").read_text(), parse_constant=pytest.fail),
            report=(folder / "report.md").read_text(),
            blessing=blessing,
        )

    return run


@pytest.fixture(scope="module")
def images_and_labels(digits_examples: standard_artifacts.Examples) -> tuple[np.ndarray, np.ndarray]:
    features = by_id(records(digits_examples, "test")).values()
    images = np.stack([np.frombuffer(example["image"], np.uint8) for example in features])
    return images, np.array([example["label"] for example in features])


def saved(
    uri: pathlib.Path,
    odd: int,
    *,
    kind: type[KnownAnswers] = KnownAnswers,
    task: Task = TASK,
    model_id: int = 1,
    **options: int,
) -> types.Artifact:
    module = kind(odd, task, uri, **options)
    tf.saved_model.save(module, str(uri / "Format-Serving"), signatures={"classify_examples": module.classify_examples})
    artifact = standard_artifacts.Model()
    artifact.uri, artifact.id = str(uri), model_id
    return artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    return saved(tmp_path_factory.mktemp("model"), 7, model_id=11)


def test_error_interval_and_classes_are_those_of_the_split(
    evaluate: Callable[..., Result], model: types.Artifact, images_and_labels: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = images_and_labels
    wrong = wrong_by(7, images)
    assert 40 < wrong.sum() < 100
    result = evaluate(model)
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
    model: types.Artifact,
    images_and_labels: tuple[np.ndarray, np.ndarray],
) -> None:
    result = evaluate(model, max_error=float(wrong_by(7, images_and_labels[0]).mean()) + margin)
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
    model: types.Artifact,
    images_and_labels: tuple[np.ndarray, np.ndarray],
    tmp_path: pathlib.Path,
) -> None:
    ours, theirs = wrong_by(5, images_and_labels[0]), wrong_by(7, images_and_labels[0])
    difference = ours.astype(float) - theirs
    assert difference.mean() > 0 and difference.min() == -1
    candidate = saved(tmp_path / "candidate", 5)
    result = evaluate(candidate, model, tolerance=float(difference.mean()) + margin)
    paired = result.evaluation["overall"]["error_minus_baseline"]
    assert paired["mean"] == pytest.approx(difference.mean(), abs=1e-12)
    assert paired["standard_error"] == pytest.approx(difference.std(ddof=1) / math.sqrt(500), rel=1e-9)
    assert result.evaluation["overall"]["baseline_error"]["mean"] == pytest.approx(theirs.mean(), abs=1e-12)
    assert result.evaluation["blessed"] is blessed
    assert result.blessing.get_int_custom_property("baseline_model_id") == 11
    assert "error less the baseline's, paired" in result.report
    assert ("above the baseline's" in "".join(result.evaluation["reasons"])) is not blessed


def test_a_baseline_on_other_images_is_ignored(
    evaluate: Callable[..., Result], model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    data = dataclasses.replace(TASK.data, builder="cluttered_mnist/mnist-1000000:1.0.0")
    baseline = saved(tmp_path / "other", 10**9, task=dataclasses.replace(TASK, data=data))
    result = evaluate(model, baseline, tolerance=0.0)
    assert result.evaluation["blessed"] and "mnist-1000000" in result.evaluation["baseline_ignored"]


class Undefined(KnownAnswers):
    def scores(self, shown: tf.Tensor) -> tf.Tensor:
        return tf.where((shown == 3)[:, None], math.nan, super().scores(shown))


def test_an_answer_that_is_no_number_is_no_right_one(
    evaluate: Callable[..., Result],
    images_and_labels: tuple[np.ndarray, np.ndarray],
    tmp_path: pathlib.Path,
) -> None:
    result = evaluate(saved(tmp_path / "model", 10**9, kind=Undefined))
    threes = int((images_and_labels[1] == 3).sum())
    reasons = [f"{name} is not finite for {threes} of 500 examples" for name in ("error", "cross_entropy")]
    assert result.evaluation["reasons"] == reasons
    assert result.evaluation["overall"]["error"] | {"interval_95": None} == {
        "mean": None, "standard_deviation": None, "standard_error": None, "non_finite": threes, "interval_95": None,
    }  # fmt: skip
    assert result.evaluation["by_label"]["4"]["error"]["mean"] == 0


class Certain(KnownAnswers):
    def scores(self, shown: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(shown, 10)


def test_certainty_in_the_wrong_is_finite(evaluate: Callable[..., Result], tmp_path: pathlib.Path) -> None:
    overall = evaluate(saved(tmp_path / "model", 7, kind=Certain)).evaluation["overall"]
    assert overall["cross_entropy"]["non_finite"] == 0
    assert overall["cross_entropy"]["mean"] == pytest.approx(overall["error"]["mean"] * 149 * math.log(2), rel=1e-6)


def test_a_label_that_the_model_has_no_class_for_is_an_error(
    evaluate: Callable[..., Result], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(Exception, match=r"Labels \['9'\] are none of the classes"):
        evaluate(saved(tmp_path / "model", 10**9, classes=9))


@pytest.mark.parametrize(
    ("wrong", "count", "expected"),
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 100, (0.0215, 0.1118))],
)
def test_the_interval_by_published_values(wrong: int, count: int, expected: tuple[float, float]) -> None:
    assert wilson.interval(wrong / count, count) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("values", [(1.5, 0.0), (0.5, -0.1), (math.nan, 0.0)])
def test_a_threshold_that_is_no_fraction_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected a fraction"):
        Thresholds(max_error=values[0], tolerance=values[1])


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
