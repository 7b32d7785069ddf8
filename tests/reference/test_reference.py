"""The reference pinned by numbers worked by hand and by identities of the paper's equations."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.reference import draw

# No two of these are equal, so that no mistaken axis fits.
B, A, C, H, Z, T, n = 5, 8, 3, 6, 2, 4, 7
READ_N, WRITE_N = 3, 4
ATTENTIONS = [(READ_N, WRITE_N), (None, WRITE_N), (READ_N, None), (None, None)]


def make_case(read_n, write_n, *, seed=0, steps=T, rows=n):
    rng = np.random.default_rng(seed)
    weights = draw.random_weights(rng, B, A, C, H, Z, read_n, write_n, 1.0)
    x = rng.uniform(size=(rows, B, A, C))
    eps = rng.standard_normal((steps, rows, Z))
    return weights, x, eps


def zero_weights(read_n, write_n):
    return {name: np.zeros(shape) for name, shape in draw.weight_shapes(B, A, C, H, Z, read_n, write_n).items()}


def test_it_imports_numpy_and_the_standard_library_only():
    tree = ast.parse(Path(draw.__file__).read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def test_every_public_function_names_its_equation():
    functions = [f for f in vars(draw).values() if callable(f) and getattr(f, "__module__", None) == draw.__name__]
    public = [f for f in functions if not f.__name__.startswith("_")]
    assert len(public) > 15
    assert [f.__name__ for f in public if "Eq" not in (f.__doc__ or "")] == []


# sigm and the LSTM


def test_sigm_by_hand():
    np.testing.assert_allclose(draw.sigm([0.0, np.log(3), -np.log(3)]), [0.5, 0.75, 0.25], rtol=1e-15)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(draw.sigm([1000.0, -1000.0]), [1.0, 0.0])


def test_lstm_by_hand():
    # Unit 1: i = 3/4, f = 1/2, o = 1/4, g = tanh(log 2) = 3/5. Unit 2: i = 1/2, f = 1/4, o = 3/4, g = -3/5.
    log2, log3 = np.log(2), np.log(3)
    b = np.array([log3, 0.0, 0.0, -log3, -log3, log3, log2, -log2])
    h, s = draw.lstm(np.zeros((3 + 2, 8)), b, np.ones(3), np.ones(2), np.array([2.0, 4.0]))
    np.testing.assert_allclose(s, [2 / 2 + 0.75 * 0.6, 4 / 4 - 0.5 * 0.6], rtol=1e-15)
    np.testing.assert_allclose(h, [0.25 * np.tanh(1.45), 0.75 * np.tanh(0.7)], rtol=1e-15)


@pytest.mark.parametrize(("row", "value"), [(0, 0.1), (2, 0.3), (3, 0.4), (4, 0.5)])
def test_lstm_acts_on_the_inputs_and_then_on_the_previous_output(row, value):
    w = np.zeros((5, 8))
    w[row, 7] = 1.0
    b = np.array([1000.0, 1000.0, -1000.0, -1000.0, 1000.0, 1000.0, 0.0, 0.0])
    h, s = draw.lstm(w, b, np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5]), np.array([9.0, 9.0]))
    np.testing.assert_allclose(s, [0.0, np.tanh(value)], rtol=1e-15)
    np.testing.assert_allclose(h, np.tanh(s), rtol=1e-15)


# The window and its filters


def test_window_by_hand():
    raw5 = np.array([0.5, -0.5, np.log(2), np.log(0.25), np.log(3)])
    np.testing.assert_allclose(draw.window(raw5, 7, 4, 3), [6.0, 1.25, 0.75, 2.0, 3.0], rtol=1e-15)
    np.testing.assert_allclose(draw.window(raw5, 4, 7, 3), [3.75, 2.0, 0.75, 2.0, 3.0], rtol=1e-15)


@pytest.mark.parametrize(("columns", "rows"), [(9, 4), (4, 9)])
def test_delta_is_of_the_longer_side(columns, rows):
    assert draw.window(np.zeros(5), columns, rows, 5)[2] == 2.0


def test_raw_centre_of_zero_is_the_middle_of_the_image_and_of_one_a_pixel_beyond_it():
    assert draw.window(np.array([0, 0, 0, 0, 0]), 7, 4, 3)[:2] == (4.0, 2.5)
    assert draw.window(np.array([-1, -1, 0, 0, 0]), 7, 4, 3)[:2] == (0.0, 0.0)
    assert draw.window(np.array([1, 1, 0, 0, 0]), 7, 4, 3)[:2] == (8.0, 5.0)


@pytest.mark.parametrize("N", [1, 0])
def test_window_of_one_filter_is_refused(N):
    with pytest.raises(ValueError, match=r"Eq\. 24"):
        draw.window(np.zeros(5), A, B, N)


@pytest.mark.parametrize(("read_n", "write_n"), [(1, WRITE_N), (READ_N, 1), (None, 1), (1, None)])
def test_model_of_one_filter_is_refused(read_n, write_n):
    with pytest.raises(ValueError, match=r"Eq\. 24"):
        draw.forward(*make_case(read_n, write_n), read_n, write_n)


def test_filter_means_by_hand():
    np.testing.assert_allclose(draw.filter_means(4.0, 1.5, 3), [2.5, 4.0, 5.5])
    np.testing.assert_allclose(draw.filter_means(4.0, 1.5, 4), [1.75, 3.25, 4.75, 6.25])


@pytest.mark.parametrize("N", [2, 3, 6])
def test_filters_of_raw_zero_span_the_longer_side_from_the_first_pixel_to_the_last(N):
    g_x, g_y, delta, _, _ = draw.window(np.zeros(5), A, B, N)
    mu_x, mu_y = draw.filter_means(g_x, delta, N), draw.filter_means(g_y, delta, N)
    np.testing.assert_allclose([mu_x[0], mu_x[-1]], [1.0, A], rtol=1e-14)
    np.testing.assert_allclose([mu_y[0], mu_y[-1]], [(B + 1) / 2 - (A - 1) / 2, (B + 1) / 2 + (A - 1) / 2], rtol=1e-14)


def test_filterbank_by_hand():
    # f_x: means 1.5 and 2.5 on pixels 1, 2, 3. f_y: means 1 and 2 on pixels 1, 2. 2 sigma2 = 1.
    f_x, f_y = draw.filterbank(g_x=2.0, g_y=1.5, delta=1.0, sigma2=0.5, N=2, A=3, B=2)
    far = np.exp(-2) / (2 + np.exp(-2))
    near = 1 / (2 + np.exp(-2))
    np.testing.assert_allclose(f_x, [[near, near, far], [far, near, near]], rtol=1e-14)
    on, beside = 1 / (1 + np.exp(-1)), np.exp(-1) / (1 + np.exp(-1))
    np.testing.assert_allclose(f_y, [[on, beside], [beside, on]], rtol=1e-14)


def test_middle_filter_of_a_centred_odd_window_sits_on_the_centre_pixel():
    columns, rows, N = 9, 5, 3
    g_x, g_y, delta, _, _ = draw.window(np.array([0.0, 0.0, 0.0, np.log(0.3), 0.0]), columns, rows, N)
    f_x, f_y = draw.filterbank(g_x, g_y, delta, 0.7, N, columns, rows)
    assert np.argmax(f_x[1]) == 4 and np.argmax(f_y[1]) == 2
    np.testing.assert_allclose(f_x[1], f_x[1][::-1], rtol=1e-13)
    np.testing.assert_allclose(f_y[1], f_y[1][::-1], rtol=1e-13)
    np.testing.assert_allclose(f_x[0], f_x[2][::-1], rtol=1e-13)
    np.testing.assert_allclose(f_y[0], f_y[2][::-1], rtol=1e-13)


@pytest.mark.parametrize("sigma2", [1e-6, 0.3, 50.0])
@pytest.mark.parametrize(("g_x", "g_y"), [(3.2, 4.1), (-1e4, 2.0), (1e6, -1e6)])
def test_rows_sum_to_one_wherever_the_window_is(g_x, g_y, sigma2):
    f_x, f_y = draw.filterbank(g_x, g_y, 1.3, sigma2, READ_N, A, B)
    assert f_x.shape == (READ_N, A) and f_y.shape == (READ_N, B)
    assert (f_x >= 0).all() and (f_y >= 0).all()
    np.testing.assert_allclose(f_x.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(f_y.sum(axis=1), 1.0, rtol=1e-14)


def test_window_far_outside_sees_the_nearest_pixel():
    f_x, f_y = draw.filterbank(1e6, -1e6, 1.3, 0.5, READ_N, A, B)
    np.testing.assert_allclose(f_x, np.tile(np.eye(A)[-1], (READ_N, 1)), atol=1e-15)
    np.testing.assert_allclose(f_y, np.tile(np.eye(B)[0], (READ_N, 1)), atol=1e-15)


def test_filters_where_no_edge_is_near_are_the_continuous_gaussian():
    f_x, _ = draw.filterbank(30.3, 1.0, 2.0, 4.0, 3, 60, 2)
    pixels = np.arange(1, 61)
    np.testing.assert_allclose(f_x @ pixels, [28.3, 30.3, 32.3], rtol=1e-12)
    np.testing.assert_allclose(f_x[1] @ (pixels - 30.3) ** 2, 4.0, rtol=1e-12)


# Read and write


def random_filters(N, seed=1):
    rng = np.random.default_rng(seed)
    f_x, f_y = draw.filterbank(3.7, 2.2, 1.4, 0.8, N, A, B)
    return rng, f_x, f_y


def test_read_is_the_sum_over_pixels():
    rng, f_x, f_y = random_filters(READ_N)
    x, x_hat = rng.standard_normal((2, B, A, C))
    expected = []
    for image in (x, x_hat):
        for j in range(READ_N):
            for i in range(READ_N):
                for channel in range(C):
                    total = 0.0
                    for b in range(B):
                        for a in range(A):
                            total += f_y[j, b] * image[b, a, channel] * f_x[i, a]
                    expected.append(2.5 * total)
    np.testing.assert_allclose(draw.read_attention(x, x_hat, f_x, f_y, 2.5), expected, rtol=1e-12)


def test_write_is_the_sum_over_filters():
    rng, f_x, f_y = random_filters(WRITE_N)
    w_t = rng.standard_normal((WRITE_N, WRITE_N, C))
    image = draw.write_attention(w_t, f_x, f_y, 2.5)
    assert image.shape == (B, A, C)
    for b, a, channel in np.ndindex(B, A, C):
        total = 0.0
        for j in range(WRITE_N):
            for i in range(WRITE_N):
                total += f_y[j, b] * w_t[j, i, channel] * f_x[i, a]
        np.testing.assert_allclose(image[b, a, channel], total / 2.5, rtol=1e-11)


def test_write_is_the_transpose_of_read():
    rng, f_x, f_y = random_filters(WRITE_N)
    x = rng.standard_normal((B, A, C))
    w_t = rng.standard_normal((WRITE_N, WRITE_N, C))
    gamma = 2.5
    read = draw.read_patch(x, f_x, f_y, gamma) / gamma
    written = draw.write_attention(w_t, f_x, f_y, gamma) * gamma
    np.testing.assert_allclose(np.sum(read * w_t), np.sum(x * written), rtol=1e-12)


def test_sharp_filters_one_pixel_apart_read_the_image_itself():
    # N = A and the means are 1..A on both axes; the filters below the image hold on to its last row.
    rng = np.random.default_rng(2)
    x, x_hat = rng.standard_normal((2, B, A, C))
    f_x, f_y = draw.filterbank((A + 1) / 2, (A + 1) / 2, 1.0, 1e-3, A, A, B)
    r = draw.read_attention(x, x_hat, f_x, f_y, 3.0).reshape(2, A, A, C)
    for half, image in zip(r, (x, x_hat), strict=True):
        np.testing.assert_allclose(half[:B], 3.0 * image, rtol=1e-12)
        np.testing.assert_allclose(half[B:], np.broadcast_to(3.0 * image[-1], (A - B, A, C)), rtol=1e-12)


def test_sharp_filter_writes_one_pixel():
    w_t = np.zeros((WRITE_N, WRITE_N, C))
    w_t[1, 2, 0] = 6.0
    f_x, f_y = draw.filterbank(4.5, 2.5, 1.0, 1e-3, WRITE_N, A, B)
    expected = np.zeros((B, A, C))
    expected[2 - 1, 5 - 1, 0] = 6.0 / 4.0
    np.testing.assert_allclose(draw.write_attention(w_t, f_x, f_y, 4.0), expected, atol=1e-15)


def test_a_constant_image_reads_as_gamma_times_the_constant():
    _, f_x, f_y = random_filters(READ_N)
    np.testing.assert_allclose(draw.read_patch(np.full((B, A, C), 0.4), f_x, f_y, 2.5), 1.0, rtol=1e-13)


def test_write_conserves_the_patch_sum_over_gamma():
    rng, f_x, f_y = random_filters(WRITE_N)
    w_t = rng.standard_normal((WRITE_N, WRITE_N, C))
    image = draw.write_attention(w_t, f_x, f_y, 2.5)
    np.testing.assert_allclose(image.sum(axis=(0, 1)), w_t.sum(axis=(0, 1)) / 2.5, rtol=1e-12)


def test_read_and_write_without_attention():
    x, x_hat = np.arange(24.0).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(draw.read_no_attention(x, x_hat), np.arange(24.0))
    w, b, h_dec = np.ones((2, 12)), np.arange(12.0), np.array([0.5, -2.5])
    image = draw.write_no_attention(w, b, h_dec, (2, 2, 3))
    np.testing.assert_array_equal(image, np.arange(12.0).reshape(2, 2, 3) - 2.0)


# Posterior, KL, cross-entropy and densities


def test_posterior_emits_mu_and_then_log_sigma():
    w = np.array([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    mu, sigma = draw.posterior(w, np.array([0.5, 0.0, 0.0, 0.0]), np.array([3.0, np.log(2)]))
    np.testing.assert_allclose(mu, [3.5, 6.0], rtol=1e-15)
    np.testing.assert_allclose(sigma, [2.0, 0.5], rtol=1e-15)


def test_kl_is_zero_at_the_prior_and_positive_elsewhere():
    assert draw.kl(np.zeros(3), np.ones(3)) == 0.0
    rng = np.random.default_rng(3)
    for _ in range(20):
        assert draw.kl(rng.standard_normal(3), np.exp(rng.standard_normal(3))) > 0.0


def test_kl_by_hand():
    # (1 + 4 - log 4) / 2 - 1/2 + (9 + 1/4 + log 4) / 2 - 1/2: the logarithms cancel.
    np.testing.assert_allclose(draw.kl(np.array([1.0, 3.0]), np.array([2.0, 0.5])), 14.25 / 2 - 1, rtol=1e-15)


def test_kl_is_the_mean_of_the_log_ratio():
    # The log ratio is quadratic in each z_j and separable, so Gauss-Hermite nodes give its mean exactly.
    mu, sigma = np.array([0.7, -1.1, 0.2]), np.array([0.4, 1.7, 0.9])
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    weights = weights / weights.sum()
    ratios = [draw.log_normal(mu + sigma * e, mu, sigma) - draw.log_prior(mu + sigma * e) for e in nodes]
    np.testing.assert_allclose(draw.kl(mu, sigma), weights @ ratios, rtol=1e-13)


def test_log_normal_is_a_density():
    grid = np.linspace(-20, 20, 2001)
    density = [np.exp(draw.log_normal(np.array([v]), np.array([1.3]), np.array([1.7]))) for v in grid]
    np.testing.assert_allclose(np.sum(density) * (grid[1] - grid[0]), 1.0, rtol=1e-12)
    joint = draw.log_normal(np.array([0.5, 2.0]), np.array([1.0, -1.0]), np.array([2.0, 3.0]))
    np.testing.assert_allclose(joint, -np.log(2 * np.pi) - np.log(6) - 0.25**2 / 2 - 0.5, rtol=1e-14)


def test_cross_entropy_is_the_direct_formula():
    rng = np.random.default_rng(4)
    x, c = rng.uniform(size=(B, A, C)), 3 * rng.standard_normal((B, A, C))
    mean = draw.sigm(c)
    direct = -np.sum(x * np.log(mean) + (1 - x) * np.log(1 - mean))
    np.testing.assert_allclose(draw.cross_entropy(x, c), direct, rtol=1e-12)


def test_cross_entropy_by_hand():
    # -log 3/4 - log 1/2 - log 3/4, and the certain pixels cost nothing or the whole logit.
    x, c = np.array([[[1.0], [0.0], [0.0]]]), np.array([[[np.log(3)], [0.0], [-np.log(3)]]])
    np.testing.assert_allclose(draw.cross_entropy(x, c), np.log(32 / 9), rtol=1e-14)
    x, c = np.array([[[1.0], [0.0], [1.0]]]), np.array([[[1000.0], [-1000.0], [-1000.0]]])
    assert draw.cross_entropy(x, c) == 1000.0


# The whole model


@pytest.mark.parametrize(("read_n", "write_n"), ATTENTIONS)
def test_shapes_and_that_the_inputs_are_left_alone(read_n, write_n):
    weights, x, eps = make_case(read_n, write_n)
    before = {name: value.copy() for name, value in weights.items()}
    result = draw.forward(weights, x, eps, read_n, write_n)
    for name, value in weights.items():
        np.testing.assert_array_equal(value, before[name])
    assert result.canvas.shape == (T, n, B, A, C)
    assert result.mu.shape == result.sigma.shape == result.z.shape == (T, n, Z)
    assert result.kl.shape == (T, n)
    assert result.reconstruction.shape == result.nll_bound.shape == result.log_weight.shape == (n,)
    for window, size in ((result.read_window, read_n), (result.write_window, write_n)):
        assert window is None if size is None else window.shape == (T, n, 5)
    for value in vars(result).values():
        assert value is None or np.isfinite(value).all()


def test_random_weights_are_not_neutral():
    weights, x, eps = make_case(READ_N, WRITE_N)
    assert all((value != 0).all() for value in weights.values())
    result = draw.forward(weights, x, eps, READ_N, WRITE_N)
    assert (result.read_window[0] == result.read_window[0, 0]).all()
    for window in (result.read_window[1:], result.write_window):
        for row, other in zip(*np.triu_indices(n, 1), strict=True):
            assert (np.abs(window[:, row] - window[:, other]).max(axis=0) > 1e-3).all()


@pytest.mark.parametrize(("read_n", "write_n"), ATTENTIONS)
def test_a_row_does_not_depend_on_its_batch(read_n, write_n):
    weights, x, eps = make_case(read_n, write_n)
    together = draw.forward(weights, x, eps, read_n, write_n)
    alone = draw.forward(weights, x[3:4], eps[:, 3:4], read_n, write_n)
    np.testing.assert_array_equal(together.canvas[:, 3:4], alone.canvas)
    np.testing.assert_array_equal(together.log_weight[3:4], alone.log_weight)
    assert alone.loss == together.nll_bound[3]


def test_more_steps_begin_with_the_same_steps():
    weights, x, eps = make_case(READ_N, WRITE_N)
    longer = draw.forward(weights, x, eps, READ_N, WRITE_N)
    shorter = draw.forward(weights, x, eps[: T - 1], READ_N, WRITE_N)
    np.testing.assert_array_equal(longer.canvas[: T - 1], shorter.canvas)
    np.testing.assert_array_equal(longer.kl[: T - 1], shorter.kl)


@pytest.mark.parametrize(("read_n", "write_n"), ATTENTIONS)
def test_the_bound_is_the_sum_of_its_parts(read_n, write_n):
    weights, x, eps = make_case(read_n, write_n)
    result = draw.forward(weights, x, eps, read_n, write_n)
    np.testing.assert_allclose(result.z, result.mu + result.sigma * eps, rtol=1e-14)
    mean = draw.sigm(result.canvas[-1])
    direct = -np.sum(x * np.log(mean) + (1 - x) * np.log(1 - mean), axis=(1, 2, 3))
    np.testing.assert_allclose(result.reconstruction, direct, rtol=1e-10)
    eq_11 = 0.5 * np.sum(result.mu**2 + result.sigma**2 - np.log(result.sigma**2), axis=(0, 2)) - T * Z / 2
    np.testing.assert_allclose(result.kl.sum(axis=0), eq_11, rtol=1e-10)
    np.testing.assert_allclose(result.nll_bound, result.reconstruction + eq_11, rtol=1e-10)
    np.testing.assert_allclose(result.loss, result.nll_bound.sum() / n, rtol=1e-14)
    log_ratio = np.sum(-(result.z**2) / 2 + eps**2 / 2 + np.log(result.sigma), axis=(0, 2))
    np.testing.assert_allclose(result.log_weight, -direct + log_ratio, rtol=1e-10)


def test_with_no_weights_the_canvas_grows_by_the_bias_without_attention():
    weights = zero_weights(None, None)
    rng = np.random.default_rng(5)
    weights["canvas_0"] = rng.standard_normal((B, A, C))
    weights["write/b"] = rng.standard_normal(B * A * C)
    weights["latent/b"] = np.array([1.0, 3.0, np.log(2), -np.log(2)])
    result = draw.forward(weights, rng.uniform(size=(n, B, A, C)), np.ones((T, n, Z)), None, None)
    for t in range(1, T + 1):
        expected = weights["canvas_0"] + t * weights["write/b"].reshape(B, A, C)
        np.testing.assert_allclose(result.canvas[t - 1], np.broadcast_to(expected, (n, B, A, C)), rtol=1e-12)
    np.testing.assert_allclose(result.z, np.broadcast_to([3.0, 3.5], (T, n, Z)), rtol=1e-15)
    np.testing.assert_allclose(result.kl, 14.25 / 2 - 1, rtol=1e-15)


def test_with_no_weights_the_canvas_grows_by_the_written_patch():
    weights = zero_weights(READ_N, WRITE_N)
    rng = np.random.default_rng(6)
    raw5 = np.array([0.2, -0.3, np.log(0.8), np.log(0.4), np.log(2.5)])
    patch = rng.standard_normal((WRITE_N, WRITE_N, C))
    weights["write/b"] = np.concatenate([raw5, patch.ravel()])
    weights["read_window/b"] = np.array([-0.1, 0.4, np.log(1.2), np.log(0.6), np.log(0.5)])
    result = draw.forward(weights, rng.uniform(size=(n, B, A, C)), np.ones((T, n, Z)), READ_N, WRITE_N)

    written = [1.2 * 9 / 2, 0.7 * 6 / 2, 0.4 * 7 / 3, 0.8, 2.5]
    np.testing.assert_allclose(result.write_window, np.broadcast_to(written, (T, n, 5)), rtol=1e-14)
    read = [0.9 * 9 / 2, 1.4 * 6 / 2, 0.6 * 7 / 2, 1.2, 0.5]
    np.testing.assert_allclose(result.read_window, np.broadcast_to(read, (T, n, 5)), rtol=1e-14)
    f_x, f_y = draw.filterbank(*written[:4], WRITE_N, A, B)
    addend = np.einsum("jb,jic,ia->bac", f_y, patch, f_x) / 2.5
    for t in range(1, T + 1):
        np.testing.assert_allclose(result.canvas[t - 1, n - 1], t * addend, rtol=1e-12)


def encoder_that_copies(row, read_n):
    """Weights with which mu_1 = tanh(tanh(v)), v the encoder's input number `row`, and the canvas moves."""
    rng = np.random.default_rng(7)
    weights = draw.random_weights(rng, B, A, C, H, Z, read_n, WRITE_N, 1.0)
    weights["encoder/w"] = np.zeros_like(weights["encoder/w"])
    weights["encoder/w"][row, 3 * H] = 1.0
    weights["encoder/b"] = np.repeat([1000.0, -1000.0, 1000.0, 0.0], H)
    weights["latent/w"] = np.zeros_like(weights["latent/w"])
    weights["latent/w"][0, 0] = 1.0
    weights["latent/b"] = np.zeros(2 * Z)
    return weights, rng.uniform(size=(n, B, A, C)), rng.standard_normal((T, n, Z))


