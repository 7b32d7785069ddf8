"""`python -m benchmarks.export_step -o FOLDER`: export the training step for a machine without TensorFlow.

The folder holds the whole compiled step, one program for each --batch, and the state that it starts from.
`python -m benchmarks.accelerator FOLDER` times it, or trains with it, on a machine with JAX and a GPU or TPU; the state
that comes back is what `draw run --init-from` takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.datasets import digit_source
from serving import pretrained
from serving.saved_model import NotASavedModel, newest_version
from trainer import task_file
from trainer.task import Binarisation, Task
from trainer.training import initial_weights, input_pipeline, objective, optimizer, randomness, step

# TensorFlow 2.16 cannot write StableHLO, 2.21 cannot write serialized HLO.
_STAGES = {"stablehlo": "stablehlo", "hlo": "hlo_serialized"}


def whole_step(task: Task, batch: int) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Build a tf.function that XLA compiles whole: one training step on a batch of `batch` rows.

    Takes the arrays of `TrainState.arrays` in their order, the last being the step, then x, float32 [batch, B, A, C] in
    [0, 1], for a classifier the labels [batch], and returns the new arrays, then the loss in nats. The step and the
    labels are int32, in which accelerators count. The program draws its noise from the step, and likewise binarises the
    images of a task that does so at each visit.

    A program has one number of glimpses, the task's own, which an accelerator can afford from the first step on.
    """
    task = task.with_constant_glimpses()
    names = list(step.TrainState(task).arrays())
    learned = objective.for_task(task)

    def program(*arguments: tf.Tensor) -> tuple[tf.Tensor, ...]:
        *values, count = arguments[: len(names)]
        x, *labels = arguments[len(names) :]
        state = optimizer.Optimised.from_flat(dict(zip(names[:-1], values, strict=True)))
        if task.binarisation is Binarisation.STOCHASTIC_EACH_EPOCH:
            x = randomness.binarised(task, count, x)
        noise = learned.training_noise(count, batch)
        rows = (x, *labels) if labels else x
        gradients, metrics = step.gradients(learned, state.parameters, rows, noise, scan=step.scan_for(task))
        new, _ = optimizer.update(task, tf.cast(count, tf.int64), state, gradients)
        flat = new.flat()
        return (*(flat[name] for name in names[:-1]), count + 1, metrics[0])

    return tf.function(program, jit_compile=True, autograph=False)


