"""Cuts a large request into chunks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from serving.client.answers import Signature, TensorSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunks:
    """The largest chunk, and how many may be in flight."""

    rows: int = 64
    megabytes: float = 3.0
    """Megabytes of the request or the answer, whichever is larger. A proxy may keep gRPC's own limit of 4 MB."""
    in_flight: int = 4

    def __post_init__(self) -> None:
        if self.rows < 1 or self.megabytes <= 0 or self.in_flight < 1:
            raise ValueError(f"{self}: expected at least 1 row, some megabytes and 1 chunk in flight.")

    def slices(self, rows: int, row_bytes: int) -> list[slice]:
        """Returns the chunks of a request of `rows`, in order; they depend on the arguments alone.

        A row that is larger than a chunk travels alone.
        """
        fitting = int(self.megabytes * 2**20) // max(row_bytes, 1)
        size = max(1, min(self.rows, fitting))
        return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def row_bytes(signature: Signature, inputs: Mapping[str, np.ndarray], output_filter: tuple[str, ...]) -> int:
    """Returns the bytes of a row of the request or the answer, whichever is larger.

    Only outputs that pass the filter count, and only those of a fixed size.
    """
    outputs = [spec for name, spec in signature.outputs.items() if not output_filter or name in output_filter]
    return max(
        sum(array[0].nbytes if array.dtype != object else len(array[0]) for array in inputs.values()),
        sum(_row_bytes(spec) for spec in outputs),
    )


def _row_bytes(spec: TensorSpec) -> int:
    if spec.shape is None or spec.dtype is None or spec.dtype == object or None in spec.shape[1:]:
        return 0
    return math.prod(size or 0 for size in spec.shape[1:]) * spec.dtype.itemsize
