"""The values that weights have before training; h_0 and its like start as zeros."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_LSTMS = ("encoder", "decoder", "lstm")
"""The layers that give an LSTM's gates."""


def blocks(layer: str) -> int:
    """Counts the maps of one size that lie side by side in a layer's outputs: an LSTM's gates, or mu and log sigma."""
    return {**dict.fromkeys(_LSTMS, 4), "latent": 2}.get(layer, 1)


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """float32 arrays of those names and shapes.

    Matrices are normal with variance 1 / inputs, biases 0 but for 1 at the forget gates. A window head that gives zeros
    attends to the whole image: the grid spans it, with variance and intensity 1.
    """
    rng = np.random.default_rng(seed)
    forget_gates = {f"{name}/b" for name in _LSTMS}
    values = {}
    for name, shape in shapes.items():
        value = np.zeros(shape, np.float32)
        if name.endswith("/w"):
            value = rng.normal(0.0, shape[0] ** -0.5, shape).astype(np.float32)
        if name in forget_gates:
            units = shape[0] // 4
            value[units : 2 * units] = 1.0
        values[name] = value
    return values