def test_encoder_sees_x_and_then_x_hat_of_the_canvas_before():
    b, a, channel = 3, 6, 1
    pixel = (b * A + a) * C + channel
    weights, x, eps = encoder_that_copies(pixel, None)
    result = draw.forward(weights, x, eps, None, WRITE_N)
    expected = np.broadcast_to(x[:, b, a, channel], (T, n))
    np.testing.assert_allclose(result.mu[:, :, 0], np.tanh(np.tanh(expected)), rtol=1e-13)

    weights, x, eps = encoder_that_copies(B * A * C + pixel, None)
    result = draw.forward(weights, x, eps, None, WRITE_N)
    for t in range(T):
        before = result.canvas[t - 1] if t else np.broadcast_to(weights["canvas_0"], (n, B, A, C))
        x_hat = x[:, b, a, channel] - 1 / (1 + np.exp(-before[:, b, a, channel]))
        np.testing.assert_allclose(result.mu[t, :, 0], np.tanh(np.tanh(x_hat)), rtol=1e-10)


def test_encoder_sees_x_and_then_x_hat_through_the_same_filters():
    j, i, channel = 2, 1, 2
    number = (j * READ_N + i) * C + channel
    for half in (0, 1):
        weights, x, eps = encoder_that_copies(half * READ_N * READ_N * C + number, READ_N)
        result = draw.forward(weights, x, eps, READ_N, WRITE_N)
        for t, row in np.ndindex(T, n):
            g_x, g_y, delta, sigma2, gamma = result.read_window[t, row]
            f_x, f_y = draw.filterbank(g_x, g_y, delta, sigma2, READ_N, A, B)
            before = result.canvas[t - 1, row] if t else weights["canvas_0"]
            image = x[row] - draw.sigm(before) if half else x[row]
            value = gamma * f_y[j] @ image[:, :, channel] @ f_x[i]
            np.testing.assert_allclose(result.mu[t, row, 0], np.tanh(np.tanh(value)), rtol=1e-10)


