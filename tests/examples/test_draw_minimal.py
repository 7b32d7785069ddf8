"""The example that a reader takes home gives the trainer's numbers, and runs."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from examples import draw_minimal
from tests import tiny
from trainer.model import draw, network

TALL = tiny.tiny_task()
WIDE = dataclasses.replace(TALL, image_shape=(tiny.COLUMNS, tiny.ROWS, 1))


@pytest.fixture(params=[TALL, WIDE], ids=["tall", "wide"])
def case(request):
    return tiny.make_case(request.param)


def example(case):
    """The example's model with the case's weights; its images have no axis of channels."""
    weights = tiny.tensors(case.weights, np.float64)
    weights["canvas_0"] = weights["canvas_0"][..., 0]
    return draw_minimal.Draw(weights, **{f"{name}_n": N for name, N in case.task.window_sizes.items()})


def test_the_bound_and_the_canvas_are_the_trainers(case):
    bound, canvas = example(case).infer(tf.constant(case.x[..., 0]), tf.constant(case.eps))
    inference = case.infer()
    np.testing.assert_allclose(bound, inference.nll_bound, rtol=1e-12)
    np.testing.assert_allclose(canvas, inference.canvas[..., 0], rtol=1e-10, atol=1e-10)


def test_generated_canvases_are_the_trainers(case):
    canvas = example(case).generate(tf.constant(case.eps))
    expected = draw.generate(tiny.tensors(case.weights, np.float64), tf.constant(case.eps), case.task).canvas
    np.testing.assert_allclose(canvas, expected[..., 0], rtol=1e-10, atol=1e-10)


def test_its_weights_have_the_trainers_names_and_shapes():
    sizes = {"read": draw_minimal.READ_N, "write": draw_minimal.WRITE_N}
    task = dataclasses.replace(
        TALL,
        image_shape=(draw_minimal.B, draw_minimal.A, 1),
        lstm_units=draw_minimal.H,
        latent_size=draw_minimal.Z,
        attention=dataclasses.replace(TALL.attention, **sizes),
    )
    expected = network.weight_shapes(task) | {"canvas_0": (draw_minimal.B, draw_minimal.A)}
    assert {name: value.shape for name, value in draw_minimal.initial_weights().items()} == expected
    assert sizes == {field.name[:-2]: field.default for field in dataclasses.fields(draw_minimal.Draw)[1:]}


@pytest.mark.slow
def test_it_trains_and_writes_samples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_minimal.main(steps=60)
    lines = capsys.readouterr().out.splitlines()
    # A model that knows nothing is at 543 nats, 784 log 2.
    assert float(lines[-1].split()[-2]) < 400
    picture = tf.io.decode_png(tf.io.read_file("samples.png"))
    assert picture.shape == (8 * draw_minimal.B, 8 * draw_minimal.A, 1)
    # Before training all is grey, 127 of 255; digits are white on black.
    assert picture.numpy().mean() < 80 and picture.numpy().std() > 20
