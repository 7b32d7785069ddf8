"""Which requests are computed together, on a real SavedModel that tells how many rows it computed at once."""

from __future__ import annotations

import asyncio
import math
import pathlib
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving.saved_model import Arrays
from serving.server import version_loader
from serving.server.batching import BatchingParameters, BatchingScheduler, Scheduler, UnbatchedScheduler
from serving.server.prometheus_metrics import Metrics
from serving.server.servable import Servable
from serving.server.status_error import StatusError
from tests.serving import tiny_servable


def _loaded(model: str, path: pathlib.Path) -> Servable:
    return version_loader.load_version(model, 1, path, lambda _: None, allow_unsafe_ops=False, max_rows=10)


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    base = tmp_path_factory.mktemp("models") / "tiny"
    tiny_servable.save(base, 1, offset=0.5)
    return _loaded("tiny", base / "1")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make(metrics: Metrics) -> Iterator[Any]:
    made: list[Scheduler] = []

    def batches(**parameters: Any) -> BatchingScheduler:
        alone = UnbatchedScheduler(threads=1, max_rows=5, max_waiting=1, metrics=metrics)
        made.append(BatchingScheduler(BatchingParameters(**parameters), alone, metrics))
        return made[-1]

    yield batches
    for scheduler in made:
        scheduler.close()


