"""Tasks: data, model sizes, training recipe and gate, each value with where it comes from.

Plain Python: a pipeline, a report or a test can read a task without importing TensorFlow.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

MATMUL_DTYPES = ("float32", "bfloat16")
OPTIMIZERS = ("adam", "muon")
TABLE_3 = "the paper's Table 3"
OURS = "ours"
GIVEN = "given by the user"
WITH_SET = "given with --set"

_GREATEST_FLOAT32 = 3.4e38
"""Beyond it a number is infinite in training, and infinity over infinity is no number."""
_SEEDS = 2**59
"""Each has 16 streams of random numbers, and a stream's seed is an int64."""

_FORMER_RECIPE_NAMES = {"products": "matmul_dtype", "average_decay": "ema_decay"}
"""What older exports call fields that have been renamed."""

_Task = TypeVar("_Task", bound="Task")


class Binarisation(str, enum.Enum):
    """How the data set's pixels become the model's."""

    NONE = "none"
    """Keep intensities from 0 to 255; the reader divides by 255."""
    GIVEN = "given"
    """The data set holds 0 and 1 already; ingestion checks it."""
    THRESHOLD = "threshold"
    """1 where the intensity is above 127."""
    STOCHASTIC = "stochastic"
    """Draw each pixel once, 1 with its intensity as the probability, from a seed and the example's id."""
    STOCHASTIC_EACH_EPOCH = "stochastic_each_epoch"
    """STOCHASTIC for evaluation; the training split keeps its intensities and the reader draws at each visit."""


