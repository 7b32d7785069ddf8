"""`python -m benchmarks.portable MODEL`: ONNX Runtime beside the SavedModel, by turns on the same cores."""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from pipeline.portable import onnx_export
from serving import cores, pretrained
from serving.saved_model import SavedModel, newest_version

_ROWS = (1, 64)
_SECONDS = 8.0
"""For each signature and number of rows."""


class Cost(NamedTuple):
    """Medians of a call, in milliseconds."""

    wall: float
    cpu: float
    """Of all threads: what other work on the machine does not change much."""


def costs(functions: Sequence[Callable[[], object]], seconds: float) -> list[Cost]:
    """Measures functions that take turns, after one call each that does not count."""
    taken: list[list[Cost]] = [[] for _ in functions]
    for function in functions:
        function()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(taken[0]) < 3:
        for function, calls in zip(functions, taken, strict=True):
            began, began_cpu = time.perf_counter(), time.process_time()
            function()
            calls.append(Cost(1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - began_cpu)))
    return [Cost(*map(statistics.median, zip(*calls, strict=True))) for calls in taken]


def main() -> None:
    """Exports the model into a scratch folder, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a pretrained model, or the folder of a SavedModel")
    parser.add_argument("--seconds", type=float, default=_SECONDS)
    options = parser.parse_args()
    saved_model = SavedModel(newest_version(pretrained.resolve(options.model)))
    sessions = onnxruntime.SessionOptions()
    sessions.intra_op_num_threads = cores.cores()
    print(f"ONNX Runtime {onnxruntime.__version__}, {cores.cores()} cores; milliseconds, medians by turns")
    print("| signature | rows | SavedModel | its CPU | ONNX Runtime | its CPU | times faster |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for exported in onnx_export.export(saved_model.directory, Path(folder)):
            signature = saved_model.signature(exported.path.stem)
            session = onnxruntime.InferenceSession(exported.path, sessions, providers=["CPUExecutionProvider"])
            for rows in _ROWS:
                rng = np.random.default_rng(0)
                shapes = {
                    name: (rows, *(size or rows for size in (spec.shape or ())[1:]))
                    for name, spec in signature.inputs.items()
                }
                inputs = {
                    # Pixels of 0 and 1, which every task takes.
                    name: rng.integers(0, 2, shape).astype(np.float32)
                    if name == "image"
                    else rng.standard_normal(shape).astype(np.float32)
                    for name, shape in shapes.items()
                }
                calls = (functools.partial(signature.run, inputs), functools.partial(session.run, None, inputs))
                ours, theirs = costs(calls, options.seconds)
                print(
                    f"| `{signature.name}` | {rows} | {ours.wall:.2f} | {ours.cpu:.2f} | {theirs.wall:.2f} "
                    f"| {theirs.cpu:.2f} | {ours.wall / theirs.wall:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
