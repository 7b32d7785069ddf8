"""What a task is: its data, the model's sizes, the training recipe and the gate, every value with its source.

Plain Python: a pipeline, a report or a test can read a task without importing TensorFlow.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

MATMUL_DTYPES = ("float32", "bfloat16")
TABLE_3 = "the paper's Table 3"
OURS = "ours"
GIVEN = "given by the user"

_FORMER_RECIPE_NAMES = {"products": "matmul_dtype", "average_decay": "ema_decay"}
"""Older exports' names of today's fields."""

_Kind = TypeVar("_Kind", bound="Task")


class Binarisation(str, enum.Enum):
    """How a pixel of the data set becomes a pixel of the model's input."""

    NONE = "none"
    """Intensities 0 to 255 are kept; the reader divides by 255."""
    GIVEN = "given"
    """The data set holds 0 and 1 already; ingestion checks it."""
    THRESHOLD = "threshold"
    """1 where the intensity is above 127."""
    STOCHASTIC = "stochastic"
    """Drawn once with the intensity as its probability, from a seed and the example's id."""
    STOCHASTIC_EACH_EPOCH = "stochastic_each_epoch"
    """As STOCHASTIC for evaluation; the training split keeps its intensities, and the reader draws at each visit."""


@dataclasses.dataclass(frozen=True)
class NoAttention:
    """Reads the whole image and writes the whole canvas (Eqs. 17-18)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention:
    """Selective attention (Eqs. 19-29): grids of `read` x `read` and `write` x `write` Gaussian filters."""

    read: int
    write: int

    def __post_init__(self) -> None:
        _check_filters("attention.read", self.read)
        _check_filters("attention.write", self.write)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSource:
    """A TFDS data set and the names of its splits.

    `builder` is TFDS's `name` or `name/config`, with `:version`. `module` is imported first where the builder is ours.
    `validation` is watched while training, `test` decides at the gate; they may be the same split.
    `crop_margin` is by how many rows and columns the stored images are larger than those that the model sees: the
    reader takes a crop at a random place in training, and the centre of an image for everything else.
    """

    builder: str
    train: str
    validation: str
    test: str
    module: str | None = None
    has_labels: bool = True
    crop_margin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if len(self.crop_margin) != 2 or min(self.crop_margin) < 0:
            raise ValueError(
                f"data.crop_margin is {self.crop_margin}: it must be (rows, columns), the pixels by which the stored "
                "images are larger than image_shape, each at least 0."
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """The distinct splits, training first."""
        return tuple(dict.fromkeys((self.train, self.validation, self.test)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the model is trained: Adam, the gradient clipped by its global norm, the learning rate on a cosine."""

    steps: int
    batch_size: int
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    adam_beta1: float
    adam_beta2: float
    clip_norm: float
    ema_decay: float
    """Decay of the moving average of the weights, which is what is evaluated and exported; 0: the last weights are."""
    seed: int
    jit_compile: bool
    matmul_dtype: str
    """Precision in which wide layers multiply while training: float32, or bfloat16 with sums in float32."""
    validation_examples: int
    validation_interval: int
    checkpoint_seconds: float
    glimpse_schedule: tuple[tuple[float, int], ...] = ()
    """Fewer glimpses at first: (0.25, 8) trains with T = 8 up to a quarter of the steps; the rest has the task's T.

    The weights do not depend on T and a step costs in proportion to it, so early updates are cheap. The learning rate
    follows the cost, and the moving average starts anew where T changes.
    """

    def __post_init__(self) -> None:
        positive = ("steps", "batch_size", "learning_rate", "clip_norm", "validation_examples", "validation_interval")
        for field in positive:
            # Written so that a NaN fails it.
            if not getattr(self, field) > 0:
                raise ValueError(f"recipe.{field} is {getattr(self, field)}: it must be positive.")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                f"recipe.final_learning_rate is {self.final_learning_rate}: it must lie between 0 and "
                f"learning_rate ({self.learning_rate})."
            )
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"recipe.warmup_steps is {self.warmup_steps}: it must be at least 0 and below steps ({self.steps})."
            )
        if self.matmul_dtype not in MATMUL_DTYPES:
            raise ValueError(
                f"recipe.matmul_dtype is {self.matmul_dtype!r}: it must be one of {', '.join(MATMUL_DTYPES)}."
            )
        for field in ("adam_beta1", "adam_beta2", "ema_decay"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"recipe.{field} is {getattr(self, field)}: it must be at least 0 and below 1.")
        if not self.checkpoint_seconds >= 0:
            raise ValueError(f"recipe.checkpoint_seconds is {self.checkpoint_seconds}: it must be at least 0.")
        ends = [0.0, *(end for end, _ in self.glimpse_schedule), 1.0]
        if sorted(set(ends)) != ends or any(glimpses < 1 for _, glimpses in self.glimpse_schedule):
            raise ValueError(
                f"recipe.glimpse_schedule is {self.glimpse_schedule}: it must hold (fraction of the steps, glimpses), "
                "the fractions rising between 0 and 1, with at least one glimpse."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """What a generative model must reach on the test split to be blessed, in nats an image."""

    LIMIT: ClassVar[str] = "max_nll_bound"
    """The field that says what a model may not exceed."""

    max_nll_bound: float
    tolerance: float
    """By how much the bound may be worse than that of the last blessed model."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.max_nll_bound):
            raise ValueError(f"gate.max_nll_bound is {self.max_nll_bound}: it must be a number of nats.")
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(f"gate.tolerance is {self.tolerance}: it must be a number of nats, at least 0.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorGate:
    """What a classifier must reach on the test split to be blessed; both are fractions of the examples."""

    LIMIT: ClassVar[str] = "max_error"

    max_error: float
    tolerance: float
    """By how much the error may be worse than that of the last blessed model."""

    def __post_init__(self) -> None:
        # Written so that a NaN fails it.
        if not 0 <= self.max_error <= 1:
            raise ValueError(f"gate.max_error is {self.max_error}: it must be a fraction, between 0 and 1.")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"gate.tolerance is {self.tolerance}: it must be a fraction, between 0 and 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What all experiments have: one of them is a GenerativeTask or a ClassifyingTask.

    `sources` says of every leaf field, by its dotted path, where the value comes from. Raises ValueError for a
    combination that makes no sense, and where a value lacks its source.
    """

    name: str
    title: str
    data: DataSource
    image_shape: tuple[int, int, int]
    """[B, A, C]: rows, columns, channels, as the model sees them."""
    binarisation: Binarisation
    glimpses: int
    """T, the number of time-steps."""
    lstm_units: int
    recipe: Recipe
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        self._check_at_least(1, "glimpses", "lstm_units")
        if len(self.image_shape) != 3 or min(self.image_shape[:2]) < 2 or self.image_shape[2] not in (1, 3):
            raise ValueError(
                f"{self.name}: image_shape is {self.image_shape}: it must be (rows, columns, channels), at least "
                "2 x 2 pixels of 1 or 3 channels."
            )
        if self.image_shape[2] == 3 and self.binarisation is not Binarisation.NONE:
            raise ValueError(f"{self.name}: colour images are not binarised; set binarisation to NONE.")
        if self.binarisation is Binarisation.STOCHASTIC_EACH_EPOCH:
            for field in ("validation", "test"):
                if getattr(self.data, field) == self.data.train:
                    raise ValueError(
                        f"{self.name}: data.{field} is {self.data.train!r}, as data.train: with "
                        "STOCHASTIC_EACH_EPOCH the training split keeps its intensities, so evaluate on another split."
                    )
        stated, needed = set(self.sources), set(_leaves(self._values()))
        if stated != needed:
            raise ValueError(
                f"{self.name}: sources must name every value once. Missing: {sorted(needed - stated)}; "
                f"unknown: {sorted(stated - needed)}."
            )

    @property
    def binary(self) -> bool:
        """Whether the model's pixels are 0 or 1."""
        return self.binarisation is not Binarisation.NONE

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of the images in the tf.Examples, of which the reader takes a crop."""
        (rows, columns, channels), (more_rows, more_columns) = self.image_shape, self.data.crop_margin
        return rows + more_rows, columns + more_columns, channels

    def split_binarisation(self, split: str) -> Binarisation:
        """What ingestion does to the pixels of one split."""
        if self.binarisation is Binarisation.STOCHASTIC_EACH_EPOCH:
            return Binarisation.NONE if split == self.data.train else Binarisation.STOCHASTIC
        return self.binarisation

    @property
    def glimpse_phases(self) -> tuple[tuple[int, int], ...]:
        """(first step, T) of each stretch of training with one number of glimpses; the last has the task's own."""
        phases: dict[int, int] = {}
        start = 0
        for end, glimpses in (*self.recipe.glimpse_schedule, (1.0, self.glimpses)):
            # A stretch that a short training rounds to nothing gives way to the next.
            phases[start] = glimpses
            start = round(end * self.recipe.steps)
        return tuple(phases.items())

    def glimpses_before(self, step: int) -> int:
        """The glimpses that an example's place in the batch takes in the steps before `step`: what they cost."""
        firsts, glimpses = zip(*self.glimpse_phases, strict=True)
        ends = (*firsts[1:], self.recipe.steps)
        return sum(
            max(0, min(step, end) - first) * each for first, end, each in zip(firsts, ends, glimpses, strict=True)
        )

    def at_step(self: _Kind, step: int) -> _Kind:
        """The same task with the number of glimpses that training step 0, 1, ... takes."""
        glimpses = next(glimpses for first, glimpses in reversed(self.glimpse_phases) if first <= step)
        return dataclasses.replace(self, glimpses=glimpses)

    def with_steps(self: _Kind, steps: int) -> _Kind:
        """The same task trained for another number of steps; its schedule stretches with it."""
        recipe = dataclasses.replace(self.recipe, steps=steps, warmup_steps=min(self.recipe.warmup_steps, steps // 10))
        sources = {**self.sources, "recipe.steps": GIVEN, "recipe.warmup_steps": "follows recipe.steps"}
        return dataclasses.replace(self, recipe=recipe, sources=sources)

    def with_train_examples(self: _Kind, count: int) -> _Kind:
        """The same task of so many training examples; raises ValueError where the data set has a number of its own."""
        if count < 1:
            raise ValueError(f"{self.name}: the number of training examples is {count}: give at least 1.")
        counted = re.fullmatch(r"(.+-)\d+(:.+)?", self.data.builder)
        if counted is None:
            raise ValueError(
                f"{self.name}: the data set {self.data.builder} has a fixed number of training examples; only those "
                "that are composed of digits are made as large as asked."
            )
        data = dataclasses.replace(self.data, builder=f"{counted[1]}{count}{counted[2] or ''}")
        return dataclasses.replace(self, data=data, sources={**self.sources, "data.builder": GIVEN})

    def to_json(self) -> str:
        """The resolved task, as written beside every export."""
        return json.dumps({**self._values(), "sources": dict(self.sources)}, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> GenerativeTask | ClassifyingTask:
        """The inverse of `to_json`; the fields tell a task of one kind from one of the other."""
        values = json.loads(text)
        recipe = {_FORMER_RECIPE_NAMES.get(name, name): value for name, value in values["recipe"].items()}
        values |= {
            "data": DataSource(**{**values["data"], "crop_margin": tuple(values["data"]["crop_margin"])}),
            "image_shape": tuple(values["image_shape"]),
            "binarisation": Binarisation(values["binarisation"]),
            "recipe": Recipe(
                **{
                    **recipe,
                    "glimpse_schedule": tuple(map(tuple, recipe.get("glimpse_schedule", ()))),
                }
            ),
            "sources": {_current_path(path): source for path, source in values["sources"].items()},
        }
        if "classes" in values:
            return ClassifyingTask(**{**values, "gate": ErrorGate(**values["gate"])})
        attention = values["attention"]
        return GenerativeTask(
            **{
                **values,
                "attention": NoAttention() if attention == "none" else Attention(**attention),
                "gate": Gate(**values["gate"]),
            }
        )

    def _values(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["sources"]
        values["binarisation"] = self.binarisation.value
        return values

    def _check_at_least(self, least: int, *fields: str) -> None:
        for field in fields:
            if getattr(self, field) < least:
                raise ValueError(f"{self.name}: {field} is {getattr(self, field)}: it must be at least {least}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerativeTask(Task):
    """DRAW itself: a model of the images, judged by its bound."""

    latent_size: int
    """n_z, for each time-step."""
    attention: Attention | NoAttention
    gate: Gate

    def __post_init__(self) -> None:
        self._check_at_least(1, "latent_size")
        super().__post_init__()

    def _values(self) -> dict[str, Any]:
        values = super()._values()
        values["attention"] = values["attention"] or "none"
        return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifyingTask(Task):
    """The differentiable RAM of section 4.1: names the class of an image from its glimpses, judged by its error."""

    classes: int
    """Labels are 0 to classes - 1."""
    read: int
    """N, the filters along each side of a glimpse."""
    gate: ErrorGate

    def __post_init__(self) -> None:
        self._check_at_least(2, "classes")
        _check_filters("read", self.read)
        if not self.data.has_labels:
            raise ValueError(f"{self.name}: data.has_labels is False, and a classifier learns from labels.")
        super().__post_init__()


def _current_path(path: str) -> str:
    """The present path of a value that an older export names."""
    group, _, name = path.rpartition(".")
    return f"recipe.{_FORMER_RECIPE_NAMES.get(name, name)}" if group == "recipe" else path


def _check_filters(field: str, n: int) -> None:
    if n < 2:
        raise ValueError(f"{field} is {n}: Eq. 24 divides by N - 1, so N must be at least 2.")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted paths of all values but the names that identify rather than configure."""
    paths: list[str] = []
    for key, value in values.items():
        path = prefix + key
        if isinstance(value, Mapping):
            paths += _leaves(value, path + ".")
        elif path not in ("name", "title"):
            paths.append(path)
    return paths