def test_encoder_sees_the_decoder_and_then_itself():
    R = 2 * READ_N * READ_N * C
    for row, name, unit in ((R + 4, "h_dec_0", 4), (R + H + 4, "h_enc_0", 4)):
        weights, x, eps = encoder_that_copies(row, READ_N)
        result = draw.forward(weights, x, eps, READ_N, WRITE_N)
        np.testing.assert_allclose(result.mu[0, :, 0], np.tanh(np.tanh(weights[name][unit])), rtol=1e-13)


def test_encoder_carries_its_state_from_the_learned_one_as_it_is():
    weights, x, eps = make_case(None, WRITE_N)
    result = draw.forward(weights, x, eps, None, WRITE_N)
    for row in range(n):
        h_enc, s_enc = weights["h_enc_0"], weights["s_enc_0"]
        h_dec, s_dec = weights["h_dec_0"], weights["s_dec_0"]
        for t in range(T):
            before = result.canvas[t - 1, row] if t else weights["canvas_0"]
            inputs = np.concatenate([x[row].ravel(), (x[row] - draw.sigm(before)).ravel(), h_dec])
            h_enc, s_enc = draw.lstm(weights["encoder/w"], weights["encoder/b"], inputs, h_enc, s_enc)
            mu = h_enc @ weights["latent/w"][:, :Z] + weights["latent/b"][:Z]
            np.testing.assert_allclose(result.mu[t, row], mu, rtol=1e-11)
            h_dec, s_dec = draw.lstm(weights["decoder/w"], weights["decoder/b"], result.z[t, row], h_dec, s_dec)


