"""The fused kernels compute what `trainer.model` and its gradient do, for every size that they take, and train."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import export_step
from tests import tiny
from tests.accelerators.test_accelerator import accelerator
from tests.accelerators.test_exported_step import in_float32, jax_side, pytestmark
from trainer.task import Attention
from trainer.training import objective, recurrence, step

__all__ = ["pytestmark"]  # for pytest: slow, and only where JAX is

TASKS = {
    "mnist": dataclasses.replace(in_float32("mnist"), glimpses=3),
    "higher than wide, odd sizes": tiny.tiny_task(lstm_units=8, latent_size=3, attention=Attention(read=3, write=6)),
    "wider than high": tiny.tiny_task(
        image_shape=(4, 11, 1), lstm_units=4, latent_size=4, glimpses=1, attention=Attention(read=4, write=2)
    ),
}
FUSED = tiny.tiny_task({"steps": 12, "warmup_steps": 2}, glimpses=2, lstm_units=8)


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_and_its_gradient_are_the_models(name, tmp_path):
    task, rows = TASKS[name], 5
    learned = objective.for_task(task)
    rng = np.random.default_rng(0)
    # Away from the start, where h_0 and the biases are zero and every window covers the image.
    weights = {
        key: (value + 0.1 * rng.standard_normal(value.shape)).astype(np.float32)
        for key, value in learned.initial_weights(0).items()
    }
    x = rng.integers(0, 2, (rows, *task.image_shape)).astype(np.float32)
    eps = rng.standard_normal((task.glimpses, rows, task.latent_size)).astype(np.float32)
    expected, metrics = step.gradients(
        learned, {key: tf.constant(value) for key, value in weights.items()}, x, eps, scan=recurrence.scan
    )
    (tmp_path / "task.json").write_text(task.to_json())
    np.savez(tmp_path / "arrays.npz", x=x, eps=eps, **weights)
    jax_side("fused", tmp_path / "task.json", tmp_path / "arrays.npz", tmp_path / "gradients.npz")
    with np.load(tmp_path / "gradients.npz") as found:
        np.testing.assert_allclose(found["loss"], metrics[0], rtol=1e-5)
        assert set(found.files) == {"loss", *weights}
        for key, value in expected.items():
            difference = np.linalg.norm(found[key] - value.numpy())
            assert difference < 1e-4 * np.linalg.norm(value.numpy()), key


def test_training_follows_the_validation_bound_and_keeps_the_best(tmp_path):
    files = tiny.write_examples(tmp_path / "examples", tiny.make_images(FUSED, 40), shards=1)
    task = dataclasses.replace(FUSED, recipe=dataclasses.replace(FUSED.recipe, steps=300))
    export_step.write(task, [8], str(tmp_path / "step"), files[0], validation=files[0])
    state, best = tmp_path / "state.npz", tmp_path / "state-best.npz"
    bounds = []
    for steps in (1, 300):
        done = accelerator(tmp_path / "step", "--train", state, "--steps", steps, "--seconds", 200, "--fused")
        assert done.returncode == 0, done.stderr
        *_, validation, last = done.stdout.splitlines()
        assert last == f"{state}: step {steps}"
        assert validation.startswith(f"step {steps}  validation ")
        bounds.append(float(validation.split()[3]))
    assert bounds[1] < bounds[0] - 0.2
    with np.load(state) as last_state, np.load(best) as best_state:
        assert last_state["step"] == best_state["step"] == 300
    # The last state's bound is what TensorFlow makes of the same weights, but for the noise.
    trained = step.TrainState(task)
    with np.load(state) as arrays:
        trained.load(arrays)
    learned = objective.for_task(task)
    x = tiny.make_images(task, 40).astype(np.float32)
    rows = [
        learned.metrics(trained.exported(task), x, learned.training_noise(tf.constant(k, tf.int64), 40))[0]
        for k in range(20)
    ]
    assert np.mean(rows) == pytest.approx(bounds[1], abs=0.5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no_attention", "one channel and a power of two LSTM units. tiny has attention none, 1 and 9."),
        ("attention_colour", "tiny has attention {'read': 8, 'write': 4}, 3 and 9."),
        ("attention", "tiny has attention {'read': 4, 'write': 8}, 1 and 9."),
        ("classifier", "tiny_classifier has attention None, 3 and 9."),
    ],
)
def test_a_task_that_the_kernels_are_not_for_is_told(kind, message, tmp_path):
    export_step.write({**tiny.MODELS, "classifier": tiny.CLASSIFIER}[kind], [8], str(tmp_path))
    done = accelerator(tmp_path, "--fused")
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