def update_alone(task: Task) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Build a tf.function that XLA compiles whole: what a step makes of gradients that something else has computed.

    Takes the arrays of `TrainState.arrays`, the step in int32, then the gradients in the order of its parameters, and
    returns the new arrays.
    """
    task = task.with_constant_glimpses()
    state = step.TrainState(task)
    names, parameters = list(state.arrays()), list(state.parameters)

    def program(*arguments: tf.Tensor) -> tuple[tf.Tensor, ...]:
        *values, count = arguments[: len(names)]
        gradients = dict(zip(parameters, arguments[len(names) :], strict=True))
        before = optimizer.Optimised.from_flat(dict(zip(names[:-1], values, strict=True)))
        after, _ = optimizer.update(task, tf.cast(count, tf.int64), before, gradients)
        flat = after.flat()
        return (*(flat[name] for name in names[:-1]), count + 1)

    return tf.function(program, jit_compile=True, autograph=False)


def initial_state(task: Task, init_from: str | None = None) -> dict[str, np.ndarray]:
    """Return `TrainState.arrays`: of step 0 with random weights, or with those at `init_from`."""
    state = step.TrainState(task)
    if init_from:
        path = pretrained.resolve(init_from)
        with contextlib.suppress(NotASavedModel):
            path = newest_version(path)
        initial_weights.load(state, path)
    return state.arrays()


def write(
    task: Task,
    batches: Sequence[int],
    directory: str,
    pattern: str | None = None,
    *,
    validation: str | None = None,
    digits: digit_source.Digits | None = None,
    init_from: str | None = None,
) -> None:
    """Write a program for each of `batches`, `state.npz` to start from, and `program.json` that describes them.

    With them goes `update`, which is the optimizer's part alone. `pattern` names the pipeline's training examples,
    whose images are then written too: `images.npz`, uint8 as ingestion wrote them, beside the labels for a classifier;
    those that `validation` names go into `validation.npz`. In the place of the first, `digits` go into `digits.npz`, of
    which `benchmarks.clutter` composes images. `init_from` is as in `draw run`. `program.json` comes last: without it a
    folder is not complete. Raises ValueError where nothing matches, and as `whole_step` does.
    """
    # To NumPy 2's types an array might be called allow_pickle, and that one is a bool.
    state: dict[str, Any] = initial_state(task, init_from)
    os.makedirs(directory, exist_ok=True)
    for name, files in (("images", pattern), ("validation", validation)):
        if files:
            arrays: dict[str, Any] = input_pipeline.all_arrays(tf.io.gfile.glob(files), task)
            np.savez_compressed(os.path.join(directory, f"{name}.npz"), **arrays)
    if digits:
        arrays = {"images": digits.images, "labels": digits.labels.astype(np.int32)}
        np.savez_compressed(os.path.join(directory, "digits.npz"), **arrays)
    with open(os.path.join(directory, "state.npz"), "wb") as file:
        np.savez(file, **state)
    programs = []
    values = [tf.constant(value) for value in state.values()]
    values[-1] = tf.cast(values[-1], tf.int32)
    for batch in batches:
        rows = [tf.zeros([batch, *task.image_shape])]
        if task.kind.reads_labels:
            rows.append(tf.zeros([batch], tf.int32))
        program = _write_program(directory, f"step-{batch}", whole_step(task, batch), [*values, *rows])
        programs.append({"batch": batch, "file": program})
    parameters = [value for name, value in zip(state, values, strict=True) if name.startswith("parameters/")]
    description = {
        "task": json.loads(task.to_json()),
        "tensorflow": tf.__version__,
        "state": list(state),
        "divisor": 1 if task.training_binarisation is not Binarisation.NONE else 255,
        "programs": programs,
        "update": _write_program(directory, "update", update_alone(task), [*values, *parameters]),
    }
    with open(os.path.join(directory, "program.json"), "w", encoding="utf-8") as file:
        json.dump(description, file, indent=2)


def _write_program(directory: str, name: str, function: Any, arguments: list[tf.Tensor]) -> str:
    """Write what the function does to such arguments; returns the file's name."""
    kind, program = _lowered(function, arguments)
    with open(os.path.join(directory, f"{name}.{kind}"), "wb") as file:
        file.write(program)
    return f"{name}.{kind}"


def _lowered(function: Any, arguments: list[tf.Tensor]) -> tuple[str, bytes]:
    """Lower the function to the language that this TensorFlow can write; returns its name and the program."""
    ir = function.experimental_get_compiler_ir(*arguments)
    major, minor = (int(part) for part in tf.__version__.split(".")[:2])
    kind = "stablehlo" if (major, minor) >= (2, 20) else "hlo"
    program = ir(stage=_STAGES[kind])
    return kind, program if isinstance(program, bytes) else program.encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the folder; a mistake is one line and status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits", help="see `draw tasks`")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="as in `draw run`")
    parser.add_argument("--batch", type=int, action="append", help="rows of a step, 100 unless given; may be repeated")
    parser.add_argument("--init-from", metavar="PATH", help="as in `draw run`; by default random weights")
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--examples", help="a pattern of the pipeline's training examples, to train on there")
    parser.add_argument("--validation", metavar="PATTERN", help="validation examples, to follow the bound there")
    images.add_argument(
        "--clutter-from",
        metavar="DATA_DIR",
        help="TFDS's directory with mnist: to train a task of cluttered digits there on images that it composes",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    batches = sorted(set(options.batch or [100]))
    try:
        task = task_file.load(options.task, options.set)
        digits = _digits(task, options.clutter_from) if options.clutter_from else None
        write(
            task,
            batches,
            options.output,
            options.examples,
            validation=options.validation,
            digits=digits,
            init_from=options.init_from,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(f"{options.output}: {task.name}, {', '.join(f'{batch:,}' for batch in batches)} rows a step")


def _digits(task: Task, data_dir: str) -> digit_source.Digits:
    """Load the training digits that the task's images are composed of."""
    builder = getattr(task.data, "builder", "")
    if not builder.startswith("cluttered_mnist/"):
        raise ValueError(f"--clutter-from is for tasks of cluttered digits, and {task.name} is none.")
    source = builder.removeprefix("cluttered_mnist/").partition("-")[0]
    return digit_source.load(digit_source.prepare(source, data_dir), "train")


if __name__ == "__main__":
    main()
