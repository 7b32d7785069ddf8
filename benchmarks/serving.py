"""Measures the model server under load with requests for samples: `python -m benchmarks.serving`.

`draw serve` serves a model of the size of task `digits`, with untrained weights, in its own process; this process
sends requests for one image each over the loopback interface, and compares every answer with the SavedModel's own.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2

from benchmarks.serve_process import MODEL, START_SECONDS, export_untrained, publish, serve
from serving.cores import cores

_State = get_model_status_pb2.ModelVersionStatus.State
_CONCURRENCIES = (1, 8, 64)
_SWAPS = 3
_SEEDS = 256
_TOLERANCE = 1e-5
"""Largest difference allowed between an answer and the SavedModel's own."""
_CALL_SECONDS = 30.0
_NO_PROXY = [("grpc.enable_http_proxy", 0)]
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The result of one load, from its first request to its last answer."""

    load: str
    batching: bool
    concurrency: int
    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    greatest_difference: float

    @property
    def throughput(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds


class Load:
    """Requests for one image each, and the SavedModel's own answers to them."""

    def __init__(self, model_dir: pathlib.Path) -> None:
        seeds = np.stack([np.full(_SEEDS, 1502), np.arange(_SEEDS)], axis=1).astype(np.int64)
        sample = tf.saved_model.load(str(model_dir)).signatures["sample"]
        self._expected = np.concatenate([sample(seed=tf.constant(seed[None]))["image"].numpy() for seed in seeds])
        # Made and read outside of the measurement, because the callers share the machine with the server.
        self._requests = [_request(seed[None]).SerializeToString() for seed in seeds]

    async def run(self, channel: grpc.aio.Channel, concurrency: int, done: asyncio.Event) -> dict[str, Any]:
        """Runs that many callers until `done`, each with one request at a time."""
        predict = channel.unary_unary(_PREDICT)
        latencies: list[float] = []
        answers: list[tuple[int, bytes]] = []
        failures: list[str] = []

        async def call(caller: int) -> None:
            index = caller
            while not done.is_set():
                began = time.perf_counter()
                try:
                    answer = await predict(self._requests[index % _SEEDS], timeout=_CALL_SECONDS)
                except grpc.aio.AioRpcError as error:
                    failures.append(f"{error.code().name}: {error.details()}")
                    continue
                latencies.append(time.perf_counter() - began)
                answers.append((index % _SEEDS, answer))
                index += concurrency

        began = time.perf_counter()
        await asyncio.gather(*(call(caller) for caller in range(concurrency)))
        seconds = time.perf_counter() - began
        for failure in sorted(set(failures)):
            print(f"failed: {failure}", file=sys.stderr)
        p50, p90, p99 = 1e3 * np.percentile(latencies, [50, 90, 99])
        return {
            "requests": len(answers),
            "failed": len(failures),
            "seconds": seconds,
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "greatest_difference": max(self._difference(*answer) for answer in answers),
        }

    def _difference(self, index: int, answer: bytes) -> float:
        response = predict_pb2.PredictResponse.FromString(answer)
        return float(np.abs(tf.make_ndarray(response.outputs["image"])[0] - self._expected[index]).max())


def main() -> int:
    """Measures, prints a table, and returns 1 where a request failed or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("build/benchmarks/serving.json"))
    arguments = parser.parse_args()
    # Through the ends of the blocks below, which end the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder) / MODEL
        export_untrained(base / "1", seed=0)
        load = Load(base / "1")
        measurements = []
        for batching in (False, True):
            flags = ("--rest_api_port=0", *(["--enable_batching"] if batching else []))
            with serve(base, *flags) as served:
                measurements += asyncio.run(_measure(load, base, served.grpc_port, batching, arguments.seconds))
            for version in range(2, 2 + _SWAPS):
                shutil.rmtree(base / str(version))
    _print(measurements)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**dataclasses.asdict(row), "throughput": row.throughput} for row in measurements]
    report = {"cores": cores(), "tensorflow": tf.__version__, "measurements": rows}
    arguments.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    wrong = [row for row in measurements if row.failed or not row.greatest_difference <= _TOLERANCE]
    return 1 if wrong else 0


async def _measure(load: Load, base: pathlib.Path, port: int, batching: bool, seconds: float) -> list[Measurement]:
    measurements = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", _NO_PROXY) as channel:
        await load.run(channel, max(_CONCURRENCIES), _after(1.0))
        for concurrency in _CONCURRENCIES:
            result = await load.run(channel, concurrency, _after(seconds))
            measurements.append(Measurement("sample", batching, concurrency, **result))
        concurrency = max(_CONCURRENCIES)
        done = asyncio.Event()
        swaps = asyncio.create_task(_swap(base, channel, done))
        result = await load.run(channel, concurrency, done)
        await swaps
        measurements.append(Measurement(f"sample, {_SWAPS} swaps", batching, concurrency, **result))
    return measurements


async def _swap(base: pathlib.Path, channel: grpc.aio.Channel, done: asyncio.Event) -> None:
    """Publishes one version after the other, each when the one before has taken over."""
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL
    try:
        for version in range(2, 2 + _SWAPS):
            await asyncio.sleep(1.0)
            publish(base / "1", base / str(version))
            states: dict[int, int] = {}
            until = time.monotonic() + START_SECONDS
            while states != dict.fromkeys(range(1, version), _State.END) | {version: _State.AVAILABLE}:
                if time.monotonic() > until:
                    raise TimeoutError(f"Version {version} did not take over within {START_SECONDS:g} s: {states}")
                await asyncio.sleep(0.1)
                response = await stub.GetModelStatus(request, timeout=_CALL_SECONDS)
                states = {row.version: row.state for row in response.model_version_status}
    finally:
        done.set()


def _after(seconds: float) -> asyncio.Event:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    return event


def _request(seed: np.ndarray) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = "sample"
    request.inputs["seed"].CopyFrom(tf.make_tensor_proto(seed))
    return request


def _print(measurements: list[Measurement]) -> None:
    print(
        f"{'load':18} {'batching':>8} {'callers':>7} {'images/s':>9} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} failed"
    )
    for row in measurements:
        print(
            f"{row.load:18} {'on' if row.batching else 'off':>8} {row.concurrency:7} {row.throughput:9.0f} "
            f"{row.p50_ms:8.1f} {row.p90_ms:8.1f} {row.p99_ms:8.1f} {row.failed:6}"
        )
    off, on = (
        next(row for row in measurements if row.batching == batching and row.concurrency == max(_CONCURRENCIES))
        for batching in (False, True)
    )
    print(f"batching at {off.concurrency} callers: {on.throughput / off.throughput:.1f} times the throughput")
    print(f"greatest difference to the SavedModel itself: {max(row.greatest_difference for row in measurements):.2g}")


if __name__ == "__main__":
    sys.exit(main())
