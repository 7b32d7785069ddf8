"""Draws where an exported classifier looks: test images with the windows of its glimpses, into a PNG file."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from serving.pictures.animation import draw_rectangle
from serving.pictures.sheet import enlargement, save_png, sheet, to_bytes

_SMALLEST_SIDE = 200
"""Pixels of an image in the picture."""
_CAPTION = 16
"""Pixels above it for what it is taken for."""
_RIGHT, _WRONG = (96, 208, 96), (240, 80, 80)
_FIRST, _LAST = np.array((64, 96, 255)), np.array((255, 208, 32))
"""The windows' colours, from the first glimpse to the last."""


def write_glimpse_sheet(
    model_dir: str | os.PathLike[str],
    example_files: Sequence[str],
    path: str | os.PathLike[str],
    *,
    rows: int,
    columns: int,
    size: int,
) -> None:
    """Writes `rows` x `columns` images of the files to `path`, whole or not at all.

    Over each stand its class and the one that the model in `model_dir` takes it for; the windows of the glimpses, of
    `size` x `size` filters, go from blue, the first, to yellow. Raises ValueError where the model has no signature
    `classify`, or the files hold too few examples.
    """
    model = tf.saved_model.load(os.fspath(model_dir))
    if "classify" not in model.signatures:
        raise ValueError(
            f"The model in {model_dir} has no signature 'classify', it has {sorted(model.signatures)}: "
            "only a classifier has glimpses."
        )
    shape = tuple(model.signatures["classify"].structured_input_signature[1]["image"].shape[1:])
    images, labels = _examples(example_files, rows * columns, shape)
    answer = {name: value.numpy() for name, value in model.signatures["classify"](image=tf.constant(images)).items()}
    pictures = [
        _picture(image, windows, size, int(label), int(found), float(probabilities[found]))
        for image, windows, label, found, probabilities in zip(
            images, answer["glimpse_window"], labels, answer["label"], answer["probabilities"], strict=True
        )
    ]
    save_png(sheet(np.stack(pictures), columns), path)


def _examples(files: Sequence[str], count: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The first images, float32 [count, *shape] in [0, 1], and their labels."""
    records = tf.data.TFRecordDataset(list(files), compression_type="GZIP").take(count)
    features = [tf.train.Example.FromString(record.numpy()).features.feature for record in records]
    if len(features) < count:
        raise ValueError(f"{', '.join(files) or 'No file'} holds {len(features)} examples; {count} are to be drawn.")
    images = [np.frombuffer(feature["image"].bytes_list.value[0], np.uint8).reshape(shape) for feature in features]
    pixels = np.stack(images).astype(np.float32)
    # The contract's pixels are 0 or 1 where they are binarised, and else 0 to 255.
    labels = np.array([feature["label"].int64_list.value[0] for feature in features])
    return pixels if pixels.max() <= 1 else pixels / np.float32(255), labels


def _picture(
    image: np.ndarray, windows: np.ndarray, size: int, label: int, found: int, probability: float
) -> np.ndarray:
    """[H, W, 3] uint8: the image enlarged, its glimpses, and a line of text above."""
    factor = enlargement(image.shape[:2], _SMALLEST_SIDE)
    pixels = to_bytes(image).repeat(factor, axis=0).repeat(factor, axis=1)
    picture = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy())
    for place, window in enumerate(windows):
        share = place / max(len(windows) - 1, 1)
        red, green, blue = (int(value) for value in np.rint((1 - share) * _FIRST + share * _LAST))
        draw_rectangle(picture, window, size, factor, colour=(red, green, blue), border=2)
    whole = Image.new("RGB", (picture.width, picture.height + _CAPTION))
    whole.paste(picture, (0, _CAPTION))
    text = f"{label}, taken for {found} ({probability:.0%})"
    ImageDraw.Draw(whole).text((3, 2), text, fill=_RIGHT if label == found else _WRONG)
    return np.asarray(whole)
