"""TensorBoard's event files hold the scalars and the pictures of the weights that would be exported."""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from serving.pictures.sheet import sheet
from tests import tiny
from trainer.task import NoAttention
from trainer.training import mlflow_curves, objective, step, summaries

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


@pytest.fixture
def mlflow(monkeypatch):
    """MLflow's client, which keeps what it is told, or fails."""
    requests = []

    class Client:
        def log_batch(self, run_id, metrics):
            requests.append((run_id, metrics))
            if client.failure:
                raise client.failure

    client = types.ModuleType("mlflow")
    client.MlflowClient, client.failure, client.requests = Client, None, requests
    entities = types.ModuleType("mlflow.entities")
    entities.Metric = lambda *values: values
    monkeypatch.setitem(sys.modules, "mlflow", client)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    for name, value in {"TRACKING_URI": "http://mlflow", "RUN_ID": "run-7", "EXPERIMENT_ID": "1"}.items():
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    return client


def _write(directory):
    """A call's means, and a validation."""
    task = tiny.tiny_task(glimpses=2, attention=NoAttention())
    trainer = step.Trainer(task, tf.distribute.get_strategy())
    written = summaries.Summaries(str(directory), batch(task))
    written.trained(trainer, step.StepMetrics(BOUND[0], 1.5), 5, 100.0)
    written.validated(trainer, BOUND[0], 7)
    return events(directory)


def test_mlflow_gets_the_curves_that_tensorboard_has(tmp_path, mlflow):
    shown = {(tag, value, step) for tag, (step, value) in _write(tmp_path).items() if isinstance(value, float)}
    ((run_id, metrics),) = mlflow.requests
    assert run_id == "run-7" and len(shown) > 10
    assert {(name, np.float32(value), step) for name, value, milliseconds, step in metrics} == {
        (name, np.float32(value), step) for name, value, step in shown
    }


def test_an_mlflow_that_cannot_be_addressed_costs_a_warning_alone(mlflow, monkeypatch, caplog):
    def refuse():
        raise RuntimeError("no such scheme: foo")

    monkeypatch.setattr(sys.modules["mlflow"], "MlflowClient", refuse)
    assert mlflow_curves.MlflowCurves.from_environment() is None
    assert "MLflow at http://mlflow gets no metrics: no such scheme: foo" in caplog.text


def test_an_mlflow_that_fails_costs_one_warning_and_no_training(tmp_path, mlflow, caplog):
    mlflow.failure = ConnectionError("connection refused")
    curves = mlflow_curves.MlflowCurves.from_environment()
    for done in range(3):
        curves.log({"a": 1.0}, done, now=True)
    assert len(mlflow.requests) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow at http://mlflow takes no metrics, and gets no more: connection refused"
    ]


def test_a_long_wait_is_sent_in_parts_that_mlflow_takes(tmp_path, mlflow):
    curves = mlflow_curves.MlflowCurves.from_environment()
    curves.log({f"m{n}": 0.0 for n in range(2500)}, 1)
    assert mlflow.requests == []
    curves.log({}, 1, now=True)
    assert [len(metrics) for _, metrics in mlflow.requests] == [1000, 1000, 500]


@pytest.mark.parametrize("missing", ["MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "mlflow"])
def test_without_mlflow_nothing_is_asked_of_it(tmp_path, mlflow, monkeypatch, missing):
    if missing == "mlflow":
        monkeypatch.setitem(sys.modules, missing, None)  # As where it is not installed.
    else:
        monkeypatch.delenv(missing)
    assert mlflow_curves.MlflowCurves.from_environment() is None
    _write(tmp_path)
    assert mlflow.requests == []
