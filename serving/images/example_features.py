"""The features of the pipeline's and of TensorFlow Datasets' tf.Examples, parsed without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from serving.images.bad_image import BadImage
from serving.protos import declare

# tensorflow/core/example/{example,feature}.proto, in which a Feature's lists are a oneof: the same on the wire.
EXAMPLE = declare(
    """
    message BytesList { repeated bytes value = 1; }
    message FloatList { repeated float value = 1; }
    message Int64List { repeated int64 value = 1; }
    message Feature { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; }
    message Features { map<string, Feature> feature = 1; }
    message Example { Features features = 1; }
    """,
    package="draw.example",
)["Example"]
"""The class tf.train.Example, without TensorFlow."""


class ExampleFeatures:
    """The features of one serialised tf.Example, each checked when it is asked for."""

    def __init__(self, serialised: bytes) -> None:
        """Parses it. Raises BadImage if it is no tf.Example."""
        try:
            self._features = EXAMPLE.FromString(serialised).features.feature
        except DecodeError as error:
            raise BadImage("the record is no tf.Example") from error

    @property
    def id(self) -> bytes | None:
        """The example's id, a string or a number; None if it has none. Raises BadImage if it has several."""
        if "id" not in self._features:
            return None
        numbers = self._values("id", "int64_list")
        return str(numbers[0]).encode() if len(numbers) == 1 else self._only_bytes("id")

    @property
    def image(self) -> bytes:
        """Raw uint8 pixels, row by row, or a picture's file. Raises BadImage if there are none."""
        if "image" not in self._features:
            names = ", ".join(map(repr, sorted(self._features)[:10])) or "none"
            raise BadImage(f"the example has no feature 'image'; it has {names}")
        return self._only_bytes("image")

    @property
    def label(self) -> int | None:
        """The class; None where the data set has none."""
        values = self._values("label", "int64_list")
        return int(values[0]) if values else None

    def _only_bytes(self, name: str) -> bytes:
        values = self._values(name, "bytes_list")
        if len(values) != 1:
            raise BadImage(f"the example's feature {name!r} has {len(values)} byte strings; expected 1")
        return bytes(values[0])

    def _values(self, name: str, kind: str) -> Sequence[Any]:
        # Asked with `in`: indexing a protobuf map would add what is missing.
        return getattr(self._features[name], kind).value if name in self._features else ()
