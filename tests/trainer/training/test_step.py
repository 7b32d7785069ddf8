"""Training steps: cut, compiled, many a call or on several devices, they are the steps of one plain batch."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer import tasks
from trainer.model import draw
from trainer.training import devices, input_pipeline, optimizer, randomness, recurrence, step

ROWS = 12
TASK = tiny.tiny_task({"batch_size": ROWS, "jit_compile": True, "clip_norm": 1e9, "ema_decay": 0.0})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny.write_examples(tmp_path_factory.mktemp("data"), tiny.make_images(TASK, 31))


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def compiled(patch, files):
    """A trainer that XLA compiles and that cuts a batch into three, and its first state."""
    patch.setattr(devices, "slices", lambda batch: 3 if batch == ROWS else 1)
    trainer = step.Trainer(TASK, tf.distribute.get_strategy())
    start = [variable.numpy() for variable in trainer.state.variables]
    train(trainer, files, 1)  # traces
    return trainer, start


def restart(trainer, start):
    for variable, value in zip(trainer.state.variables, start, strict=True):
        variable.assign(value)


def train(trainer, files, *calls):
    """Trains so many steps a call from where the trainer stands, and returns the metrics of each call."""
    first = int(trainer.state.step)
    batches = iter(input_pipeline.training_batches(files, trainer.task, first_step=first))
    return [trainer.train(batches, count) for count in calls]


def values(trainer):
    return {variable.name + str(index): variable.numpy() for index, variable in enumerate(trainer.state.variables)}


def assert_bits_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_the_gradients_of_a_cut_and_compiled_step_are_those_of_one_plain_batch(compiled, files):
    trainer, start = compiled
    restart(trainer, start)
    weights = {name: variable.numpy() for name, variable in trainer.state.parameters.items()}
    (metrics,) = train(trainer, files, 1)
    x = next(iter(input_pipeline.training_batches(files, TASK, first_step=0)))
    eps = randomness.training_noise(TASK, tf.constant(0), ROWS)
    weights = tiny.tensors(weights, np.float32)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        inference = draw.infer(weights, x, eps, TASK)
        loss = tf.reduce_mean(inference.nll_bound)
    expected = tape.gradient(loss, weights)
    # Adam's first moment after one unclipped step is the gradient but for a factor.
    for name, gradient in expected.items():
        actual = trainer.state.first_moment[name].numpy() / (1 - TASK.recipe.adam_beta1)
        scale = np.abs(gradient.numpy()).max()
        assert scale > 0
        np.testing.assert_allclose(actual, gradient, rtol=0, atol=1e-5 * scale, err_msg=name)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-6)
    np.testing.assert_allclose(metrics.means.reconstruction, tf.reduce_mean(inference.reconstruction), rtol=1e-6)
    np.testing.assert_allclose(metrics.means.kl_per_step, tf.reduce_mean(inference.kl, axis=1), rtol=1e-4, atol=1e-6)
    norm = tf.linalg.global_norm(list(expected.values()))
    np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-5)


def test_several_steps_a_call_are_bit_for_bit_the_same_steps(compiled, files):
    trainer, start = compiled
    results, means = [], []
    for calls in ((6,), (1, 1, 1, 1, 1, 1), (2, 1, 3)):
        restart(trainer, start)
        metrics = train(trainer, files, *calls)
        results.append(values(trainer))
        means.append(sum(count * float(m.loss) for count, m in zip(calls, metrics, strict=True)) / 6)
    assert int(trainer.state.step) == 6
    assert_bits_equal(results[0], results[1])
    assert_bits_equal(results[0], results[2])
    np.testing.assert_allclose(means, means[0], rtol=1e-6)


def test_every_variable_moves_and_a_restart_forgets_it(compiled, files):
    """So that equal results above are the results of training."""
    trainer, start = compiled
    restart(trainer, start)
    train(trainer, files, 2)
    for variable, value in zip(trainer.state.variables, start, strict=True):
        assert not np.array_equal(variable.numpy(), value), variable.name


def test_the_loss_falls(compiled, tmp_path):
    """Images that are mostly on above and off below: 24.3 nats for who knows nothing, 11.4 for who knows that."""
    trainer, start = compiled
    restart(trainer, start)
    probability = np.where(np.arange(tiny.ROWS) < 3, 0.9, 0.1)[:, None, None]
    images = np.random.default_rng(0).uniform(size=(40, *TASK.image_shape)) < probability
    first, *_, last = train(trainer, tiny.write_examples(tmp_path, images.astype(np.uint8)), 5, 60, 5)
    assert float(first.loss) > 20 and float(last.loss) < 16


def test_colour_without_attention_trains_too(tmp_path):
    task = tiny.MODELS["no_attention_colour"]
    trainer = step.Trainer(task, tf.distribute.get_strategy())
    (metrics,) = train(trainer, tiny.write_examples(tmp_path, tiny.make_images(task, 13)), 2)
    assert np.isfinite(metrics.loss) and int(trainer.state.step) == 2


def test_without_averaging_the_last_weights_are_exported_and_with_it_the_average():
    state = step.TrainState(TASK)
    for number, group in enumerate((state.parameters, state.average), start=1):
        for variable in group.values():
            variable.assign(tf.fill(variable.shape, float(number)))
    averaging = tiny.tiny_task({"ema_decay": 0.5})
    assert {float(value.numpy().max()) for value in state.exported(TASK).values()} == {1.0}
    assert {float(value.numpy().max()) for value in state.exported(averaging).values()} == {2.0}


def test_validation_is_the_mean_over_all_rows_with_noise_that_stays(compiled, files):
    """The last batch is smaller, so that a mean of the batches' means is another number."""
    trainer, start = compiled
    restart(trainer, start)
    train(trainer, files, 3)
    batches = input_pipeline.evaluation_batches(files, TASK, 17)
    validated = trainer.validate(batches)
    assert validated == trainer.validate(batches)
    weights = trainer.state.exported(TASK)
    rows, steps = [], []
    for x, ids in batches:
        eps = randomness.row_noise(TASK, randomness.seeds_for_ids(ids))
        inference = draw.infer(weights, x, eps, TASK)
        rows.append(inference.nll_bound.numpy())
        steps.append(inference.kl.numpy())
    assert [len(row) for row in rows] == [12, 5]
    np.testing.assert_allclose(validated.nll_bound, np.concatenate(rows).mean(), rtol=1e-5)
    np.testing.assert_allclose(validated.kl_per_step, np.concatenate(steps, axis=1).mean(axis=1), rtol=1e-4, atol=1e-6)
    train(trainer, files, 1)
    assert trainer.validate(batches).nll_bound != validated.nll_bound


