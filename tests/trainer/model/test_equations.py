"""The paper's equations against the float64 reference, to 1e-10, and the identities that they must satisfy."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.reference import draw as reference
from trainer.model import equations

B, A, n, H, Z = 7, 5, 10, 9, 2
SIZES = [2, tiny.SMALL_N, tiny.ROWS, tiny.LARGE_N]
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def raw_windows(seed=0, rows=n):
    """Window parameters that differ between rows, their centres inside and outside the image. [n, 5]"""
    return np.random.default_rng(seed).normal(0.0, 0.8, (rows, 5))


@pytest.fixture(params=[(B, A), (A, B)], ids=["high", "wide"])
def shape(request):
    """Rows and columns: Eq. 24 takes the larger, whichever it is."""
    return request.param


def make_window(shape, N, seed=0):
    rows, columns = shape
    raw = raw_windows(seed)
    return raw, equations.window(tf.constant(raw), rows=rows, columns=columns, N=N)


def one_window(g_x, g_y, delta, sigma2, dtype=tf.float32):
    return equations.Window(*(tf.constant([value], dtype) for value in (g_x, g_y, delta, sigma2, 1.0)))


def reference_filters(shape, raw, N):
    rows, columns = shape
    windows = [reference.window(row, columns, rows, N) for row in raw]
    return windows, [reference.filterbank(*w[:4], N, columns, rows) for w in windows]


@pytest.mark.parametrize("N", SIZES)
def test_window_equals_the_reference(shape, N):
    raw, w = make_window(shape, N)
    expected, _ = reference_filters(shape, raw, N)
    np.testing.assert_allclose(np.stack(w, axis=1), expected, **TOLERANCE)


@pytest.mark.parametrize("N", [1, 0, -3])
def test_window_refuses_fewer_than_two_filters(N):
    with pytest.raises(ValueError, match=rf"at least 2, not {N}.*Eq\. 24"):
        equations.window(tf.zeros([n, 5]), rows=B, columns=A, N=N)


@pytest.mark.parametrize("N", SIZES)
def test_filterbank_equals_the_reference(shape, N):
    raw, w = make_window(shape, N)
    f_x, f_y = equations.filterbank(w, rows=shape[0], columns=shape[1], N=N)
    _, filters = reference_filters(shape, raw, N)
    np.testing.assert_allclose(f_x, [x for x, _ in filters], **TOLERANCE)
    np.testing.assert_allclose(f_y, [y for _, y in filters], **TOLERANCE)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("N", SIZES)
def test_extract_equals_the_reference(shape, N, channels):
    raw, w = make_window(shape, N)
    images = np.random.default_rng(1).normal(size=(n, *shape, channels))
    windows, filters = reference_filters(shape, raw, N)
    expected = [reference.read_patch(x, *f, row[4]) for x, row, f in zip(images, windows, filters, strict=True)]
    np.testing.assert_allclose(equations.extract(tf.constant(images), w, N=N), expected, **TOLERANCE)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("N", SIZES)
def test_place_equals_the_reference(shape, N, channels):
    raw, w = make_window(shape, N)
    patches = np.random.default_rng(2).normal(size=(n, N, N, channels))
    windows, filters = reference_filters(shape, raw, N)
    expected = [reference.write_attention(p, *f, row[4]) for p, row, f in zip(patches, windows, filters, strict=True)]
    actual = equations.place(tf.constant(patches), w, rows=shape[0], columns=shape[1])
    np.testing.assert_allclose(actual, expected, **TOLERANCE)


@pytest.mark.parametrize("N", [tiny.SMALL_N, tiny.LARGE_N])
def test_place_is_the_adjoint_of_extract_up_to_the_intensity(N):
    _, w = make_window((B, A), N)
    rng = np.random.default_rng(4)
    images, patches = rng.normal(size=(n, B, A, 3)), rng.normal(size=(n, N, N, 3))
    extracted = equations.extract(tf.constant(images), w, N=N).numpy() / w.gamma.numpy()[:, None, None, None]
    placed = equations.place(tf.constant(patches), w, rows=B, columns=A).numpy() * w.gamma.numpy()[:, None, None, None]
    axes = (1, 2, 3)
    np.testing.assert_allclose((extracted * patches).sum(axes), (images * placed).sum(axes), **TOLERANCE)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("sigma2", [1e-6, 0.3, 1e6])
@pytest.mark.parametrize("g", [(-2e3, 1.0), (4.0, 3e3), (1e4, -1e4), (2.5, 2.5)])
def test_rows_of_the_filters_sum_to_one_however_far_the_window_lies(g, sigma2, dtype):
    w = one_window(*g, 1.7, sigma2, dtype)
    for filters, size in zip(equations.filterbank(w, rows=B, columns=A, N=tiny.SMALL_N), (A, B), strict=True):
        assert filters.dtype == dtype and filters.shape == [1, tiny.SMALL_N, size]
        np.testing.assert_allclose(tf.reduce_sum(filters, axis=2), 1.0, rtol=1e-6)


def test_a_window_far_to_one_side_sees_the_nearest_pixels_alone():
    f_x, f_y = equations.filterbank(one_window(-500.0, 900.0, 1.0, 1.0), rows=B, columns=A, N=2)
    np.testing.assert_allclose(f_x[0], [np.eye(A)[0]] * 2, atol=1e-6)
    np.testing.assert_allclose(f_y[0], [np.eye(B)[-1]] * 2, atol=1e-6)


def test_a_narrow_filter_picks_one_pixel_and_a_wide_one_averages_them_all():
    # N = 3 and stride 2 around the centres: columns 1, 3, 5 and rows 2, 4, 6, counted from 1.
    f_x, f_y = equations.filterbank(one_window(3.0, 4.0, 2.0, 1e-4), rows=B, columns=A, N=3)
    np.testing.assert_array_equal(f_x[0], np.eye(A)[[0, 2, 4]])
    np.testing.assert_array_equal(f_y[0], np.eye(B)[[1, 3, 5]])
    f_x, f_y = equations.filterbank(one_window(3.0, 4.0, 2.0, 1e9), rows=B, columns=A, N=3)
    np.testing.assert_allclose(f_x, np.full((1, 3, A), 1 / A), rtol=1e-6)
    np.testing.assert_allclose(f_y, np.full((1, 3, B), 1 / B), rtol=1e-6)


@pytest.mark.parametrize("N", [3, 7])
def test_a_narrow_window_of_stride_one_copies_pixels_without_turning_them(N):
    """Crops of an image: a transposed or mirrored patch is another."""
    size = N + 4
    image = np.random.default_rng(5).normal(size=(1, size + 1, size, 2)).astype(np.float32)
    w = one_window((N + 1) / 2 + 1, (N + 1) / 2 + 2, 1.0, 1e-4)
    crop = equations.extract(tf.constant(image), w, N=N)
    np.testing.assert_allclose(crop, image[:, 2 : 2 + N, 1 : 1 + N], rtol=1e-5)
    expected = np.zeros_like(image)
    expected[:, 2 : 2 + N, 1 : 1 + N] = crop
    np.testing.assert_allclose(equations.place(crop, w, rows=size + 1, columns=size), expected, rtol=1e-5)


def test_lstm_equals_the_reference():
    rng = np.random.default_rng(6)
    inputs, h, s = rng.normal(size=(n, 4)), rng.normal(size=(n, H)), rng.normal(size=(n, H))
    w, b = rng.normal(size=(4 + H, 4 * H)), rng.normal(size=4 * H)
    gates = np.concatenate([inputs, h], axis=1) @ w + b
    expected = [reference.lstm(w, b, *row) for row in zip(inputs, h, s, strict=True)]
    h_new, s_new = equations.lstm(tf.constant(gates), tf.constant(s))
    np.testing.assert_allclose(h_new, [row[0] for row in expected], **TOLERANCE)
    np.testing.assert_allclose(s_new, [row[1] for row in expected], **TOLERANCE)


def test_kl_divergence_equals_the_reference():
    rng = np.random.default_rng(7)
    mu, log_sigma = rng.normal(size=(n, Z)), rng.normal(size=(n, Z))
    expected = [reference.kl(m, np.exp(s)) for m, s in zip(mu, log_sigma, strict=True)]
    np.testing.assert_allclose(equations.kl_divergence(tf.constant(mu), tf.constant(log_sigma)), expected, **TOLERANCE)


def test_kl_divergence_is_zero_at_the_prior_and_positive_elsewhere():
    np.testing.assert_array_equal(equations.kl_divergence(tf.zeros([n, Z]), tf.zeros([n, Z])), np.zeros(n))
    # 0.5 mu^2 for a mean alone; 0.5 (e^2 - 3) for log sigma = 1 alone.
    np.testing.assert_allclose(equations.kl_divergence(tf.constant([[3.0, 0.0]]), tf.zeros([1, Z])), [4.5], rtol=1e-6)
    moved = equations.kl_divergence(tf.zeros([1, Z]), tf.constant([[0.0, 1.0]]))
    np.testing.assert_allclose(moved, [0.5 * (np.e**2 - 3)], rtol=1e-6)


def test_reconstruction_loss_equals_the_reference_for_intensities_too():
    rng = np.random.default_rng(8)
    x, c = rng.uniform(size=(n, B, A, 3)), rng.normal(0.0, 4.0, (n, B, A, 3))
    x[:4] = np.round(x[:4])
    expected = [reference.cross_entropy(*row) for row in zip(x, c, strict=True)]
    np.testing.assert_allclose(equations.reconstruction_loss(tf.constant(x), tf.constant(c)), expected, **TOLERANCE)


def test_reconstruction_loss_is_finite_for_any_finite_logit():
    x = np.tile(np.array([0.0, 1.0, 0.0, 1.0, 0.5], np.float32), (2, B, 1))[..., None]
    c = np.tile(np.array([-1e4, 1e4, 1e4, -1e4, 0.0], np.float32), (2, B, 1))[..., None]
    np.testing.assert_allclose(equations.reconstruction_loss(x, c), B * (2e4 + np.log(2)), rtol=1e-6)


def test_log_importance_ratio_equals_the_reference():
    rng = np.random.default_rng(9)
    mu, log_sigma, eps = rng.normal(size=(3, n, Z))
    z = mu + np.exp(log_sigma) * eps
    expected = [
        reference.log_prior(row) - reference.log_normal(row, m, np.exp(s))
        for row, m, s in zip(z, mu, log_sigma, strict=True)
    ]
    actual = equations.log_importance_ratio(tf.constant(eps), tf.constant(z), tf.constant(log_sigma))
    np.testing.assert_allclose(actual, expected, **TOLERANCE)
