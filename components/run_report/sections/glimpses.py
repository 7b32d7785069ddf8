"""Where a classifier looks, and what it takes for what."""

from __future__ import annotations

import numpy as np

from components.run_report import attention_map, markup
from components.run_report.examples import Images
from components.run_report.run import Run
from components.run_report.sections.attention import LOOKED_AT, maps
from trainer.task import ClassifyingTask

_PLAYED = 12
_WORST = 24


def body(run: Run) -> str:
    """Its glimpses over test images, and maps of all of them."""
    task, found, images, _ = _parts(run)
    count = min(len(images.pixels), markup.affordable(_PLAYED, images.pixels[0].size))
    windows = attention_map.rectangles(found["glimpse_window"], task.read)
    player = markup.player(
        images.pixels[:count, None],
        {"glimpse": windows[:count]},
        title=f"The first {count} test images, glimpse by glimpse",
        caption="The rectangle is what the model sees of the image; the heavier its border, the sharper its filters.",
        labels=_captions(run, np.arange(count)),
    )
    several = min(len(images.pixels), LOOKED_AT)
    return player + "<h3>Looking</h3>" + maps(found["glimpse_window"][:several], task.read, task.image_shape, several)


def mistakes(run: Run) -> str:
    """The confusion matrix and the errors that it was surest of."""
    task, found, images, labels = _parts(run)
    matrix = np.zeros((task.classes, task.classes), int)
    np.add.at(matrix, (labels, found["label"]), 1)
    wrong = np.flatnonzero(found["label"] != labels)
    surest = wrong[np.argsort(-found["probabilities"].max(axis=1)[wrong], kind="stable")][:_WORST]
    which = "first " if len(labels) < run.counts[task.data.test] else ""
    text = f"Of the {which}{len(labels):,} images of split {task.data.test!r}, {len(wrong):,} are wrong."
    parts = [markup.paragraph(text), _confusion(matrix)]
    if len(surest):
        parts.append(
            markup.tiles(
                images.pixels[surest],
                "The errors of which the model was surest: the label, what it was taken for, and how sure.",
                labels=_captions(run, surest),
                describe="error",
                smallest=104,
            )
        )
    return "".join(parts)


def _parts(run: Run) -> tuple[ClassifyingTask, dict[str, np.ndarray], Images, np.ndarray]:
    """The task, the model's answers on the images of the split that the gate judged by, those, and their labels."""
    task = run.task
    assert isinstance(task, ClassifyingTask)
    images = run.images(task.data.test)
    # A classifying task is of a data set with labels.
    assert images.labels is not None
    return task, run.answers, images, images.labels


def _captions(run: Run, rows: np.ndarray) -> list[str]:
    _, found, _, labels = _parts(run)
    return [
        f"{labels[row]} → {found['label'][row]}, {found['probabilities'][row].max():.0%}"
        if labels[row] != found["label"][row]
        else f"{labels[row]}, {found['probabilities'][row].max():.0%}"
        for row in rows
    ]


def _confusion(matrix: np.ndarray) -> str:
    """Errors are shaded by their share of the row; the diagonal, which dwarfs them, is not."""
    errors = matrix - np.diag(np.diag(matrix))
    shares = errors / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    most = shares.max() or 1.0
    classes = range(len(matrix))
    head = "".join(f'<th scope="col">{name}</th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row">{label}</th>'
        + "".join(
            f'<td class="{"right" if label == name else ""}" style="--share:{100 * shares[label, name] / most:.0f}%">'
            f"{matrix[label, name] or ''}</td>"
            for name in classes
        )
        + "</tr>"
        for label in classes
    )
    caption = "Images of each label (rows) by the class that the model names (columns); errors are shaded."
    return markup.scrolling(
        f'<table class="confusion"><caption>{caption}</caption><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>",
        "Confusion matrix",
    )