def test_read_looks_with_the_decoder_before_and_write_with_the_decoder_after():
    weights, x, eps = make_case(READ_N, WRITE_N)
    result = draw.forward(weights, x, eps, READ_N, WRITE_N)
    for row in range(n):
        h_dec, s_dec = weights["h_dec_0"], weights["s_dec_0"]
        for t in range(T):
            raw5 = h_dec @ weights["read_window/w"] + weights["read_window/b"]
            np.testing.assert_allclose(result.read_window[t, row], draw.window(raw5, A, B, READ_N), rtol=1e-12)
            h_dec, s_dec = draw.lstm(weights["decoder/w"], weights["decoder/b"], result.z[t, row], h_dec, s_dec)
            raw5 = (h_dec @ weights["write/w"] + weights["write/b"])[:5]
            np.testing.assert_allclose(result.write_window[t, row], draw.window(raw5, A, B, WRITE_N), rtol=1e-12)


@pytest.mark.parametrize("name", ["h_enc_0", "s_enc_0", "h_dec_0", "s_dec_0", "canvas_0"])
def test_every_initial_state_matters(name):
    weights, x, eps = make_case(READ_N, WRITE_N)
    moved = {**weights, name: weights[name] + 0.5}
    losses = [draw.forward(p, x, eps, READ_N, WRITE_N).loss for p in (weights, moved)]
    assert abs(losses[0] - losses[1]) > 1e-4


