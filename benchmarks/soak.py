"""Loads the model server for long, over both protocols, while versions are swapped: `python -m benchmarks.soak`.

`draw serve` serves an untrained model of the size of task `digits`. Callers ask for samples, sequences, scores and
reconstructions, of few rows and of many, over gRPC and REST; versions of two sets of weights, and now and then a
damaged one, are published meanwhile. Every answer is compared with the SavedModel's own. It fails where a request
failed, an answer was wrong, a damaged version was taken, or the server's memory, threads or open files grew.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.serve_process import MODEL, START_SECONDS, Served, export_untrained, publish, serve
from serving.client import Client, VersionStatus, seed_rows
from serving.cores import cores
from serving.native_output import quiet_native_code
from serving.saved_model import Arrays, SavedModel

_ROWS = 256
"""Different seeds that callers ask for."""
_TOLERANCE = 1e-4
"""Largest difference allowed between an answer and the SavedModel's own, relative where that is over 1."""
_CALL_SECONDS = 30.0
_PROGRESS_SECONDS = 60.0
_DAMAGED_EVERY = 4
_KEPT_VERSIONS = 3
_GROWTH = 1.05
_GROWTH_FREE = {"memory MiB": 48, "threads": 4, "open files": 8}
"""What may come beside a share of `_GROWTH`, from the second fifth of the time to the last: noise of a short run."""


class Load(NamedTuple):
    """One kind of caller, and how many there are of it."""

    name: str
    signature: str
    rows: int
    callers: int
    protocol: str


LOADS = (
    Load("gRPC: 1 sample", "sample", 1, 4, "gRPC"),
    Load("gRPC: 200 samples, chunked", "sample", 200, 1, "gRPC"),
    Load("gRPC: 8 sequences", "sample_sequence", 8, 1, "gRPC"),
    Load("gRPC: 16 scores", "score", 16, 1, "gRPC"),
    Load("gRPC: 8 reconstructions", "reconstruct", 8, 1, "gRPC"),
    Load("REST: 1 sample", "sample", 1, 4, "REST"),
    Load("REST: 64 samples", "sample", 64, 1, "REST"),
    Load("REST: 16 scores", "score", 16, 1, "REST"),
)


@dataclasses.dataclass
class Results:
    """What callers of one kind met."""

    latencies: list[float] = dataclasses.field(default_factory=list)
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def answered(self, seconds: float) -> None:
        """Counts an answer."""
        with self.lock:
            self.latencies.append(seconds)

    def failed(self, reason: str) -> None:
        """Counts a failure."""
        with self.lock:
            self.failures[reason[:300]] += 1


class Expected:
    """The answers of both sets of weights, row by row."""

    def __init__(self, directories: list[pathlib.Path]) -> None:
        seeds = seed_rows(1502, _ROWS)
        images = np.random.default_rng(1502).integers(0, 2, (_ROWS, 28, 28, 1)).astype(np.float32)
        self._inputs: dict[str, Arrays] = {
            "sample": {"seed": seeds},
            "sample_sequence": {"seed": seeds},
            "score": {"image": images, "seed": seeds},
            "reconstruct": {"image": images, "seed": seeds},
        }
        models = [SavedModel(directory) for directory in directories]
        self._answers = {
            name: [model.signature(name).call(inputs, batch_rows=64) for model in models]
            for name, inputs in self._inputs.items()
        }

    def inputs(self, signature: str, first: int, rows: int) -> Arrays:
        """Returns the inputs of so many rows."""
        return {name: array[first : first + rows] for name, array in self._inputs[signature].items()}

    def fault(self, signature: str, first: int, outputs: Arrays) -> str:
        """Returns what is wrong with an answer, or nothing: all of it is that of one set of weights."""
        differences = []
        for answers in self._answers[signature]:
            if answers.keys() != outputs.keys():
                return f"outputs {sorted(outputs)}"
            pairs = [(answers[name][first : first + len(array)], array) for name, array in outputs.items()]
            if any(own.shape != array.shape for own, array in pairs):
                return "another shape"
            relative = [np.abs(own - array) / np.maximum(1, np.abs(own)) for own, array in pairs]
            differences.append(max(float(difference.max()) for difference in relative))
        return "" if min(differences) <= _TOLERANCE else f"wrong numbers: off by {min(differences):.2g}"


class Caller(threading.Thread):
    """Asks again and again until it is told to end; the next request goes out when the last is answered."""

    def __init__(self, load: Load, number: int, served: Served, expected: Expected, results: Results) -> None:
        super().__init__(name=f"{load.name} {number}", daemon=True)
        self._load, self._served, self._expected, self._results = load, served, expected, results
        self._random = np.random.default_rng([number, load.rows])
        self.ended = threading.Event()

    def run(self) -> None:
        """Asks until the end."""
        with contextlib.ExitStack() as stack:
            ask = _over_grpc(stack, self._served) if self._load.protocol == "gRPC" else _over_rest(stack, self._served)
            while not self.ended.is_set():
                self._ask_once(ask)

    def _ask_once(self, ask: Callable[[str, Arrays], Arrays]) -> None:
        load = self._load
        first = int(self._random.integers(0, _ROWS - load.rows + 1))
        began = time.perf_counter()
        try:
            outputs = ask(load.signature, self._expected.inputs(load.signature, first, load.rows))
        except Exception as error:  # whatever goes wrong is what the soak looks for
            self._results.failed(f"{type(error).__name__}: {error}")
            time.sleep(0.1)
            return
        self._results.answered(time.perf_counter() - began)
        if fault := self._expected.fault(load.signature, first, outputs):
            self._results.failed(fault)


