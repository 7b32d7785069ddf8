"""The client against servers that answer nonsense: each method raises a ServingError, soon, and in little memory."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.client import Chunks, Client, MessageTooLarge, Retry, ServingError, UnexpectedAnswer, seed_rows, wire
from serving.client.tensor_codec import from_tensor, to_tensor
from tests.serving.scripted_server import Script, available, echo, metadata, serve

# A busy machine draws slowly.
_UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
QUICK = Retry(attempts=2, first_seconds=0.01)
IMAGE = np.zeros((2, 2, 3, 1), np.float32)
LATENTS = np.zeros((2, 4, 5), np.float32)

METHODS: dict[str, Callable[[Client], object]] = {
    "sample": lambda client: client.sample(2),
    "sample of one": lambda client: client.sample(1),
    "sample_sequence": lambda client: client.sample_sequence(2),
    "score": lambda client: client.score(IMAGE),
    "reconstruct": lambda client: client.reconstruct(IMAGE),
    "classify": lambda client: client.classify(IMAGE),
    "decode": lambda client: client.decode(LATENTS),
    "decode_sequence": lambda client: client.decode_sequence(LATENTS),
    "encode": lambda client: client.encode(IMAGE, eps=LATENTS),
    "encode without noise": lambda client: client.encode(IMAGE),
    "noise": lambda client: client.noise(2),
    "predict": lambda client: client.predict("other", {"seed": seed_rows(0, 2)}),
    "metadata": lambda client: client.metadata(),
    "status": lambda client: client.status(),
    "window_size": lambda client: client.window_size("write"),
    "input_format": lambda client: client.input_format(),
    "class_names": lambda client: client.class_names(),
}


def _ask(server: str, method: str) -> ServingError | None:
    """Calls the method; any other exception than a ServingError is the test's failure."""
    with Client(server, model="m", retry=QUICK, timeout_seconds=10) as client:
        try:
            METHODS[method](client)
        except ServingError as error:
            return error
    return None


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, or of a message, as protobuf writes it."""
    size, length = len(content), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _tensor(dtype: int = 1, shape: tuple[int, ...] = (2, 2, 3, 1), **values: Any) -> Any:
    tensor = wire.TensorProto(dtype=dtype, **values)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _answer(**outputs: Any) -> bytes:
    answer = wire.PredictResponse()
    for name, tensor in outputs.items():
        answer.outputs[name].CopyFrom(tensor)
    return answer.SerializeToString()


def _with_tensor(tensor: bytes) -> bytes:
    """An answer whose `image` are these bytes."""
    return _field(1, _field(1, b"image") + _field(2, tensor))


# Each is what a server answers for `sample`, whatever was asked, and no array may come of it.
NONSENSE = {
    "no message": b"\xff" * 40,
    "a message of another class": wire.GetModelStatusRequest(model_spec={"name": "m"}).SerializeToString(),
    "a cut message": _answer(image=_tensor(tensor_content=b"0" * 48))[:-20],
    "a field longer than the message": b"\x0a\xff\xff\xff\xff\x0f",
    "a number that does not end": b"\x08" + b"\xff" * 30,
    "a group": b"\x0b" * 300,
    "the field 0": b"\x00\x01" * 300,
    "a name that is no UTF-8": _field(1, _field(1, b"\xff\xfe") + _field(2, b"")),
    "nothing": b"",
    "no values": _answer(image=_tensor()),
    "a size below 0": _answer(image=_tensor(shape=(2, -2, -3, 1), float_val=[0] * 12)),
    "a product beyond 64 bits": _answer(image=_tensor(shape=(2, 2**62, 2**62, 2**62), float_val=[0])),
    "a product that wraps to the number of values": _answer(
        image=_tensor(shape=(2, 2**32, 2**32, 1), tensor_content=b"")
    ),
    "forty dimensions": _answer(image=_tensor(shape=(2,) + (1,) * 39, float_val=[0])),
    "content that ends inside a value": _answer(image=_tensor(tensor_content=b"0" * 47)),
    "strings as content": _answer(image=_tensor(dtype=7, tensor_content=b"0" * 96)),
    "values beyond the dtype": _answer(image=_tensor(dtype=4, int_val=[300] * 12)),
    "another dtype": _answer(image=_tensor(dtype=9, int64_val=[1] * 12)),
    "an unknown dtype": _answer(image=_tensor(dtype=19, tensor_content=b"0" * 24)),
    "another shape": _answer(image=_tensor(shape=(2, 3, 2, 1), tensor_content=b"0" * 48)),
    "a row too many": _answer(image=_tensor(shape=(3, 2, 3, 1), tensor_content=b"0" * 72)),
    "a scalar": _answer(image=_tensor(shape=(), float_val=[1])),
    "one value for sizes that no memory holds": _answer(image=_tensor(shape=(2, 2**30), float_val=[1])),
    "one string for sizes that no memory holds": _answer(image=_tensor(7, (2, 2**30), string_val=[b""])),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_a_serving_error(answer: bytes, method: str) -> None:
    """The same bytes answer every method, except that `sample` and the like get to see sound metadata."""

    def nonsense(request: Any, context: grpc.ServicerContext) -> Any:
        del request, context
        return answer

    asks_metadata = method in ("metadata", "status", "window_size", "input_format", "class_names")
    script = Script(nonsense, metadata=nonsense if asks_metadata else metadata, status=nonsense)
    with serve(script) as server:
        began = time.monotonic()
        error = _ask(server, method)
        assert time.monotonic() - began < 5
    # An empty message is a status of no versions.
    assert error is not None or (method, answer) == ("status", b"") or not method.startswith("sample")
    if error is not None:
        assert len(str(error)) < 1500 and str(error).isprintable()


@pytest.mark.parametrize(
    ("name", "signatures"),
    {
        "none": None,
        "bytes that are none": b"\xff\xff\xff",
        "a shape of a million sizes": _field(
            1,
            _field(1, b"sample")
            + _field(2, _field(2, _field(1, b"image") + _field(2, _field(3, b"\x12\x02\x08\x02" * 10**6)))),
        ),
        "images that no memory holds": (-1, 2**31, 2**31, 3),
        "images of no pixel": (-1, 0, 3, 1),
    }.items(),
)
def test_nonsense_metadata_are_a_serving_error(name: str, signatures: Any) -> None:
    def nonsense(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(signatures, tuple):
            return metadata(request, context, image=signatures)
        answer = wire.GetModelMetadataResponse()
        if signatures is not None:
            answer.metadata["signature_def"].value = signatures
        return answer

    with serve(Script(metadata=nonsense)) as server:
        for method in ("sample", "predict" if name == "none" else "sample of one"):
            assert isinstance(_ask(server, method), UnexpectedAnswer)
        with Client(server, model="m") as client, contextlib.suppress(UnexpectedAnswer):
            assert client.metadata().image_shape is None


@pytest.mark.parametrize("shape", [(-1, 4), (-1, 4, -1), (-1, 0, 5), (-1, 2**31, 2**31), (-1, 4, 5, 6), None], ids=str)
def test_latent_variables_that_no_memory_holds_are_a_serving_error(shape: tuple[int, ...] | None) -> None:
    def promises(request: Any, context: grpc.ServicerContext) -> Any:
        answer = metadata(request, context)
        signatures = wire.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
        latents = signatures.signature_def["decode"].inputs["other" if shape is None else "z"]
        latents.dtype = 1
        for size in shape or (-1, 4, 5):
            latents.tensor_shape.dim.add(size=size)
        answer.metadata["signature_def"].value = signatures.SerializeToString()
        return answer

    with serve(Script(metadata=promises)) as server:
        for method in ("noise", "encode without noise"):
            assert isinstance(_ask(server, method), UnexpectedAnswer)


def test_the_contract_of_a_typed_method_holds_whatever_the_metadata_say() -> None:
    """A server may promise any shape; `score` and the others give theirs, and a label is one of the classes."""
    signatures = wire.SignatureDefMap()

    def nothing_promised(request: Any, context: grpc.ServicerContext) -> Any:
        del request, context
        answer = wire.GetModelMetadataResponse()
        answer.metadata["signature_def"].value = signatures.SerializeToString()
        return answer

    answers: dict[str, dict[str, np.ndarray]] = {
        "sample": {"image": np.zeros((2, 6), np.float32)},
        "sample_sequence": {
            "canvas": np.zeros((2, 4, 2, 3, 1), np.float32),
            "write_window": np.zeros((2, 5), np.float32),
        },
        "score": {
            name: np.zeros((2, 4) if name == "kl_per_step" else (2, 2), np.float32)
            for name in ("nll_bound", "reconstruction", "kl", "kl_per_step", "log_weight")
        },
        "reconstruct": {"image": np.zeros((2, 3, 3, 1), np.float32), "canvas": np.zeros((2, 4, 2, 3, 1), np.float32)},
        "classify": {"probabilities": np.full((2, 10), 0.1, np.float32), "label": np.array([3, 10])},
        "decode": {"image": np.zeros((2, 6), np.float32)},
        "decode_sequence": {"canvas": np.zeros((2, 4, 2, 3), np.float32)},
        "encode": {
            **dict.fromkeys(("z", "mu", "log_sigma"), np.zeros((2, 4, 5), np.float32)),
            "kl_per_step": np.zeros((2, 3), np.float32),
            "nll_bound": np.zeros(2, np.float32),
        },
    }

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        response = wire.PredictResponse()
        for name, array in answers[request.model_spec.signature_name].items():
            response.outputs[name].CopyFrom(to_tensor(array))
        return response

    with serve(Script(answer, metadata=nothing_promised)) as server:
        for method in answers:
            assert isinstance(_ask(server, method), UnexpectedAnswer), method


@settings(max_examples=150, deadline=None, suppress_health_check=_UNCHECKED)
@given(st.data())
def test_any_damage_to_an_answer_is_a_serving_error_or_an_answer(
    damaging: tuple[list[bytes], Client], data: Any
) -> None:
    """Bytes changed, cut out or put in, of all three answers."""
    current, client = damaging
    sound = current[0]
    start = data.draw(st.integers(0, len(sound)))
    end = data.draw(st.integers(start, min(len(sound), start + 4)))
    current[1] = sound[:start] + data.draw(st.binary(max_size=6)) + sound[end:]
    for ask in METHODS.values():
        with contextlib.suppress(ServingError):
            ask(client)


@pytest.fixture(params=["predict", "metadata", "status"])
def damaging(request: pytest.FixtureRequest) -> Iterator[tuple[list[bytes], Client]]:
    """A sound answer of that method with, after it, what the server sends in its place; and a client of the server."""

    def sound_status(*_: Any) -> Any:
        return available(None, None)  # type: ignore[arg-type]

    sound = {
        "predict": lambda: echo(_sample_request(), None),  # type: ignore[arg-type]
        "metadata": lambda: metadata(wire.GetModelMetadataRequest(), None),  # type: ignore[arg-type]
        "status": sound_status,
    }[request.param]().SerializeToString()
    current = [sound, sound]

    def damaged(*_: Any) -> bytes:
        return current[1]

    methods: dict[str, Any] = {"predict": echo, "metadata": metadata, "status": sound_status, request.param: damaged}
    script = Script(_of_sample(methods["predict"]), metadata=methods["metadata"], status=methods["status"])
    with serve(script) as server, Client(server, model="m", retry=QUICK, timeout_seconds=10) as client:
        yield current, client


def _sample_request() -> Any:
    request = wire.PredictRequest()
    request.inputs["seed"].CopyFrom(to_tensor(seed_rows(0, 2)))
    return request


def _of_sample(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Answers requests for other signatures, which have no seed, as one for two samples."""
    return lambda request, context: answer(request if "seed" in request.inputs else _sample_request(), context)