@pytest.fixture
def held(servable: Servable, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds up whatever `spin` computes until it is set."""
    event, run = threading.Event(), servable.signatures["spin"].run
    monkeypatch.setattr(servable.signatures["spin"], "run", lambda inputs: event.wait(60) and run(inputs))
    yield event
    event.set()


def _spin(*numbers: int) -> Arrays:
    return {"turns": np.zeros(len(numbers), np.int64), "number": np.array(numbers)}


async def _together(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_requests_that_come_together_are_computed_together_and_padded(servable: Servable, make: Any) -> None:
    scheduler = make(
        max_batch_size=16, allowed_batch_sizes=(2, 11, 16), batch_timeout_micros=500_000, num_batch_threads=2
    )
    spin, double = servable.signatures["spin"], servable.signatures["double"]

    async def ask() -> list[Any]:
        return await _together(
            scheduler.submit(spin, _spin(4, 5), deadline=math.inf),
            scheduler.submit(double, tiny_servable.rows(1, 2), deadline=math.inf),
            scheduler.submit(spin, _spin(6), deadline=math.inf),
            scheduler.submit(spin, _spin(7, 8, 9), deadline=math.inf),
        )

    first, other, second, third = _run(ask())
    # Six rows, padded to eleven; nobody sees the rows of another, nor those of the padding.
    assert [answer["size"].tolist() for answer in (first, second, third)] == [[11, 11], [11], [11, 11, 11]]
    assert [answer["number"].tolist() for answer in (first, second, third)] == [[4, 5], [6], [7, 8, 9]]
    np.testing.assert_array_equal(other["total"], [6, 9])


def test_a_batch_of_an_allowed_size_is_not_padded() -> None:
    parameters = BatchingParameters(max_batch_size=16, allowed_batch_sizes=(2, 11, 16))
    assert [parameters.padded(rows) for rows in range(1, 17)] == [2, 2, *[11] * 9, *[16] * 5]
    assert [BatchingParameters(max_batch_size=16).padded(rows) for rows in (1, 15, 16)] == [1, 15, 16]


def test_one_model_does_not_answer_for_another(servable: Servable, make: Any, tmp_path: pathlib.Path) -> None:
    tiny_servable.save(tmp_path / "other", 1, offset=7.0)
    servables = [servable, _loaded("other", tmp_path / "other" / "1")]
    scheduler = make(max_batch_size=64, batch_timeout_micros=100_000)

    async def ask() -> list[Any]:
        calls = [
            scheduler.submit(one.signatures["double"], tiny_servable.rows(value), deadline=math.inf)
            for value in (1.0, 2.0)
            for one in servables
        ]
        return await _together(*calls)

    # 2 x + offset, in the order of the calls.
    assert [answer["y"][0, 0] for answer in _run(ask())] == [2.5, 9.0, 4.5, 11.0]


def test_closing_computes_what_waits(servable: Servable, make: Any, metrics: Metrics, held: threading.Event) -> None:
    scheduler = make(max_batch_size=2, batch_timeout_micros=60_000_000, num_batch_threads=1)
    spin, double = servable.signatures["spin"], servable.signatures["double"]

    async def ask() -> list[Any]:
        busy = scheduler.submit(spin, _spin(1, 2), deadline=math.inf)
        await _until(lambda: scheduler._queues == {})
        waiting = [scheduler.submit(spin, _spin(n), deadline=math.inf) for n in (3, 4, 5)]
        waiting.append(scheduler.submit(double, tiny_servable.rows(6), deadline=math.inf))
        closing = asyncio.create_task(asyncio.to_thread(scheduler.close))
        await _until(lambda: scheduler._closed)
        held.set()
        await closing
        return await asyncio.wait_for(_together(busy, *waiting), 20)

    *spun, doubled = _run(ask())
    assert [answer["number"].tolist() for answer in spun] == [[1, 2], [3], [4], [5]]
    assert doubled["y"][0, 0] == 12.5
    assert b"draw_serving_waiting_requests 0.0\n" in metrics.page()


def test_a_full_batch_does_not_wait(servable: Servable, make: Any) -> None:
    scheduler = make(max_batch_size=3, batch_timeout_micros=60_000_000, num_batch_threads=1)

    async def ask() -> list[Any]:
        calls = [scheduler.submit(servable.signatures["spin"], _spin(n), deadline=math.inf) for n in range(6)]
        return await asyncio.wait_for(_together(*calls), 30)

    answers = _run(ask())
    assert [answer["size"].tolist() for answer in answers] == [[3]] * 6
    assert [answer["number"].tolist() for answer in answers] == [[n] for n in range(6)]


def test_the_answers_are_those_of_requests_alone(servable: Servable, make: Any) -> None:
    scheduler = make(max_batch_size=64, allowed_batch_sizes=(64,), batch_timeout_micros=100_000)
    double = servable.signatures["double"]
    inputs = [tiny_servable.rows(*np.random.default_rng(n).normal(size=1 + n % 3)) for n in range(20)]

    async def ask() -> list[Any]:
        return await _together(*(scheduler.submit(double, one, deadline=math.inf) for one in inputs))

    for one, answer in zip(inputs, _run(ask()), strict=True):
        for alias, value in double.run(one).items():
            np.testing.assert_array_equal(answer[alias], value)


def test_a_bad_request_fails_alone(servable: Servable, make: Any) -> None:
    scheduler = make(max_batch_size=64, batch_timeout_micros=100_000)
    double = servable.signatures["double"]
    values = [1.0, 2.0, math.nan, 4.0, 5.0, 1e7, 7.0]

    async def ask() -> list[Any]:
        calls = [scheduler.submit(double, tiny_servable.rows(value), deadline=math.inf) for value in values]
        return await _together(*calls)

    for value, answer in zip(values, _run(ask()), strict=True):
        if value in (1.0, 2.0, 4.0, 5.0, 7.0):
            np.testing.assert_array_equal(answer["y"], 0.5 + 2 * tiny_servable.rows(value)["x"])
        else:
            assert isinstance(answer, StatusError) and answer.code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_full_queue_refuses_and_the_rest_is_answered(
    servable: Servable, make: Any, metrics: Metrics, held: threading.Event
) -> None:
    scheduler = make(max_batch_size=2, max_enqueued_batches=2, num_batch_threads=1)
    spin = servable.signatures["spin"]

    async def ask() -> list[Any]:
        busy = scheduler.submit(spin, _spin(1, 2), deadline=math.inf)
        await _until(lambda: scheduler._queues == {})
        waiting = [scheduler.submit(spin, _spin(n), deadline=math.inf) for n in range(4)]
        with pytest.raises(StatusError, match="2 batches of signature 'spin' wait already") as refused:
            scheduler.submit(spin, _spin(9), deadline=math.inf)
        assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        # Another signature has a queue of its own.
        waiting.append(scheduler.submit(servable.signatures["double"], tiny_servable.rows(1), deadline=math.inf))
        await _until(lambda: b"draw_serving_waiting_requests 5.0\n" in metrics.page())
        held.set()
        return await _together(busy, *waiting)

    answers = _run(ask())
    assert [answer["number"].tolist() for answer in answers[:5]] == [[1, 2], [0], [1], [2], [3]]
    assert b"draw_serving_waiting_requests 0.0\n" in metrics.page()


def test_what_is_late_or_cancelled_is_not_computed(
    servable: Servable, make: Any, metrics: Metrics, held: threading.Event
) -> None:
    scheduler = make(max_batch_size=100, num_batch_threads=1)
    spin = servable.signatures["spin"]

    async def ask() -> list[Any]:
        busy = scheduler.submit(spin, _spin(1), deadline=math.inf)
        await _until(lambda: scheduler._queues == {})
        late = scheduler.submit(spin, _spin(2), deadline=time.monotonic() + 0.01)
        left = scheduler.submit(spin, _spin(3), deadline=math.inf)
        stays = scheduler.submit(spin, _spin(4), deadline=time.monotonic() + 60)
        left.cancel()
        await asyncio.sleep(0.02)
        held.set()
        return await _together(busy, late, left, stays)

    busy, late, left, stays = _run(ask())
    assert busy["number"].tolist() == [1]
    assert isinstance(late, StatusError) and late.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert isinstance(left, asyncio.CancelledError)
    assert stays["size"].tolist() == [1], "it was computed with a request that nobody waits for"
    assert b":tensorflow:serving:batching:processed_batch_size_sum 2.0\n" in metrics.page()


def test_one_by_one_has_a_bounded_queue_too(servable: Servable, metrics: Metrics, held: threading.Event) -> None:
    scheduler = UnbatchedScheduler(threads=1, max_rows=5, max_waiting=1, metrics=metrics)
    spin = servable.signatures["spin"]

    async def ask() -> list[Any]:
        calls = [
            scheduler.submit(spin, _spin(1), deadline=math.inf),
            scheduler.submit(spin, _spin(2), deadline=time.monotonic() + 0.01),
        ]
        with pytest.raises(StatusError, match="queue is full") as refused:
            scheduler.submit(spin, _spin(3), deadline=math.inf)
        assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        await asyncio.sleep(0.02)
        held.set()
        answers = await _together(*calls)
        return [*answers, *await _together(scheduler.submit(spin, _spin(4), deadline=math.inf))]

    first, late, again = _run(ask())
    scheduler.close()
    assert first["number"].tolist() == [1] and again["number"].tolist() == [4]
    assert isinstance(late, StatusError) and late.code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_signature_that_gives_no_row_for_a_row_is_refused(tmp_path: pathlib.Path, make: Any) -> None:
    class Pairs(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="number")])
        def pairs(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"twice": tf.concat([number, number], axis=0)}

    module = Pairs()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"pairs": module.pairs})
    signature = _loaded("pairs", tmp_path / "1").signatures["pairs"]

    async def ask() -> Any:
        return await make().submit(signature, {"number": np.array([3, 4])}, deadline=math.inf)

    with pytest.raises(StatusError, match=r"shape \[4\] for a batch of 2 rows"):
        _run(ask())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"num_batch_threads": 0}, "num_batch_threads is 0"),
        ({"max_enqueued_batches": 0}, "max_enqueued_batches is 0"),
        ({"batch_timeout_micros": -1}, "must not be negative"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (4, 6)}, "end with max_batch_size, 8"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (6, 4, 8)}, "rise"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (0, 8)}, "positive"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingParameters(**parameters)


async def _until(condition: Any) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "The condition did not hold in time."
        await asyncio.sleep(0.001)