@dataclasses.dataclass(frozen=True)
class NoAttention:
    """Read the whole image and write the whole canvas (Eqs. 17-18)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention:
    """Selective attention (Eqs. 19-29): grids of `read` x `read` and `write` x `write` Gaussian filters."""

    read: int
    write: int

    def __post_init__(self) -> None:
        _check_filters("attention.read", self.read)
        _check_filters("attention.write", self.write)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What all sources of images share; each is a DataSource or ImageFiles.

    Raises ValueError for a negative margin, and for a split that both trains and judges.
    """

    train: str
    validation: str
    """Split that is watched while training."""
    test: str
    """Split that decides at the gate; may be the same as `validation`."""
    has_labels: bool = True
    class_names: tuple[str, ...] = ()
    """Name of each label, in order; empty where they have none, or where they are read off the images."""
    crop_margin: tuple[int, int] = (0, 0)
    """How much larger (rows, columns) stored images are than what the model sees: the reader takes a random crop in
    training and the centre otherwise."""
    horizontal_flip: bool = False
    """Whether training mirrors each image left to right with probability 1/2, anew at each visit."""

    def __post_init__(self) -> None:
        if len(self.crop_margin) != 2 or min(self.crop_margin) < 0:
            raise ValueError(
                f"data.crop_margin is {self.crop_margin}: it must be (rows, columns), the pixels by which the stored "
                "images are larger than image_shape, each at least 0."
            )
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"data.class_names is {list(self.class_names)}: each name must be there once.")
        for field in ("validation", "test"):
            if getattr(self, field) in self.training_splits:
                raise ValueError(
                    f"data.{field} is {getattr(self, field)!r}, and data.train is {self.train!r}: a model must be "
                    "watched and judged by images that it has not seen."
                )

    @property
    def training_splits(self) -> tuple[str, ...]:
        """The splits that are trained on."""
        return (self.train,)

    @property
    def address(self) -> str:
        """Where the images come from, which tells one data set from another."""
        raise NotImplementedError

    @property
    def splits(self) -> tuple[str, ...]:
        """The distinct splits, training first."""
        return tuple(dict.fromkeys((*self.training_splits, self.validation, self.test)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSource(Data):
    """A TFDS data set whose images have the task's shape. `train` may be several of its splits: `train+extra`."""

    builder: str
    """TFDS's `name` or `name/config`, with `:version`."""
    module: str | None = None
    """Module to import first, so that it registers a builder of ours."""

    @property
    def training_splits(self) -> tuple[str, ...]:
        """The splits whose names `train` joins by +."""
        return tuple(dict.fromkeys(self.train.split("+")))

    @property
    def address(self) -> str:
        """The builder."""
        return self.builder


class Resize(str, enum.Enum):
    """How a picture of another size becomes one of the stored shape."""

    NONE = "none"
    """Not at all: a picture of another size is refused."""
    FIT = "fit"
    """Scale it, whole, into the shape, and pad what remains."""
    FILL = "fill"
    """Scale it until it covers the shape, and cut off what sticks out on both sides."""
    STRETCH = "stretch"
    """Scale each side by itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFiles(Data):
    """A user's own images: a folder, a pattern of files, or `tfds:NAME` for a data set whose images need work.

    The splits are folders of these names at the top, or TFDS's splits. A split that there is not gets a tenth of the
    training images by a hash of their names, so that an image stays in its split when others are added.

    Raises ValueError for a value that is out of range.
    """

    images: str
    """The folder, pattern, archive or `tfds:NAME`; an absolute path, or an address such as gs://."""
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    has_labels: bool = False
    """Whether each image has a class: its folder's name, or the column `label` of a table."""
    crop: tuple[int, int] | None = None
    """Rows and columns of the centre that is cut out of each picture before it is resized; None for all of it."""
    resize: Resize = Resize.FIT
    padding: int = 0
    """Brightness, 0 to 255, of the bars that `fit` adds."""
    background: tuple[int, int, int] | None = (255, 255, 255)
    """RGB under transparent pixels, 0 to 255; None refuses pictures that have any."""
    max_bad: float = 0.01
    """Greatest fraction of the images that may be unreadable; more stop the run before training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.images.strip():
            raise ValueError("data.images is empty: it must be a folder, a pattern of files, or tfds:NAME.")
        if self.crop is not None and (len(self.crop) != 2 or min(self.crop) < 1):
            raise ValueError(f"data.crop is {self.crop}: it must be (rows, columns), each at least 1.")
        if self.background is not None and not all(0 <= value <= 255 for value in self.background):
            raise ValueError(f"data.background is {self.background}: it must be (red, green, blue), each 0 to 255.")
        if not 0 <= self.padding <= 255:
            raise ValueError(f"data.padding is {self.padding}: it must be a brightness from 0 to 255.")
        # Written so that a NaN fails it.
        if not 0 <= self.max_bad < 1:
            raise ValueError(f"data.max_bad is {self.max_bad}: it must be a fraction, at least 0 and below 1.")
        for split in self.splits:
            if not split or "/" in split:
                raise ValueError(f"data.{self._split_field(split)} is {split!r}: it must be the name of a folder.")

    @property
    def address(self) -> str:
        """Where the images are."""
        return self.images

    def _split_field(self, split: str) -> str:
        return next(field for field in ("train", "validation", "test") if getattr(self, field) == split)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training options: Adam or Muon, clipping by the global norm, a cosine learning rate.

    Raises ValueError, naming the value, for one that is out of range.
    """

    steps: int
    """0 exports the weights that training would start from."""
    batch_size: int
    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    adam_beta1: float
    adam_beta2: float
    clip_norm: float
    ema_decay: float
    """Decay of the weights' moving average, which is evaluated and exported; 0 exports the last weights."""
    seed: int
    jit_compile: bool
    matmul_dtype: str
    """Precision of wide layers' products in training: float32, or bfloat16 with sums in float32."""
    validation_examples: int
    validation_interval: int
    checkpoint_seconds: float
    glimpse_schedule: tuple[tuple[float, int], ...] = ()
    """Fewer glimpses at first: ((0.25, 8),) trains a quarter of the steps with T = 8, the rest with the task's T.

    The weights do not depend on T and a step costs in proportion to it, so early updates are cheap. The learning rate
    follows the cost, and the moving average restarts where T changes.
    """
    optimizer: str = "adam"
    """adam, or muon: the matrices of wide layers by Muon, all else by Adam."""
    weight_decay: float = 0.0
    """Part of a layer's weights that a step takes away for each unit of the learning rate; biases keep theirs."""

    def __post_init__(self) -> None:
        positive = ("batch_size", "learning_rate", "clip_norm", "validation_examples", "validation_interval")
        for field in positive:
            # Written so that a NaN fails it.
            if not 0 < getattr(self, field) <= _GREATEST_FLOAT32:
                raise ValueError(
                    f"recipe.{field} is {getattr(self, field)}: it must be positive, and at most {_GREATEST_FLOAT32:g}."
                )
        if not 0 <= self.seed < _SEEDS:
            raise ValueError(f"recipe.seed is {self.seed}: it must be at least 0 and below {_SEEDS}.")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                f"recipe.final_learning_rate is {self.final_learning_rate}: it must lie between 0 and "
                f"learning_rate ({self.learning_rate})."
            )
        if not self.steps >= 0:
            raise ValueError(f"recipe.steps is {self.steps}: it must be at least 0.")
        if not 0 <= self.warmup_steps < max(self.steps, 1):
            raise ValueError(
                f"recipe.warmup_steps is {self.warmup_steps}: it must be at least 0 and below steps ({self.steps})."
            )
        if self.matmul_dtype not in MATMUL_DTYPES:
            raise ValueError(
                f"recipe.matmul_dtype is {self.matmul_dtype!r}: it must be one of {', '.join(MATMUL_DTYPES)}."
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"recipe.optimizer is {self.optimizer!r}: it must be one of {', '.join(OPTIMIZERS)}.")
        if not 0 <= self.weight_decay * self.learning_rate < 1:
            raise ValueError(
                f"recipe.weight_decay is {self.weight_decay}: it must be at least 0, and below 1 / learning_rate."
            )
        for field in ("adam_beta1", "adam_beta2", "ema_decay"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"recipe.{field} is {getattr(self, field)}: it must be at least 0 and below 1.")
        if not 0 <= self.checkpoint_seconds < math.inf:
            raise ValueError(
                f"recipe.checkpoint_seconds is {self.checkpoint_seconds}: it must be at least 0, and finite."
            )
        if not _is_glimpse_schedule(self.glimpse_schedule):
            raise ValueError(
                f"recipe.glimpse_schedule is {self.glimpse_schedule}: it must hold (fraction of the steps, glimpses), "
                "the fractions rising between 0 and 1, the glimpses whole numbers of at least 1."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What sets generative tasks and classifiers apart: the metric, its gate and who judges it."""

    noun: str
    metric: str
    """Name in evaluations and, after `validation/`, in TensorBoard. Smaller is better."""
    metric_noun: str
    unit: str
    scale: float
    """What the metric is multiplied by to be in `unit`."""
    metric_format: str
    """Format of the metric as a verdict says it."""
    limit: str
    """The gate's field for the greatest metric of a blessed model, and the option of that name."""
    limit_format: str
    """Format of the scaled limit, as a user writes it."""
    evaluator: str
    """Node id of the stage that judges."""
    reads_labels: bool

    @property
    def baseline_metric(self) -> str:
        """Name of the baseline's metric."""
        return f"baseline_{self.metric}"

    @property
    def metric_difference(self) -> str:
        """Name of the paired difference: of the same example, scored with the same noise if there is any."""
        return f"{self.metric}_minus_baseline"

    def metric_text(self, value: float) -> str:
        """Format a metric with its unit, such as `98.5260 nats` or `6.20%`."""
        return self.metric_format.format(self.scale * value)

    def limit_text(self, limit: float | None) -> str:
        """Format a gate's limit or tolerance with its unit, such as `100 nats` or `6.5%`; None is `none`."""
        return "none" if limit is None else self.limit_format.format(self.scale * limit)


GENERATIVE = Kind(
    noun="generative task",
    metric="nll_bound",
    metric_noun="bound",
    unit="nats an image",
    scale=1.0,
    metric_format="{:.4f} nats",
    limit="max_nll_bound",
    limit_format="{:g} nats",
    evaluator="BoundEvaluator",
    reads_labels=False,
)
CLASSIFIER = Kind(
    noun="classifier",
    metric="error",
    metric_noun="error",
    unit="percent",
    scale=100.0,
    metric_format="{:.2f}%",
    limit="max_error",
    limit_format="{:g}%",
    evaluator="ErrorEvaluator",
    reads_labels=True,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """Conditions on the test split for blessing a generative model, in nats an image."""

    max_nll_bound: float | None
    """None where nobody knows a threshold yet: any finite bound that is not worse than the last blessed model's."""
    tolerance: float
    """How much worse than the last blessed model's the bound may be."""

    def __post_init__(self) -> None:
        if self.max_nll_bound is not None and not math.isfinite(self.max_nll_bound):
            raise ValueError(f"gate.max_nll_bound is {self.max_nll_bound}: it must be a number of nats, or none.")
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(f"gate.tolerance is {self.tolerance}: it must be a number of nats, at least 0.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorGate:
    """Conditions on the test split for blessing a classifier, as fractions of the examples."""

    max_error: float | None
    """None where nobody knows a threshold yet: any error that is not worse than the last blessed model's."""
    tolerance: float
    """How much worse than the last blessed model's the error may be."""

    def __post_init__(self) -> None:
        # Written so that a NaN fails it.
        if self.max_error is not None and not 0 <= self.max_error <= 1:
            raise ValueError(f"gate.max_error is {self.max_error}: it must be a fraction, between 0 and 1, or none.")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"gate.tolerance is {self.tolerance}: it must be a fraction, between 0 and 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What all tasks share; each is a GenerativeTask or a ClassifyingTask.

    Raises ValueError for a combination that makes no sense, and for the source of a value that there is not.
    """

    kind: ClassVar[Kind]

    name: str
    title: str
    data: DataSource | ImageFiles
    image_shape: tuple[int, int, int]
    """[B, A, C]: rows, columns, channels, as the model sees them."""
    binarisation: Binarisation
    glimpses: int
    """T, the number of time-steps."""
    lstm_units: int
    recipe: Recipe
    gate: Gate | ErrorGate
    schema: str | None = None
    """A schema of the tf.Examples that somebody wrote, as the text of TensorFlow Metadata's Schema; None for the one
    that follows from the task."""
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Where each value comes from, by its dotted path, such as `recipe.steps`; what is not named is OURS."""

    def __post_init__(self) -> None:
        self._check_at_least(1, "glimpses", "lstm_units")
        if len(self.image_shape) != 3 or min(self.image_shape[:2]) < 2 or self.image_shape[2] not in (1, 3):
            raise ValueError(
                f"{self.name}: image_shape is {self.image_shape}: it must be (rows, columns, channels), at least "
                "2 x 2 pixels of 1 or 3 channels."
            )
        if self.image_shape[2] == 3 and self.binarisation is not Binarisation.NONE:
            raise ValueError(
                f"{self.name}: binarisation is {self.binarisation.value}: it must be none, for colour images are not "
                "binarised; or give image_shape one channel."
            )
        unknown = self.sources.keys() - dict(_leaves(self._values())).keys()
        if unknown:
            raise ValueError(f"{self.name}: sources name values that there are not: {sorted(unknown)}.")
        # Tasks with the same sources are equal, whether or not OURS is spelt out.
        sparse = {path: source for path, source in self.sources.items() if source != OURS}
        object.__setattr__(self, "sources", sparse)

    @property
    def window_sizes(self) -> dict[str, int]:
        """N of each attention window, `read` and `write` or `glimpse`; empty without attention."""
        raise NotImplementedError

    def class_name(self, label: int) -> str:
        """The name of a label; its number where it has none."""
        return self.data.class_names[label] if 0 <= label < len(self.data.class_names) else str(label)

    def source(self, path: str) -> str:
        """Where the value of that dotted path comes from."""
        return self.sources.get(path, OURS)

    @property
    def binary(self) -> bool:
        """Whether the model's pixels are 0 or 1."""
        return self.binarisation is not Binarisation.NONE

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Shape [rows, columns, channels] of the images in the tf.Examples, which the reader crops."""
        (rows, columns, channels), (more_rows, more_columns) = self.image_shape, self.data.crop_margin
        return rows + more_rows, columns + more_columns, channels

    def split_binarisation(self, split: str) -> Binarisation:
        """Binarisation by ingestion of one split's pixels."""
        if self.binarisation is Binarisation.STOCHASTIC_EACH_EPOCH:
            return Binarisation.NONE if split in self.data.training_splits else Binarisation.STOCHASTIC
        return self.binarisation

    @property
    def training_binarisation(self) -> Binarisation:
        """Binarisation by ingestion of the pixels that are trained on."""
        return self.split_binarisation(self.data.training_splits[0])

    @property
    def glimpse_phases(self) -> tuple[tuple[int, int], ...]:
        """(first step, T) of each phase of the glimpse schedule; the last has the task's own T."""
        phases: dict[int, int] = {}
        start = 0
        for end, glimpses in (*self.recipe.glimpse_schedule, (1.0, self.glimpses)):
            # A phase that a short training rounds to no step gives way to the next.
            phases[start] = glimpses
            start = round(end * self.recipe.steps)
        return tuple(phases.items())

    def glimpses_before(self, step: int) -> int:
        """Glimpses that one row of the batch takes in all steps before `step`: their cost."""
        firsts, glimpses = zip(*self.glimpse_phases, strict=True)
        ends = (*firsts[1:], self.recipe.steps)
        return sum(
            max(0, min(step, end) - first) * each for first, end, each in zip(firsts, ends, glimpses, strict=True)
        )

    def at_step(self: _Task, step: int) -> _Task:
        """The task with the number of glimpses of training step 0, 1, ..."""
        glimpses = next(glimpses for first, glimpses in reversed(self.glimpse_phases) if first <= step)
        return dataclasses.replace(self, glimpses=glimpses)

    def with_constant_glimpses(self: _Task) -> _Task:
        """The same task with its own number of glimpses from the first step on."""
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, glimpse_schedule=()))

    def with_steps(self: _Task, steps: int) -> _Task:
        """The task trained for another number of steps; its schedules stretch with it."""
        recipe = dataclasses.replace(self.recipe, steps=steps, warmup_steps=min(self.recipe.warmup_steps, steps // 10))
        sources = {**self.sources, "recipe.steps": GIVEN, "recipe.warmup_steps": "follows recipe.steps"}
        return dataclasses.replace(self, recipe=recipe, sources=sources)

    def with_train_examples(self: _Task, count: int) -> _Task:
        """The task with that many training examples; raises ValueError for a data set of fixed size."""
        if count < 1:
            raise ValueError(f"{self.name}: the number of training examples is {count}: give at least 1.")
        counted = re.fullmatch(r"(.+-)\d+(:.+)?", self.data.address)
        if counted is None or isinstance(self.data, ImageFiles):
            raise ValueError(
                f"{self.name}: the data set {self.data.address} has a fixed number of training examples; only those "
                "that are composed of digits are made as large as asked."
            )
        data = dataclasses.replace(self.data, builder=f"{counted[1]}{count}{counted[2] or ''}")
        return dataclasses.replace(self, data=data, sources={**self.sources, "data.builder": GIVEN})

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Dotted path and value, as JSON has it, of everything but the name and the title."""
        yield from _leaves(self._values())

    def to_json(self) -> str:
        """The resolved task, as written beside every export, with the source of every value."""
        values = self._values()
        sources = {path: self.source(path) for path, _ in _leaves(values)}
        return json.dumps({**values, "sources": sources}, indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> Task:
        """Read what `to_json` wrote, in this version or an older one; the fields tell the kind."""
        values = json.loads(text)
        recipe = {_FORMER_RECIPE_NAMES.get(name, name): value for name, value in values["recipe"].items()}
        recipe["glimpse_schedule"] = tuple(map(tuple, recipe.get("glimpse_schedule", ())))
        values |= {
            "data": data_from_json(values["data"]),
            "image_shape": tuple(values["image_shape"]),
            "binarisation": Binarisation(values["binarisation"]),
            "recipe": Recipe(**recipe),
            "sources": {_current_path(path): source for path, source in values["sources"].items()},
        }
        if "classes" in values:
            return ClassifyingTask(**{**values, "gate": ErrorGate(**values["gate"])})
        attention = NoAttention() if values["attention"] == "none" else Attention(**values["attention"])
        return GenerativeTask(**{**values, "attention": attention, "gate": Gate(**values["gate"])})

    def _values(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["sources"]
        values["binarisation"] = self.binarisation.value
        values["data"] = data_to_json(self.data)
        return values

    def _check_at_least(self, least: int, *fields: str) -> None:
        for field in fields:
            if getattr(self, field) < least:
                raise ValueError(f"{self.name}: {field} is {getattr(self, field)}: it must be at least {least}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerativeTask(Task):
    """DRAW: generates images and is judged by its bound on their negative log-likelihood."""

    kind: ClassVar[Kind] = GENERATIVE

    latent_size: int
    """n_z, at each time-step."""
    attention: Attention | NoAttention
    gate: Gate

    def __post_init__(self) -> None:
        self._check_at_least(1, "latent_size")
        super().__post_init__()

    @property
    def window_sizes(self) -> dict[str, int]:
        """N of the windows `read` and `write`; empty without attention."""
        return dataclasses.asdict(self.attention)

    def _values(self) -> dict[str, Any]:
        values = super()._values()
        values["attention"] = values["attention"] or "none"
        return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifyingTask(Task):
    """The differentiable RAM of section 4.1: classifies images by glimpses and is judged by its error."""

    kind: ClassVar[Kind] = CLASSIFIER

    classes: int
    """Labels are 0 to classes - 1."""
    read: int
    """N, the number of filters along each side of a glimpse."""
    gate: ErrorGate

    def __post_init__(self) -> None:
        self._check_at_least(2, "classes")
        _check_filters("read", self.read)
        if not self.data.has_labels:
            raise ValueError(
                f"{self.name}: data.has_labels is False: it must be true, for a classifier learns from labels."
            )
        if self.data.class_names and len(self.data.class_names) != self.classes:
            raise ValueError(
                f"{self.name}: classes is {self.classes}: it must be {len(self.data.class_names)}, as many as "
                "data.class_names."
            )
        super().__post_init__()

    @property
    def window_sizes(self) -> dict[str, int]:
        """N of the window `glimpse`."""
        return {"glimpse": self.read}


def data_to_json(data: DataSource | ImageFiles) -> dict[str, Any]:
    """The values that an export has below `data`."""
    values = dataclasses.asdict(data)
    return {**values, "resize": data.resize.value} if isinstance(data, ImageFiles) else values


def data_from_json(values: dict[str, Any]) -> DataSource | ImageFiles:
    """Read `data` of an export; the fields tell where the images come from."""
    lists = ("background", "class_names", "crop", "crop_margin")
    values = {name: tuple(value) if name in lists and value is not None else value for name, value in values.items()}
    return ImageFiles(**{**values, "resize": Resize(values["resize"])}) if "images" in values else DataSource(**values)


def _current_path(path: str) -> str:
    """Translate the dotted path of a value in an older export."""
    group, _, name = path.rpartition(".")
    return f"recipe.{_FORMER_RECIPE_NAMES.get(name, name)}" if group == "recipe" else path


def _check_filters(field: str, n: int) -> None:
    if n < 2:
        raise ValueError(f"{field} is {n}: Eq. 24 divides by N - 1, so N must be at least 2.")


def _is_glimpse_schedule(schedule: tuple[Any, ...]) -> bool:
    if any(len(phase) != 2 for phase in schedule):
        return False
    ends = [0.0, *(end for end, _ in schedule), 1.0]
    # Written so that a NaN fails it.
    rising = all(before < after for before, after in itertools.pairwise(ends))
    return rising and all(isinstance(glimpses, int) and glimpses >= 1 for _, glimpses in schedule)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths of all values except the name and the title, and the values."""
    for key, value in values.items():
        path = prefix + key
        if isinstance(value, Mapping):
            yield from _leaves(value, path + ".")
        elif path not in ("name", "title"):
            yield path, value
