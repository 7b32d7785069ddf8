"""Eqs. 19-29 against the float64 reference, to 1e-10, and the identities that they must satisfy."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.reference import draw as reference
from trainer.model import attention

B, A, n = 7, 5, 10
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
    return raw, attention.window(tf.constant(raw), rows=rows, columns=columns, N=N)


def one_window(g_x, g_y, delta, sigma2, dtype=tf.float32):
    return attention.Window(*(tf.constant([value], dtype) for value in (g_x, g_y, delta, sigma2, 1.0)))


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
        attention.window(tf.zeros([n, 5]), rows=B, columns=A, N=N)


@pytest.mark.parametrize("N", SIZES)
def test_filterbank_equals_the_reference(shape, N):
    raw, w = make_window(shape, N)
    f_x, f_y = attention.filterbank(w, rows=shape[0], columns=shape[1], N=N)
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
    np.testing.assert_allclose(attention.extract(tf.constant(images), w, N=N), expected, **TOLERANCE)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("N", SIZES)
def test_place_equals_the_reference(shape, N, channels):
    raw, w = make_window(shape, N)
    patches = np.random.default_rng(2).normal(size=(n, N, N, channels))
    windows, filters = reference_filters(shape, raw, N)
    expected = [reference.write_attention(p, *f, row[4]) for p, row, f in zip(patches, windows, filters, strict=True)]
    actual = attention.place(tf.constant(patches), w, rows=shape[0], columns=shape[1])
    np.testing.assert_allclose(actual, expected, **TOLERANCE)


@pytest.mark.parametrize("N", [tiny.SMALL_N, tiny.LARGE_N])
def test_place_is_the_adjoint_of_extract_up_to_the_intensity(N):
    _, w = make_window((B, A), N)
    rng = np.random.default_rng(4)
    images, patches = rng.normal(size=(n, B, A, 3)), rng.normal(size=(n, N, N, 3))
    extracted = attention.extract(tf.constant(images), w, N=N).numpy() / w.gamma.numpy()[:, None, None, None]
    placed = attention.place(tf.constant(patches), w, rows=B, columns=A).numpy() * w.gamma.numpy()[:, None, None, None]
    axes = (1, 2, 3)
    np.testing.assert_allclose((extracted * patches).sum(axes), (images * placed).sum(axes), **TOLERANCE)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("sigma2", [1e-6, 0.3, 1e6])
@pytest.mark.parametrize("g", [(-2e3, 1.0), (4.0, 3e3), (1e4, -1e4), (2.5, 2.5)])
def test_rows_of_the_filters_sum_to_one_however_far_the_window_lies(g, sigma2, dtype):
    w = one_window(*g, 1.7, sigma2, dtype)
    for filters, size in zip(attention.filterbank(w, rows=B, columns=A, N=tiny.SMALL_N), (A, B), strict=True):
        assert filters.dtype == dtype and filters.shape == [1, tiny.SMALL_N, size]
        np.testing.assert_allclose(tf.reduce_sum(filters, axis=2), 1.0, rtol=1e-6)


def test_a_window_far_to_one_side_sees_the_nearest_pixels_alone():
    f_x, f_y = attention.filterbank(one_window(-500.0, 900.0, 1.0, 1.0), rows=B, columns=A, N=2)
    np.testing.assert_allclose(f_x[0], [np.eye(A)[0]] * 2, atol=1e-6)
    np.testing.assert_allclose(f_y[0], [np.eye(B)[-1]] * 2, atol=1e-6)


def test_a_narrow_filter_picks_one_pixel_and_a_wide_one_averages_them_all():
    # N = 3 and stride 2 around the centres: columns 1, 3, 5 and rows 2, 4, 6, counted from 1.
    f_x, f_y = attention.filterbank(one_window(3.0, 4.0, 2.0, 1e-4), rows=B, columns=A, N=3)
    np.testing.assert_array_equal(f_x[0], np.eye(A)[[0, 2, 4]])
    np.testing.assert_array_equal(f_y[0], np.eye(B)[[1, 3, 5]])
    f_x, f_y = attention.filterbank(one_window(3.0, 4.0, 2.0, 1e9), rows=B, columns=A, N=3)
    np.testing.assert_allclose(f_x, np.full((1, 3, A), 1 / A), rtol=1e-6)
    np.testing.assert_allclose(f_y, np.full((1, 3, B), 1 / B), rtol=1e-6)


@pytest.mark.parametrize("N", [3, 7])
def test_a_narrow_window_of_stride_one_copies_pixels_without_turning_them(N):
    """Crops of an image: a transposed or mirrored patch is another."""
    size = N + 4
    image = np.random.default_rng(5).normal(size=(1, size + 1, size, 2)).astype(np.float32)
    w = one_window((N + 1) / 2 + 1, (N + 1) / 2 + 2, 1.0, 1e-4)
    crop = attention.extract(tf.constant(image), w, N=N)
    np.testing.assert_allclose(crop, image[:, 2 : 2 + N, 1 : 1 + N], rtol=1e-5)
    expected = np.zeros_like(image)
    expected[:, 2 : 2 + N, 1 : 1 + N] = crop
    np.testing.assert_allclose(attention.place(crop, w, rows=size + 1, columns=size), expected, rtol=1e-5)
