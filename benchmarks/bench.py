"""`make bench`: measure how fast each task trains, samples and scores, beside the same code's plain version.

The sides are processes that take turns, step by step, so that other load on the machine falls on all alike; a ratio is
the median of the ratios of neighbours. A third side multiplies in bfloat16. With --against, an earlier revision is the
only other side.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Read when TensorFlow is imported.

from serving.cores import cores
from trainer import tasks
from trainer.task import CLASSIFIER, Task
from trainer.training import objective

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_BATCHES = (1, 16, 256)
BATCH = SCORE_BATCH = 100
INPUT_STEPS = 10


class Side:
    """A worker process, asked one thing at a time."""

    def __init__(self, task: str, variant: str, *, code: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", task, variant],
            cwd=code,
            env={**os.environ, "PYTHONPATH": str(code)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.described = self._answer()

    def ask(self, *command: object) -> dict[str, Any]:
        """Send one command of `worker.Worker` and wait for its answer."""
        assert self._process.stdin
        print(*command, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The worker ended with status {self._process.wait()}: {self._process.args!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def comparable(task: Task) -> Task:
    """The task with the same batch and precision as all others, and its own number of glimpses at every step."""
    recipe = dataclasses.replace(task.recipe, batch_size=BATCH, matmul_dtype="float32")
    return dataclasses.replace(task, recipe=recipe).with_constant_glimpses()


def step_gflop(task: Task) -> float:
    """Count the GFLOP of a training step's matrix products: forward, and backward to inputs and to weights."""
    shapes = objective.for_task(task).weight_shapes()
    weights = sum(shape[0] * shape[1] for name, shape in shapes.items() if name.endswith("/w"))
    return 3 * 2 * weights * task.glimpses * task.recipe.batch_size / 1e9


def compare(task: Task, *, against: str | None, code: Path, seconds: float) -> dict[str, Any]:
    """Measure the task's training step on all sides by turns, then sampling and scoring, or classifying, on ours.

    The other sides are the plain version and bfloat16, or the revision `against` alone, whose checkout is `code`.
    """
    samples = () if task.kind is CLASSIFIER else SAMPLE_BATCHES
    variants = (("trained", code),) if against else (("plain", ROOT), ("bfloat16", ROOT))
    with contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(contextlib.closing(Side(task.name, variant, code=folder)))
            for variant, folder in (("trained", ROOT), *variants)
        ]
        ours, other, *bfloat16 = sides
        first = [side.ask("first")["seconds"] for side in sides]
        for side in sides:
            side.ask("step", 2)  # warm caches
        times: list[list[float]] = [[] for _ in sides]
        while len(times[0]) < 5 or sum(map(sum, times)) < seconds * 1e3:
            for side, of_side in zip(sides, times, strict=True):
                of_side += side.ask("step", 1)["ms"]
        rate = ours.ask("matmul")["gflops"]
        step = statistics.median(times[0])
        result = {
            "task": task.name,
            **ours.described,
            "step_ms": _spread(times[0]),
            "other_step_ms": _spread(times[1]),
            "speedup": _ratios(times[1], times[0]),
            "examples_per_second": task.recipe.batch_size / step * 1e3,
            "gflop": step_gflop(task),
            "gflops": step_gflop(task) / step * 1e3,
            "matmul_gflops": rate,
            "first_step_seconds": first[0],
            "other_first_step_seconds": first[1],
            "memory_mib": ours.ask("memory")["mib"],
            "other_memory_mib": other.ask("memory")["mib"],
            "wait_percent": ours.ask("input", INPUT_STEPS)["wait_percent"],
            "sample_ms": {str(batch): _spread(ours.ask("sample", batch)["ms"]) for batch in samples},
            "score_per_second": SCORE_BATCH / statistics.median(ours.ask("score", SCORE_BATCH)["ms"]) * 1e3,
        }
        if bfloat16:
            result["bfloat16_step_ms"] = _spread(times[2])
            result["bfloat16_speedup"] = _ratios(times[1], times[2])
        return result


def _ratios(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    return _spread([a / b for a, b in zip(slower, faster, strict=True)])


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "quartile_1": low, "quartile_3": high, "least": min(values), "count": len(values)}


@contextlib.contextmanager
def revision(name: str) -> Iterator[Path]:
    """Check out a revision beside this one for as long as it is measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(path), name], cwd=ROOT, check=True)
        try:
            if not (path / "benchmarks/worker.py").exists():
                raise SystemExit(f"Revision {name} has no benchmarks/worker.py: it cannot be measured this way.")
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], cwd=ROOT, check=True)


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    step = result["step_ms"]
    return (
        result["task"],
        f"{step['median']:.0f} ({step['least']:.0f})",
        f"{result['examples_per_second']:,.0f}",
        f"{result['gflops']:.0f} of {result['matmul_gflops']:.0f}",
        _times(result["speedup"]),
        _times(result["bfloat16_speedup"]) if "bfloat16_speedup" in result else "-",
        f"{result['first_step_seconds']:.1f}",
        f"{result['wait_percent']:.1f}",
        f"{result['memory_mib']:,.0f}",
        " / ".join(f"{times['median']:.1f}" for times in result["sample_ms"].values()) or "-",
        f"{result['score_per_second']:,.0f}",
    )


def _times(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['quartile_1']:.2f}-{ratio['quartile_3']:.2f})"


HEADINGS = (
    "task",
    "ms a step (least)",
    "examples/s",
    "GFLOP/s",
    "times faster",
    "bfloat16",
    "first step, s",
    "waits for data, %",
    "MiB",
    f"sample {'/'.join(map(str, SAMPLE_BATCHES))}, ms",
    "scored/s",
)


def main() -> None:
    """Print a row as each task is done, and write all results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="by default all of them")
    parser.add_argument("--against", metavar="REVISION", help="compare with this revision, not with the plain version")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="for the training steps of each task, all sides together"
    )
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    chosen = [tasks.get(name) for name in options.tasks or tasks.NAMES]
    widths = [max(20, len(HEADINGS[0])), *(max(14, len(heading)) for heading in HEADINGS[1:])]

    def show(cells: Sequence[str]) -> None:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)

    results = []
    with contextlib.ExitStack() as stack:
        code = stack.enter_context(revision(options.against)) if options.against else ROOT
        print(f"times faster than: {options.against or 'autodiff without XLA in one piece on default threads'}")
        show(HEADINGS)
        for task in chosen:
            result = compare(comparable(task), against=options.against, code=code, seconds=options.seconds)
            results.append(result)
            show(_row(result))
    report = {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": cores()},
        "against": options.against or "plain",
        "results": results,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(options.output)


if __name__ == "__main__":
    main()