@pytest.mark.parametrize("write_n", [WRITE_N, None])
def test_generation_from_the_posterior_sample_is_the_decoder_of_forward(write_n):
    weights, x, eps = make_case(READ_N, write_n)
    result = draw.forward(weights, x, eps, READ_N, write_n)
    generation = draw.generate(weights, result.z, write_n)
    np.testing.assert_array_equal(generation.canvas, result.canvas)
    if write_n is None:
        assert generation.write_window is None
    else:
        np.testing.assert_array_equal(generation.write_window, result.write_window)


def test_generation_needs_no_encoder():
    weights, _, eps = make_case(READ_N, WRITE_N)
    decoder = {name: weights[name] for name in draw.GENERATIVE_NAMES}
    np.testing.assert_array_equal(
        draw.generate(decoder, eps, WRITE_N).canvas, draw.generate(weights, eps, WRITE_N).canvas
    )


def test_importance_weights_average_to_the_marginal_likelihood():
    # T = 1, Z = 1: both integrals over the latent are done on a grid, from the posterior and from the prior. Here
    # mu = -1.95 and sigma = 0.41, so that eps must go to 24 for mu + sigma eps to cover the prior.
    rng = np.random.default_rng(8)
    grid = np.linspace(-24, 24, 481)
    spacing = grid[1] - grid[0]
    weights = draw.random_weights(rng, 2, 3, 1, 4, 1, 2, 3, 1.0)
    x = np.broadcast_to(rng.integers(0, 2, size=(2, 3, 1)), (grid.size, 2, 3, 1))
    eps = grid[None, :, None]
    normal = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * spacing

    result = draw.forward(weights, x, eps, 2, 3)
    importance = np.sum(normal * np.exp(result.log_weight))
    canvas = draw.generate(weights, eps, 3).canvas[-1]
    likelihood = [np.exp(-draw.cross_entropy(image, c)) for image, c in zip(x, canvas, strict=True)]
    np.testing.assert_allclose(importance, normal @ likelihood, rtol=1e-11)
    assert np.log(importance) > -normal @ result.nll_bound


