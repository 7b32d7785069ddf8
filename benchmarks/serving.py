"""Measures the model server under load with requests for samples: `python -m benchmarks.serving`.

`draw serve` serves a model of the size of task `digits`, with untrained weights, in its own process; this process
sends requests for one image each over the loopback interface, by gRPC and by REST, and compares every answer with the
SavedModel's own. With --against, the server of an earlier revision takes turns with this one, load by load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import http.client
import itertools
import json
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2

from benchmarks.bench import revision
from benchmarks.serve_process import MODEL, ROOT, START_SECONDS, Served, export_untrained, publish, serve
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

    side: str
    """`this`, or the revision whose server it was."""
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


class Protocol(NamedTuple):
    """How a caller asks for a sample."""

    ask: Callable[[int, int], Awaitable[Any]]
    """(caller, index of the seed) -> the answer as it came. Raises OSError or AioRpcError."""
    image: Callable[[Any], np.ndarray]
    """The answer's image [H, W, C]. Raises ValueError or KeyError."""


class Load:
    """Requests for one image each, and the SavedModel's own answers to them."""

    def __init__(self, model_dir: pathlib.Path) -> None:
        seeds = np.stack([np.full(_SEEDS, 1502), np.arange(_SEEDS)], axis=1).astype(np.int64)
        sample = tf.saved_model.load(str(model_dir)).signatures["sample"]
        self._expected = np.concatenate([sample(seed=tf.constant(seed[None]))["image"].numpy() for seed in seeds])
        # Made and read outside of the measurement, because the callers share the machine with the server.
        self._messages = [_request(seed[None]).SerializeToString() for seed in seeds]
        self._bodies = [
            json.dumps({"signature_name": "sample", "inputs": {"seed": [seed.tolist()]}}).encode() for seed in seeds
        ]

    def grpc(self, channel: grpc.aio.Channel) -> Protocol:
        """Callers that share a channel."""
        predict = channel.unary_unary(_PREDICT)

        def ask(_: int, index: int) -> Awaitable[bytes]:
            return predict(self._messages[index], timeout=_CALL_SECONDS)

        def image(answer: bytes) -> np.ndarray:
            return tf.make_ndarray(predict_pb2.PredictResponse.FromString(answer).outputs["image"])[0]

        return Protocol(ask, image)

    @contextlib.contextmanager
    def rest(self, port: int) -> Iterator[Protocol]:
        """Callers with a connection each, kept alive."""
        connections: dict[int, http.client.HTTPConnection] = {}
        headers = {"Content-Type": "application/json"}

        def call(caller: int, index: int) -> bytes:
            connection = connections.setdefault(
                caller, http.client.HTTPConnection("127.0.0.1", port, timeout=_CALL_SECONDS)
            )
            try:
                connection.request("POST", f"/v1/models/{MODEL}:predict", self._bodies[index], headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # The next request opens it anew.
                raise
            if response.status != http.HTTPStatus.OK:
                raise OSError(f"{response.status}: {body[:200].decode(errors='replace')}")
            return body

        with ThreadPoolExecutor(max(_CONCURRENCIES)) as threads:

            def ask(caller: int, index: int) -> Awaitable[bytes]:
                return asyncio.get_running_loop().run_in_executor(threads, call, caller, index)

            yield Protocol(ask, lambda body: np.asarray(json.loads(body)["outputs"][0]))
        for connection in connections.values():
            connection.close()

    async def run(self, protocol: Protocol, concurrency: int, done: asyncio.Event) -> dict[str, Any]:
        """Runs that many callers until `done`, each with one request at a time."""
        latencies: list[float] = []
        answers: list[tuple[int, Any]] = []
        failures: list[str] = []

        async def call(caller: int) -> None:
            index = caller
            while not done.is_set():
                began = time.perf_counter()
                try:
                    answer = await protocol.ask(caller, index % _SEEDS)
                except grpc.aio.AioRpcError as error:
                    failures.append(f"{error.code().name}: {error.details()}")
                except (OSError, http.client.HTTPException) as error:
                    failures.append(repr(error))
                else:
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
            "greatest_difference": max(
                float(np.abs(protocol.image(answer) - self._expected[index]).max()) for index, answer in answers
            ),
        }


