"""`python -m benchmarks.recipes RECIPES.json`: compare training recipes at equal cost.

RECIPES.json maps a name to what differs from the task's recipe, `{"bf16": {"matmul_dtype": "bfloat16"}}`. Every recipe
gets the same budget, counted in thousands of glimpses of one image: a recipe with fewer glimpses or smaller batches
takes more steps for it. `"share": 1.5` gives one a larger part, where its steps are cheaper by more than that. All
start from the same seed and are judged by the bound, or the error, of the same validation examples.

Writes OUT/results.json after each recipe, so that the same command resumes after an interruption, then
OUT/curves.png, and prints the table. Exits with 1 when a recipe could not be trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from queue import SimpleQueue
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Read when TensorFlow is imported.

from trainer import tasks
from trainer.task import GIVEN, Recipe, Task

Result = dict[str, Any]

_VALIDATIONS = 12
"""Points of a curve."""


def vary(task: Task, changes: Mapping[str, Any], *, budget: float, validation_examples: int) -> Task:
    """Build the task with `changes` to its recipe and as many steps as the budget, in 1,000 glimpses, allows.

    Raises ValueError for what a recipe does not have, and for values that it cannot have.
    """
    changes = dict(changes)
    share = changes.pop("share", 1.0)
    unknown = changes.keys() - {field.name for field in dataclasses.fields(Recipe)} | changes.keys() & {"steps"}
    if unknown:
        raise ValueError(f"A recipe cannot be given {', '.join(sorted(unknown))}: the steps follow from the budget.")
    if "glimpse_schedule" in changes:
        changes["glimpse_schedule"] = tuple(map(tuple, changes["glimpse_schedule"]))
    # The schedule is in fractions of the steps: its mean cost shows in a million of them.
    many = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **changes, steps=1_000_000))
    glimpses = many.glimpses_before(1_000_000) / 1_000_000
    steps = max(10, round(1_000 * budget * share / glimpses / many.recipe.batch_size))
    values = {
        "steps": steps,
        "warmup_steps": min(task.recipe.warmup_steps, steps // 10),
        "validation_interval": max(1, steps // _VALIDATIONS),
        "validation_examples": validation_examples,
        "checkpoint_seconds": 1e9,
        **changes,
    }
    sources = {**task.sources, **{f"recipe.{name}": GIVEN for name in changes}}
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **values), sources=sources)


def train(task: Task, *, examples: str, validation: str, directory: str) -> Result:
    """Train the task in this process: its last validation, its curve over the cost, and its processor seconds."""
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
    curve = event_curves.read(directory).by_tag[f"validation/{task.kind.metric}"]
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "steps": task.recipe.steps,
        "processor_seconds": round(used.ru_utime + used.ru_stime),
        "metric": task.kind.metric,
        "validation": float(curve.values[-1]),
        "curve": [
            [task.glimpses_before(int(step)) * task.recipe.batch_size / 1_000, float(value)]
            for step, value in zip(*curve, strict=True)
        ],
    }


def compare(
    variants: Mapping[str, Task], out: Path, *, jobs: int, run: Callable[[str, list[int]], Result]
) -> dict[str, Result]:
    """Get each variant's result, by `run` on some cores where OUT has none yet, `jobs` at a time.

    Raises ValueError where OUT holds another task's training by that name.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 <= jobs <= len(allowed):
        raise ValueError(f"The number of jobs is {jobs}: give 1 to {len(allowed)}, a core or more for each.")
    cores: SimpleQueue[list[int]] = SimpleQueue()
    for job in range(jobs):
        cores.put(allowed[job::jobs])
    for name, task in variants.items():
        _claim(out / name, task)
    store = out / "results.json"
    results: dict[str, Result] = json.loads(store.read_text()) if store.exists() else {}

    def on_cores(name: str) -> tuple[str, Result]:
        own = cores.get()
        try:
            return name, run(name, own)
        finally:
            cores.put(own)

    missing = [name for name in variants if "validation" not in results.get(name, {})]
    with futures.ThreadPoolExecutor(jobs) as threads:
        for done in futures.as_completed([threads.submit(on_cores, name) for name in missing]):
            name, results[name] = done.result()
            store.with_suffix(".partial").write_text(json.dumps(results, indent=1))
            store.with_suffix(".partial").rename(store)
    return {name: results[name] for name in variants}