# Gradients and bad input


def test_numerical_gradient_of_a_known_function():
    weights = {"p": np.array([[1.0, 2.0], [3.0, 4.0]]), "q": np.array([5.0])}
    before = weights["p"].copy()
    gradient = draw.numerical_gradient(lambda d: np.sum(d["p"] ** 3) * d["q"][0], weights, "p", [(0, 1), (1, 0)], 1e-4)
    np.testing.assert_allclose(gradient, [60.0, 135.0], rtol=1e-7)
    np.testing.assert_array_equal(weights["p"], before)


def test_gradient_of_the_last_write_bias_is_the_mean_error():
    # With T = 1 the bias of Eq. 18 moves c_1 alone, and d L_x / d c = sigm(c) - x.
    weights, x, eps = make_case(READ_N, None, steps=1)

    def loss(p):
        return draw.forward(p, x, eps, READ_N, None).loss

    mean_error = (draw.sigm(draw.forward(weights, x, eps, READ_N, None).canvas[0]) - x).mean(axis=0).ravel()
    indices = [(0,), (37,), (B * A * C - 1,)]
    gradient = draw.numerical_gradient(loss, weights, "write/b", indices, 1e-5)
    np.testing.assert_allclose(gradient, mean_error[[0, 37, -1]], rtol=1e-6)


def test_bad_shapes_and_names_are_refused():
    weights, x, eps = make_case(READ_N, WRITE_N)
    with pytest.raises(ValueError, match="x has shape"):
        draw.forward(weights, x.transpose(0, 2, 1, 3), eps, READ_N, WRITE_N)
    with pytest.raises(ValueError, match="x has shape"):
        draw.forward(weights, x, eps[:, :1], READ_N, WRITE_N)
    with pytest.raises(ValueError, match="eps has shape"):
        draw.forward(weights, x, eps[0], READ_N, WRITE_N)
    with pytest.raises(ValueError, match="encoder/w has shape"):
        draw.forward(weights, x, eps, READ_N + 1, WRITE_N)
    with pytest.raises(ValueError, match="write/w has shape"):
        draw.generate(weights, eps, WRITE_N + 1)
    with pytest.raises(ValueError, match=r"no use for.*read_window"):
        draw.forward(weights, x, eps, None, WRITE_N)
    with pytest.raises(ValueError, match=r"missing.*latent/b"):
        draw.forward({k: v for k, v in weights.items() if k != "latent/b"}, x, eps, READ_N, WRITE_N)
