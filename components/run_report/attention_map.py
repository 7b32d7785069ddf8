"""Maps of a model's attention: how its filters are spread over the pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from serving.pictures import windows

# Seven colours of cividis (Nuñez, Anderton and Renslow, 2018), which all kinds of colour vision see as the same ramp.
_CIVIDIS = np.array(
    [(0, 34, 78), (36, 56, 108), (87, 92, 109), (124, 123, 120), (166, 157, 117), (211, 193, 100), (254, 232, 56)]
)


class Coverage(NamedTuple):
    """The spread of the windows of several images."""

    by_step: np.ndarray
    """[T, H, W]: fraction of a window's attention that falls on each pixel, the mean over images."""
    inside: float
    """Fraction of all filters whose centres lie on the image: the mean over the steps of the sums of `by_step`."""


def coverage(window: np.ndarray, filters: int, image_shape: tuple[int, ...]) -> Coverage:
    """Spreads windows [n, T, 5] of `filters` a side over images [H, W, ...] (Eqs. 25 and 26).

    Filters whose centres lie beyond the image are left out: they see its edge, however far away they are.
    """
    f_x, f_y = windows.filterbank(window, image_shape, filters)
    centre_x, centre_y = windows.filter_centres(window, filters)
    # A window is separable: its weight of a pixel is that of the column times that of the row.
    by_step = np.einsum("nth,ntw->thw", _line_weights(f_y, centre_y), _line_weights(f_x, centre_x)) / len(window)
    return Coverage(by_step, float(by_step.sum(axis=(1, 2)).mean()))


def colours(values: np.ndarray) -> np.ndarray:
    """Colours values in [0, 1] from dark blue to yellow: [..., H, W] to [..., H, W, 3] uint8."""
    levels = np.linspace(0, 1, len(_CIVIDIS))
    channels = [np.interp(values, levels, _CIVIDIS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _line_weights(filterbank: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Averages the filters along one side that lie on it: [n, T, N, pixels] to [n, T, pixels]."""
    inside = (centres >= -0.5) & (centres <= filterbank.shape[-1] - 0.5)
    return (filterbank * inside[..., None]).mean(axis=-2)