def _over_grpc(stack: contextlib.ExitStack, served: Served) -> Callable[[str, Arrays], Arrays]:
    client = stack.enter_context(Client(f"127.0.0.1:{served.grpc_port}", model=MODEL, timeout_seconds=_CALL_SECONDS))
    return client.predict


def _over_rest(stack: contextlib.ExitStack, served: Served) -> Callable[[str, Arrays], Arrays]:
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=_CALL_SECONDS)
    stack.callback(connection.close)

    def ask(signature: str, inputs: Arrays) -> Arrays:
        body = {"signature_name": signature, "inputs": {name: array.tolist() for name, array in inputs.items()}}
        connection.request(
            "POST", f"/v1/models/{MODEL}:predict", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {content[:200].decode(errors='replace')}")
        outputs = json.loads(content)["outputs"]
        named = outputs if isinstance(outputs, dict) else {"image": outputs}
        return {name: np.asarray(value, np.float32) for name, value in named.items()}

    return ask


class Swapper(threading.Thread):
    """Publishes a version every so many seconds, now and then a damaged one, and waits for what the server does."""

    def __init__(self, base: pathlib.Path, weights: list[pathlib.Path], served: Served, seconds: float) -> None:
        super().__init__(name="swapper", daemon=True)
        self._base, self._weights, self._served, self._seconds = base, weights, served, seconds
        self.ended = threading.Event()
        self.swaps, self.damaged = 0, 0
        self.longest_swap = 0.0
        self.faults: list[str] = []

    def run(self) -> None:
        """Publishes until the end."""
        version = 1
        with Client(f"127.0.0.1:{self._served.grpc_port}", model=MODEL, timeout_seconds=_CALL_SECONDS) as client:
            while not self.ended.wait(self._seconds):
                version += 1
                try:
                    self._publish(client, version)
                except Exception as error:
                    self.faults.append(f"version {version}: {type(error).__name__}: {error}")

    def _publish(self, client: Client, version: int) -> None:
        damaged = version % _DAMAGED_EVERY == 0
        began = time.perf_counter()
        publish(self._damaged() if damaged else self._weights[version % len(self._weights)], self._base / str(version))
        until = time.monotonic() + START_SECONDS
        while not self._has_settled(statuses := client.status(), version, damaged=damaged):
            if time.monotonic() > until:
                raise TimeoutError(f"not settled within {START_SECONDS:g} s: {statuses}")
            time.sleep(0.1)
        if damaged:
            self.damaged += 1
            shutil.rmtree(self._base / str(version))
        else:
            self.swaps += 1
            self.longest_swap = max(self.longest_swap, time.perf_counter() - began)
        versions = sorted(int(path.name) for path in self._base.iterdir() if path.name.isdigit())
        for old in versions[:-_KEPT_VERSIONS]:
            shutil.rmtree(self._base / str(old))

    def _damaged(self) -> pathlib.Path:
        damaged = self._base.with_name("damaged")
        if not damaged.exists():
            shutil.copytree(self._weights[0], damaged)
            variables = damaged / "variables" / "variables.data-00000-of-00001"
            variables.write_bytes(variables.read_bytes()[:1000])
        return damaged

    @staticmethod
    def _has_settled(statuses: list[VersionStatus], version: int, *, damaged: bool) -> bool:
        """Whether the sound version answers alone, or the damaged one is refused beside one that answers."""
        states = {status.version: status for status in statuses}
        available = [number for number, status in states.items() if status.state == "AVAILABLE"]
        if not damaged:
            return available == [version]
        refused = states.get(version)
        return refused is not None and bool(refused.error) and version not in available and len(available) == 1


class Gauge(threading.Thread):
    """Reads the server's memory, threads and open files every second."""

    def __init__(self, served: Served) -> None:
        super().__init__(name="gauge", daemon=True)
        self._process = pathlib.Path(f"/proc/{served.pid}")
        self.ended = threading.Event()
        self.series: dict[str, list[float]] = {name: [] for name in _GROWTH_FREE}

    def run(self) -> None:
        """Reads until the end."""
        while not self.ended.wait(1.0):
            with contextlib.suppress(OSError):  # it has ended
                status = dict(line.split(":", 1) for line in (self._process / "status").read_text().splitlines())
                self.series["memory MiB"].append(int(status["VmRSS"].split()[0]) / 1024)
                self.series["threads"].append(int(status["Threads"]))
                self.series["open files"].append(len(os.listdir(self._process / "fd")))

    def growth(self) -> dict[str, tuple[float, float]]:
        """Returns the medians in the second fifth of the time and in the last, by what was read."""
        fifths = {name: np.array_split(np.array(series), 5) for name, series in self.series.items()}
        return {name: (float(np.median(parts[1])), float(np.median(parts[4]))) for name, parts in fifths.items()}


def main() -> int:
    """Loads the server, prints what its callers met, and returns 1 where something failed or grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long")
    parser.add_argument("--swap-seconds", type=float, default=10.0, help="pause between two versions")
    parser.add_argument("--flag", action="append", default=[], help="a flag for draw serve; may be repeated")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("build/benchmarks/soak.json"))
    arguments = parser.parse_args()
    if arguments.seconds < 20:
        parser.error("the soak needs 20 seconds: growth is that from the second fifth of the time to the last")
    # Through the ends of the blocks below, which end the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        weights = [pathlib.Path(folder) / name for name in ("even", "odd")]
        with quiet_native_code():
            for seed, directory in enumerate(weights):
                export_untrained(directory, seed=seed)
            expected = Expected(weights)
        base = pathlib.Path(folder) / MODEL
        base.mkdir()
        publish(weights[1], base / "1")
        results = {load.name: Results() for load in LOADS}
        began = time.monotonic()
        with serve(base, "--enable_batching", *arguments.flag) as served:
            swapper = Swapper(base, weights, served, arguments.swap_seconds)
            gauge = Gauge(served)
            callers = [
                Caller(load, number, served, expected, results[load.name])
                for load in LOADS
                for number in range(load.callers)
            ]
            with _running([swapper, gauge, *callers]):
                _wait(arguments.seconds, results, swapper, gauge)
    report = _report(results, swapper, gauge, time.monotonic() - began)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 1 if report["faults"] else 0


@contextlib.contextmanager
def _running(threads: Sequence[Caller | Swapper | Gauge]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.ended.set()
        for thread in threads:
            thread.join(START_SECONDS + _CALL_SECONDS)


def _wait(seconds: float, results: dict[str, Results], swapper: Swapper, gauge: Gauge) -> None:
    """Waits, and says every minute how far the soak is."""
    began = time.monotonic()
    while (left := seconds - (time.monotonic() - began)) > 0:
        time.sleep(min(left, _PROGRESS_SECONDS))
        answered = sum(len(result.latencies) for result in results.values())
        failed = sum(sum(result.failures.values()) for result in results.values())
        memory = gauge.series["memory MiB"]
        print(
            f"{time.monotonic() - began:6.0f} s: {answered:,} requests, {failed} failed, {swapper.swaps} swaps, "
            f"{memory[-1] if memory else 0:,.0f} MiB",
            file=sys.stderr,
        )


def _report(results: dict[str, Results], swapper: Swapper, gauge: Gauge, seconds: float) -> dict[str, object]:
    """Prints the tables and returns them, with what is at fault."""
    faults = list(swapper.faults)
    rows = []
    print(f"{'callers':28} {'requests':>9} {'p50 ms':>8} {'p99 ms':>8} {'worst ms':>9} {'failed':>7}")
    for load in LOADS:
        result = results[load.name]
        if not result.latencies:
            faults.append(f"{load.name}: no answer")
            continue
        p50, p99 = 1e3 * np.percentile(result.latencies, [50, 99])
        row = {
            "load": load.name,
            "callers": load.callers,
            "requests": len(result.latencies),
            "p50_ms": p50,
            "p99_ms": p99,
            "worst_ms": 1e3 * max(result.latencies),
            "failed": sum(result.failures.values()),
        }
        rows.append(row)
        faults += [f"{load.name}: {count} times {reason}" for reason, count in result.failures.items()]
        print(
            f"{load.name + f' x {load.callers}':28} {row['requests']:9,} {p50:8.1f} {p99:8.1f} "
            f"{row['worst_ms']:9.1f} {row['failed']:7}"
        )
    print(
        f"{sum(len(result.latencies) for result in results.values()):,} requests in {seconds:,.0f} s; {swapper.swaps} "
        f"swaps, the longest {swapper.longest_swap:.1f} s from copy to takeover, and {swapper.damaged} damaged versions"
    )
    growth = gauge.growth()
    for name, (early, late) in growth.items():
        peak = max(gauge.series[name])
        print(f"{name:12} {early:8,.0f} in the second fifth, {late:8,.0f} in the last, {peak:8,.0f} at most")
        if late > _GROWTH * early + _GROWTH_FREE[name]:
            faults.append(f"{name} grew from {early:,.0f} to {late:,.0f}")
    for fault in faults:
        print(f"at fault: {fault}", file=sys.stderr)
    return {
        "cores": cores(),
        "seconds": seconds,
        "loads": rows,
        "swaps": swapper.swaps,
        "damaged_versions": swapper.damaged,
        "longest_swap_seconds": swapper.longest_swap,
        "growth": growth,
        "faults": faults,
    }


if __name__ == "__main__":
    sys.exit(main())
