"""The small tasks, weights and files that the tests of trainer/ share. No two of the sizes are equal."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.reference import draw as reference
from tests.reference import ram as ram_reference
from trainer.model import draw, ram
from trainer.task import (
    Attention,
    Binarisation,
    ClassifyingTask,
    DataSource,
    ErrorGate,
    Gate,
    GenerativeTask,
    NoAttention,
    Recipe,
    Task,
)

ROWS, COLUMNS, UNITS, LATENTS, STEPS, BATCH, CLASSES = 7, 5, 9, 2, 6, 10, 11
SMALL_N, LARGE_N = 4, 8
"""Windows with fewer filters than the image has columns, and with more than it has rows."""

ROOT = Path(__file__).resolve().parents[1]

_RECIPE = Recipe(
    steps=40,
    batch_size=BATCH,
    learning_rate=1e-2,
    final_learning_rate=1e-4,
    warmup_steps=3,
    adam_beta1=0.8,
    adam_beta2=0.99,
    clip_norm=2.0,
    ema_decay=0.9,
    seed=11,
    jit_compile=False,
    matmul_dtype="float32",
    validation_examples=13,
    validation_interval=15,
    checkpoint_seconds=0.0,
)


def tiny_task(recipe: Mapping[str, object] | None = None, **changes: object) -> GenerativeTask:
    """A task of the sizes above, with `changes` to its fields and to those of its recipe."""
    values = {
        "name": "tiny",
        "title": "Tiny",
        "data": DataSource(builder="tiny:1.0.0", train="fit", validation="watch", test="judge"),
        "image_shape": (ROWS, COLUMNS, 1),
        "binarisation": Binarisation.GIVEN,
        "glimpses": STEPS,
        "lstm_units": UNITS,
        "latent_size": LATENTS,
        "attention": Attention(read=SMALL_N, write=LARGE_N),
        "recipe": dataclasses.replace(_RECIPE, **(recipe or {})),
        "gate": Gate(max_nll_bound=50.0, tolerance=0.25),
        **changes,
    }
    return GenerativeTask(**values)


def tiny_classifier(recipe: Mapping[str, object] | None = None, **changes: object) -> ClassifyingTask:
    """As `tiny_task`, of a classifier of colour images."""
    values = {
        "name": "tiny_classifier",
        "title": "Tiny classifier",
        "data": DataSource(builder="tiny:1.0.0", train="fit", validation="watch", test="judge"),
        "image_shape": (ROWS, COLUMNS, 3),
        "binarisation": Binarisation.NONE,
        "glimpses": STEPS,
        "lstm_units": UNITS,
        "classes": CLASSES,
        "read": SMALL_N,
        "recipe": dataclasses.replace(_RECIPE, **(recipe or {})),
        "gate": ErrorGate(max_error=0.25, tolerance=0.01),
        **changes,
    }
    return ClassifyingTask(**values)


MODELS = {
    "attention": tiny_task(),
    "attention_colour": tiny_task(
        image_shape=(COLUMNS, ROWS, 3), binarisation=Binarisation.NONE, attention=Attention(read=LARGE_N, write=SMALL_N)
    ),
    "no_attention": tiny_task(attention=NoAttention()),
    "no_attention_colour": tiny_task(
        image_shape=(COLUMNS, ROWS, 3), binarisation=Binarisation.NONE, attention=NoAttention()
    ),
}
"""The four kinds of generative model; those in colour are wider than high, the others higher than wide."""

CLASSIFIER = tiny_classifier()


def window_sizes(task: GenerativeTask) -> tuple[int | None, int | None]:
    """Read N and write N as the reference takes them."""
    if isinstance(task.attention, Attention):
        return task.attention.read, task.attention.write
    return None, None


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """Weights, images and noise in float64, for the reference and for the trainer alike."""

    task: GenerativeTask
    weights: dict[str, np.ndarray]
    x: np.ndarray
    eps: np.ndarray

    def forward(self) -> reference.Forward:
        """The reference's inference network."""
        return reference.forward(self.weights, self.x, self.eps, *window_sizes(self.task))

    def infer(self, dtype: type = np.float64) -> draw.Inference:
        """The trainer's."""
        return draw.infer(
            tensors(self.weights, dtype),
            tf.constant(self.x, dtype),
            tf.constant(self.eps, dtype),
            self.task,
            trace=True,
        )


