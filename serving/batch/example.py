"""The features of a serialised tf.Example of our contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2

from serving.batch.pixels import BadImage


class Features(NamedTuple):
    """Of one example."""

    id: bytes
    image: bytes
    """Raw uint8 pixels, row by row."""


def parse(serialised: bytes) -> Features:
    """Raises BadImage where it is no example, or lacks a feature."""
    try:
        features = example_pb2.Example.FromString(serialised).features.feature
    except DecodeError as error:
        raise BadImage("the record is no tf.Example") from error
    return Features(_bytes(features, "id"), _bytes(features, "image"))


def _bytes(features: Mapping[str, example_pb2.Feature], name: str) -> bytes:
    # Asked with `in`: indexing a protobuf map would add what is missing.
    values = features[name].bytes_list.value if name in features else []
    if len(values) != 1:
        raise BadImage(f"the example's feature {name!r} has {len(values)} byte strings; expected 1")
    return bytes(values[0])
