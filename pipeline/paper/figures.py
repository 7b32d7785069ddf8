"""Draws those of the paper's figures that apply to a model, and tells why others are not drawn."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from components.run_report import event_curves
from pipeline.paper import attention_figure, cost_figure, nearest, sample_figure, sequence_figure
from pipeline.paper.figure_page import Caption, Page
from serving import examples
from serving.client import seed_rows
from serving.examples import Examples
from serving.images.image_format import ImageFormat
from serving.pictures.animation import ANIMATIONS, write_animation
from serving.saved_model import SavedModel
from trainer.task import CLASSIFIER, Task

_DRAWINGS, _ANIMATED = 8, 9
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 8, 10
_CLASSIFIED, _READ = 6, 3
_SAMPLES_IN_THE_PAPER = {"two_digit_mnist": "Fig. 8", "two_digit_mnist_small": "Fig. 8", "svhn": "Fig. 9"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureInputs:
    """What figures are drawn from; a figure that needs one that is None is not drawn."""

    task: Task
    model_dir: Path
    name: str
    """What readers are told of the model: its name, and its training steps where they are known."""
    examples: str | None = None
    """Pattern of the files with images to look at."""
    training: Sequence[str] = ()
    """Patterns of the training examples' files."""
    logs: Path | None = None
    """Folder of the training's event files."""


@dataclasses.dataclass(frozen=True)
class FigureResult:
    """The result for one figure, or for several that are not drawn for the same reason."""

    paper: str
    """Its number in the paper, such as `Fig. 7`."""
    path: Path | None
    """The file; None where it is not drawn."""
    remark: str = ""
    """Why it is not drawn, or what is missing in it."""


def write_figures(inputs: FigureInputs, out: Path, seed: int) -> Iterator[FigureResult]:
    """Writes the figures into `out` one by one. The same inputs and seed give the same bytes.

    Raises ValueError where the inputs are not what they are said to be.
    """
    figures = _Figures(inputs, out, seed)
    name = inputs.task.name
    if inputs.task.kind is CLASSIFIER:
        yield FigureResult("Figs. 1, 6 to 10 and 12", None, f"{name} is a classifier, which draws no images")
        yield from figures.glimpses()
        yield figures.costs("cross_entropy", "It is the cross-entropy of the labels.")
    else:
        yield from figures.drawings()
        yield from figures.reading()
        yield FigureResult("Fig. 5", None, f"{name} is no classifier")
        yield figures.samples()
        colour = inputs.task.image_shape[2] == 3
        yield figures.costs(
            "nll_bound", "It is the cross-entropy with intensities, no cost of compression." if colour else ""
        )


