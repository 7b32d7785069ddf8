"""The verdict on a model's metrics, the baselines that can be compared with it, and the pushed version that is one."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from components.evaluator.gate import incomparable, judge, latest_other_version
from components.evaluator.moments import Moments
from tests.components.ingestion import DIGITS
from tests.components.tiny_models import KnownBound
from trainer.task import CLASSIFIER, GENERATIVE, Binarisation, ErrorGate, Gate, Task


def test_every_failed_condition_is_a_reason() -> None:
    values = np.array([100.0, 102.0])
    overall = {
        "nll_bound": Moments.from_values(values),
        "baseline_nll_bound": Moments.from_values(values - 4),
        "nll_bound_minus_baseline": Moments.from_values(np.full(2, 4.0)),
    }
    assert judge(GENERATIVE, overall, Gate(max_nll_bound=100.5, tolerance=3.5)).reasons == (
        "the bound is 101.0000 nats, above the greatest allowed, 100.5 nats",
        "the bound is 4.0000 nats (standard error 0.0000 nats) above the baseline's 97.0000 nats; "
        "tolerated is 3.5 nats",
    )
    assert judge(GENERATIVE, overall, Gate(max_nll_bound=101.0, tolerance=4.0)).blessed


def test_an_error_is_judged_in_percent() -> None:
    wrong = np.arange(8) < 3
    overall = {
        "error": Moments.from_values(wrong),
        "baseline_error": Moments.from_values(np.zeros(8)),
        "error_minus_baseline": Moments.from_values(wrong),
    }
    standard_error = wrong.std(ddof=1) / 8**0.5
    assert judge(CLASSIFIER, overall, ErrorGate(max_error=0.374, tolerance=0.1)).reasons == (
        "the error is 37.50%, above the greatest allowed, 37.4%",
        f"the error is 37.50% (standard error {standard_error:.2%}) above the baseline's 0.00%; tolerated is 10%",
    )
    assert judge(CLASSIFIER, overall, ErrorGate(max_error=0.375, tolerance=0.375)).blessed


def test_without_a_threshold_a_model_has_to_be_finite_and_not_worse() -> None:
    values = np.array([100.0, 102.0])
    gate = Gate(max_nll_bound=None, tolerance=3.5)
    assert judge(GENERATIVE, {"nll_bound": Moments.from_values(values)}, gate).blessed
    worse = {
        "nll_bound": Moments.from_values(values),
        "baseline_nll_bound": Moments.from_values(values - 4),
        "nll_bound_minus_baseline": Moments.from_values(np.full(2, 4.0)),
    }
    (reason,) = judge(GENERATIVE, worse, gate).reasons
    assert "above the baseline's" in reason
    undefined = {"nll_bound": Moments.from_values(np.array([np.nan]))}
    assert judge(GENERATIVE, undefined, gate).reasons == ("nll_bound is not finite for 1 of 1 examples",)


def test_what_is_not_finite_is_never_blessed() -> None:
    undefined, infinite = np.array([1.0, np.nan, 3.0]), np.array([np.inf, 1.0, np.inf])
    overall = {
        "nll_bound": Moments.from_values(np.ones(3)),
        "kl": Moments.from_values(undefined),
        "baseline_nll_bound": Moments.from_values(-infinite),
        "nll_bound_minus_baseline": Moments.from_values(infinite),
    }
    assert judge(GENERATIVE, overall, Gate(max_nll_bound=1e300, tolerance=1e300)).reasons == (
        "kl is not finite for 1 of 3 examples",
        "baseline_nll_bound is not finite for 2 of 3 examples",
    )


def _export(folder: pathlib.Path, task: Task | None) -> str:
    """All that tells whether two models can be compared: the task among the assets."""
    (folder / "assets").mkdir(parents=True)
    if task is not None:
        (folder / "assets" / "task.json").write_text(task.to_json())
    return str(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"data": dataclasses.replace(DIGITS.data, builder="digits:2.0.0")},
            "data is 'digits:2.0.0' there and 'digits:1.0.0' here",
        ),
        (
            {"binarisation": Binarisation.THRESHOLD},
            "binarisation is 'threshold' there and 'stochastic_each_epoch' here",
        ),
        ({"image_shape": (28, 14, 1)}, "image_shape is [28, 14, 1] there and [28, 28, 1] here"),
        ({"recipe": DIGITS.with_steps(7).recipe, "glimpses": 3, "lstm_units": 5}, None),
    ],
)
def test_only_models_of_the_same_images_are_comparable(
    change: dict[str, object], reason: str | None, tmp_path: pathlib.Path
) -> None:
    baseline = _export(tmp_path / "baseline", dataclasses.replace(DIGITS, **change))
    assert incomparable(_export(tmp_path / "model", DIGITS), baseline) == reason


def test_a_model_without_a_task_is_no_baseline_and_is_not_judged_by_one(tmp_path: pathlib.Path) -> None:
    model, silent = _export(tmp_path / "model", DIGITS), _export(tmp_path / "silent", None)
    assert incomparable(model, silent) == "it has no assets/task.json, so its task is unknown"
    with pytest.raises(FileNotFoundError, match=r"silent.*task\.json.*Export it with its task"):
        incomparable(silent, model)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Three SavedModels of one graph; only the weights of `other` are others."""
    folder = tmp_path_factory.mktemp("models")
    for name, offset in (("candidate", 1.0), ("again", 1.0), ("other", 2.0)):
        KnownBound(offset).save(folder / name)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def serving(tmp_path: pathlib.Path) -> pathlib.Path:
    """TF Serving's model_base_path."""
    return tmp_path / "serving"


def _push(model: pathlib.Path, serving: pathlib.Path, version: str) -> str:
    """As ServingCheck and Pusher do: the model's files, and requests to warm it up."""
    shutil.copytree(model, serving / version)
    (serving / version / "assets.extra").mkdir()
    (serving / version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    return str(serving / version)


def test_there_is_none_before_the_first_push(models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    assert latest_other_version(str(serving), str(models["candidate"])) is None
    serving.mkdir()
    assert latest_other_version(str(serving), str(models["candidate"])) is None


def test_it_is_the_latest_by_number(models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    # By letters 999999999 would come last.
    _push(models["other"], serving, "999999999")
    latest = _push(models["other"], serving, "1700000000")
    assert latest_other_version(str(serving), str(models["candidate"])) == latest


@pytest.mark.parametrize("same", ["candidate", "again"])
def test_it_is_never_the_candidate_itself(same: str, models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    """Be it that the model comes from the cache, or that it was trained again to the same weights."""
    other = _push(models["other"], serving, "1")
    _push(models[same], serving, "2")
    assert latest_other_version(str(serving), str(models["candidate"])) == other


def test_a_version_that_is_being_written_is_none_yet(models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    whole = _push(models["other"], serving, "1")
    (pathlib.Path(_push(models["other"], serving, "2")) / "saved_model.pb").unlink()
    (serving / "3").mkdir()
    _push(models["other"], serving, "latest")
    (serving / "4").write_text("a file")
    assert latest_other_version(str(serving), str(models["candidate"])) == whole


def test_a_version_that_something_else_exported_is_another_model(
    models: dict[str, pathlib.Path], serving: pathlib.Path
) -> None:
    foreign = _push(models["candidate"], serving, "5")
    (pathlib.Path(foreign) / "fingerprint.pb").unlink()
    assert latest_other_version(str(serving), str(models["candidate"])) == foreign