@pytest.mark.parametrize(
    "task",
    [
        *("{", "[" * 10**5, "[]", '"read"', "null", "1e400", "{}", '{"attention": {"write": 5}}'),
        *(
            f'{{"attention": {{"read": 2, "write": {size}}}}}'
            for size in ("-1", "0", "1e30", "1e400", "10001", '"x"', "[]", "null")
        ),
    ],
)
def test_a_task_that_is_none_is_told_so(task: str) -> None:
    def tell(request: Any, context: grpc.ServicerContext) -> Any:
        answer = metadata(request, context)
        answer.metadata["task"].value = wire.StringValue(value=task).SerializeToString()
        return answer

    with serve(Script(metadata=tell)) as server:
        assert isinstance(_ask(server, "input_format"), UnexpectedAnswer)
        assert isinstance(_ask(server, "class_names"), UnexpectedAnswer)
        error = _ask(server, "window_size")
    # Of a model without attention there is no window.
    assert error is None if task == "{}" else isinstance(error, UnexpectedAnswer)


@pytest.mark.parametrize("size", ['"x"', "[]", "null", "1e400", "NaN"])
def test_a_read_window_of_no_size_is_told_so(size: str) -> None:
    def tell(request: Any, context: grpc.ServicerContext) -> Any:
        answer = metadata(request, context)
        answer.metadata["task"].value = wire.StringValue(value=f'{{"read": {size}}}').SerializeToString()
        return answer

    with (
        serve(Script(metadata=tell)) as server,
        Client(server, model="m", retry=QUICK) as client,
        pytest.raises(UnexpectedAnswer),
    ):
        client.window_size("read")


