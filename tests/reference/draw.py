"""DRAW (Gregor et al., 2015, arXiv:1502.04623) transcribed from the paper in float64 NumPy, row by row, step by step.

Symbols are the paper's: B rows, A columns, C channels, H LSTM units, Z latents (the paper's n_z), T steps, n images.
Pixels a = 1..A, b = 1..B and filters i, j = 1..N are counted from 1, as the paper counts them; only the subscript of an
array is shifted. Linear layers are `inputs @ w + b`. Nothing here is imported from the system that it judges.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Weights = Mapping[str, np.ndarray]
Window = tuple[float, float, float, float, float]

WINDOW_SIZE = 5
GENERATIVE_NAMES = ("canvas_0", "h_dec_0", "s_dec_0", "decoder/w", "decoder/b", "write/w", "write/b")


@dataclass(frozen=True, eq=False)
class Forward:
    """Eqs. 1-12 for a batch. Windows are (g_X, g_Y, delta, sigma2, gamma) in 1-based pixels, None without attention."""

    canvas: np.ndarray  # [T, n, B, A, C], logits, c_1 to c_T
    mu: np.ndarray  # [T, n, Z]
    sigma: np.ndarray  # [T, n, Z]
    z: np.ndarray  # [T, n, Z]
    kl: np.ndarray  # [T, n], nats
    read_window: np.ndarray | None  # [T, n, 5]
    write_window: np.ndarray | None  # [T, n, 5]
    reconstruction: np.ndarray  # [n], nats, L_x of Eq. 9
    nll_bound: np.ndarray  # [n], nats, L_x + L_z
    log_weight: np.ndarray  # [n], nats, log p(x|z) + log p(z) - log q(z|x)
    loss: float  # nats, the mean of nll_bound over n


@dataclass(frozen=True, eq=False)
class Generation:
    """Eqs. 13-16 for a batch."""

    canvas: np.ndarray  # [T, n, B, A, C], logits, c_1 to c_T
    write_window: np.ndarray | None  # [T, n, 5], None without attention


def sigm(v: np.ndarray) -> np.ndarray:
    """The logistic function 1 / (1 + exp(-v)) of Eq. 3 and of the LSTM's gates, without overflow for any finite v."""
    v = np.asarray(v, dtype=np.float64)
    e = np.exp(-np.abs(v))
    return np.where(v >= 0.0, 1.0 / (1.0 + e), e / (1.0 + e))


