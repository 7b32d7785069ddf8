"""Base of the TFDS builders that compose images of MNIST's digits, each image a function of its index alone."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from components.datasets import digit_source
from components.datasets.digit_source import Digits

SHARD_EXAMPLES = 10_000
"""Examples in a file. Each file is made by itself, so workers share nothing and hold no more than this."""

CHUNK_EXAMPLES = 250
"""Images composed at once: 5 MB at 100 x 100."""

_EVALUATION_EXAMPLES = {"mnist": 10_000, "digits": 1_000}
_NAME = re.compile(r"(?P<source>mnist|digits)-(?P<train>[1-9]\d*)")

Composer = Callable[[Digits, np.ndarray], dict[str, np.ndarray]]
"""Turns digits and random words [n, draws] uint64 into features, a row an image; `image` is [n, H, W] uint8."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
    """Source of the digits and size of each split, as its name SOURCE-TRAINING_EXAMPLES says."""

    source: str
    counts: Mapping[str, int]
    """The training split is the last: with Beam, TFDS 4.9 makes every split again with each one that follows it."""

    @classmethod
    def from_name(cls, name: str) -> Config:
        """Builds the configuration of a name such as `mnist-200000`; raises ValueError for a name of another form."""
        match = _NAME.fullmatch(name)
        train = int(match["train"]) if match else 0
        if match is None or (train > SHARD_EXAMPLES and train % SHARD_EXAMPLES):
            raise ValueError(
                f"There is no configuration {name!r}. Expected the source of the digits, mnist or digits, and the "
                f"number of training examples: at most {SHARD_EXAMPLES}, or a multiple of it, as in mnist-200000."
            )
        source, rest = match["source"], _EVALUATION_EXAMPLES[match["source"]]
        return cls(
            name=name,
            description=f"{train:,} training images of the digits of `{source}`, and {rest:,} for each other split.",
            source=source,
            counts={"validation": rest, "test": rest, "train": train},
        )


class Composition(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Splits `train`, `validation` and `test`, whose examples have an `id` and the features that `compose` returns.

    Image i of a split depends on the data set's name, the split and i alone, whatever the number of examples, workers
    or files.
    """

    IMAGE_SHAPE: ClassVar[tuple[int, int]]
    """Rows and columns."""
    DRAWS: ClassVar[int]
    """Random words for each image."""
    FEATURES: ClassVar[Mapping[str, Any]]
    """The features beside `id` and `image`."""

    @staticmethod
    def compose(digits: Digits, words: np.ndarray) -> dict[str, np.ndarray]:
        """Composes images, see Composer."""
        raise NotImplementedError

    @classmethod
    def get_builder_config(cls, name: str, version: Any = None) -> Config:
        """Finds a configuration by its name, so that a task or `tfds build` may ask for any number of examples."""
        return super().get_builder_config(name, version) or Config.from_name(name)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(*self.IMAGE_SHAPE, 1)),
            **self.FEATURES,
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _shard_iterators_per_split(self, dl_manager: tfds.download.DownloadManager) -> dict[str, list[Shard]]:
        del dl_manager  # The source is a data set of its own.
        directory = digit_source.prepare(self.builder_config.source, str(self.data_dir_root))
        return {
            split: [
                Shard(
                    compose=self.compose,
                    draws=self.DRAWS,
                    dataset=self.name,
                    source_dir=directory,
                    split=split,
                    # All of one size, unless there is only one: with Beam, TFDS 4.9 sorts the lengths of more than
                    # ten files by their numbers as text.
                    indices=range(first, min(first + SHARD_EXAMPLES, count)),
                )
                for first in range(0, count, SHARD_EXAMPLES)
            ]
            for split, count in self.builder_config.counts.items()
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """The examples of one file. TFDS calls it, in a Beam worker if there is a pipeline."""

    compose: Composer
    draws: int
    dataset: str
    source_dir: str
    split: str
    indices: range

    def __call__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields pairs of index and features."""
        digits = digit_source.load(self.source_dir, self.split)
        for start in range(self.indices.start, self.indices.stop, CHUNK_EXAMPLES):
            indices = range(start, min(start + CHUNK_EXAMPLES, self.indices.stop))
            words = random_words(f"{self.dataset}:{self.split}", indices, self.draws)
            features = self.compose(digits, words)
            features["image"] = features["image"][..., None]
            for row, index in enumerate(indices):
                yield (
                    index,
                    {"id": f"{self.split}-{index}", **{name: values[row] for name, values in features.items()}},
                )


def random_words(stream: str, indices: range, draws: int) -> np.ndarray:
    """Draws uniform words [len(indices), draws] uint64; row i depends on the stream's name and the i-th index alone."""
    # Raw words of the bit generator: unlike Generator's methods, NumPy promises never to change them (NEP 19). Philox
    # makes four at a time from a counter, which can start anywhere.
    blocks = -(-draws // 4)
    generator = np.random.Philox(key=int.from_bytes(hashlib.sha256(stream.encode()).digest()[:16], "little"))
    generator.advance(indices.start * blocks)
    return generator.random_raw(len(indices) * blocks * 4).reshape(len(indices), blocks * 4)[:, :draws]


def choices(words: np.ndarray, count: int) -> np.ndarray:
    """Maps each word to a whole number uniform over 0..count - 1; the bias is below count / 2^64."""
    return (words % np.uint64(count)).astype(np.int64)


def add(canvas: np.ndarray, patches: np.ndarray, tops: np.ndarray, lefts: np.ndarray) -> None:
    """Adds a patch [n, h, w] uint8 to each canvas [n, H, W] uint16, with its top left pixel at row and column [n]."""
    count, _, columns = canvas.shape
    _, height, width = patches.shape
    # One patch an image, so no place is named twice and the additions cannot overwrite each other.
    first = np.arange(count) * canvas[0].size + tops * columns + lefts
    places = first[:, None, None] + np.arange(height)[:, None] * columns + np.arange(width)
    canvas.reshape(-1)[places] += patches


def clip(canvas: np.ndarray) -> np.ndarray:
    """Clips sums of intensities to white, uint8. Nothing that is added is negative, so clipping once is enough."""
    return np.minimum(canvas, 255).astype(np.uint8)