class _Figures:
    """The figures of one model, each a method."""

    def __init__(self, inputs: FigureInputs, out: Path, seed: int) -> None:
        self._inputs, self._task, self._out, self._seed = inputs, inputs.task, out, seed
        self._model = SavedModel(inputs.model_dir)

    def drawings(self) -> Iterator[FigureResult]:
        """Figs. 1, 7 and 10, as a page and as animations."""
        outputs = self._call("sample_sequence", seed=seed_rows(self._seed, max(_DRAWINGS, _ANIMATED)))
        canvas, window, size = outputs["canvas"], outputs.get("write_window"), self._task.window_sizes.get("write", 0)
        paper = ("Fig. 10" if self._is_colour else "Fig. 1") if size else "Fig. 7"
        page = sequence_figure.generation(
            self._caption("How the model draws", paper, sampled=True),
            canvas[:_DRAWINGS],
            None if window is None else window[:_DRAWINGS],
            size,
        )
        yield self._save(page, paper, "drawings")
        yield from self._animate("drawings", canvas[:_ANIMATED], window, size)

    def reading(self) -> Iterator[FigureResult]:
        """Figs. 3 and 4 of a generative model."""
        paper = "Figs. 3 and 4"
        if "read" not in self._task.window_sizes:
            yield FigureResult(paper, None, f"{self._task.name} reads without attention")
        elif self._inputs.examples is None:
            yield FigureResult(paper, None, "no images are known to read; name their files with --examples")
        else:
            image = self._examples(self._inputs.examples, _READ).images
            window = self._call("reconstruct", image=image, seed=seed_rows(self._seed, len(image)))["read_window"]
            yield from self._attention(image, window, self._task.window_sizes["read"])

    def samples(self) -> FigureResult:
        """Figs. 6, 8, 9 and 12."""
        paper = _SAMPLES_IN_THE_PAPER.get(self._task.name, "Fig. 12" if self._is_colour else "Fig. 6")
        image = self._call("sample", seed=seed_rows(self._seed, _SAMPLE_ROWS * _SAMPLE_COLUMNS))["image"]
        neighbours, remark = None, "without the nearest training images; name the training examples with --training"
        if self._inputs.training:
            files = [file for pattern in self._inputs.training for file in examples.match_files(pattern)]
            chunks = examples.read_chunks(files, self._image_format(self._task.data.training_splits[0]))
            last_column = image[_SAMPLE_COLUMNS - 1 :: _SAMPLE_COLUMNS]
            neighbours, remark = nearest.nearest(last_column, (chunk.images for chunk in chunks)), ""
        caption = self._caption("What the model draws", paper, sampled=True)
        return self._save(sample_figure.samples(caption, image, _SAMPLE_COLUMNS, neighbours), paper, "samples", remark)

    def glimpses(self) -> Iterator[FigureResult]:
        """Figs. 3 to 5 of a classifier, the last as a page and as animations."""
        if self._inputs.examples is None:
            yield FigureResult("Figs. 3 to 5", None, "no images are known to look at; name their files with --examples")
            return
        image, label = self._examples(self._inputs.examples, _CLASSIFIED)
        assert label is not None  # A classifier's data set has labels.
        outputs = self._call("classify", image=image)
        window, size, predicted = outputs["glimpse_window"], self._task.window_sizes["glimpse"], outputs["label"]
        yield from self._attention(image, window, size)
        names = np.array([self._task.class_name(number) for number in range(outputs["probabilities"].shape[1])])
        page = sequence_figure.glimpses(
            self._caption("Where the classifier looks", "Fig. 5"),
            image,
            window,
            size,
            label=names[label],
            predicted=names[predicted],
            probability=outputs["probabilities"][np.arange(len(predicted)), predicted],
        )
        yield self._save(page, "Fig. 5", "glimpses")
        yield from self._animate("glimpses", np.repeat(image[:, None], window.shape[1], axis=1), window, size)

    def costs(self, tag: str, remark: str) -> FigureResult:
        """Fig. 11, from the curves of that tag."""
        paper = "Fig. 11"
        if self._inputs.logs is None:
            return FigureResult(paper, None, "no logs of the training are known; name their folder with --logs")
        curves = event_curves.read(os.fspath(self._inputs.logs)).by_tag
        tags = (f"train/{tag}", f"validation/{tag}")
        missing = [name for name in tags if name not in curves]
        if missing and not self._task.recipe.steps:
            return FigureResult(paper, None, "the model was exported without training, so there are no curves")
        if missing:
            raise ValueError(
                f"The logs in {self._inputs.logs} have no {' nor '.join(missing)}: expected those of a training."
            )
        training, validation = (curves[name] for name in tags)
        caption = self._caption("Training and validation cost", paper)
        page = cost_figure.costs(caption, training, validation, unit="nats an image", remark=remark)
        return self._save(page, paper, "costs")

    def _attention(self, image: np.ndarray, window: np.ndarray, size: int) -> Iterator[FigureResult]:
        """Figs. 3 and 4, of images and the windows that read them."""
        image, window = image[:_READ], window[:_READ]
        page = attention_figure.patches(self._caption("What read attention extracts", "Fig. 3"), image, window, size)
        yield self._save(page, "Fig. 3", "patches")
        caption = self._caption("What the transposed filters put back", "Fig. 4")
        page = attention_figure.put_back(caption, image, attention_figure.most_zoomed(window), size)
        yield self._save(page, "Fig. 4", "put-back")

    @property
    def _is_colour(self) -> bool:
        return self._task.image_shape[2] == 3

    def _call(self, signature: str, **tensors: np.ndarray) -> dict[str, np.ndarray]:
        return self._model.signature(signature).call(tensors)

    def _examples(self, pattern: str, rows: int) -> Examples:
        """Reads the first test images."""
        return examples.read_first(examples.match_files(pattern), self._image_format(self._task.data.test), rows)

    def _image_format(self, split: str) -> ImageFormat:
        return self._model.task().image_format(split)

    def _caption(self, title: str, paper: str, *, sampled: bool = False) -> Caption:
        task = self._task
        source = f"{task.name}: {task.title}. {self._inputs.name}."
        return Caption(title=title, paper=paper, source=f"{source} Seed {self._seed}." if sampled else source)

    def _save(self, page: Page, paper: str, name: str, remark: str = "") -> FigureResult:
        path = self._out / f"{name}.png"
        page.save(path)
        return FigureResult(paper, path, remark)

    def _animate(self, name: str, canvas: np.ndarray, window: np.ndarray | None, size: int) -> Iterator[FigureResult]:
        for suffix in ANIMATIONS:
            path = self._out / f"{name}{suffix}"
            write_animation(path, canvas, window, window_size=size)
            yield FigureResult("video", path)
