"""Draws where an exported classifier looks: test images with the windows of its glimpses, into a PNG file."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from serving.examples import read_first
from serving.pictures.png import save_png
from serving.pictures.sheet import enlarge, enlargement, sheet_in_rows, to_bytes, to_colour
from serving.pictures.windows import draw_frame
from serving.saved_model import SavedModel

_SMALLEST_SIDE = 200
"""Pixels of an image in the picture."""
_CAPTION = 16
"""Pixels above an image for its class."""
_RIGHT, _WRONG = (96, 208, 96), (240, 80, 80)
_FIRST, _LAST = np.array((64, 96, 255)), np.array((255, 208, 32))
"""Colours of the windows, from the first glimpse to the last."""
_FRAME = 2


def write_glimpse_sheet(
    model_dir: str | os.PathLike[str],
    example_files: Sequence[str],
    path: str | os.PathLike[str],
    *,
    rows: int,
    columns: int,
    size: int,
) -> None:
    """Writes the first images of the files, at most `rows` x `columns`, to `path`, whole or not at all.

    Above each image stand its class and the one that the model in `model_dir` takes it for; the windows of the
    glimpses, of `size` x `size` filters, go from blue, the first, to yellow.

    Raises:
      ValueError: if the model has no signature `classify`, or the files hold no examples or no labels.
    """
    model = SavedModel(model_dir)
    task = model.task()
    classify = model.signature("classify")
    images, labels = read_first(example_files, task.image_format(), rows * columns)
    if labels is None:
        raise ValueError(f"The examples of {', '.join(example_files)} have no labels.")
    answer = classify.call({"image": images})
    pictures = [
        _picture(
            image,
            windows,
            size,
            label=task.class_name(int(label)),
            predicted=task.class_name(int(predicted)),
            probability=float(probabilities[predicted]),
        )
        for image, windows, label, predicted, probabilities in zip(
            images, answer["glimpse_window"], labels, answer["label"], answer["probabilities"], strict=True
        )
    ]
    save_png(sheet_in_rows(np.stack(pictures), min(columns, len(pictures))), path)


def _picture(
    image: np.ndarray, windows: np.ndarray, size: int, *, label: str, predicted: str, probability: float
) -> np.ndarray:
    """[H, W, 3] uint8: the image enlarged, its glimpses, and a line of text above."""
    factor = enlargement(image.shape[:2], _SMALLEST_SIDE)
    (pixels,) = to_colour(enlarge(to_bytes(image)[None], factor))
    for place, window in enumerate(windows):
        share = place / max(len(windows) - 1, 1)
        red, green, blue = (int(value) for value in np.rint((1 - share) * _FIRST + share * _LAST))
        draw_frame(pixels, window, size, factor=factor, colour=(red, green, blue), width=_FRAME)
    caption = Image.new("RGB", (pixels.shape[1], _CAPTION))
    text = f"{label}, taken for {predicted} ({probability:.0%})"
    ImageDraw.Draw(caption).text((3, 2), text, fill=_RIGHT if label == predicted else _WRONG)
    return np.concatenate([np.asarray(caption), pixels])
