"""`python -m benchmarks.accelerator FOLDER`: run the exported training step on a GPU or TPU with JAX alone.

Prints the milliseconds of a step for each program in the folder. With --train, trains on the images in the folder, or
on clutter composed anew of its digits, and writes the state, which `draw run --init-from` takes. With --fused the step
is that of `benchmarks.fused_draw`, on an H100 1.7 times as fast. Needs jax and numpy, and no network.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import clutter
from benchmarks.program import Folder, Program

_CALL = 100
"""Steps of a call while training: a second or two of a GPU at most."""

_BETWEEN = 20.0
"""Seconds between two that the state is saved, and the bound of validation images computed."""


@functools.partial(jax.jit, static_argnames="program", donate_argnames="state")
def _run(
    state: list[jax.Array],
    examples: tuple[jax.Array, ...],
    stride: jax.Array,
    seed: jax.Array,
    steps: jax.Array,
    *,
    program: Any,
) -> tuple[list[jax.Array], jax.Array]:
    """Run `steps` training steps on the device, each `stride` further on in the schedule; returns their mean loss.

    Step k of the schedule draws its images from the seed and k alone.
    """
    folder_program, composed, divisor = program

    def body(i: int, carried: tuple[list[jax.Array], jax.Array]) -> tuple[list[jax.Array], jax.Array]:
        del i
        state, total = carried
        key = jax.random.fold_in(jax.random.key(seed), state[-1])
        if composed:
            words = jax.random.bits(key, (folder_program.batch, clutter.DRAWS), jnp.uint32)
            digits, digit_labels = examples
            images, *labels = clutter.compose(digits, digit_labels, words)
        else:
            rows = jax.random.randint(key, (folder_program.batch,), 0, examples[0].shape[0])
            images, *labels = (values[rows] for values in examples)
        *state, loss = folder_program.call(*state, images.astype(jnp.float32) / divisor, *labels)
        state[-1] += stride - 1
        return state, total + loss

    state, total = jax.lax.fori_loop(0, steps, body, (state, jnp.float32(0)))
    return state, total / steps


@functools.partial(jax.jit, static_argnames="program")
def _validation_loss(weights: list[jax.Array], examples: tuple[jax.Array, ...], *, program: Any) -> jax.Array:
    """The mean loss of a state over as many whole batches as the examples make, without changing it."""
    folder_program, divisor = program
    batch = folder_program.batch

    def body(i: jax.Array, total: jax.Array) -> jax.Array:
        images, *labels = (jax.lax.dynamic_slice_in_dim(values, i * batch, batch) for values in examples)
        *_, loss = folder_program.call(*weights[:-1], i, images.astype(jnp.float32) / divisor, *labels)
        return total + loss

    batches = examples[0].shape[0] // batch
    return jax.lax.fori_loop(0, batches, body, jnp.float32(0)) / batches


def measure(folder: Folder, program: Program, *, seconds: float) -> dict[str, Any]:
    """Measure the milliseconds of a step, over calls of some steps each, and the memory that it takes."""
    divisor = folder.description["divisor"]
    rng, classes = np.random.default_rng(0), folder.description["task"].get("classes", 0)
    images, *labels = folder.batch_inputs(program)
    drawn: list[np.ndarray] = [rng.integers(0, divisor + 1, (4 * program.batch, *images.shape[1:]), np.uint8)]
    drawn += [rng.integers(0, classes, 4 * program.batch, np.int32) for _ in labels]
    examples = tuple(map(jnp.asarray, drawn))
    state, steps = folder.state(), 4
    schedule = (jnp.int32(1), jnp.int32(0), jnp.int32(steps))
    started = time.perf_counter()
    compiled = _run.lower(state, examples, *schedule, program=(program, False, divisor)).compile()
    compile_seconds = time.perf_counter() - started
    memory = compiled.memory_analysis()
    times: list[float] = []
    while sum(times) < seconds * 1e3 or len(times) < 3:
        started = time.perf_counter()
        state, loss = compiled(state, examples, *schedule)
        loss.block_until_ready()
        times.append((time.perf_counter() - started) * 1e3)
    per_step = [value / steps for value in times[1:]]
    median = statistics.median(per_step)
    return {
        "batch": program.batch,
        "ms": median,
        "ms_least": min(per_step),
        "examples_per_second": program.batch / median * 1e3,
        "compile_seconds": compile_seconds,
        "temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
    }


def train(folder: Folder, program: Program, *, steps: int, seconds: float, fit: bool, output: Path, seed: int) -> None:
    """Train up to step `steps` or for `seconds`, resuming from the state in `output` if there is one.

    With `fit` the schedule ends when the seconds do: steps are counted by more than one, by the speed measured so far.
    Rows are drawn with replacement, which a compiled loop does at no cost; the pipeline's reader visits every example
    once an epoch. Where the folder has validation images, the state whose averaged weights did best on them is kept
    beside the last one, as NAME-best.npz.
    """
    examples = tuple(map(jnp.asarray, folder.examples()))
    validation = tuple(map(jnp.asarray, folder.validation()))
    divisor = folder.description["divisor"]
    run = functools.partial(_run, program=(program, folder.composed, divisor))
    state = folder.state(output if output.exists() else None)
    position, done, stride, best = int(state[-1]), 0, 1, np.inf

    def save() -> None:
        nonlocal best
        folder.save_state(state, output)
        if not validation:
            return
        loss = float(_validation_loss(folder.exported(state), validation, program=(program, divisor)))
        print(f"step {position:,}  validation {loss:.3f} nats", flush=True)
        if loss < best:
            best = loss
            folder.save_state(state, output.with_name(f"{output.stem}-best.npz"))

    started = saved = time.monotonic()
    while position < steps and time.monotonic() - started < seconds:
        count = min(_CALL, -(-(steps - position) // stride))
        began = time.monotonic()
        state, mean = run(state, examples, jnp.int32(stride), jnp.int32(seed), jnp.int32(count))
        loss = float(mean)
        if not np.isfinite(loss):
            raise SystemExit(f"The loss is {loss} by step {position + count}. {output} holds the last sound state.")
        now = time.monotonic()
        done, position = done + count, int(state[-1])
        print(
            f"step {position:,}  {loss:.3f} nats  {count * program.batch / (now - began):,.0f} examples/s", flush=True
        )
        # The first call compiles, which says nothing of the speed.
        if fit and done > _CALL:
            left = max(started + seconds - now, 0) * count / (now - began)
            stride = max(1, round((steps - position) / max(left, 1)))
        if now - saved > _BETWEEN:
            save()
            saved = time.monotonic()
    save()
    print(f"{output}: step {position:,}" + (f", in {done:,} steps of {program.batch:,}" if fit else ""))


def main() -> None:
    """Read the command line and print a table, or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="what `python -m benchmarks.export_step` wrote")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each program, or for training")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--train", type=Path, metavar="STATE", help="train, and write this .npz")
    parser.add_argument("--batch", type=int, help="which program trains")
    parser.add_argument("--steps", type=int, help="until which step; by default the task's")
    parser.add_argument("--fit-schedule", action="store_true", help="end the learning rate's schedule with --seconds")
    parser.add_argument("--fused", action="store_true", help="by the kernels of benchmarks.fused_draw")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        folders = [Folder.open(path) for path in options.folders]
        if options.train:
            (folder,) = folders
            steps = options.steps or folder.description["task"]["recipe"]["steps"]
            train(
                folder,
                _program(folder, options.batch or folder.batches[0], options.fused),
                steps=steps,
                seconds=options.seconds,
                fit=options.fit_schedule,
                output=options.train,
                seed=options.seed,
            )
            return
        results = []
        device = jax.devices()[0]
        print(f"JAX {jax.__version__} on {device.device_kind}")
        for folder in folders:
            for batch in folder.batches:
                name = folder.description["task"]["name"]
                try:
                    program = _program(folder, batch, options.fused)
                    result = {"task": name, **measure(folder, program, seconds=options.seconds)}
                except jax.errors.JaxRuntimeError as error:
                    # The usual one is that the batch does not fit.
                    result = {"task": name, "batch": batch, "error": str(error).splitlines()[0]}
                results.append(result)
                print(_line(result), flush=True)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if options.json:
        described = {"jax": jax.__version__, "device": device.device_kind, "results": results}
        options.json.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def _program(folder: Folder, batch: int, fused: bool) -> Program:
    return folder.fused(batch) if fused else folder.program(batch)


def _line(result: dict[str, Any]) -> str:
    head = f"{result['task']:<20}{result['batch']:>7,} rows"
    if "error" in result:
        return f"{head}  {result['error']}"
    return (
        f"{head}{result['ms']:>9.2f} ms a step (least {result['ms_least']:.2f})"
        f"{result['examples_per_second']:>11,.0f} examples/s{result['compile_seconds']:>7.1f} s to compile"
        + ("" if result["temporary_bytes"] is None else f"{result['temporary_bytes'] / 2**20:>9,.0f} MiB")
    )


if __name__ == "__main__":
    main()
