"""Chooses the values of a task for somebody's images, each with its reason, and writes them as a task file."""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
from typing import TYPE_CHECKING, Any

from components.image_example_gen.image_names import black_images
from trainer import task_yaml

if TYPE_CHECKING:
    from components.image_example_gen.first_look import Look

SIDES = (28, 32, 54, 64)
"""Of the images that the paper's tasks see, and one more."""
_LARGEST_SIDE_ON_CPU = 32
_TRAINING_SECONDS = 600
"""Of a first training: long enough to see something, short enough to change one's mind."""
_MIN_STEPS, _MAX_STEPS, _MAX_EPOCHS = 500, 20_000, 400
_BATCH = 100
_COLOURFUL, _BINARY = 0.05, 0.9
"""Fractions from which on all are so: of images in colour, of pixels that are nearly black or white."""


@dataclasses.dataclass
class NewTask:
    """The values of a task file by dotted path, and the comment of each."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    comments: dict[str, str] = dataclasses.field(default_factory=dict)

    def set(self, path: str, value: Any, comment: str = "") -> None:
        """Sets a value with its reason."""
        self.values[path] = value
        if comment:
            self.comments[path] = comment

    def text(self, name: str) -> str:
        """Returns the file's content."""
        head = (
            f"# The task {name}, written by `draw init` and yours to change: what a line leaves out is as in the task\n"
            "# that `like` names. `draw tasks FILE` checks it and shows every value; `--set PATH=VALUE` tries one.\n"
        )
        return head + task_yaml.lines(self.values, self.comments)


