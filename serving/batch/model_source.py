"""The model that a job asks: a SavedModel that each worker loads, or one on a server. One version for the whole job."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from typing import Protocol

import numpy as np

from serving import pretrained, staged_model
from serving.batch.blocks import Refused, Scorer
from serving.client import BadInput, Client, Retry, Scores, SignatureNotFound, UnexpectedAnswer
from serving.images.image_format import ImageFormat
from serving.reference.model_reference import NO_REFERENCE, BadReference, Reference
from serving.saved_model import newest_version, read_reference

_SERVER = re.compile(r"[^/\\]+:\d+|(dns|ipv4|ipv6):.+|(http|https|grpc)://.*")
_START_SECONDS = 60.0
"""At most, for a server that is starting."""
_PATIENT = Retry(attempts=10**6, patient=True)
"""A server that is away, full, or started anew must not lose a job of hours: it is asked until the timeout."""


class ModelSource(Protocol):
    """What a worker needs to open the model; it is sent to the workers."""

    @property
    def images(self) -> ImageFormat:
        """The images that the model takes."""

    @property
    def version(self) -> str:
        """The version's name in the results."""

    @property
    def reference(self) -> Reference | str:
        """What its scores are compared with, or a line that says why there is nothing."""

    def open(self) -> Scorer:
        """Opens the model, ready to score."""


def model_source(model: str, *, name: str, timeout_seconds: float) -> ModelSource:
    """Finds the model that a user named.

    Args:
      model: a pretrained model's name; the folder of a SavedModel; one of numbered versions, of which the newest is
        taken; or HOST:PORT.
      name: the name under which a server has the model.
      timeout_seconds: how long a server may take for one batch, and may be away meanwhile.

    Raises:
      ValueError: if there is no model that scores.
      FileNotFoundError: if the model has no task.
      ServingError: if the server does not answer.
    """
    model = pretrained.resolve(model)
    if not os.path.isdir(model) and _SERVER.fullmatch(model):
        return ServedModelSource.from_server(model, name, timeout_seconds)
    return SavedModelSource.from_directory(model)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedModelSource:
    """A SavedModel in a folder that every worker can read."""

    directory: str
    images: ImageFormat
    reference: Reference | str = NO_REFERENCE

    @classmethod
    def from_directory(cls, directory: str) -> SavedModelSource:
        """Takes the SavedModel in `directory`, or in the folder there with the greatest number.

        At an address that TensorFlow does not open each worker makes a copy.
        """
        from serving.batch.saved_model_scorer import image_format

        if staged_model.is_staged(directory):
            staged = staged_model.stage(directory)
            address, directory = staged.address, staged.directory
        else:
            address = directory = newest_version(directory)
        try:
            reference: Reference | str = read_reference(directory) or NO_REFERENCE
        except BadReference as error:
            reference = str(error)
        return cls(directory=address, images=image_format(directory), reference=reference)

    @property
    def version(self) -> str:
        """The folder's number, or its path if it has none."""
        name = os.path.basename(self.directory)
        return name if name.isdecimal() else self.directory

    def open(self) -> Scorer:
        """Loads the model."""
        from serving.batch.saved_model_scorer import SavedModelScorer  # TensorFlow, for the worker that scores alone

        is_staged = staged_model.is_staged(self.directory)
        return SavedModelScorer(staged_model.stage(self.directory).directory if is_staged else self.directory)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedModelSource:
    """A fixed version of a model on a server."""

    server: str
    name: str
    number: int
    timeout_seconds: float
    images: ImageFormat
    reference: Reference | str = NO_REFERENCE

    @classmethod
    def from_server(cls, server: str, name: str, timeout_seconds: float) -> ServedModelSource:
        """Takes the newest version on the server; a request with grey pixels shows whether it refuses them."""
        wait_seconds = min(timeout_seconds, _START_SECONDS)
        with Client(
            server, model=name, timeout_seconds=timeout_seconds, wait_seconds=wait_seconds, report=_say
        ) as client:
            metadata = client.metadata()
            if "score" not in metadata.signatures or metadata.image_shape is None:
                raise ValueError(
                    f"The model {name!r} on {server} has no signature 'score', or its images no fixed size."
                )
            try:
                reference: Reference | str = client.reference() or NO_REFERENCE
            except UnexpectedAnswer as error:
                reference = str(error)
            images = client.input_format()
            if images is None:
                try:
                    client.score(np.full((1, *metadata.image_shape), 0.5, np.float32), calibrated=False)
                    binary = False
                except BadInput:
                    binary = True
                images = ImageFormat(shape=metadata.image_shape, binary=binary)
        return cls(
            server=server,
            name=name,
            number=metadata.version,
            timeout_seconds=timeout_seconds,
            images=images,
            reference=reference,
        )

    @property
    def version(self) -> str:
        """The version's number on the server."""
        return str(self.number)

    def open(self) -> Scorer:
        """Opens a channel."""
        client = Client(
            self.server,
            model=self.name,
            version=self.number,
            timeout_seconds=self.timeout_seconds,
            retry=_PATIENT,
            report=_say,
        )
        return _ServedModelScorer(client)


class _ServedModelScorer:
    def __init__(self, client: Client) -> None:
        self._client = client

    def score(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        try:
            return self._client.score(image, seeds=seed, calibrated=False)
        except SignatureNotFound:
            raise  # another model has taken the place of this one, which says nothing about the images
        except BadInput as error:
            raise Refused(str(error)) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
