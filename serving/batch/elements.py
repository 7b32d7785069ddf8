"""The scored elements of the job's Beam pipeline."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from serving.batch.calibration import Surprise
from serving.batch.estimate import Estimate
from serving.images.image_elements import Place


class Scored(NamedTuple):
    """An image with the estimate from its samples."""

    id: bytes
    place: Place
    estimate: Estimate
    pixels: np.ndarray | None
    """Kept if the image may be shown."""
    complexity: float | None = None
    """In nats, where the model's reference compares it."""
    surprise: Surprise | None = None
    """Of a flagged image."""