def lstm(
    w: np.ndarray, b: np.ndarray, inputs: np.ndarray, h: np.ndarray, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """RNN_enc of Eq. 5 and RNN_dec of Eq. 7: an LSTM with forget gates and no peepholes.

    w: [D + H, 4H] acting on [inputs, h]; its columns are input gate, forget gate, output gate, candidate.
    inputs: [D]; h, s: [H], the previous output and cell state. Returns the new (h, s).
    """
    H = h.shape[0]
    gates = np.concatenate([inputs, h]) @ w + b
    i = sigm(gates[0 * H : 1 * H])
    f = sigm(gates[1 * H : 2 * H])
    o = sigm(gates[2 * H : 3 * H])
    g = np.tanh(gates[3 * H : 4 * H])
    s_new = f * s + i * g
    h_new = o * np.tanh(s_new)
    return h_new, s_new


def posterior(w: np.ndarray, b: np.ndarray, h_enc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eqs. 1-2. mu = W(h_enc), sigma = exp(W(h_enc)); both [Z]. w: [H, 2Z], mu's columns, then log sigma's."""
    Z = w.shape[1] // 2
    outputs = h_enc @ w + b
    mu = outputs[:Z]
    sigma = np.exp(outputs[Z:])
    return mu, sigma


def error_image(x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Eq. 3. x_hat_t = x - sigm(c_{t-1}); all [B, A, C]."""
    return x - sigm(c)


def window(raw5: np.ndarray, A: int, B: int, N: int) -> Window:
    """Eqs. 21-24. (g_X, g_Y, delta, sigma2, gamma) from raw5 = (g~_X, g~_Y, log sigma2, log delta~, log gamma).

    The centre (g_X, g_Y) is in 1-based pixels, the stride delta in pixels. Raises ValueError for N < 2 (Eq. 24).
    """
    if N < 2:
        raise ValueError(f"Eq. 24 divides by N - 1: expected N of at least 2, got {N}")
    g_tilde_x, g_tilde_y, log_sigma2, log_delta_tilde, log_gamma = raw5
    g_x = (A + 1) / 2 * (g_tilde_x + 1)
    g_y = (B + 1) / 2 * (g_tilde_y + 1)
    delta = (max(A, B) - 1) / (N - 1) * np.exp(log_delta_tilde)
    sigma2 = np.exp(log_sigma2)
    gamma = np.exp(log_gamma)
    return g_x, g_y, delta, sigma2, gamma


def filter_means(g: float, delta: float, N: int) -> np.ndarray:
    """Eq. 19 with g_X, Eq. 20 with g_Y. mu^i = g + (i - N/2 - 0.5) delta, i = 1..N; [N], 1-based pixels."""
    mu = np.empty(N)
    for i in range(1, N + 1):
        mu[i - 1] = g + (i - N / 2 - 0.5) * delta
    return mu


def filterbank(
    g_x: float, g_y: float, delta: float, sigma2: float, N: int, A: int, B: int
) -> tuple[np.ndarray, np.ndarray]:
    """Eqs. 25-26. f_x: [N, A] and f_y: [N, B], rows sum to 1.

    The largest exponent of a row is subtracted before exp: it cancels in 1/Z, and the row of a filter that lies far
    outside the image still sums to 1.
    """
    f_x = np.empty((N, A))
    mu_x = filter_means(g_x, delta, N)
    for i in range(1, N + 1):
        exponents = np.array([-((a - mu_x[i - 1]) ** 2) / (2 * sigma2) for a in range(1, A + 1)])
        unnormalised = np.exp(exponents - exponents.max())
        f_x[i - 1] = unnormalised / unnormalised.sum()

    f_y = np.empty((N, B))
    mu_y = filter_means(g_y, delta, N)
    for j in range(1, N + 1):
        exponents = np.array([-((b - mu_y[j - 1]) ** 2) / (2 * sigma2) for b in range(1, B + 1)])
        unnormalised = np.exp(exponents - exponents.max())
        f_y[j - 1] = unnormalised / unnormalised.sum()
    return f_x, f_y


def read_patch(x: np.ndarray, f_x: np.ndarray, f_y: np.ndarray, gamma: float) -> np.ndarray:
    """Half of Eq. 27, on each channel. gamma F_Y x F_X^T: [N (y), N (x), C] from x: [B, A, C]."""
    N, C = f_x.shape[0], x.shape[2]
    patch = np.empty((N, N, C))
    for channel in range(C):
        patch[:, :, channel] = gamma * (f_y @ x[:, :, channel] @ f_x.T)
    return patch


def read_attention(x: np.ndarray, x_hat: np.ndarray, f_x: np.ndarray, f_y: np.ndarray, gamma: float) -> np.ndarray:
    """Eq. 27. gamma [F_Y x F_X^T, F_Y x_hat F_X^T], each patch row-major: [2 N N C]."""
    return np.concatenate([read_patch(x, f_x, f_y, gamma).ravel(), read_patch(x_hat, f_x, f_y, gamma).ravel()])


def write_attention(w_t: np.ndarray, f_x: np.ndarray, f_y: np.ndarray, gamma: float) -> np.ndarray:
    """Eq. 29, on each channel. 1/gamma^ F^_Y^T w_t F^_X: [B, A, C] from w_t: [N (y), N (x), C]."""
    B, A, C = f_y.shape[1], f_x.shape[1], w_t.shape[2]
    image = np.empty((B, A, C))
    for channel in range(C):
        image[:, :, channel] = 1 / gamma * (f_y.T @ w_t[:, :, channel] @ f_x)
    return image


def read_no_attention(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """Eq. 17. [x, x_hat], each row-major: [2 B A C]."""
    return np.concatenate([x.ravel(), x_hat.ravel()])


def write_no_attention(w: np.ndarray, b: np.ndarray, h_dec: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Eq. 18. W(h_dec): [B, A, C], row-major."""
    return (h_dec @ w + b).reshape(shape)


def read(
    weights: Weights, x: np.ndarray, x_hat: np.ndarray, h_dec: np.ndarray, read_n: int | None
) -> tuple[np.ndarray, Window | None]:
    """Eq. 4: r_t by Eq. 17 or by Eqs. 21-27, h_dec being h_dec_{t-1}. Returns r_t and the window."""
    if read_n is None:
        return read_no_attention(x, x_hat), None
    B, A, _ = x.shape
    values = window(h_dec @ weights["read_window/w"] + weights["read_window/b"], A, B, read_n)
    g_x, g_y, delta, sigma2, gamma = values
    f_x, f_y = filterbank(g_x, g_y, delta, sigma2, read_n, A, B)
    return read_attention(x, x_hat, f_x, f_y, gamma), values


def write(
    weights: Weights, h_dec: np.ndarray, shape: tuple[int, int, int], write_n: int | None
) -> tuple[np.ndarray, Window | None]:
    """write(h_dec_t) of Eq. 8, by Eq. 18 or by Eqs. 21-26, 28 and 29. Returns the addend [B, A, C] and the window."""
    if write_n is None:
        return write_no_attention(weights["write/w"], weights["write/b"], h_dec, shape), None
    B, A, C = shape
    outputs = h_dec @ weights["write/w"] + weights["write/b"]
    values = window(outputs[:WINDOW_SIZE], A, B, write_n)
    w_t = outputs[WINDOW_SIZE:].reshape(write_n, write_n, C)
    g_x, g_y, delta, sigma2, gamma = values
    f_x, f_y = filterbank(g_x, g_y, delta, sigma2, write_n, A, B)
    return write_attention(w_t, f_x, f_y, gamma), values


def cross_entropy(x: np.ndarray, c: np.ndarray) -> float:
    """Eq. 9 for one row, in nats. -log D(x | c), D Bernoulli with means sigm(c), summed over pixels and channels.

    Per pixel -x log sigm(c) - (1 - x) log(1 - sigm(c)) = log(1 + exp(c)) - x c, which is defined for x in [0, 1].
    """
    log_one_plus_exp = np.maximum(c, 0.0) + np.log1p(np.exp(-np.abs(c)))
    return float(np.sum(log_one_plus_exp - x * c))


def kl(mu: np.ndarray, sigma: np.ndarray) -> float:
    """Eqs. 10-11 for one row and one step, in nats. 1/2 sum_j (mu_j^2 + sigma_j^2 - log sigma_j^2) - n_z / 2."""
    n_z = mu.shape[0]
    total = 0.0
    for j in range(n_z):
        total += mu[j] ** 2 + sigma[j] ** 2 - 2 * np.log(sigma[j])
    return float(total / 2 - n_z / 2)


def log_normal(z: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """Log density at z: [Z] of the Q of Eq. 6, N(mu, sigma^2) with independent coordinates."""
    total = 0.0
    for j in range(z.shape[0]):
        total += -0.5 * np.log(2 * np.pi) - np.log(sigma[j]) - (z[j] - mu[j]) ** 2 / (2 * sigma[j] ** 2)
    return float(total)


def log_prior(z: np.ndarray) -> float:
    """Log density at z: [Z] of the prior of Eqs. 10 and 13, N(0, I)."""
    return log_normal(z, np.zeros_like(z), np.ones_like(z))


def forward(weights: Weights, x: np.ndarray, eps: np.ndarray, read_n: int | None, write_n: int | None) -> Forward:
    """Eqs. 1-12. x: [n, B, A, C]; eps: [T, n, Z], standard normal noise, z_t = mu_t + sigma_t eps_t (Eq. 6).

    read_n and write_n are the N of the two windows, None where there is no attention (Eqs. 17-18). Raises ValueError
    for a window of N < 2, and where weights, x or eps have other names or shapes than `weight_shapes` says.
    """
    x, eps = np.asarray(x, dtype=np.float64), np.asarray(eps, dtype=np.float64)
    B, A, C = shape = _canvas_shape(weights)
    T, n, Z = _noise_shape(eps)
    H = np.shape(weights["h_dec_0"])[0]
    if x.shape != (n, *shape):
        raise ValueError(f"x has shape {x.shape}, expected {(n, *shape)} from eps and canvas_0")
    expected = weight_shapes(B, A, C, H, Z, read_n, write_n)
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise ValueError(f"weights that read_n={read_n}, write_n={write_n} has no use for: {unknown}")
    weights = _checked(weights, expected)

    canvas = np.empty((T, n, B, A, C))
    mu, sigma, z = np.empty((T, n, Z)), np.empty((T, n, Z)), np.empty((T, n, Z))
    kl_per_step = np.empty((T, n))
    read_window = None if read_n is None else np.empty((T, n, WINDOW_SIZE))
    write_window = None if write_n is None else np.empty((T, n, WINDOW_SIZE))
    reconstruction, nll_bound, log_weight = np.empty(n), np.empty(n), np.empty(n)

    for row in range(n):
        c = weights["canvas_0"]
        h_enc, s_enc = weights["h_enc_0"], weights["s_enc_0"]
        h_dec, s_dec = weights["h_dec_0"], weights["s_dec_0"]
        log_p_z, log_q_z = 0.0, 0.0
        for t in range(T):
            x_hat = error_image(x[row], c)
            r, read_values = read(weights, x[row], x_hat, h_dec, read_n)
            h_enc, s_enc = lstm(weights["encoder/w"], weights["encoder/b"], np.concatenate([r, h_dec]), h_enc, s_enc)
            mu[t, row], sigma[t, row] = posterior(weights["latent/w"], weights["latent/b"], h_enc)
            z[t, row] = mu[t, row] + sigma[t, row] * eps[t, row]
            h_dec, s_dec = lstm(weights["decoder/w"], weights["decoder/b"], z[t, row], h_dec, s_dec)
            addend, write_values = write(weights, h_dec, shape, write_n)
            c = c + addend

            canvas[t, row] = c
            kl_per_step[t, row] = kl(mu[t, row], sigma[t, row])
            log_p_z += log_prior(z[t, row])
            log_q_z += log_normal(z[t, row], mu[t, row], sigma[t, row])
            if read_window is not None:
                read_window[t, row] = read_values
            if write_window is not None:
                write_window[t, row] = write_values

        reconstruction[row] = cross_entropy(x[row], c)
        nll_bound[row] = reconstruction[row] + kl_per_step[:, row].sum()
        log_weight[row] = -reconstruction[row] + log_p_z - log_q_z

    return Forward(
        canvas=canvas,
        mu=mu,
        sigma=sigma,
        z=z,
        kl=kl_per_step,
        read_window=read_window,
        write_window=write_window,
        reconstruction=reconstruction,
        nll_bound=nll_bound,
        log_weight=log_weight,
        loss=float(nll_bound.mean()),
    )


def generate(weights: Weights, eps: np.ndarray, write_n: int | None) -> Generation:
    """Eqs. 13-16. z_t = eps_t ~ N(0, I), eps: [T, n, Z]; the image's mean is sigm of the last canvas.

    Only the weights in GENERATIVE_NAMES are looked at; the others may be there or not. Raises ValueError for a
    window of N < 2, and where a weight or eps has another shape than `weight_shapes` says.
    """
    eps = np.asarray(eps, dtype=np.float64)
    B, A, C = shape = _canvas_shape(weights)
    T, n, Z = _noise_shape(eps)
    H = np.shape(weights["h_dec_0"])[0]
    expected = weight_shapes(B, A, C, H, Z, None, write_n)
    weights = _checked(weights, {name: expected[name] for name in GENERATIVE_NAMES})

    canvas = np.empty((T, n, B, A, C))
    write_window = None if write_n is None else np.empty((T, n, WINDOW_SIZE))
    for row in range(n):
        c, h_dec, s_dec = weights["canvas_0"], weights["h_dec_0"], weights["s_dec_0"]
        for t in range(T):
            h_dec, s_dec = lstm(weights["decoder/w"], weights["decoder/b"], eps[t, row], h_dec, s_dec)
            addend, write_values = write(weights, h_dec, shape, write_n)
            c = c + addend
            canvas[t, row] = c
            if write_window is not None:
                write_window[t, row] = write_values
    return Generation(canvas=canvas, write_window=write_window)


def numerical_gradient(
    function: Callable[[Weights], float],
    weights: Weights,
    name: str,
    indices: Iterable[tuple[int, ...]],
    step: float = 1e-5,
) -> np.ndarray:
    """Central differences of function (of Eq. 12, say) at the given indices of weights[name]; one value an index.

    weights is left as it was. The error is of order step^2 from the third derivative and eps_machine / step from
    rounding.
    """
    gradient = []
    for index in indices:
        values = []
        for sign in (1.0, -1.0):
            moved = np.array(weights[name], dtype=np.float64)
            moved[index] += sign * step
            values.append(function({**weights, name: moved}))
        gradient.append((values[0] - values[1]) / (2 * step))
    return np.array(gradient)


def weight_shapes(
    B: int, A: int, C: int, H: int, Z: int, read_n: int | None, write_n: int | None
) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the learned weights of Eqs. 1-8, 17-18, 21 and 28."""
    R = 2 * B * A * C if read_n is None else 2 * read_n * read_n * C
    W = B * A * C if write_n is None else WINDOW_SIZE + write_n * write_n * C
    shapes = {
        "canvas_0": (B, A, C),
        "h_enc_0": (H,),
        "s_enc_0": (H,),
        "h_dec_0": (H,),
        "s_dec_0": (H,),
        "encoder/w": (R + H + H, 4 * H),
        "encoder/b": (4 * H,),
        "latent/w": (H, 2 * Z),
        "latent/b": (2 * Z,),
        "decoder/w": (Z + H, 4 * H),
        "decoder/b": (4 * H,),
        "write/w": (H, W),
        "write/b": (W,),
    }
    if read_n is not None:
        shapes["read_window/w"] = (H, WINDOW_SIZE)
        shapes["read_window/b"] = (WINDOW_SIZE,)
    return shapes


def random_weights(
    rng: np.random.Generator,
    B: int,
    A: int,
    C: int,
    H: int,
    Z: int,
    read_n: int | None,
    write_n: int | None,
    scale: float = 1.0,
) -> dict[str, np.ndarray]:
    """Every weight of Eqs. 1-8, 17-18, 21 and 28 drawn from a normal, none of them neutral.

    Weights have standard deviation scale / sqrt(their inputs), the rest scale. With scale near 1 the gates do not
    saturate, and the windows differ between rows and steps, but for the first read window: h_dec_0 alone decides it.
    """
    weights = {}
    for name, shape in weight_shapes(B, A, C, H, Z, read_n, write_n).items():
        deviation = scale / np.sqrt(shape[0]) if name.endswith("/w") else scale
        weights[name] = deviation * rng.standard_normal(shape)
    return weights


def _canvas_shape(weights: Weights) -> tuple[int, int, int]:
    shape = np.shape(weights["canvas_0"])
    if len(shape) != 3:
        raise ValueError(f"canvas_0 has shape {shape}, expected [B, A, C]")
    return shape


def _noise_shape(eps: np.ndarray) -> tuple[int, int, int]:
    if eps.ndim != 3:
        raise ValueError(f"eps has shape {eps.shape}, expected [T, n, Z]")
    return eps.shape


def _checked(weights: Weights, expected: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    missing = sorted(set(expected) - set(weights))
    if missing:
        raise ValueError(f"weights missing: {missing}")
    checked = {name: np.asarray(weights[name], dtype=np.float64) for name in expected}
    for name, value in checked.items():
        if value.shape != expected[name]:
            raise ValueError(f"{name} has shape {value.shape}, expected {expected[name]}")
    return checked
