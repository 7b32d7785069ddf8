"""The model that a job asks: a SavedModel that each worker loads, or one on a server. One version for the whole job."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Protocol

import numpy as np
import tensorflow as tf

from serving.batch.pixels import ImageFormat
from serving.batch.saved_model import SavedModelScorer, image_format
from serving.batch.scoring import Refused, Scorer
from serving.client import BadInput, Client, Scores

_SERVER = re.compile(r"[^/\\]+:\d+")


class ModelSource(Protocol):
    """What a worker needs to get at the model; it is sent to the workers."""

    @property
    def images(self) -> ImageFormat:
        """That it takes."""

    @property
    def version(self) -> str:
        """As the results name it."""

    def open(self) -> Scorer:
        """The model itself, ready to score."""


def model_source(model: str, *, name: str, timeout_seconds: float) -> ModelSource:
    """What a user named: the folder of a SavedModel, one of numbered versions, of which the newest, or HOST:PORT.

    Args:
      model: that name.
      name: under which a server has the model.
      timeout_seconds: within which a server answers for one batch.

    Raises:
      ValueError: where there is no model that scores.
      ServingError: where the server does not answer.
    """
    if not os.path.isdir(model) and _SERVER.fullmatch(model):
        return ServedModel.find(model, name, timeout_seconds)
    return SavedModel.find(model)


def newest_version(directory: str) -> str:
    """`directory` where it is a SavedModel, or that of its folders with the greatest number; ValueError for neither."""
    directory = directory.rstrip("/")
    if not tf.io.gfile.exists(os.path.join(directory, "saved_model.pb")):
        names = tf.io.gfile.listdir(directory) if tf.io.gfile.isdir(directory) else []
        versions = [int(name.rstrip("/")) for name in names if name.rstrip("/").isdecimal()]
        if not versions:
            raise ValueError(f"There is no model in {directory}: expected a SavedModel, or its numbered versions.")
        directory = os.path.join(directory, str(max(versions)))
    return directory if "://" in directory else os.path.abspath(directory)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedModel:
    """In a folder that every worker can read."""

    directory: str
    images: ImageFormat

    @classmethod
    def find(cls, directory: str) -> SavedModel:
        """The SavedModel in `directory`, or in that of its folders with the greatest number."""
        directory = newest_version(directory)
        return cls(directory=directory, images=image_format(directory))

    @property
    def version(self) -> str:
        """The folder's number, or its path where it has none."""
        name = os.path.basename(self.directory)
        return name if name.isdecimal() else self.directory

    def open(self) -> Scorer:
        """Loads it."""
        return SavedModelScorer(self.directory)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedModel:
    """On a server, always the same version."""

    server: str
    name: str
    number: int
    timeout_seconds: float
    images: ImageFormat

    @classmethod
    def find(cls, server: str, name: str, timeout_seconds: float) -> ServedModel:
        """The newest version that the server has. Whether it takes binarised images alone shows when it is asked."""
        with Client(server, model=name, timeout_seconds=timeout_seconds) as client:
            metadata = client.metadata()
            if "score" not in metadata.signatures or metadata.image_shape is None:
                raise ValueError(
                    f"The model {name!r} on {server} has no signature 'score', or its images no fixed size."
                )
            try:
                client.score(np.full((1, *metadata.image_shape), 0.5, np.float32))
                binary = False
            except BadInput:
                binary = True
        return cls(
            server=server,
            name=name,
            number=metadata.version,
            timeout_seconds=timeout_seconds,
            images=ImageFormat(shape=metadata.image_shape, binary=binary),
        )

    @property
    def version(self) -> str:
        """Its number on the server."""
        return str(self.number)

    def open(self) -> Scorer:
        """Opens a channel."""
        client = Client(self.server, model=self.name, version=self.number, timeout_seconds=self.timeout_seconds)
        return _ServerScorer(client)


class _ServerScorer:
    def __init__(self, client: Client) -> None:
        self._client = client

    def score(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        try:
            return self._client.score(image, seeds=seed)
        except BadInput as error:
            raise Refused(str(error)) from error
