"""What Prometheus is told: counters, gauges and histograms, under TF Serving's names where it has them.

Written out here and not by Prometheus's client library, because that adds `_total` to the names of counters, and TF
Serving's have none.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Iterator, Sequence

Labels = tuple[str, ...]


class _Metric:
    """A number for each combination of labels."""

    kind = "untyped"

    def __init__(self, name: str, description: str, *labels: str) -> None:
        self.name = name
        self._description = description
        self._label_names = labels
        self._lock = threading.Lock()

    def lines(self) -> Iterator[str]:
        """In Prometheus's text format."""
        yield f"# HELP {self.name} {self._description}"
        yield f"# TYPE {self.name} {self.kind}"
        with self._lock:
            yield from list(self._samples())

    def _samples(self) -> Iterator[str]:
        raise NotImplementedError

    def _sample(self, suffix: str, labels: Labels, value: float, *more: tuple[str, str]) -> str:
        pairs = [*zip(self._label_names, labels, strict=True), *more]
        shown = ",".join(f'{name}="{_escaped(label)}"' for name, label in pairs)
        return f"{self.name}{suffix}{{{shown}}} {value:.17g}" if pairs else f"{self.name}{suffix} {value:.17g}"


class Counter(_Metric):
    """Only rises."""

    kind = "counter"

    def __init__(self, name: str, description: str, *labels: str) -> None:
        super().__init__(name, description, *labels)
        self._values: dict[Labels, float] = {}

    def add(self, amount: float, *labels: str) -> None:
        """Adds to the number of these labels."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def _samples(self) -> Iterator[str]:
        for labels, value in sorted(self._values.items()):
            yield self._sample("", labels, value)


class Gauge(Counter):
    """Rises and falls."""

    kind = "gauge"

    def replace(self, values: dict[Labels, float]) -> None:
        """Forgets all, and shows these."""
        with self._lock:
            self._values = dict(values)


class Histogram(_Metric):
    """How many observations were at most as great as each bound."""

    kind = "histogram"

    def __init__(self, name: str, description: str, bounds: Sequence[float], *labels: str) -> None:
        super().__init__(name, description, *labels)
        self._bounds = list(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Counts the value in its bucket."""
        bucket = bisect.bisect_left(self._bounds, value)
        with self._lock:
            if labels not in self._counts:
                self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._counts[labels][bucket] += 1
            self._sums[labels] = self._sums.get(labels, 0.0) + value

    def _samples(self) -> Iterator[str]:
        for labels, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip([*self._bounds, math.inf], counts, strict=True):
                total += count
                yield self._sample("_bucket", labels, total, ("le", "+Inf" if bound == math.inf else f"{bound:.6g}"))
            yield self._sample("_sum", labels, self._sums[labels])
            yield self._sample("_count", labels, total)


# TF Serving's buckets of microseconds: from 10, each 1.8 times the one before.
_MICROSECONDS = [10 * 1.8**power for power in range(33)]
_ROWS = [0, *(2**power for power in range(13))]


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        prefix = ":tensorflow:serving:"
        self.requests = Counter(f"{prefix}request_count", "Requests answered.", "model_name", "API", "status")
        self.latency = Histogram(
            f"{prefix}request_latency",
            "Microseconds from a request's arrival to its answer.",
            _MICROSECONDS,
            "model_name",
            "API",
            "entrypoint",
        )
        self.queuing_latency = Histogram(
            f"{prefix}batching_session:queuing_latency",
            "Microseconds that a request waited for its batch to be computed.",
            _MICROSECONDS,
        )
        self.batch_size = Histogram(
            f"{prefix}batching:processed_batch_size", "Rows of the batches, without padding.", _ROWS
        )
        self.padding = Histogram(f"{prefix}batching:padding_size", "Rows that batches were padded with.", _ROWS)
        self.waiting = Gauge("draw_serving_waiting_requests", "Requests that wait to be computed.")
        self.versions = Gauge(
            "draw_serving_version_state",
            "1 for the state that a version is in.",
            "model_name",
            "version",
            "state",
        )

    def page(self) -> str:
        """The page that Prometheus reads."""
        return "".join(f"{line}\n" for metric in vars(self).values() for line in metric.lines())


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
