"""Several devices and several workers train as one device does; a worker's loss ends the others, and is made good."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.task import Binarisation
from trainer.training import cluster, loop, step
from trainer.training.tf_config import Cluster

TASK = tiny.tiny_task(
    {"steps": 60, "batch_size": 12, "validation_interval": 25},
    glimpses=3,
    binarisation=Binarisation.STOCHASTIC_EACH_EPOCH,
)

TRAIN = """
import json, os, sys, time
import numpy as np
import tensorflow as tf

arguments = json.loads(sys.argv[1])
if arguments["devices"] > 1:
    cpu = tf.config.list_physical_devices("CPU")[0]
    one = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [one] * arguments["devices"])

from tests.trainer.training.test_cluster import train_recorded
from trainer.training import cluster, devices

strategy = devices.strategy()
try:
    with cluster.translate_losses(strategy):
        result = train_recorded(strategy, arguments["data"], arguments["directory"])
except cluster.WorkerLost as error:
    sys.exit(f"lost: {error}")
np.savez(arguments["output"], **result)
"""


def train_recorded(strategy, data, directory):
    """Trains the task, a step a call with a checkpoint after each: the weights, each step's bound, and the replicas."""
    bounds, real = [], step.Trainer.train

    def record(self, batches, steps):
        metrics = real(self, batches, steps)
        bounds.append(float(metrics.loss))
        print("step", int(self.state.step.numpy()), flush=True)
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_CALL_SECONDS", 0)
        patch.setattr(step.Trainer, "train", record)
        weights = loop.train(
            TASK, **data, strategy=strategy, directory=directory, report=lambda line: print(line, flush=True)
        )
    return {"bounds": np.array(bounds), "replicas": np.int64(strategy.num_replicas_in_sync), **weights}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    fit = tiny.write_examples(directory / "fit", tiny.make_images(TASK, 31, binary=False))
    watch = tiny.write_examples(directory / "watch", tiny.make_images(TASK, 7))
    return {"train_files": fit, "validation_files": watch}


class Run:
    """Processes that train the task, and what they left. All are gone when it closes."""

    def __init__(self, root, data, *, devices=1, workers=1):
        self.root, self.data, self.devices, self.workers = root, data, devices, workers
        self.directory = root / "chief"
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.communicate()

    def start(self):
        addresses = free_addresses(self.workers)
        self.processes += [self._worker(addresses, index) for index in range(self.workers)]
        return self.processes[-self.workers :]

    def _worker(self, addresses, index):
        arguments = {
            "data": self.data,
            "devices": self.devices,
            # Only the chief's is used: the others need no storage of its own.
            "directory": str(self.directory if index == 0 else self.root / f"nothing{index}"),
            "output": str(self.root / f"weights{index}.npz"),
        }
        place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TF_CONFIG", json.dumps(place))
            for name in ("http_proxy", "https_proxy", "grpc_proxy"):  # as in most companies; nothing answers there
                patch.setenv(name, "http://127.0.0.1:9")
            return tiny.python(TRAIN, json.dumps(arguments))

    def finish(self):
        """Trains to the end and returns each worker's result."""
        for process in self.start():
            output, errors = process.communicate(timeout=120)
            assert process.returncode == 0, output[-1000:] + errors[-3000:]
        return [dict(np.load(self.root / f"weights{index}.npz")) for index in range(self.workers)]

    def checkpoints(self):
        return sorted(int(path.stem.split("-")[1]) for path in self.directory.glob("ckpt-*.index"))


def free_addresses(count):
    with_ports = [socket.socket() for _ in range(count)]
    for each in with_ports:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in with_ports]
    for each in with_ports:
        each.close()
    return addresses


def assert_close(result, expected):
    assert result.keys() == expected.keys()
    for name in expected.keys() - {"replicas", "bounds"}:
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """One device, uninterrupted."""
    result = train_recorded(tf.distribute.get_strategy(), data, str(tmp_path_factory.mktemp("alone") / "run"))
    assert result["replicas"] == 1 and result["bounds"].shape == (60,)
    assert len(set(result["bounds"])) == 60
    return result


