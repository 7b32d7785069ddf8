"""Which of the paper's figures a model has, each drawn from what it needs, or the reason why it is not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from components.run_report import event_curves
from pipeline.paper import attention_figure, cost_figure, nearest, sample_figure, sequence_figure
from pipeline.paper.figure_page import Caption, Page
from serving import examples
from serving.client.client import seed_rows
from serving.examples import Examples
from serving.image_format import ImageFormat
from serving.pictures.animation import ANIMATIONS, write_animation
from serving.saved_model import SavedModel
from trainer.task import Attention, Binarisation, ClassifyingTask, GenerativeTask

_DRAWINGS, _ANIMATED = 8, 9
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 8, 10
_LOOKED_AT, _PATCHED = 6, 3
_SAMPLES_IN_THE_PAPER = {"two_digit_mnist": "Fig. 8", "two_digit_mnist_small": "Fig. 8", "svhn": "Fig. 9"}
_VIDEO = "video"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FigureInputs:
    """What figures are drawn from; a figure that needs one that is None is not drawn."""

    task: GenerativeTask | ClassifyingTask
    model_dir: Path
    name: str
    """The model's name for readers."""
    examples: str | None = None
    """Pattern of the files with images to look at."""
    training: str | None = None
    """Pattern of the training examples' files."""
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
    if isinstance(inputs.task, ClassifyingTask):
        yield from _Classifier(inputs, inputs.task, out, seed).all()
    else:
        yield from _Generative(inputs, inputs.task, out, seed).all()


