"""How a step is spread over the host, and which strategy is taken for its devices."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from trainer.training import devices


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("batch", [1, 7, 15, 16, 31, 32, 48, 100, 128])
def test_slices_divide_the_batch_and_are_neither_small_nor_more_than_the_cores(monkeypatch, batch, cores):
    monkeypatch.setattr(devices, "cores", lambda: cores)
    monkeypatch.setattr(devices, "accelerators", list)
    monkeypatch.setattr(tf, "__version__", "2.16.2")
    count = devices.slices(batch)
    assert batch % count == 0 and 1 <= count <= cores
    assert count == 1 or batch // count >= 16
    # No larger number would do.
    assert not [n for n in range(count + 1, cores + 1) if batch % n == 0 and batch // n >= 16]


@pytest.mark.parametrize(("version", "expected"), [("2.16.2", 2), ("2.19.0", 2), ("2.20.0", 1), ("3.0.0", 1)])
def test_a_batch_is_cut_only_where_it_pays(monkeypatch, version, expected):
    monkeypatch.setattr(devices, "cores", lambda: 2)
    monkeypatch.setattr(devices, "accelerators", list)
    monkeypatch.setattr(tf, "__version__", version)
    assert devices.slices(100) == expected


def test_a_batch_on_an_accelerator_is_not_cut(monkeypatch):
    monkeypatch.setattr(devices, "cores", lambda: 2)
    monkeypatch.setattr(tf, "__version__", "2.16.2")
    monkeypatch.setattr(devices, "accelerators", lambda: ["GPU"])
    assert devices.slices(100) == 1


def test_threads_that_run_already_are_left_alone():
    tf.constant(1.0).numpy()  # TensorFlow has started.
    before = tf.config.threading.get_intra_op_parallelism_threads()
    devices.configure_threads()
    assert tf.config.threading.get_intra_op_parallelism_threads() == before


def test_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    assert len(tf.config.list_logical_devices("GPU")) <= 1
    assert devices.strategy().num_replicas_in_sync == 1


@pytest.mark.parametrize(
    ("gpus", "cpus", "expected"), [(2, 1, ["GPU:0", "GPU:1"]), (0, 3, ["CPU:0", "CPU:1", "CPU:2"])]
)
def test_several_devices_of_the_fastest_kind_are_mirrored(monkeypatch, gpus, cpus, expected):
    counts = {"GPU": gpus, "CPU": cpus}
    monkeypatch.delenv("TPU_NAME", raising=False)
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda kind: [SimpleNamespace(name=f"{kind}:{index}") for index in range(counts[kind])],
    )
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: names)
    assert devices.strategy() == expected


def test_one_gpu_is_used_alone_beside_several_cpus(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] * {"GPU": 1, "CPU": 2}[kind])
    assert devices.strategy() is tf.distribute.get_strategy()
