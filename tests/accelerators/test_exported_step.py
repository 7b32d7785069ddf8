"""The exported training step is TensorFlow's in another runtime, and compiles for TPUs.

Run on CPU only. No TPU and no GPU was at hand: for TPUs the tests show that the compiler takes the program.
"""

import dataclasses
import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import export_step
from tests import tiny
from trainer import tasks

JAX_PYTHON = tiny.ROOT / "build/accelerators/bin/python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not JAX_PYTHON.exists(), reason="JAX's environment is missing: `make test-all` makes it"),
]

BATCH, STEPS = 8, 6


def jax_side(*arguments):
    """The module's printed result."""
    done = subprocess.run(
        [str(JAX_PYTHON), "-m", "tests.accelerators.jax_side", *map(str, arguments)],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def in_float32(name):
    """The task in float32: compilers round bfloat16 in different places, and sum it apart."""
    task = tasks.get(name)
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, matmul_dtype="float32"))


@pytest.mark.parametrize("name", tasks.NAMES)
def test_losses_in_jax_are_tensorflows(name, tmp_path):
    """At full size but for T and the batch; six steps, so that the optimizer's part is in it."""
    task = dataclasses.replace(in_float32(name), glimpses=3)
    export_step.write(task, [BATCH], str(tmp_path))
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(STEPS, BATCH, *task.image_shape)).astype(np.float32)
    batches = [np.round(images) if task.binary else images]
    if task.kind.reads_labels:
        batches.append(rng.integers(0, task.classes, (STEPS, BATCH), np.int32))
    np.savez(tmp_path / "batches.npz", *batches)

    step = export_step.whole_step(task, BATCH)
    state = [tf.constant(value) for value in export_step.initial_state(task).values()]
    state[-1] = tf.cast(state[-1], tf.int32)
    expected = []
    for batch in zip(*batches, strict=True):
        *state, loss = step(*state, *map(tf.constant, batch))
        expected.append(float(loss))
    found = jax_side("run", tmp_path, tmp_path / "batches.npz")
    np.testing.assert_allclose(found["losses"], expected, rtol=1e-5)
    assert len(set(expected)) == STEPS and found["state"][-1] == STEPS
    sums = [float(tf.reduce_sum(tf.cast(value, tf.float64))) for value in state]
    np.testing.assert_allclose(found["state"], sums, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("topology", "optimizer"), [("v5e:2x2", "adam"), ("v6e:2x2", "adam"), ("v6e:2x2", "muon")])
def test_it_compiles_for_one_tpu_and_for_four_that_share_the_batch(topology, optimizer, tmp_path):
    task = in_float32("mnist")
    task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, optimizer=optimizer))
    export_step.write(task, [100], str(tmp_path))
    compiled = jax_side("compile", tmp_path, topology)
    assert compiled["chips"] == 4
    # All gradients travel in one operation, as do the terms of the bound.
    assert compiled["collectives"] == {"all-reduce": 1}
    # The work on the batch is cut by four; each chip updates all weights, by Muon with products of its own.
    if optimizer == "adam":
        assert compiled["flops_a_chip_together"] < 0.5 * compiled["flops"]
    assert compiled["temporary_bytes"] < 2**30