@pytest.mark.parametrize(
    "changed",
    [
        {"image_shape": [2, 3]},
        {"image_shape": [2**20, 2**20, 3]},
        {"image_shape": ["2", "3", "1"]},
        {"data": {"resize": "fit", "crop": 7, "test": "t", "crop_margin": [0, 0]}},
        {"binarisation": None, "data": None},
    ],
)
def test_a_task_with_a_wrong_value_is_told_so(changed: dict[str, Any]) -> None:
    task = {"image_shape": [2, 3, 1], "binarisation": "none", "data": {"test": "t", "crop_margin": [0, 0]}}

    def tell(told: dict[str, Any]) -> Callable[..., Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            answer = metadata(request, context)
            answer.metadata["task"].value = wire.StringValue(value=json.dumps(told)).SerializeToString()
            return answer

        return answer

    with serve(Script(metadata=tell(task))) as server:
        assert _ask(server, "input_format") is None
    with serve(Script(metadata=tell({**task, **changed}))) as server:
        assert isinstance(_ask(server, "input_format"), UnexpectedAnswer)


@pytest.mark.parametrize("names", ["bolt", [1, 2], [["bolt"]], {"a": "b"}, 7])
def test_class_names_that_are_none_are_told_so(names: object) -> None:
    def tell(request: Any, context: grpc.ServicerContext) -> Any:
        answer = metadata(request, context)
        text = json.dumps({"data": {"class_names": names}})
        answer.metadata["task"].value = wire.StringValue(value=text).SerializeToString()
        return answer

    with serve(Script(metadata=tell)) as server:
        assert isinstance(_ask(server, "class_names"), UnexpectedAnswer)


# Memory

BOMBS: dict[str, bytes] = {
    "one value for 8 GiB": _answer(image=_tensor(shape=(2, 2**30), float_val=[1])),
    "a thousand outputs, each a value for 200 MB": b"".join(
        _field(
            1,
            _field(1, b"output %d" % index)
            + _field(2, _tensor(shape=(2, 25_000_000), float_val=[1]).SerializeToString()),
        )
        for index in range(1000)
    ),
    "20 million empty sizes": _with_tensor(_field(2, b"\x12\x00" * 20_000_000)),
    "10 million empty strings": _with_tensor(_tensor(7).SerializeToString() + b"\x42\x00" * 10_000_000),
    "60 million numbers of a byte": _with_tensor(_field(10, b"\x01" * 60_000_000)),
    "10 million unknown fields": b"\x78\x01" * 10_000_000,
}

_PROGRAM = """
import json, resource, sys, time
from serving.client import Client, ServingError
import numpy as np
with Client(sys.argv[1], model="m", timeout_seconds=60) as client:
    client.metadata()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for signature in ("sample", "other"):
        began = time.monotonic()
        try:
            client.predict(signature, {"seed": np.zeros((2, 2), np.int64)})
            answer = "an answer"
        except ServingError as error:
            answer = type(error).__name__
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([answer, peak >> 10, time.monotonic() - began]))
"""


def _measure(server: str) -> list[tuple[str, int, float]]:
    """Asks for `sample`, whose shape is known, and for `other`, of which nothing is: error, MiB, seconds of each."""
    finished = subprocess.run(
        [sys.executable, "-c", _PROGRAM, server],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    return [tuple(json.loads(line)) for line in finished.stdout.splitlines()]


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_small_answer_does_not_fill_the_memory(bomb: bytes) -> None:
    with serve(Script(lambda request, context: bomb), options=[("grpc.max_send_message_length", -1)]) as server:
        for answer, mebibytes, seconds in _measure(server):
            assert answer == "UnexpectedAnswer"
            assert mebibytes < 260 + 3 * len(bomb) / 2**20
            assert seconds < 15


def test_a_compressed_answer_is_not_unpacked() -> None:
    """A megabyte of gzip is a gigabyte of zeros, which gRPC would make before it looks at the limit."""
    zeros = _with_tensor(_tensor(tensor_content=bytes(200 * 2**20)).SerializeToString())

    def compressed(request: Any, context: grpc.ServicerContext) -> Any:
        context.set_compression(grpc.Compression.Gzip)
        return zeros

    with serve(Script(compressed), options=[("grpc.max_send_message_length", -1)]) as server:
        for answer, mebibytes, _ in _measure(server):
            assert answer == "UnexpectedAnswer"
            assert mebibytes < 100


def test_more_metadata_than_a_client_takes_are_no_full_queue() -> None:
    """Which a patient client would wait for."""

    def tell(request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("x", "a" * 40_000),))
        return echo(request, context)

    retry = Retry(attempts=2, first_seconds=0.01, patient=True)
    with (
        serve(Script(tell)) as server,
        Client(server, model="m", retry=retry) as client,
        pytest.raises(MessageTooLarge, match="metadata size exceeds"),
    ):
        client.sample(1)


# Connections


@contextlib.contextmanager
def _listener(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accepts connections and handles each on a thread of its own; yields HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _says(reply: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(24)
            connection.sendall(reply)
            time.sleep(0.2)

    return handle


def _resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _says_nothing(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1024):
            pass


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (_says(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"), "does not speak gRPC.*REST's port"),
        (_says(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not speak gRPC"),
        (_says(b"\x15\x03\x01\x00\x02\x02\x46"), "wants TLS"),
        (_resets, "No answer"),
        (_says_nothing, "did not answer within 5 s.*check its address"),
    ],
    ids=["HTTP/1", "SSH", "TLS", "reset", "silence"],
)
def test_what_is_no_grpc_server_is_a_serving_error(handle: Callable[[socket.socket], None], message: str) -> None:
    with (
        _listener(handle) as server,
        Client(server, model="m", retry=QUICK, timeout_seconds=5) as client,
        pytest.raises(ServingError, match=message),
    ):
        client.sample(2)


def test_a_slow_connection_is_a_connection() -> None:
    """A proxy or a long way delays each direction by 0.6 s: ten of ten new clients are answered."""
    with serve(Script()) as server:
        host, _, port = server.rpartition(":")

        def relay(connection: socket.socket) -> None:
            upstream = socket.create_connection((host, int(port)))
            for source, sink in ((connection, upstream), (upstream, connection)):
                threading.Thread(target=_copy_late, args=(source, sink, 0.6), daemon=True).start()

        with _listener(relay) as slow, contextlib.ExitStack() as clients:
            opened = [clients.enter_context(Client(slow, model="m", timeout_seconds=20)) for _ in range(10)]
            threads = [
                threading.Thread(target=lambda client=client: answers.append(client.sample(1))) for client in opened
            ]
            answers: list[np.ndarray] = []
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(answers) == 10


def _copy_late(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    """Copies bytes in order, each so many seconds after it came."""
    late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def send() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = late.get()
                time.sleep(max(0.0, due - time.monotonic()))
                sink.sendall(data)

    threading.Thread(target=send, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            late.put((time.monotonic() + seconds, data))


# Versions


def test_behind_a_balancer_with_two_versions_all_rows_arrive_from_one() -> None:
    """Two servers by turns, one with version 1 and one with version 2: neither has what the other has."""
    turn = iter(range(10**9))
    lock = threading.Lock()

    def by_turns(request: Any, context: grpc.ServicerContext) -> Any:
        with lock:
            version = 1 + next(turn) % 2
        if request.model_spec.version.value not in (0, version):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such version")
        answer = echo(request, context, version=version)
        image = from_tensor(answer.outputs["image"], "image")
        answer.outputs["image"].CopyFrom(to_tensor(np.full_like(image, version)))
        return answer

    script = Script(by_turns)
    with serve(script) as server, Client(server, model="m", timeout_seconds=60) as client:
        images = client.sample(20_000)
    assert len(images) == 20_000 and len(np.unique(images)) == 1
    # 313 chunks, about two requests each.
    assert len(script.requests) < 1000


def test_a_server_with_another_version_at_each_answer_is_told_so() -> None:
    turn = iter(range(1, 10**9))

    def another(request: Any, context: grpc.ServicerContext) -> Any:
        return echo(request, context, version=next(turn))

    script = Script(another)
    with (
        serve(script) as server,
        Client(server, model="m", chunking=Chunks(rows=1)) as client,
        pytest.raises(UnexpectedAnswer, match=r"answers with version (\d+) where (?!\1 )\d+ was asked for"),
    ):
        client.sample(20)
    assert len(script.requests) <= 9


def test_a_version_that_is_named_and_not_there_is_told_at_once() -> None:
    def gone(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    script = Script(gone)
    with serve(script) as server, Client(server, model="m", version=8) as client, pytest.raises(ServingError):
        client.sample(2)
    assert len(script.requests) == 1


# What a program gives


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.sample(2.5),
        lambda client: client.sample(2, seed=0.5),
        lambda client: client.sample(seeds=[[1, 2], [3]]),
        lambda client: client.score([[1], [2, 3]]),
        lambda client: client.predict("sample", {"x": np.array(["text"], object)}),
        lambda client: client.predict("\ud800", {"seed": seed_rows(0, 1)}),
        lambda client: client.predict("sample", {"\ud800": seed_rows(0, 1)}),
        lambda client: client.predict("sample", {"seed": seed_rows(0, 1)}, output_filter=("\ud800",)),
        lambda client: client.sample(2, timeout_seconds=0),
        lambda client: client.sample(2, timeout_seconds=float("nan")),
        lambda client: (client.close(), client.sample(2)),
    ],
)
def test_what_cannot_be_asked_is_a_serving_error(ask: Callable[[Client], object]) -> None:
    with serve(Script()) as server, Client(server, model="m") as client, pytest.raises(ServingError):
        ask(client)


def test_metadata_that_grpc_does_not_send_are_a_serving_error() -> None:
    with serve(Script()) as server:
        for metadata_sent in ([("With Spaces", "x")], [("name", "\u20ac")]):
            for wait in (0, 5):
                with (
                    Client(server, model="m", metadata=metadata_sent, wait_seconds=wait) as client,
                    pytest.raises(ServingError, match="cannot be sent"),
                ):
                    client.sample(1)


def test_a_timeout_may_be_as_long_as_it_likes() -> None:
    with serve(Script()) as server, Client(server, model="m", timeout_seconds=float("inf")) as client:
        assert len(client.sample(1)) == 1


def test_a_strangers_text_steers_no_terminal() -> None:
    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "\x1b[2J\x1b]0;title\x07bad\r\nrm -rf" + "x" * 3000)

    with serve(Script(refuse)) as server:
        error = _ask(server, "sample")
    assert str(error).isprintable() and "bad rm -rf" in str(error) and len(str(error)) < 1200