class _Figures:
    """What figures of both kinds of model share."""

    def __init__(self, inputs: FigureInputs, out: Path, seed: int) -> None:
        self._inputs, self._out, self._seed = inputs, out, seed
        self._model = SavedModel(inputs.model_dir)

    def _ask(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        return self._model.signature(signature).call(inputs)

    def _caption(self, title: str, paper: str, *, drawn: bool = False) -> Caption:
        task = self._inputs.task
        source = f"{task.name}: {task.title}. {self._inputs.name}, {task.recipe.steps:,} training steps."
        if drawn:
            source += f" Seed {self._seed}."
        return Caption(title=title, paper=paper, source=source)

    def _save(self, page: Page, paper: str, name: str, remark: str = "") -> FigureResult:
        path = self._out / f"{name}.png"
        page.save(path)
        return FigureResult(paper, path, remark)

    def _animate(self, name: str, canvas: np.ndarray, window: np.ndarray | None, size: int) -> Iterator[FigureResult]:
        for kind in ANIMATIONS:
            path = self._out / f"{name}{kind}"
            write_animation(path, canvas, window, window_size=size)
            yield FigureResult(_VIDEO, path)

    def _images(self, split: str) -> ImageFormat:
        task = self._inputs.task
        binary = task.split_binarisation(split) is not Binarisation.NONE
        return ImageFormat(shape=task.image_shape, margin=task.data.crop_margin, binary=binary)

    def _looked_at(self, pattern: str, rows: int) -> Examples:
        """Reads the first test images."""
        return examples.read_first(examples.match_files(pattern), self._images(self._inputs.task.data.test), rows)

    def _of_attention(self, image: np.ndarray, window: np.ndarray, size: int) -> Iterator[FigureResult]:
        """Figs. 3 and 4, of images and the windows that read them."""
        caption = self._caption("What read attention extracts", "Fig. 3")
        page = attention_figure.patches(caption, image[:_PATCHED], window[:_PATCHED], size)
        yield self._save(page, caption.paper, "patches")
        caption = self._caption("What the transposed filters put back", "Fig. 4")
        page = attention_figure.put_back(
            caption, image[:_PATCHED], attention_figure.most_zoomed(window[:_PATCHED]), size
        )
        yield self._save(page, caption.paper, "put-back")

    def _costs(self, tag: str, remark: str) -> FigureResult:
        paper = "Fig. 11"
        if self._inputs.logs is None:
            return FigureResult(paper, None, "no logs of the training are known; name their folder with --logs")
        logged = event_curves.read(os.fspath(self._inputs.logs)).by_tag
        tags = (f"train/{tag}", f"validation/{tag}")
        missing = [name for name in tags if name not in logged]
        if missing:
            raise ValueError(
                f"The logs in {self._inputs.logs} have no {' nor '.join(missing)}: expected those of a training."
            )
        training, validation = (cost_figure.Curve(*logged[name]) for name in tags)
        caption = self._caption("Training and validation cost", paper)
        page = cost_figure.costs(caption, training, validation, unit="nats an image", remark=remark)
        return self._save(page, paper, "costs")


class _Generative(_Figures):
    def __init__(self, inputs: FigureInputs, task: GenerativeTask, out: Path, seed: int) -> None:
        super().__init__(inputs, out, seed)
        self._task = task

    def all(self) -> Iterator[FigureResult]:
        yield from self._drawings()
        yield from self._read()
        yield FigureResult("Fig. 5", None, f"{self._task.name} is no classifier")
        yield self._samples()
        colour = self._task.image_shape[2] == 3
        remark = "It is the cross-entropy with intensities, no cost of compression." if colour else ""
        yield self._costs("nll_bound", remark)

    def _drawings(self) -> Iterator[FigureResult]:
        drawn = self._ask("sample_sequence", seed=seed_rows(self._seed, max(_DRAWINGS, _ANIMATED)))
        canvas, window = drawn["canvas"], drawn.get("write_window")
        size, paper = 0, "Fig. 7"
        if isinstance(self._task.attention, Attention):
            size, paper = self._task.attention.write, "Fig. 10" if self._task.image_shape[2] == 3 else "Fig. 1"
        page = sequence_figure.generation(
            self._caption("How the model draws", paper, drawn=True),
            canvas[:_DRAWINGS],
            None if window is None else window[:_DRAWINGS],
            size,
        )
        yield self._save(page, paper, "drawings")
        yield from self._animate("drawings", canvas[:_ANIMATED], window, size)

    def _read(self) -> Iterator[FigureResult]:
        paper = "Figs. 3 and 4"
        if not isinstance(self._task.attention, Attention):
            yield FigureResult(paper, None, f"{self._task.name} reads without attention")
        elif self._inputs.examples is None:
            yield FigureResult(paper, None, "no images are known to read; name their files with --examples")
        else:
            image = self._looked_at(self._inputs.examples, _PATCHED).images
            window = self._ask("reconstruct", image=image, seed=seed_rows(self._seed, len(image)))["read_window"]
            yield from self._of_attention(image, window, self._task.attention.read)

    def _samples(self) -> FigureResult:
        colour = self._task.image_shape[2] == 3
        paper = _SAMPLES_IN_THE_PAPER.get(self._task.name, "Fig. 12" if colour else "Fig. 6")
        drawn = self._ask("sample", seed=seed_rows(self._seed, _SAMPLE_ROWS * _SAMPLE_COLUMNS))["image"]
        caption = self._caption("What the model draws", paper, drawn=True)
        if self._inputs.training is None:
            page = sample_figure.samples(caption, drawn, _SAMPLE_COLUMNS)
            remark = "without the nearest training images; name the training examples with --training"
            return self._save(page, paper, "samples", remark)
        files = examples.match_files(self._inputs.training)
        chunks = examples.read_chunks(files, self._images(self._task.data.train))
        found = nearest.nearest(drawn[_SAMPLE_COLUMNS - 1 :: _SAMPLE_COLUMNS], (chunk.images for chunk in chunks))
        return self._save(sample_figure.samples(caption, drawn, _SAMPLE_COLUMNS, found), paper, "samples")


class _Classifier(_Figures):
    def __init__(self, inputs: FigureInputs, task: ClassifyingTask, out: Path, seed: int) -> None:
        super().__init__(inputs, out, seed)
        self._task = task

    def all(self) -> Iterator[FigureResult]:
        yield FigureResult("Figs. 1, 6 to 10 and 12", None, f"{self._task.name} is a classifier, which draws no images")
        yield from self._glimpses()
        yield self._costs("cross_entropy", "It is the cross-entropy of the labels.")

    def _glimpses(self) -> Iterator[FigureResult]:
        if self._inputs.examples is None:
            yield FigureResult("Figs. 3 to 5", None, "no images are known to look at; name their files with --examples")
            return
        looked_at = self._looked_at(self._inputs.examples, _LOOKED_AT)
        # A classifying task is of a data set with labels.
        assert looked_at.labels is not None
        answer = self._ask("classify", image=looked_at.images)
        window, size, found = answer["glimpse_window"], self._task.read, answer["label"]
        caption = self._caption("Where the classifier looks", "Fig. 5")
        page = sequence_figure.glimpses(
            caption,
            looked_at.images,
            window,
            size,
            label=looked_at.labels,
            found=found,
            probability=answer["probabilities"][np.arange(len(found)), found],
        )
        yield from self._of_attention(looked_at.images, window, size)
        yield self._save(page, caption.paper, "glimpses")
        seen = np.repeat(looked_at.images[:, None], window.shape[1], axis=1)
        yield from self._animate("glimpses", seen, window, size)
