"""The server's metrics for Prometheus, under TF Serving's names where it has them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import TypeVar

import grpc
from prometheus_client import Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from serving.server import status_error

T = TypeVar("T")

# TF Serving's buckets of microseconds: from 10, each 1.8 times the one before.
_MICROSECONDS = [10 * 1.8**power for power in range(33)]
_ROWS = [0, *(2**power for power in range(13))]


class Metrics(Collector):
    """The metrics of one server."""

    def __init__(self) -> None:
        prefix = ":tensorflow:serving:"
        self.requests = Counter(
            f"{prefix}request_count", "Requests answered.", ["model_name", "API", "status"], registry=None
        )
        self.latency = _histogram(
            f"{prefix}request_latency",
            "Microseconds from a request's arrival to its answer.",
            _MICROSECONDS,
            labels=["model_name", "API", "entrypoint"],
        )
        self.queuing_latency = _histogram(
            f"{prefix}batching_session:queuing_latency",
            "Microseconds that a request waited for its batch to be computed.",
            _MICROSECONDS,
        )
        self.batch_size = _histogram(
            f"{prefix}batching:processed_batch_size", "Rows of the batches, without padding.", _ROWS
        )
        self.padding = _histogram(f"{prefix}batching:padding_size", "Rows that batches were padded with.", _ROWS)
        self.waiting = Gauge("draw_serving_waiting_requests", "Requests that wait to be computed.", registry=None)
        self.version_states = _version_states([])

    async def observe(self, model: str, api: str, entrypoint: str, answer: Awaitable[T]) -> T:
        """Awaits the answer, and counts and times it, on behalf of gRPC and REST.

        `model` is "" where there is none of the name that the caller gives: a caller must not be able to fill the
        memory with names that it invents.
        """
        began = time.perf_counter()
        status = grpc.StatusCode.CANCELLED
        try:
            response = await answer
            status = grpc.StatusCode.OK
            return response
        except Exception as error:
            status = status_error.from_exception(error).code
            raise
        finally:
            self.requests.labels(model, api, status.name).inc()
            self.latency.labels(model, api, entrypoint).observe((time.perf_counter() - began) * 1e6)

    def set_version_states(self, states: Iterable[tuple[str, int, str]]) -> None:
        """Replace what is shown of the versions by these (model, version, state), all at once."""
        self.version_states = _version_states(states)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics without the `_total` and `_created` that the library adds and TF Serving does not have."""
        for instrument in vars(self).values():
            for family in instrument.collect():
                kind = "unknown" if family.type == "counter" else family.type
                metric = Metric(family.name, family.documentation, kind)
                for sample in family.samples:
                    if not sample.name.endswith("_created"):
                        name = sample.name.removesuffix("_total")
                        metric.add_sample(name, _tf_serving_labels(sample.labels), sample.value)
                yield metric

    def page(self) -> bytes:
        """Render the page that Prometheus scrapes, in its text format 0.0.4."""
        return generate_latest(self)


def _histogram(name: str, documentation: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
    return Histogram(name, documentation, labels, buckets=bounds, registry=None)


def _version_states(states: Iterable[tuple[str, int, str]]) -> Gauge:
    gauge = Gauge(
        "draw_serving_version_state",
        "1 for the state that a version is in.",
        ["model_name", "version", "state"],
        registry=None,
    )
    for state in states:
        gauge.labels(*state).set(1)
    return gauge


def _tf_serving_labels(labels: dict[str, str]) -> dict[str, str]:
    """The labels, with a bucket's bound in six digits: `104.976`, not `104.97600000000001`."""
    if labels.get("le", "+Inf") == "+Inf":
        return labels
    return {**labels, "le": f"{float(labels['le']):.6g}"}