def _claim(directory: Path, task: Task) -> None:
    """Mark a variant's folder with its task: a checkpoint of another recipe would be resumed."""
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / "task.json"
    if mark.exists() and Task.from_json(mark.read_text(encoding="utf-8")) != task:
        raise ValueError(
            f"{directory} was trained by another recipe or budget: rename the recipe or name another --out."
        )
    mark.write_text(task.to_json(), encoding="utf-8")


def table(results: Mapping[str, Result]) -> Iterator[str]:
    """Yield the lines of a Markdown table, the best recipe first, and a line for each that failed."""
    finished = {name: result for name, result in results.items() if "validation" in result}
    metric = next((result["metric"] for result in finished.values()), "")
    yield f"| recipe | steps | processor minutes | validation {metric} |"
    yield "|---|---|---|---|"
    for name, result in sorted(finished.items(), key=lambda item: item[1]["validation"]):
        minutes = result["processor_seconds"] / 60
        yield f"| {name} | {result['steps']:,} | {minutes:.0f} | {result['validation']:.4g} |"
    for name in results:
        if name not in finished:
            yield f"{name}: {results[name]['error']}"


def plot(results: Mapping[str, Result], path: Path) -> None:
    """Draw the curves of all finished recipes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        if "validation" in result:
            cost, values = zip(*result["curve"], strict=True)
            axes.plot(cost, values, label=f"{name}: {values[-1]:.4g}")
            axes.set_ylabel(f"validation {result['metric']}")
    axes.set_yscale("log")
    axes.set_xlabel("cost: thousands of glimpses of an image")
    if axes.lines:
        axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Read the command line, train what has no result yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path)
    parser.add_argument("--task", default="mnist", help="see `draw tasks`; or a task's JSON")
    parser.add_argument("--examples", required=True, help="a pattern of the pipeline's training examples")
    parser.add_argument("--validation", required=True, help="a pattern of its validation examples")
    parser.add_argument("--budget", type=float, required=True, help="thousands of glimpses of an image")
    parser.add_argument("--validation-examples", type=int, default=2_000)
    parser.add_argument("--jobs", type=int, default=1, help="recipes at a time, on a core or more each")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--only", help=argparse.SUPPRESS)  # one recipe, in a process of its own
    parser.add_argument("--cores", type=int, nargs="+", help=argparse.SUPPRESS)  # on which it runs
    options = parser.parse_args()
    try:
        recipes: dict[str, dict[str, Any]] = json.loads(options.recipes.read_text())
        task = tasks.resolve(options.task)
        # All before the first is trained, for a mistake in the last.
        variants = {
            name: vary(task, changes, budget=options.budget, validation_examples=options.validation_examples)
            for name, changes in recipes.items()
        }
        if options.only:
            os.sched_setaffinity(0, options.cores)
            directory = str(options.out / options.only)
            data = {"examples": options.examples, "validation": options.validation}
            print(json.dumps(train(variants[options.only], directory=directory, **data)))
            return
        results = compare(variants, options.out, jobs=options.jobs, run=lambda *job: _in_a_process(options.out, *job))
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(*table(results), sep="\n")
    plot(results, options.out / "curves.png")
    sys.exit(0 if all("validation" in result for result in results.values()) else 1)


def _in_a_process(out: Path, name: str, cores: list[int]) -> Result:
    """Train one variant in a process of its own, whose log is OUT/NAME.log."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.recipes", *sys.argv[1:], "--only", name, "--cores"]
    with open(out / f"{name}.log", "a", encoding="utf-8") as log:
        done = subprocess.run([*command, *map(str, cores)], stdout=subprocess.PIPE, stderr=log, text=True, check=False)
    if done.returncode:
        return {"error": f"see {log.name}"}
    result: Result = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    main()
