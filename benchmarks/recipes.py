"""`python -m benchmarks.recipes RECIPES.json`: training recipes beside each other at equal cost.

RECIPES.json maps a name to what differs from the task's recipe, `{"bf16": {"matmul_dtype": "bfloat16"}}`. Every recipe
gets the same budget: glimpses of one image, a thousand of them a unit. A recipe with fewer glimpses or smaller batches
takes more steps for it; `"share": 1.5` gives one a larger part, where its steps are cheaper by more than that. All
start from the same seed and are judged by the bound, or the error, of the same validation examples.

Writes OUT/results.json after each recipe, so that the same command goes on where it was stopped, then OUT/curves.png,
and prints the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Read when TensorFlow is imported.

from trainer import tasks
from trainer.task import GIVEN, Task


def varied(task: Task, changes: dict[str, Any], *, budget: float, validation_examples: int) -> Task:
    """The task with `changes` to its recipe, and as many steps as the budget allows.

    Raises ValueError for what a recipe does not have.
    """
    changes = dict(changes)
    share = changes.pop("share", 1.0)
    changes["glimpse_schedule"] = tuple(map(tuple, changes.get("glimpse_schedule", ())))
    unknown = changes.keys() - {field.name for field in dataclasses.fields(task.recipe)}
    if unknown:
        raise ValueError(f"A recipe has no {', '.join(sorted(unknown))}.")
    ends = [*(end for end, _ in changes["glimpse_schedule"]), 1.0]
    glimpses = [*(count for _, count in changes["glimpse_schedule"]), task.glimpses]
    mean = sum((end - start) * count for start, end, count in zip([0.0, *ends], ends, glimpses, strict=False))
    steps = max(10, round(1_000 * budget * share / mean / changes.get("batch_size", task.recipe.batch_size)))
    recipe = dataclasses.replace(
        task.recipe,
        **{
            "steps": steps,
            "warmup_steps": min(task.recipe.warmup_steps, steps // 10),
            "validation_interval": max(1, steps // 12),
            "validation_examples": validation_examples,
            "checkpoint_seconds": 1e9,
            **changes,
        },
    )
    return dataclasses.replace(
        task, recipe=recipe, sources={**task.sources, **{f"recipe.{name}": GIVEN for name in changes}}
    )


def trained(task: Task, *, examples: str, validation: str, directory: str) -> dict[str, Any]:
    """Trains the task in this process: its last metrics, its curve, and the processor seconds that it took."""
    import tensorflow as tf

    from components.run_report import event_curves
    from trainer.training import devices, loop

    devices.configure_threads()
    loop.train(
        task,
        train_files=sorted(tf.io.gfile.glob(examples)),
        validation_files=sorted(tf.io.gfile.glob(validation)),
        directory=directory,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    found = event_curves.read(directory).by_tag
    tag = "validation/nll_bound" if "validation/nll_bound" in found else "validation/error"
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "steps": task.recipe.steps,
        "processor_seconds": round(used.ru_utime + used.ru_stime),
        "metric": tag.partition("/")[2],
        "validation": float(found[tag].values[-1]),
        "curve": [
            [task.glimpses_before(int(step)) * task.recipe.batch_size / 1_000, float(value)]
            for step, value in zip(*found[tag], strict=True)
        ],
    }


def main() -> None:
    """Runs what has no result yet, `--jobs` at a time, each on a core of its own where there are several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path)
    parser.add_argument("--task", default="mnist")
    parser.add_argument("--examples", required=True, help="a pattern of the pipeline's training examples")
    parser.add_argument("--validation", required=True, help="a pattern of its validation examples")
    parser.add_argument("--budget", type=float, required=True, help="thousands of glimpses of an image")
    parser.add_argument("--validation-examples", type=int, default=2_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--only", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    recipes: dict[str, dict[str, Any]] = json.loads(options.recipes.read_text())
    task = tasks.get(options.task)

    def variant(name: str) -> Task:
        return varied(task, recipes[name], budget=options.budget, validation_examples=options.validation_examples)

    if options.only:
        result = trained(
            variant(options.only),
            examples=options.examples,
            validation=options.validation,
            directory=str(options.out / options.only),
        )
        print(json.dumps(result))
        return

    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / "results.json"
    results: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    for name in recipes:
        variant(name)  # A mistake in the last one is found before the first is trained.
    cores = sorted(os.sched_getaffinity(0))
    slots = [cores[job :: options.jobs] for job in range(options.jobs)]

    def child(name: str) -> None:
        slot = slots.pop()
        with open(options.out / f"{name}.log", "a", encoding="utf-8") as log:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "benchmarks.recipes", *sys.argv[1:], "--only", name],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, slot),
            )
        slots.append(slot)
        results[name] = json.loads(done.stdout) if done.returncode == 0 else {"error": f"see {log.name}"}
        store.with_suffix(".partial").write_text(json.dumps(results, indent=1))
        store.with_suffix(".partial").rename(store)

    with futures.ThreadPoolExecutor(options.jobs) as threads:
        list(threads.map(child, [name for name in recipes if "validation" not in results.get(name, {})]))
    finished = {name: results[name] for name in recipes if "validation" in results[name]}
    metric = next((result["metric"] for result in finished.values()), "")
    print(f"| recipe | steps | processor minutes | validation {metric} |\n|---|---|---|---|")
    for name, result in sorted(finished.items(), key=lambda item: item[1]["validation"]):
        minutes = result["processor_seconds"] / 60
        print(f"| {name} | {result['steps']:,} | {minutes:.0f} | {result['validation']:.4g} |")
    for name in recipes.keys() - finished.keys():
        print(f"{name}: {results[name]['error']}")
    _plot(finished, options.out / "curves.png")


def _plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        cost, values = zip(*result["curve"], strict=True)
        axes.plot(cost, values, label=f"{name}: {values[-1]:.4g}")
        axes.set_ylabel(f"validation {result['metric']}")
    axes.set_yscale("log")
    axes.set_xlabel("cost: thousands of glimpses of an image")
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