def make_case(task: GenerativeTask, *, rows: int = BATCH, seed: int = 0, scale: float = 1.0) -> Case:
    """Random weights, none neutral, and images of the task's kind of pixels."""
    rng = np.random.default_rng(seed)
    height, width, channels = task.image_shape
    weights = reference.random_weights(
        rng, height, width, channels, task.lstm_units, task.latent_size, *window_sizes(task), scale
    )
    x = rng.uniform(size=(rows, *task.image_shape))
    return Case(
        task,
        weights,
        np.round(x) if task.binary else x,
        rng.standard_normal((task.glimpses, rows, task.latent_size)),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierCase:
    """Weights, images and labels in float64, for the reference and for the trainer alike."""

    task: ClassifyingTask
    weights: dict[str, np.ndarray]
    x: np.ndarray
    labels: np.ndarray

    def reference(self) -> ram_reference.Classification:
        """What the reference makes of the images."""
        return ram_reference.classify(self.weights, self.x, self.task.glimpses, self.task.read)

    def classify(self, dtype: type = np.float64) -> ram.Classification:
        """What the trainer does."""
        return ram.classify(tensors(self.weights, dtype), tf.constant(self.x, dtype), self.task, trace=True)


def make_classifier_case(
    task: ClassifyingTask = CLASSIFIER, *, rows: int = BATCH, seed: int = 0, scale: float = 1.0
) -> ClassifierCase:
    """Random weights, none neutral, images of intensities, and labels."""
    rng = np.random.default_rng(seed)
    shapes = ram_reference.weight_shapes(*task.image_shape, task.lstm_units, task.classes, task.read)
    weights = ram_reference.random_weights(rng, shapes, scale)
    x = rng.uniform(size=(rows, *task.image_shape))
    return ClassifierCase(task, weights, x, rng.integers(0, task.classes, rows))


def tensors(values: Mapping[str, np.ndarray], dtype: type) -> dict[str, tf.Tensor]:
    """The same values as constants of that dtype."""
    return {name: tf.constant(value, dtype) for name, value in values.items()}


def deviations(inference: draw.Inference, expected: reference.Forward) -> dict[str, float]:
    """By how much each output of the inference network differs from the reference, at most. inf for a NaN."""
    # The trainer's windows have (0, 0) at the centre of the first pixel, the reference's (1, 1).
    shift = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    pairs = {
        "canvases": (inference.canvases, expected.canvas),
        "canvas": (inference.canvas, expected.canvas[-1]),
        "kl": (inference.kl, expected.kl),
        "reconstruction": (inference.reconstruction, expected.reconstruction),
        "nll_bound": (inference.nll_bound, expected.nll_bound),
        "log_weight": (inference.log_weight, expected.log_weight),
    }
    if expected.read_window is not None:
        pairs["read_windows"] = (inference.read_windows, expected.read_window - shift)
    if expected.write_window is not None:
        pairs["write_windows"] = (inference.write_windows, expected.write_window - shift)
    return {name: _deviation(actual.numpy(), value) for name, (actual, value) in pairs.items()}


def _deviation(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    return float(np.nan_to_num(np.abs(actual - expected), nan=np.inf).max())


def make_images(task: Task, count: int, *, seed: int = 5, binary: bool | None = None) -> np.ndarray:
    """uint8 images as ingestion writes them: 0 and 1 for a binary task, 0 to 255 otherwise. No two are equal."""
    rng = np.random.default_rng(seed)
    binary = task.binary if binary is None else binary
    images = rng.integers(0, 2 if binary else 256, (count, *task.stored_shape), np.uint8)
    assert len(np.unique(images.reshape(count, -1), axis=0)) == count
    return images


def serialize(image: np.ndarray, identity: str, label: int = 3) -> bytes:
    """One tf.Example of the contract."""
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[identity.encode()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_examples(
    directory: Path, images: np.ndarray, *, labels: Sequence[int] | None = None, shards: int = 2
) -> list[str]:
    """Writes the images in order into gzipped shards, with ids `example-0`, ..., and returns the files' paths."""
    labels = [3] * len(images) if labels is None else labels
    records = [
        serialize(image, f"example-{index}", int(label))
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    bounds = np.linspace(0, len(records), shards + 1).astype(int)
    paths = []
    for shard, (first, last) in enumerate(itertools.pairwise(bounds)):
        path = directory / f"data_tfrecord-{shard:05d}-of-{shards:05d}.gz"
        write_records(path, records[first:last])
        paths.append(str(path))
    return paths


def write_records(path: Path, records: Sequence[bytes]) -> None:
    """Writes the records gzipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for record in records:
            writer.write(record)


def python(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """A fresh interpreter that runs the code from the repository's root."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: str, cwd: Path = ROOT) -> str:
    """Runs the code to its end in a fresh interpreter and returns what it printed."""
    process = python(code, *arguments, cwd=cwd)
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors[-4000:]
    return output