@pytest.mark.parametrize(
    ("devices", "workers"),
    [pytest.param(2, 1, id="two devices", marks=pytest.mark.slow), pytest.param(1, 2, id="two workers")],
)
def test_two_train_as_one(data, alone, tmp_path, devices, workers):
    """MirroredStrategy on two logical CPUs, and two processes on this host: the losses and weights of one device."""
    with Run(tmp_path, data, devices=devices, workers=workers) as run:
        results = run.finish()
    for result in results:
        assert result["replicas"] == 2
        np.testing.assert_allclose(result["bounds"], alone["bounds"], rtol=1e-4)
        assert_close(result, alone)
    assert run.checkpoints()[-1] == 60
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["chief"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "workers", "victim"),
    [(2, 1, 0), (1, 2, 0), (1, 2, 1)],
    ids=["two devices", "the chief of two workers", "the other of two workers"],
)
def test_what_was_killed_goes_on_to_the_same_weights(data, alone, tmp_path, devices, workers, victim):
    """One is killed at a random step; within 40 seconds nothing runs, and says why; started again, all is made good."""
    last = random.randint(3, 50)
    with Run(tmp_path, data, devices=devices, workers=workers) as run:
        processes = run.start()
        while f"step {last}\n" != (line := processes[victim].stdout.readline()):
            assert line, processes[victim].stderr.read()[-3000:]
        processes[victim].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        for process in processes:
            _, errors = process.communicate(timeout=60)
            if process is not processes[victim]:
                assert process.returncode == 1 and "lost: Another worker of the cluster is lost" in errors
                assert "Start all workers again" in errors
        assert time.monotonic() - killed < 40
        assert last - 1 <= run.checkpoints()[-1] < 60
        for result in run.finish():
            assert len(result["bounds"]) < 60
            assert_close(result, alone)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_whom_nobody_joins_ends(monkeypatch, index):
    """The ten minutes are ten seconds here."""
    place = {"cluster": {"worker": free_addresses(2)}, "task": {"type": "worker", "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(place))
    process = tiny.python(
        "from trainer.training import cluster, devices; cluster.JOIN_SECONDS = 10; devices.strategy(print)"
    )
    output, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGALRM, errors[-3000:]
    assert output.startswith("waiting for all 2 workers of the cluster")


@pytest.mark.slow
def test_a_worker_that_is_asked_to_end_does(data, tmp_path):
    with Run(tmp_path, data, workers=2) as run:
        chief, other = run.start()
        while (line := other.stdout.readline()) != "step 3\n":
            assert line, other.stderr.read()[-3000:]
        other.terminate()
        assert other.wait(timeout=20) == -signal.SIGTERM
        assert chief.wait(timeout=60) == 1


# Who is who, by TF_CONFIG


def configured(monkeypatch, workers, kind, index=0):
    place = {"index": index} if kind is None else {"type": kind, "index": index}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": workers, "task": place}))
    return Cluster.from_environment()


def test_a_cluster_is_a_chief_and_workers(monkeypatch):
    workers = {"worker": ["b:1", "c:1"], "chief": ["a:1"], "evaluator": ["d:1"]}
    found = configured(monkeypatch, workers, "worker", "1")
    assert found.jobs == {"chief": ("a:1",), "worker": ("b:1", "c:1")} and list(found.jobs) == ["chief", "worker"]
    assert found.size == 3


@pytest.mark.parametrize("workers", [{}, {"worker": ["a:1"]}, {"chief": ["a:1"], "worker": []}, {"master": ["a:1"]}])
def test_one_worker_is_no_cluster(monkeypatch, workers):
    assert configured(monkeypatch, workers, next(iter(workers), None)) is None
    for text in ("", " ", "{}"):
        monkeypatch.setenv("TF_CONFIG", text)
        assert Cluster.from_environment() is None


TWO = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    ("workers", "kind", "index", "message"),
    [
        (TWO, "worker", 2, "'worker' number 2, and its cluster has none such"),
        (TWO, "chief", 0, "'chief' number 0, and its cluster has none such"),
        (TWO, None, 0, "None number 0"),
        ({"worker": ["a:1"]}, "worker", 1, "'worker' number 1"),
        ({"master": ["a:1"], "worker": ["b:1"]}, "master", 0, "which TensorFlow now calls 'chief'"),
        ({"master": ["a:1"], "chief": ["b:1"]}, "chief", 0, "one 'chief'"),
        ("a:1", "worker", 0, "cannot be read"),
        (TWO, ["worker"], 0, "cannot be read"),
        (TWO, "worker", 0.5, "cannot be read"),
        (TWO, "worker", 10**30, "cannot be read"),
        (TWO, "worker", "first", "cannot be read"),
        (TWO, "evaluator", 0, "the chief validates"),
        ({**TWO, "ps": ["c:1"]}, "worker", 0, "'ps', and only 'chief' and 'worker' train"),
        ({"worker": ["a:1", "a:1"]}, "worker", 0, "an address of its own"),
        ({"worker": ["a", "b:1"]}, "worker", 0, "HOST:PORT"),
        ({"chief": ["a:1", "b:1"]}, "chief", 0, "one 'chief'"),
        (["a:1", "b:1"], "worker", 0, "cannot be read"),
        ({"worker": ["a:1", 2]}, "worker", 0, "cannot be read"),
        ({"worker": {"0": "a:1", "2": "b:1"}}, "worker", 0, "cannot be read"),
        (TWO, "worker", -1, "'worker' number -1"),
    ],
)
def test_a_malformed_cluster_is_refused_with_an_example(monkeypatch, workers, kind, index, message):
    with pytest.raises(ValueError, match="TF_CONFIG: ") as caught:
        configured(monkeypatch, workers, kind, index)
    assert message in str(caught.value) and '"task": {"type": "worker", "index": 0}' in str(caught.value)


@pytest.mark.parametrize("text", ["worker0", "[]", "1", "null", '{"cluster": 1}', '{"task": [1]}', 3000 * "["])
def test_no_json_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG: it cannot be read") as caught:
        Cluster.from_environment()
    assert len(str(caught.value)) < 400


# Waiting for the others


@pytest.fixture
def alarm():
    """Where the clock that ends a process is off again after the test, whatever happened."""
    yield
    signal.alarm(0)


def join(monkeypatch, strategy):
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", strategy)
    monkeypatch.setenv("no_grpc_proxy", "")  # which joining sets
    return cluster.join(Cluster({"worker": ("a:1", "b:1")}))


@pytest.mark.usefixtures("alarm")
def test_the_alarm_is_set_while_waiting_and_off_after_the_join(monkeypatch):
    """An alarm that stays would end each training of several workers after ten minutes."""
    handler = signal.getsignal(signal.SIGTERM)

    def strategy():
        assert signal.alarm(cluster.JOIN_SECONDS) in (cluster.JOIN_SECONDS, cluster.JOIN_SECONDS - 1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # As TensorFlow takes it over.
        return "joined"

    assert join(monkeypatch, strategy) == "joined"
    assert signal.alarm(0) == 0
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.usefixtures("alarm")
def test_a_worker_that_goes_at_once_ends_the_join_and_the_alarm(monkeypatch):
    def strategy():
        raise tf.errors.UnavailableError(None, None, "first line\nfailed: task:1 is gone")

    with pytest.raises(cluster.WorkerLost, match=r"did not come together\. Start all .*says: failed: task:1 is gone"):
        join(monkeypatch, strategy)
    assert signal.alarm(0) == 0


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize(
    ("own", "no_proxy", "expected"),
    [("", "", "a,fd00::1"), ("", "b.example", "b.example,a,fd00::1"), ("c", "b.example", "c,a,fd00::1")],
)
def test_the_workers_talk_through_no_proxy(monkeypatch, own, no_proxy, expected):
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: None)
    monkeypatch.setenv("no_grpc_proxy", own)
    monkeypatch.setenv("no_proxy", no_proxy)
    cluster.join(Cluster({"chief": ("a:1",), "worker": ("a:2", "[fd00::1]:3")}))
    assert dict(os.environ)["no_grpc_proxy"] == expected


def test_alone_the_chief_says_what_one_says_oneself():
    strategy = tf.distribute.get_strategy()
    assert cluster.is_chief(strategy) and not cluster.is_cluster(strategy)
    assert cluster.from_chief(strategy, {"a": 3}) == {"a": 3}