def choose(look: Look, images: str, *, classify: bool, has_accelerator: bool) -> NewTask:
    """Chooses everything but the number of steps. Raises ValueError where the images are too few, or of no classes."""
    if not look.sights:
        raise ValueError(_nothing_readable(look, images))
    count = look.images
    if count < 20:
        number = "is 1 image" if count == 1 else f"are {count} images"
        raise ValueError(
            f"There {number} in {images}: a task needs more, to learn from some and be judged by others. "
            "Twenty are the fewest, and some thousands are better."
        )
    if classify and look.classes < 2:
        classes = ("no classes", "one class")[look.classes]
        raise ValueError(
            f"The images in {images} have {classes}: a classifier needs two or more, a folder for each class, below "
            "train/, validation/ and test/ where there are these, or a label in each row of a table."
        )
    if look.empty_splits:
        raise ValueError(
            f"Of the {count} images in {images}, divided by their folders and a hash of their names, none would be in "
            f"{' or in '.join(look.empty_splits)}. Give more images, or divide them yourself, into folders train, "
            "validation and test."
        )
    if classify and look.untrained_classes:
        raise ValueError(
            f"No image to learn from has the class {', '.join(look.untrained_classes[:20])}, for the few are divided "
            "by their folders and a hash of their names. Give more images of it, or lay its folder elsewhere."
        )
    new = NewTask()
    new.set("like", "cluttered_mnist_small" if classify else "digits", "what is not given here is as there")
    _choose_data(new, look, images, classify=classify)
    rows, columns = _choose_shape(new, look, classify=classify, has_accelerator=has_accelerator)
    if max(sight.brightest for sight in look.sights) <= 1:
        if not look.are_tables or new.values["data.resize"] != "none":
            raise ValueError(black_images(images))
        new.set("binarisation", "given", "their pixels are 0 and 1")
    _choose_sizes(new, rows, columns, classify=classify, has_accelerator=has_accelerator)
    new.set("recipe.batch_size", min(_BATCH, max(10, count // 2)), "images a step")
    return new


def choose_steps(new: NewTask, look: Look, seconds_per_step: float | None) -> float | None:
    """Chooses the number of steps by the time that one takes; returns the seconds of the training, if known."""
    count = look.images
    batch = new.values["recipe.batch_size"]
    most = min(_MAX_STEPS, max(_MIN_STEPS, _MAX_EPOCHS * count // batch))
    steps = most
    if seconds_per_step is not None:
        steps = max(_MIN_STEPS, min(most, int(_TRAINING_SECONDS / seconds_per_step)))
    # Two digits are enough for a number that nobody measured.
    unit = 10 ** (int(math.log10(steps)) - 1)
    steps = steps // unit * unit
    seconds = None if seconds_per_step is None else steps * seconds_per_step
    timed = "" if seconds is None else f", {duration(seconds)} here; more steps make a better model"
    new.set("recipe.steps", steps, f"{steps * batch / count:,.0f} times each image{timed}")
    new.set("recipe.validation_interval", max(50, steps // 10), "steps between looks at the validation images")
    new.set("recipe.validation_examples", 500, "at most")
    limit = "gate.max_error" if "classes" in new.values else "gate.max_nll_bound"
    new.set(limit, None, "nobody knows a limit yet: finite and not worse than the last passes")
    return seconds


def duration(seconds: float) -> str:
    """Returns a time for people."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _nothing_readable(look: Look, images: str) -> str:
    if not look.unreadable:
        return f"There is no image in {images}."
    first = "".join(f"\n  {path}: {reason}" for path, reason in look.unreadable[:3])
    return f"No image in {images} can be read, of {len(look.unreadable):,} that were tried:{first}"


def _choose_data(new: NewTask, look: Look, images: str, *, classify: bool) -> None:
    new.set("data.images", images)
    for field, split in zip(("train", "validation", "test"), look.split_names, strict=True):
        if split != field:
            new.set(f"data.{field}", split, "the folder's name" if split in look.splits else f"{field} is a class")
    if look.splits:
        new.comments["data"] = f"Divided by the folders {', '.join(look.splits)}."
    else:
        new.comments["data"] = (
            "Divided by a hash of each file's name: 80% to learn from, 10% to watch, 10% to judge by."
        )
    # A model that draws needs no class, and uses what has none.
    if look.classes >= 2 and (classify or not look.unlabelled):
        new.set("data.has_labels", True, "a folder for each class" if look.class_counts else "each image has a class")
        if look.class_names:
            new.set("data.class_names", look.class_names, f"{len(look.class_names)} classes")
    if classify:
        reason = "as many as data.class_names" if look.class_names else f"the greatest label is {look.greatest_label}"
        new.set("classes", look.classes, reason)
    portion = len(look.unreadable) / max(1, len(look.unreadable) + len(look.sights))
    reason = f"{portion:.1%} could not be read"
    if classify and look.unlabelled:
        portion, reason = portion + look.unlabelled, f"{reason}, {look.unlabelled:.1%} have no class"
    if portion > 0.01:
        new.set("data.max_bad", min(0.99, math.ceil(100 * portion + 1) / 100), reason)


def _choose_shape(new: NewTask, look: Look, *, classify: bool, has_accelerator: bool) -> tuple[int, int]:
    """Chooses size, colour and binarisation; returns rows and columns."""
    colour = statistics.fmean(sight.is_colour for sight in look.sights) > _COLOURFUL
    channels = 3 if colour else 1
    (common, times), *_ = collections.Counter(look.sizes).most_common(1)
    largest = SIDES[-1] if has_accelerator else _LARGEST_SIDE_ON_CPU
    if times == len(look.sizes) and max(common) <= largest and min(common) >= 8:
        rows, columns = common
        new.set("data.resize", "none", "all have this size already")
        reason = "rows, columns, channels: as they are"
    else:
        short = statistics.median(min(size) for size in look.sizes)
        side = max([side for side in SIDES if side <= min(short, largest)] or [SIDES[0]])
        rows = columns = side
        ratios = [width / height for height, width in look.sizes]
        square = max(ratios) / min(ratios) < 1.02 and 0.9 < ratios[0] < 1.1
        new.set("data.resize", "stretch" if square else "fit", "they are square" if square else "all of each; or fill")
        if not square:
            border = statistics.median(sight.border for sight in look.sights)
            new.set("data.padding", 255 if border > 127 else 0, "brightness beside it, as that of most borders")
        host = "" if has_accelerator else "; larger ones want a GPU"
        reason = f"rows, columns, channels: most are {common[0]} x {common[1]}{host if short > largest else ''}"
    new.set("image_shape", (rows, columns, channels), reason)
    extreme = statistics.fmean(sight.extreme for sight in look.sights)
    if not colour and not classify and extreme > _BINARY:
        new.set("binarisation", "stochastic_each_epoch", f"{extreme:.0%} of the pixels are nearly black or white")
    else:
        new.set("binarisation", "none", "intensities, as they are")
    return rows, columns


def _choose_sizes(new: NewTask, rows: int, columns: int, *, classify: bool, has_accelerator: bool) -> None:
    n = max(2, min(12, rows // 2, columns // 2))
    new.set("glimpses", 32 if has_accelerator and not classify else 8, "T: steps in which an image is drawn or read")
    new.set("lstm_units", 400 if has_accelerator else 256, "units of each network")
    if classify:
        new.set("read", n, "N: filters along a side of a glimpse")
        return
    new.set("latent_size", 100 if has_accelerator else 50, "numbers of noise a step")
    new.set("attention.read", n, "N: filters along a side of the window")
    new.set("attention.write", n)
