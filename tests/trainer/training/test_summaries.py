"""TensorBoard's event files hold the scalars and the pictures of the weights that would be exported."""

import numpy as np
import pytest
import tensorflow as tf

from serving.pictures.sheet import sheet
from tests import tiny
from trainer.task import NoAttention
from trainer.training import objective, step, summaries

BOUND = objective.BoundMetrics(20.0, 19.0, [0.5] * 2), {"nll_bound": 20, "reconstruction": 19, "kl": 1}
ERROR = objective.ErrorMetrics(2.0, 0.75), {"cross_entropy": 2, "error": 0.75}
BATCH = 3


def batch(task):
    x = tf.constant(np.random.default_rng(0).uniform(size=(BATCH, *task.image_shape)), tf.float32)
    return (x, tf.constant([0, 1, 2])) if task is tiny.CLASSIFIER else x


def events(directory):
    """{tag: (step, a number or the pixels of a picture)}"""
    values = {}
    for path in directory.iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                picture = value.metadata.plugin_data.plugin_name == "images"
                # A picture is its width, its height and a PNG.
                values[value.tag] = event.step, tf.io.decode_png(array[2]).numpy() if picture else float(array)
    return values


@pytest.mark.parametrize(
    ("task", "metrics", "pictures"),
    [
        (tiny.tiny_task(glimpses=2), BOUND, {"samples", "drawings"}),
        (tiny.tiny_task(glimpses=2, attention=NoAttention()), BOUND, {"samples", "drawings"}),
        (tiny.CLASSIFIER, ERROR, {"glimpses"}),
    ],
    ids=["attention", "no attention", "classifier"],
)
def test_a_validation_leaves_its_metrics_and_the_pictures_of_the_averaged_weights(tmp_path, task, metrics, pictures):
    trainer = step.Trainer(task, tf.distribute.get_strategy())
    for name, variable in trainer.state.average.items():
        variable.assign(variable + 0.1 * tf.random.stateless_normal(variable.shape, [len(name), 1]))
    means, scalars = metrics
    summaries.Summaries(str(tmp_path), batch(task)).validated(trainer, means, 7)
    written = events(tmp_path)
    assert {step for step, _ in written.values()} == {7}
    assert {tag: value for tag, (_, value) in written.items() if tag.startswith("validation/")} == pytest.approx(
        {f"validation/{name}": value for name, value in scalars.items()}
    )
    expected = trainer.objective.sheets(trainer.state.exported(task), batch(task))
    assert set(expected) == pictures
    for name, (images, windows, N) in expected.items():
        np.testing.assert_array_equal(written[name][1], sheet(images, windows, filters=N), err_msg=name)
