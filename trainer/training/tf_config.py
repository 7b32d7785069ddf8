"""The cluster that TF_CONFIG names: plain Python, so that a command can check it before anything runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

CHIEFS = ("chief", "master")
"""What the first worker may be called; TensorFlow 1 called it the master."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of one training, as TF_CONFIG names them; the first is the chief, who alone validates and writes."""

    jobs: Mapping[str, tuple[str, ...]]
    """Addresses of `chief` and `worker`, whichever there are."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The workers' addresses, the chief's first."""
        return tuple(address for group in self.jobs.values() for address in group)

    @property
    def size(self) -> int:
        """The number of workers, the chief included."""
        return len(self.addresses)

    @classmethod
    def from_environment(cls) -> Cluster | None:
        """Read the cluster that this process belongs to; None where it trains alone.

        Raises ValueError for a TF_CONFIG that names no cluster that could train, or no place in it for this process.
        """
        text = os.environ.get("TF_CONFIG", "")
        if not text.strip():
            return None
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _malformed("it cannot be read", error) from error
        named, kind, index = _parts(values)
        if kind == "evaluator":
            raise _malformed("this process is an 'evaluator', and the chief validates: start its workers alone")
        if named.keys() - {*CHIEFS, "worker", "evaluator"}:
            raise _malformed(f"it names {', '.join(map(repr, named))}, and only 'chief' and 'worker' train")
        cluster = cls({job: named[job] for job in (*CHIEFS, "worker") if job in named})
        cluster._check(kind, index)
        if cluster.size < 2:
            return None
        if "master" in cluster.jobs:
            raise _malformed("it calls the first of several workers 'master', which TensorFlow now calls 'chief'")
        return cluster

    def _check(self, kind: str | None, index: int) -> None:
        addresses = self.addresses
        wrong = [address for address in addresses if not re.fullmatch(r"\S+:\d{1,5}", address)]
        if wrong or len(set(addresses)) < len(addresses):
            raise _malformed(f"each worker needs an address of its own, HOST:PORT; it has {', '.join(addresses)}")
        if sum(len(self.jobs.get(name, ())) for name in CHIEFS) > 1:
            raise _malformed("there can be one 'chief'")
        # One that trains alone need not be told which it is.
        if (self.size > 1 or kind is not None) and not 0 <= index < len(self.jobs.get(kind or "", ())):
            raise _malformed(f"it says that this process is {kind!r} number {index}, and its cluster has none such")


def _parts(values: Any) -> tuple[dict[str, tuple[str, ...]], str | None, int]:
    """The addresses by job, and the job and number of this process. Raises ValueError for values of other types."""
    if not isinstance(values, dict):
        raise _malformed("it cannot be read (it is no JSON object)")
    cluster, place = values.get("cluster") or {}, values.get("task") or {}
    if not isinstance(cluster, dict) or not isinstance(place, dict):
        raise _malformed("it cannot be read ('cluster' and 'task' are no JSON objects)")
    named: dict[str, tuple[str, ...]] = {}
    for job, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise _malformed(f"it cannot be read (the addresses of {job!r} are no list of texts)")
        if addresses:
            named[job] = tuple(addresses)
    kind, index = place.get("type"), place.get("index", 0)
    if not isinstance(kind, str | None) or not re.fullmatch(r"-?\d{1,9}", str(index)):
        raise _malformed(f"it cannot be read (the task is {str(place)[:100]})")
    return named, kind, int(index)


def _malformed(problem: str, error: Exception | None = None) -> ValueError:
    detail = f" ({error})" if error else ""
    return ValueError(
        f"TF_CONFIG: {problem}{detail}. A worker is started with, for example, "
        '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}.'
    )