PHASES = tiny.tiny_task(
    {"batch_size": ROWS, "jit_compile": True, "steps": 8, "warmup_steps": 2, "glimpse_schedule": ((0.5, 2), (0.75, 4))}
)
"""Steps 0 to 3 with T = 2, 4 and 5 with T = 4, then T = 6."""


def test_training_across_changes_of_glimpses_is_the_steps_of_each_number(files):
    """By hand: the gradient of plain inference with that T, of one state that goes on through all changes."""
    trainer = step.Trainer(PHASES, tf.distribute.get_strategy())
    assert trainer.at(3) is trainer
    state, losses, norms = trainer.state.read(), [], []
    batches = iter(input_pipeline.training_batches(files, PHASES, first_step=0))
    for index, glimpses in enumerate((2, 2, 2, 2, 4, 4, 6, 6)):
        phase = dataclasses.replace(PHASES, glimpses=glimpses)
        eps = randomness.training_noise(phase, tf.constant(index), ROWS)
        with tf.GradientTape() as tape:
            tape.watch(state.parameters)
            loss = tf.reduce_mean(draw.infer(state.parameters, next(batches), eps, phase).nll_bound)
        gradients = tape.gradient(loss, state.parameters)
        state, norm = optimizer.update(PHASES, tf.constant(index, tf.int64), state, gradients)
        losses.append(float(loss))
        norms.append(float(norm))

    batches = iter(input_pipeline.training_batches(files, PHASES, first_step=0))
    metrics, glimpses, first = [], [], trainer
    for done, count in ((0, 3), (3, 1), (4, 2), (6, 2)):
        trainer = trainer.at(done)
        assert trainer.state is first.state
        metrics.append((count, trainer.train(batches, count)))
        glimpses.append((trainer.glimpses, metrics[-1][1].means.kl_per_step.shape[0]))
    assert glimpses == [(2, 2), (2, 2), (4, 4), (6, 6)]
    expected = [np.mean(losses[:3]), losses[3], np.mean(losses[4:6]), np.mean(losses[6:])]
    np.testing.assert_allclose([m.loss for _, m in metrics], expected, rtol=1e-4)
    expected = [np.mean(norms[:3]), norms[3], np.mean(norms[4:6]), np.mean(norms[6:])]
    np.testing.assert_allclose([m.gradient_norm for _, m in metrics], expected, rtol=1e-3)
    arrays = first.state.arrays()
    assert arrays.pop("step") == 8
    for name, value in state.flat().items():
        np.testing.assert_allclose(arrays[name], value, rtol=2e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("done", "glimpses"), [(0, 2), (3, 2), (4, 4), (5, 4), (6, 6), (8, 6)])
