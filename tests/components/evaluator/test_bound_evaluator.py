"""BoundEvaluator on real digits, with models whose bound is known for each image."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components.evaluator.component import BoundEvaluator
from components.evaluator.executor import BoundExecutor
from components.evaluator.moments import Summary
from components.evaluator.score_split import OVERALL, ScoreSplit
from components.model_artifact import PLACEHOLDER
from serving.beam_options import LOCAL_RUNNER
from tests.components import tiny_models
from tests.components.evaluator.execution import Result, execute
from tests.components.ingestion import DIGITS, records
from tests.components.tiny_models import KL_PER_STEP, KnownBound, Outputs, expected_bounds
from trainer import tasks
from trainer.task import GENERATIVE, Binarisation, Gate


@pytest.fixture
def evaluate(digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path) -> Callable[..., Result]:
    defaults = {"examples": digits_examples, "split": "test", "max_nll_bound": 1000.0, "tolerance": 0.5}

    def run(model: types.Artifact, baseline: types.Artifact | None = None, **changes: object) -> Result:
        return execute(BoundExecutor, tmp_path, model=model, baseline=baseline, **{**defaults, **changes})

    return run


def test_the_statistics_are_those_of_the_split(
    evaluate: Callable[..., Result], bound_model: types.Artifact, images_and_labels: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = images_and_labels
    bounds = expected_bounds(images, labels)
    evaluation = evaluate(bound_model).evaluation

    overall = evaluation["overall"]
    assert (evaluation["split"], overall["count"]) == ("test", 500)
    assert overall["nll_bound"]["mean"] == pytest.approx(bounds.mean(), rel=1e-6)
    assert overall["nll_bound"]["standard_deviation"] == pytest.approx(bounds.std(ddof=1), rel=1e-6)
    assert overall["nll_bound"]["standard_error"] == pytest.approx(bounds.std(ddof=1) / math.sqrt(500), rel=1e-6)
    assert overall["reconstruction"]["mean"] == pytest.approx(images.sum(axis=1).mean() / 100, rel=1e-6)
    assert overall["kl"]["mean"] == pytest.approx(1.1 * sum(KL_PER_STEP), rel=1e-6)
    assert overall["kl_per_step"]["mean"] == pytest.approx([1.1 * kl for kl in KL_PER_STEP], rel=1e-6)

    assert list(evaluation["by_label"]) == [str(label) for label in range(10)]
    for label, statistics in evaluation["by_label"].items():
        of_label = bounds[labels == int(label)]
        assert statistics["count"] == 50
        assert statistics["nll_bound"]["mean"] == pytest.approx(of_label.mean(), rel=1e-6)
        assert statistics["nll_bound"]["standard_error"] == pytest.approx(of_label.std(ddof=1) / 50**0.5, rel=1e-5)
        assert statistics["kl"]["mean"] == sum(KL_PER_STEP) * (2 if label == "7" else 1)


def test_the_report_shows_a_person_the_same(evaluate: Callable[..., Result], bound_model: types.Artifact) -> None:
    result = evaluate(bound_model)
    bound = result.evaluation["overall"]["nll_bound"]
    row = f"| {bound['mean']:.3f} | {bound['standard_error']:.3f} | {bound['standard_deviation']:.3f} |"
    assert result.report.startswith("# Blessed\n")
    assert f"| bound on -log p(x) {row}\n" in result.report
    seven = result.evaluation["by_label"]["7"]["nll_bound"]
    assert f"| 7 | 50 | {seven['mean']:.3f} | {seven['standard_error']:.3f} |" in result.report
    assert "first to last: 1.650, 0.275, 4.400." in result.report
    assert "There is no baseline." in result.report
    assert "bits per dimension" not in result.report


def test_bits_per_dimension_come_with_their_warning(evaluate: Callable[..., Result], tmp_path: pathlib.Path) -> None:
    task = dataclasses.replace(DIGITS, binarisation=Binarisation.NONE)
    intensities = tiny_models.bound_model(tmp_path / "grey", task=task)
    result = evaluate(intensities)
    bits = result.evaluation["overall"]["nll_bound"]["mean"] / (math.log(2) * 784)
    assert f"The bound is {bits:.3f} bits per dimension. It is no compression cost" in result.report


@pytest.mark.parametrize(("margin", "blessed"), [(1e-3, True), (-1e-3, False)])
def test_the_greatest_bound_is_the_gate(
    margin: float,
    blessed: bool,
    evaluate: Callable[..., Result],
    bound_model: types.Artifact,
    images_and_labels: tuple[np.ndarray, np.ndarray],
    caplog: pytest.LogCaptureFixture,
) -> None:
    limit = float(expected_bounds(*images_and_labels).mean()) + margin
    result = evaluate(bound_model, max_nll_bound=limit)
    warnings = [record for record in caplog.records if record.name.startswith("components.")]
    assert result.evaluation["blessed"] is blessed
    assert result.blessing.get_int_custom_property("blessed") == int(blessed)
    assert result.blessing.get_string_custom_property("current_model") == bound_model.uri
    assert result.blessing.get_int_custom_property("current_model_id") == 11
    if blessed:
        assert result.blessing_files == {"BLESSED": ""}
        assert not warnings
    else:
        (reason,) = result.evaluation["reasons"]
        assert "above the greatest allowed" in reason
        assert result.blessing_files == {"NOT_BLESSED": f"{reason}\n"}
        assert f"- {reason}\n" in result.report
        (warning,) = warnings
        assert warning.levelno == logging.WARNING
        assert reason in warning.getMessage()


@pytest.mark.parametrize("max_nll_bound", [1000.0, 1.0])
def test_tfx_reads_the_blessing(
    max_nll_bound: float, evaluate: Callable[..., Result], bound_model: types.Artifact
) -> None:
    blessing = evaluate(bound_model, max_nll_bound=max_nll_bound).blessing
    blessed = max_nll_bound == 1000.0
    assert PusherExecutor().CheckBlessing({"model_blessing": [blessing]}) is blessed
    inputs = {"model": [bound_model], "model_blessing": [blessing]}
    resolved = LatestBlessedModelStrategy().resolve_artifacts(None, inputs)
    assert resolved["model"] == ([bound_model] if blessed else [])


class NoisyBound(KnownBound):
    """Counts the ink twice, so that its difference to KnownBound is another one for each image."""

    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        return super().scores(image * 2, sevens)


@pytest.mark.parametrize(("tolerance_margin", "blessed"), [(1e-3, True), (-1e-3, False)])
def test_a_baseline_is_compared_pair_by_pair(
    tolerance_margin: float,
    blessed: bool,
    evaluate: Callable[..., Result],
    bound_model: types.Artifact,
    tmp_path: pathlib.Path,
    images_and_labels: tuple[np.ndarray, np.ndarray],
) -> None:
    candidate = tiny_models.bound_model(tmp_path / "candidate", NoisyBound, offset=0.25)
    images, labels = images_and_labels
    difference = 0.25 + images.astype(np.float64).sum(axis=1) / 100
    tolerance = float(difference.mean()) + tolerance_margin
    result = evaluate(candidate, bound_model, tolerance=tolerance)
    overall = result.evaluation["overall"]
    assert overall["baseline_nll_bound"]["mean"] == pytest.approx(expected_bounds(images, labels).mean(), rel=1e-6)
    paired = overall["nll_bound_minus_baseline"]
    assert paired["mean"] == pytest.approx(difference.mean(), rel=1e-5)
    # Far below what two independent bounds would give: a 7 shifts both.
    assert paired["standard_error"] == pytest.approx(difference.std(ddof=1) / math.sqrt(500), rel=1e-4)
    assert result.evaluation["blessed"] is blessed
    assert result.evaluation["baseline"] == bound_model.uri
    assert result.blessing.get_int_custom_property("baseline_model_id") == 11
    assert "bound less the baseline's" in result.report
    if not blessed:
        assert "above the baseline's" in "".join(result.evaluation["reasons"])


def test_a_better_model_passes_the_baseline(
    evaluate: Callable[..., Result], bound_model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    result = evaluate(tiny_models.bound_model(tmp_path / "better", offset=-3.0), bound_model, tolerance=0.0)
    assert result.evaluation["blessed"]
    assert result.evaluation["overall"]["nll_bound_minus_baseline"]["mean"] == pytest.approx(-3, rel=1e-5)


def test_a_baseline_of_another_measure_is_ignored(
    evaluate: Callable[..., Result],
    bound_model: types.Artifact,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = dataclasses.replace(DIGITS, binarisation=Binarisation.THRESHOLD)
    baseline = tiny_models.bound_model(tmp_path / "other", offset=-50.0, task=task)
    result = evaluate(bound_model, baseline)
    reason = "binarisation is 'threshold' there and 'stochastic_each_epoch' here"
    assert result.evaluation["blessed"]
    assert result.evaluation["baseline_ignored"] == reason
    assert "nll_bound_minus_baseline" not in result.evaluation["overall"]
    assert f"was ignored: {reason}." in result.report
    assert not result.blessing.has_custom_property("baseline_model_id")
    assert any(reason in record.getMessage() for record in caplog.records if record.name.startswith("components."))


def test_what_was_pushed_last_can_be_the_baseline(
    evaluate: Callable[..., Result], bound_model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    better = tiny_models.bound_model(tmp_path / "better", offset=-3.0)
    version = tmp_path / "serving" / "1700000000"
    shutil.copytree(f"{better.uri}/Format-Serving", version)
    result = evaluate(bound_model, pushed_models=str(version.parent))
    assert result.evaluation["baseline"] == str(version)
    assert result.evaluation["overall"]["nll_bound_minus_baseline"]["mean"] == pytest.approx(3, rel=1e-5)
    assert "above the baseline's" in "".join(result.evaluation["reasons"])
    # It is no artifact: there is an address, and no id.
    assert result.blessing.get_string_custom_property("baseline_model") == str(version)
    assert not result.blessing.has_custom_property("baseline_model_id")


def test_what_is_not_given_is_as_the_models_own_task_says(
    evaluate: Callable[..., Result], tmp_path: pathlib.Path
) -> None:
    task = dataclasses.replace(DIGITS, gate=Gate(max_nll_bound=3.0, tolerance=0.25))
    model = tiny_models.bound_model(tmp_path / "model", task=task)
    pushed = tiny_models.bound_model(tmp_path / "pushed", offset=1.0)
    shutil.copytree(f"{pushed.uri}/Format-Serving", tmp_path / "serving" / task.name / "1")
    evaluation = evaluate(
        model,
        split=None,
        max_nll_bound=tasks.TASK_DEFAULT,
        tolerance=tasks.TASK_DEFAULT,
        pushed_models=str(tmp_path / "serving" / PLACEHOLDER),
    ).evaluation
    assert (evaluation["split"], evaluation["max_nll_bound"], evaluation["tolerance"]) == (task.data.test, 3.0, 0.25)
    assert evaluation["baseline"] == str(tmp_path / "serving" / "digits" / "1")


def test_a_baseline_is_looked_for_in_one_place() -> None:
    examples, model = (types.Channel(type=kind) for kind in (standard_artifacts.Examples, standard_artifacts.Model))
    with pytest.raises(ValueError, match="Both baseline_model and pushed_models"):
        BoundEvaluator(
            examples=examples,
            model=model,
            split="test",
            max_nll_bound=1,
            tolerance=1,
            baseline_model=model,
            pushed_models="/serving",
        )


class UndefinedSevens(KnownBound):
    """The KL of a 7 is NaN, and so is its bound."""

    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        undefined = tf.where(sevens == 1, math.nan, 0.0)
        return {**outputs, "kl": outputs["kl"] + undefined, "nll_bound": outputs["nll_bound"] + undefined}


class InfiniteWeights(KnownBound):
    """Everything is in order but the importance weights."""

    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "log_weight": outputs["log_weight"] - math.inf}


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (
            UndefinedSevens,
            {"nll_bound is not finite for 50 of 500 examples", "kl is not finite for 50 of 500 examples"},
        ),
        (InfiniteWeights, {"log_weight is not finite for 500 of 500 examples"}),
    ],
)
def test_a_score_that_is_not_finite_is_never_blessed(
    kind: type[KnownBound], reasons: set[str], evaluate: Callable[..., Result], tmp_path: pathlib.Path
) -> None:
    result = evaluate(tiny_models.bound_model(tmp_path / "model", kind), max_nll_bound=1e300)
    assert not result.evaluation["blessed"]
    assert set(result.evaluation["reasons"]) == reasons
    if kind is UndefinedSevens:
        assert result.evaluation["overall"]["nll_bound"]["mean"] is None
        assert result.evaluation["by_label"]["6"]["nll_bound"]["mean"] is not None
        assert "| 7 | 50 | - | - |" in result.report


def _score(serialised: list[bytes], model: types.Artifact, batch_size: int, baseline: types.Artifact) -> dict[str, Any]:
    with beam.Pipeline(LOCAL_RUNNER) as pipeline:
        _ = (
            pipeline
            # As one element, whose examples then are one bundle, so that batches have the size that is asked for.
            | beam.Create([serialised])
            | beam.FlatMap(lambda examples: examples)
            | ScoreSplit(
                GENERATIVE,
                model_dir=f"{model.uri}/Format-Serving",
                baseline_dir=f"{baseline.uri}/Format-Serving",
                batch_size=batch_size,
            )
            | beam.Map(_json)
            | beam.io.WriteToText(f"{model.uri}/scores-{batch_size}", shard_name_template="")
        )
    lines = pathlib.Path(f"{model.uri}/scores-{batch_size}").read_text().splitlines()
    return dict(json.loads(line) for line in lines)


def _json(item: tuple[str, Summary]) -> str:
    return json.dumps((item[0], {name: moments.to_json() for name, moments in item[1].items()}))


def test_the_size_of_a_batch_changes_nothing_but_rounding(
    digits_examples: standard_artifacts.Examples, bound_model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    serialised = records(digits_examples, "test")[:97]
    candidate = tiny_models.bound_model(tmp_path / "candidate", NoisyBound)
    whole = _score(serialised, candidate, 97, bound_model)
    assert whole[OVERALL]["nll_bound"]["count"] == 97
    for batch_size in (1, 10):
        parts = _score(serialised, candidate, batch_size, bound_model)
        assert parts.keys() == whole.keys()
        for name, summary in whole.items():
            assert parts[name].keys() == summary.keys()
            for quantity, moments in summary.items():
                assert parts[name][quantity]["count"] == moments["count"]
                for field in ("mean", "squares"):
                    np.testing.assert_allclose(parts[name][quantity][field], moments[field], rtol=1e-5, atol=1e-9)


def test_a_model_is_loaded_once_for_all_threads(
    evaluate: Callable[..., Result],
    bound_model: types.Artifact,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded, load = [], tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda path, **options: (loaded.append(path), load(path, **options))[1])
    candidate = tiny_models.bound_model(tmp_path / "candidate")
    evaluate(candidate, bound_model, beam_args=("--direct_num_workers=3", "--direct_running_mode=multi_threading"))
    assert sorted(loaded) == sorted(f"{artifact.uri}/Format-Serving" for artifact in (candidate, bound_model))


def test_examples_without_labels(
    evaluate: Callable[..., Result], bound_model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    examples = _examples(tmp_path / "examples", [np.full(784, 1, np.uint8), np.zeros(784, np.uint8)])
    evaluation = evaluate(bound_model, examples=examples).evaluation
    assert evaluation["by_label"] == {}
    assert evaluation["overall"]["reconstruction"]["mean"] == pytest.approx(3.92)


def test_one_example_has_a_bound_but_no_error(
    evaluate: Callable[..., Result], bound_model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    result = evaluate(bound_model, examples=_examples(tmp_path / "examples", [np.zeros(784, np.uint8)]))
    assert result.evaluation["blessed"]
    assert result.evaluation["overall"]["nll_bound"]["standard_error"] is None


def _examples(uri: pathlib.Path, images: list[np.ndarray]) -> types.Artifact:
    (uri / "Split-test").mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(uri / "Split-test" / "data.gz"), options) as writer:
        for image in images:
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(image.tobytes())
            writer.write(example.SerializeToString())
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(uri), '["test"]'
    return examples


def test_an_empty_split_is_an_error(
    evaluate: Callable[..., Result], bound_model: types.Artifact, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match="The split 'test' is empty"):
        evaluate(bound_model, examples=_examples(tmp_path / "examples", []))


def test_a_split_that_is_not_there_is_an_error(evaluate: Callable[..., Result], bound_model: types.Artifact) -> None:
    with pytest.raises(ValueError, match=r"Split does not exist.*validation"):
        evaluate(bound_model, split="validation")


@pytest.mark.parametrize("threshold", ["max_nll_bound", "tolerance"])
def test_thresholds_must_be_numbers(
    threshold: str, evaluate: Callable[..., Result], bound_model: types.Artifact
) -> None:
    with pytest.raises(ValueError, match=f"gate.{threshold} is nan: it must be a number of nats"):
        evaluate(bound_model, **{threshold: math.nan})


class OneWeightForAll(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "log_weight": tf.reduce_sum(outputs["log_weight"])}


class NoKl(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        del outputs["kl"]
        return outputs


@pytest.mark.parametrize(
    ("kind", "message"),
    [(OneWeightForAll, r"gave log_weight of shape \(\) for 128 rows"), (NoKl, r"lacks the outputs \['kl'\]")],
)
def test_a_model_that_breaks_the_contract_is_named(
    kind: type[KnownBound], message: str, evaluate: Callable[..., Result], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(Exception, match=rf"'score_examples' of {tmp_path}/model/Format-Serving {message}"):
        evaluate(tiny_models.bound_model(tmp_path / "model", kind))


def test_a_model_without_the_signature_is_named(evaluate: Callable[..., Result], tmp_path: pathlib.Path) -> None:
    KnownBound().save(tmp_path / "model" / "Format-Serving", ("sample", "score"))
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "model")
    with pytest.raises(Exception, match=r"has no signature 'score_examples', only \['sample', 'score'\]"):
        evaluate(model)


def test_thresholds_may_be_runtime_parameters_or_whole_numbers() -> None:
    channels = {
        "examples": types.Channel(type=standard_artifacts.Examples),
        "model": types.Channel(type=standard_artifacts.Model),
    }
    parameter = RuntimeParameter("max_nll_bound", ptype=float, default=112.0)
    component = BoundEvaluator(**channels, split="test", max_nll_bound=parameter, tolerance=1)
    assert component.exec_properties == {
        "split": "test",
        "max_nll_bound": parameter,
        "tolerance": 1.0,
        "pushed_models": None,
    }
    assert "baseline_model" not in component.inputs
    assert component.outputs["blessing"].type is standard_artifacts.ModelBlessing
