"""Decides whether a model is blessed: within its limit, and not worse than the model before it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tfx.dsl.io import fileio

from components.evaluator.moments import Summary
from serving.saved_model import GRAPH_FILE, TASK_FILE, read_task, require_task
from trainer.task import ErrorGate, Gate, Kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The gate's answer: the model is blessed if there is no reason against it."""

    reasons: tuple[str, ...]

    @property
    def blessed(self) -> bool:
        """Whether the model may be pushed."""
        return not self.reasons


def judge(kind: Kind, overall: Summary, gate: Gate | ErrorGate) -> Verdict:
    """Judges a model by the summary of a whole split, and names every condition that it fails.

    Args:
      kind: says which metric of the summary counts.
      overall: the model's scores; with the baseline's if that was scored too.
      gate: the greatest value of the metric, and of its excess over the baseline's.
    """
    reasons = [
        f"{name} is not finite for {moments.non_finite} of {moments.count} examples"
        for name, moments in overall.items()
        # The difference is not finite exactly where one of its two terms is not, and each is in the list itself.
        if moments.non_finite and name != kind.metric_difference
    ]
    if reasons:
        return Verdict(reasons=tuple(reasons))
    value, limit = float(overall[kind.metric].mean), getattr(gate, kind.limit)
    # Written so that a NaN fails.
    if limit is not None and not value <= limit:
        reasons.append(
            f"the {kind.metric_noun} is {kind.metric_text(value)}, above the greatest allowed, {kind.limit_text(limit)}"
        )
    if kind.metric_difference in overall:
        difference = overall[kind.metric_difference]
        if not float(difference.mean) <= gate.tolerance:
            reasons.append(
                f"the {kind.metric_noun} is {kind.metric_text(float(difference.mean))} (standard error "
                f"{kind.metric_text(float(difference.standard_error))}) above the baseline's "
                f"{kind.metric_text(float(overall[kind.baseline_metric].mean))}; tolerated is "
                f"{kind.limit_text(gate.tolerance)}"
            )
    return Verdict(reasons=tuple(reasons))


def incomparable(model_dir: str, baseline_dir: str) -> str | None:
    """Says why two SavedModels cannot be compared; None if they can.

    A bound is the code length of an image and an error counts certain images, so both depend on what an image is: data
    set, binarisation and shape. All else in the task (sizes, recipe) is what the comparison is about.

    Raises:
      FileNotFoundError: if the model to judge does not say what its task is.
    """
    task, baseline = require_task(model_dir).values, read_task(baseline_dir)
    if baseline is None:
        return f"it has no {TASK_FILE}, so its task is unknown"
    differences = [
        f"{name} is {theirs!r} there and {ours!r} here"
        for name, ours, theirs in (
            ("data", *(_address(values["data"]) for values in (task, baseline.values))),
            ("binarisation", task["binarisation"], baseline.values["binarisation"]),
            ("image_shape", task["image_shape"], baseline.values["image_shape"]),
        )
        if ours != theirs
    ]
    return "; ".join(differences) or None


def _address(data: Mapping[str, Any]) -> str:
    """Where the images of a task come from, in an export of any age."""
    return str(data.get("images") or data["builder"])


def latest_other_version(base_path: str, model_dir: str) -> str | None:
    """Finds the latest version below `base_path` that is not the model itself; None if there is none.

    A model that comes from the cache, to be judged by another limit, may be the version that was pushed last: compared
    with itself it would always pass, and be pushed again. Only the content tells the two apart, for Pusher's copy has
    another place and another time, and without metadata neither has an id. A model that was trained again to the same
    weights is therefore judged as the first one was.

    Args:
      base_path: TF Serving's model_base_path, with a numbered folder a version; may be missing.
      model_dir: the SavedModel to judge.

    Raises:
      FileNotFoundError: if the model to judge has no fingerprint, which TensorFlow writes into every export.
    """
    if not fileio.isdir(base_path):
        return None
    fingerprint = _fingerprint(model_dir)
    for version in sorted(_versions(base_path), key=int, reverse=True):
        directory = os.path.join(base_path, version)
        try:
            if _fingerprint(directory) != fingerprint:
                return directory
        except FileNotFoundError:
            # Exported by something else than our models are, so it is another model.
            return directory
    return None


def pushed_already(base_path: str, model_dir: str) -> str | None:
    """Finds the latest version below `base_path` if its content is the model's; None otherwise."""
    versions = _versions(base_path)
    if not versions:
        return None
    latest = os.path.join(base_path, max(versions, key=int))
    try:
        return latest if _fingerprint(latest) == _fingerprint(model_dir) else None
    except FileNotFoundError:
        return None


def fingerprints(base_path: str) -> dict[str, str]:
    """Returns the fingerprint, or "" for none, of each complete version below `base_path`, which may be missing."""
    contents = {}
    for version in _versions(base_path):
        try:
            contents[version] = str(_fingerprint(os.path.join(base_path, version)))
        except FileNotFoundError:
            contents[version] = ""
    return contents


def _versions(base_path: str) -> list[str]:
    """Names the complete versions, none where the folder is missing: Pusher copies the graph last."""
    if not fileio.isdir(base_path):
        return []
    # Object stores list folders with a slash at their end.
    names = (name.rstrip("/") for name in fileio.listdir(base_path))
    return [name for name in names if name.isdecimal() and fileio.exists(os.path.join(base_path, name, GRAPH_FILE))]


def _fingerprint(model_dir: str) -> str:
    """Identifies graph, signatures and weights, whatever their place and time."""
    return str(tf.saved_model.experimental.read_fingerprint(model_dir).singleprint())
