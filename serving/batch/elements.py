"""The scored elements of the job's Beam pipeline."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from serving.batch.estimate import Estimate
from serving.images.image_elements import Place


class Scored(NamedTuple):
    """An image with the estimate from its samples."""

    id: bytes
    place: Place
    estimate: Estimate
    pixels: np.ndarray | None
    """Kept if pictures were asked for."""
