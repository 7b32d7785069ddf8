"""The caller of `Victim`, a process that ends with its input: `ordinary_caller REST_PORT GRPC_PORT [--new]`."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np

from serving.client import tensor_codec, wire

_EVERY_SECONDS = 0.05
_NAME = "tiny"
_X = np.array([[1, 2, 3]], np.float32)


def ask_rest(port: int, new: bool) -> Iterator[None]:
    """Yields after each right answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"inputs": _X.tolist(), "signature_name": "double"})
    with contextlib.closing(connection):
        while True:
            connection.request("POST", f"/v1/models/{_NAME}:predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status != 200 or json.loads(content)["outputs"]["total"] != [6]:
                raise ValueError(f"{response.status}: {content[:200]!r}")
            if new:
                connection.close()
            yield


def ask_grpc(port: int, new: bool) -> Iterator[None]:
    """Yields after each right answer."""
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = _NAME, "double"
    request.inputs["x"].CopyFrom(tensor_codec.to_tensor(_X))
    while True:
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            predict = channel.unary_unary(
                wire.PREDICT, wire.PredictRequest.SerializeToString, wire.PredictResponse.FromString
            )
            while True:
                total = tensor_codec.from_tensor(predict(request, timeout=60).outputs["total"], "total")
                if total.tolist() != [6]:
                    raise ValueError(f"{total} is no answer.")
                yield
                if new:
                    break


def main() -> None:
    """Asks until the input ends, and prints the worst wait and the failures as JSON."""
    ports, new = sys.argv[1:3], "--new" in sys.argv
    stop = threading.Event()
    waits: list[list[float]] = [[], []]
    failures: list[str] = []

    def ask(call: Callable[[int, bool], Iterator[None]], port: int, waited: list[float]) -> None:
        calls = call(port, new)
        # What is refused at once may be over before the second is asked.
        while len(waited) < 2 or not stop.is_set():
            began = time.monotonic()
            try:
                next(calls)
            except (OSError, http.client.HTTPException, grpc.RpcError, ValueError) as error:
                failures.append(repr(error))
                calls = call(port, new)
            waited.append(time.monotonic() - began)
            stop.wait(_EVERY_SECONDS)

    callers = [
        threading.Thread(target=ask, args=(call, int(port), waited))
        for call, port, waited in zip((ask_rest, ask_grpc), ports, waits, strict=True)
    ]
    for caller in callers:
        caller.start()
    while not all(waits):
        time.sleep(0.01)
    print("answered", flush=True)
    sys.stdin.read()
    stop.set()
    for caller in callers:
        caller.join()
    print(json.dumps({"worst": max(map(max, waits)), "asked": list(map(len, waits)), "failures": failures}))


if __name__ == "__main__":
    main()