def test_a_run_that_resumes_in_a_phase_has_its_glimpses(done, glimpses):
    assert step.Trainer(PHASES, tf.distribute.get_strategy(), step=done).glimpses == glimpses


@pytest.mark.parametrize(
    ("name", "scan", "dtype"),
    [("digits", recurrence.scan, "float32"), ("svhn", recurrence.scan_deferred, "bfloat16")],
)
def test_a_large_model_defers_its_weight_gradients(name, scan, dtype):
    task = tasks.get(name)
    task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, matmul_dtype=dtype))
    chosen = step.scan_for(task)
    assert chosen.func is scan
    assert chosen.keywords == {"matmul_dtype": tf.bfloat16 if dtype == "bfloat16" else None}


TWO_DEVICES = """
import json, sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tests import tiny
from trainer.task import Binarisation
from trainer.training import devices, input_pipeline, step

task = tiny.tiny_task(
    {"batch_size": 12, "jit_compile": sys.argv[2] == "jit"}, glimpses=3, binarisation=Binarisation.STOCHASTIC_EACH_EPOCH
)
files = json.loads(sys.argv[1])
strategies = {"one": tf.distribute.OneDeviceStrategy("/cpu:0"), "two": devices.strategy()}
results = {"replicas": strategies["two"].num_replicas_in_sync}
for name, strategy in strategies.items():
    trainer = step.Trainer(task, strategy)
    batches = iter(strategy.distribute_datasets_from_function(
        lambda context: input_pipeline.training_batches(files, task, first_step=0, context=context)
    ))
    metrics = [trainer.train(batches, count) for count in (1, 1, 3)]
    results[name] = [float(m.loss) for m in metrics] + [float(m.gradient_norm) for m in metrics]
    results[name + " validation"] = trainer.validate(input_pipeline.evaluation_batches(files, task, 7))[0]
    path = tf.train.Checkpoint(state=trainer.state).write(sys.argv[3] + "/" + name)
    exported = trainer.state.exported(task)
    if name == "two":
        # Each replica's copy holds the same numbers.
        copies = [strategy.experimental_local_results(v) for v in trainer.state.parameters.values()]
        results["copies differ"] = max(float(tf.reduce_max(tf.abs(a - b))) for a, b in copies)
# What two devices saved, one reads.
alone = step.TrainState(task)
tf.train.Checkpoint(state=alone).read(path).assert_consumed()
results["restored step"] = int(alone.step)
results["restored differs"] = max(float(tf.reduce_max(tf.abs(alone.exported(task)[k] - exported[k]))) for k in exported)
print(json.dumps(results))
"""


@pytest.mark.parametrize("jit", ["plain", pytest.param("jit", marks=pytest.mark.slow)])
def test_two_devices_train_as_one(tmp_path, jit):
    """MirroredStrategy on two logical CPUs, on pixels drawn anew each epoch, against one device: the same losses."""
    images = tiny.make_images(TASK, 31, binary=False)
    paths = tiny.write_examples(tmp_path, images)
    results = json.loads(tiny.run_python(TWO_DEVICES, json.dumps(paths), jit, str(tmp_path)).splitlines()[-1])
    assert results["replicas"] == 2
    np.testing.assert_allclose(results["two"], results["one"], rtol=2e-5)
    assert len(set(results["one"])) == 6
    np.testing.assert_allclose(results["two validation"], results["one validation"], rtol=1e-5)
    assert results["copies differ"] == 0
    assert (results["restored step"], results["restored differs"]) == (5, 0)


def test_steps_are_drawn_from_one_another_apart(files):
    """Each step has noise of its own: the same image trained on twice gives two losses."""
    task = tiny.tiny_task({"jit_compile": False, "learning_rate": 1e-12, "final_learning_rate": 0.0, "batch_size": 31})
    trainer = step.Trainer(task, tf.distribute.get_strategy())
    batch = next(iter(input_pipeline.training_batches(files, task, first_step=0)))
    again = iter(tf.data.Dataset.from_tensors(batch).repeat(2))
    first, second = (float(trainer.train(again, 1).loss) for _ in range(2))
    assert first != second and first == pytest.approx(second, rel=0.2)
