"""The differentiable RAM classifier of the paper's section 4.1 in float64 NumPy, row by row, glimpse by glimpse.

As in `tests.reference.draw`, whose read attention and LSTM it is: the patch is of x alone, and there is no decoder.
"""

from dataclasses import dataclass

import numpy as np

from tests.reference.draw import WINDOW_SIZE, Weights, filterbank, lstm, read_patch, window


@dataclass(frozen=True, eq=False)
class Classification:
    """For a batch. Windows are (g_X, g_Y, delta, sigma2, gamma) in 1-based pixels."""

    logits: np.ndarray  # [n, K]
    probabilities: np.ndarray  # [n, K]
    windows: np.ndarray  # [T, n, 5]


def softmax(logits: np.ndarray) -> np.ndarray:
    """[K] to [K]. The greatest logit is subtracted before exp: it cancels."""
    unnormalised = np.exp(logits - logits.max())
    return unnormalised / unnormalised.sum()


def cross_entropy(logits: np.ndarray, label: int) -> float:
    """-log of the label's probability, in nats."""
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])


def weight_shapes(B: int, A: int, C: int, H: int, K: int, N: int) -> dict[str, tuple[int, ...]]:
    """Of an image of B x A x C, H units, K classes and glimpses of N x N."""
    return {
        "h_0": (H,),
        "s_0": (H,),
        "read_window/w": (H, WINDOW_SIZE),
        "read_window/b": (WINDOW_SIZE,),
        "lstm/w": (N * N * C + H, 4 * H),
        "lstm/b": (4 * H,),
        "classes/w": (H, K),
        "classes/b": (K,),
    }


def classify(weights: Weights, x: np.ndarray, T: int, N: int) -> Classification:
    """T glimpses of each row of x: [n, B, A, C], each placed by the LSTM's previous output, the first by h_0."""
    n, B, A, _ = x.shape
    K = weights["classes/b"].shape[0]
    logits, probabilities = np.empty((n, K)), np.empty((n, K))
    windows = np.empty((T, n, WINDOW_SIZE))
    for row in range(n):
        h, s = weights["h_0"], weights["s_0"]
        for t in range(T):
            w = window(h @ weights["read_window/w"] + weights["read_window/b"], A, B, N)
            g_x, g_y, delta, sigma2, gamma = windows[t, row] = w
            f_x, f_y = filterbank(g_x, g_y, delta, sigma2, N, A, B)
            r = read_patch(x[row], f_x, f_y, gamma).ravel()
            h, s = lstm(weights["lstm/w"], weights["lstm/b"], r, h, s)
        logits[row] = h @ weights["classes/w"] + weights["classes/b"]
        probabilities[row] = softmax(logits[row])
    return Classification(logits, probabilities, windows)


def random_weights(
    rng: np.random.Generator, shapes: dict[str, tuple[int, ...]], scale: float = 1.0
) -> dict[str, np.ndarray]:
    """None of them neutral: weights of standard deviation scale / sqrt(their inputs), the rest scale."""
    return {
        name: rng.normal(0.0, scale / np.sqrt(shape[0]) if name.endswith("/w") else scale, shape)
        for name, shape in shapes.items()
    }