def main() -> int:
    """Measures, prints a table, and returns 1 where a request failed or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=1, help="how often each load is run")
    parser.add_argument("--against", metavar="REVISION", help="measure this revision's server by turns with this one's")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("build/benchmarks/serving.json"))
    arguments = parser.parse_args()
    # Through the ends of the blocks below, which end the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    measurements: list[Measurement] = []
    with contextlib.ExitStack() as stack:
        base = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / MODEL
        export_untrained(base / "1", seed=0)
        load = Load(base / "1")
        code = {"this": ROOT}
        if arguments.against:
            code[arguments.against] = stack.enter_context(revision(arguments.against))
        for batching in (False, True):
            flags = ("--enable_batching",) if batching else ()
            with contextlib.ExitStack() as servers:
                sides = {side: servers.enter_context(serve(base, *flags, code=path)) for side, path in code.items()}
                loads = _loads(load, base, sides, batching, arguments.seconds, arguments.rounds)
                measurements += asyncio.run(loads)
            for version in range(2, 2 + _SWAPS):
                shutil.rmtree(base / str(version), ignore_errors=True)
    _print(measurements)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**dataclasses.asdict(row), "throughput": row.throughput} for row in measurements]
    report = {"cores": cores(), "tensorflow": tf.__version__, "measurements": rows}
    arguments.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    wrong = [row for row in measurements if row.failed or not row.greatest_difference <= _TOLERANCE]
    return 1 if wrong else 0


async def _loads(
    load: Load, base: pathlib.Path, sides: dict[str, Served], batching: bool, seconds: float, rounds: int
) -> Sequence[Measurement]:
    measurements = []
    async with contextlib.AsyncExitStack() as stack:
        channels = {
            side: await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{served.grpc_port}", _NO_PROXY))
            for side, served in sides.items()
        }
        for channel in channels.values():
            await load.run(load.grpc(channel), max(_CONCURRENCIES), _after(1.0))
        for protocol, concurrency in itertools.product(("gRPC", "REST"), _CONCURRENCIES):
            for side in [*sides] * rounds:
                with contextlib.ExitStack() as connections:
                    if protocol == "gRPC":
                        calls = load.grpc(channels[side])
                    else:
                        calls = connections.enter_context(load.rest(sides[side].rest_port))
                    result = await load.run(calls, concurrency, _after(seconds))
                measurements.append(Measurement(side, protocol, batching, concurrency, **result))
        if len(sides) == 1:
            # A swap would take place in both servers, which serve the same folder.
            concurrency = max(_CONCURRENCIES)
            done = asyncio.Event()
            swaps = asyncio.create_task(_swap(base, channels["this"], done))
            result = await load.run(load.grpc(channels["this"]), concurrency, done)
            await swaps
            measurements.append(Measurement("this", f"gRPC, {_SWAPS} swaps", batching, concurrency, **result))
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
    """Prints a line for each load of a side, of several rounds the medians."""
    print(f"{'side':12} {'load':14} {'batching':>8} {'callers':>7} {'images/s':>9} {'p50 ms':>8} {'p99 ms':>8} failed")
    rows: dict[tuple[str, str, bool, int], list[Measurement]] = {}
    for each in measurements:
        rows.setdefault((each.side, each.load, each.batching, each.concurrency), []).append(each)
    for (side, load, batching, concurrency), rounds in rows.items():
        throughput, p50, p99 = (
            statistics.median(getattr(each, name) for each in rounds) for name in ("throughput", "p50_ms", "p99_ms")
        )
        print(
            f"{side:12.12} {load:14} {'on' if batching else 'off':>8} {concurrency:7} {throughput:9.0f} "
            f"{p50:8.1f} {p99:8.1f} {sum(each.failed for each in rounds):6}"
        )
    print(f"greatest difference to the SavedModel itself: {max(row.greatest_difference for row in measurements):.2g}")


if __name__ == "__main__":
    sys.exit(main())
