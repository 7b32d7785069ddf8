"""The client against a server on a socket that answers late, out of order, with errors, or over TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving import client as api
from serving.client import Chunks, Client, Retry, seed_rows
from serving.client.tensor_codec import from_tensor, to_tensor
from tests.serving.scripted_server import Script, echo, image_of, metadata, serve

QUICK = Retry(attempts=4, first_seconds=0.01, longest_seconds=0.02)


def _aborting(code: grpc.StatusCode, details: str = "because", times: int = 10**9) -> Callable[..., Any]:
    left = [times]
    lock = threading.Lock()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        with lock:
            left[0] -= 1
            refuse = left[0] >= 0
        if refuse:
            context.abort(code, details)
        return echo(request, context)

    return answer


# Chunks


def test_a_request_is_cut_and_its_answer_put_together_in_order() -> None:
    started = threading.Barrier(3, timeout=20)

    def backwards(request: Any, context: grpc.ServicerContext) -> Any:
        # Three are in flight at once; of them the one with the least index is answered last.
        first = int(from_tensor(request.inputs["seed"], "seed")[0, 1])
        started.wait()
        time.sleep(0.05 * (3 - first // 4 % 3))
        return echo(request, context)

    script = Script(backwards)
    with serve(script) as server, Client(server, model="m", chunking=Chunks(rows=4, in_flight=3)) as client:
        images = client.sample(36, seed=7)
    np.testing.assert_array_equal(images, image_of(seed_rows(7, 36)))
    assert script.rows() == [4] * 9
    assert script.busiest == 3


def test_the_last_chunk_is_what_is_left() -> None:
    script = Script()
    with serve(script) as server, Client(server, model="m", chunking=Chunks(rows=4, in_flight=1)) as client:
        images = client.sample(10)
    np.testing.assert_array_equal(images, image_of(seed_rows(0, 10)))
    assert script.rows() == [4, 4, 2]


def test_chunks_are_bounded_by_bytes_as_the_metadata_tell_them() -> None:
    script = Script()
    # A row of the answer is 2 x 3 x 1 float32, 24 bytes, and a canvas of four times that; the request is smaller.
    chunking = Chunks(rows=100, megabytes=5 * 24 * 7 / 2**20, in_flight=1)
    with serve(script) as server, Client(server, model="m", chunking=chunking) as client:
        client.sample(16)
    assert script.rows() == [7, 7, 2]


def test_outputs_that_are_filtered_out_take_no_room_in_a_chunk() -> None:
    script = Script()
    chunking = Chunks(rows=100, megabytes=5 * 24 * 7 / 2**20, in_flight=1)
    with serve(script) as server, Client(server, model="m", chunking=chunking) as client:
        client.predict("sample", {"seed": seed_rows(0, 60)}, output_filter=("image",))
    assert script.rows() == [35, 25]


def test_a_row_larger_than_a_chunk_travels_alone() -> None:
    assert Chunks(rows=9, megabytes=1.0).slices(3, 2**21) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_seeds_are_rows_of_seed_and_index() -> None:
    np.testing.assert_array_equal(seed_rows(-3, 3), [[-3, 0], [-3, 1], [-3, 2]])
    assert seed_rows(2**63 - 1, 1).dtype == np.int64
    own = np.array([[5, 2**40], [1, -1]])
    with serve(Script()) as server, Client(server, model="m") as client:
        np.testing.assert_array_equal(client.sample(seeds=own), image_of(own))


def _versioned(version_for: Callable[[Any, int], int | None], asked: list[tuple[int, int]]) -> Script:
    """Answers with images that tell the version; `version_for` a request and its number, None is NOT_FOUND.

    `asked` records (first row, version in the request or 0).
    """
    lock = threading.Lock()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        with lock:
            asked.append((int(from_tensor(request.inputs["seed"], "seed")[0, 1]), request.model_spec.version.value))
            version = version_for(request, len(asked))
        if version is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such version")
        answer = echo(request, context, version=version)
        image = from_tensor(answer.outputs["image"], "image")
        answer.outputs["image"].CopyFrom(to_tensor(image + np.float32(1e5 * version)))
        return answer

    return Script(answer)


def test_all_rows_of_an_answer_come_from_one_version() -> None:
    """The server takes up version 2, and lets version 1 go, while the second of three chunks is on its way."""

    def version_for(request: Any, number: int) -> int | None:
        newest = 1 if number < 2 else 2
        return newest if request.model_spec.version.value in (0, newest) else None

    asked: list[tuple[int, int]] = []
    chunking = Chunks(rows=2, in_flight=1)
    with serve(_versioned(version_for, asked)) as server, Client(server, model="m", chunking=chunking) as client:
        images = client.sample(6, seed=3)
    np.testing.assert_array_equal(images, image_of(seed_rows(3, 6)) + np.float32(2e5))
    assert asked[0] == (0, 0) and set(asked[1:-3]) == {(2, 1)}
    assert asked[-3:] == [(0, 0), (2, 2), (4, 2)]


def test_a_version_that_stays_beside_the_new_one_answers_to_the_end() -> None:
    """The server takes up version 2 and keeps version 1: nothing is computed twice."""

    def version_for(request: Any, number: int) -> int:
        return request.model_spec.version.value or (1 if number < 2 else 2)

    asked: list[tuple[int, int]] = []
    chunking = Chunks(rows=2, in_flight=1)
    script = _versioned(version_for, asked)
    with serve(script) as server, Client(server, model="m", label="stable", chunking=chunking) as client:
        images = client.sample(6, seed=3)
    np.testing.assert_array_equal(images, image_of(seed_rows(3, 6)) + np.float32(1e5))
    assert asked == [(0, 0), (2, 1), (4, 1)]
    assert [request.model_spec.version_label for request in script.requests] == ["stable", "", ""]


def test_a_version_trained_anew_may_draw_larger_images() -> None:
    """A client that has read the metadata of version 1 reads those of version 2 when it meets that."""
    large = (-1, 4, 6, 1)

    def metadata_of(request: Any, context: grpc.ServicerContext) -> Any:
        version = request.model_spec.version.value or 1
        return metadata(request, context, image=large if version == 2 else (-1, 2, 3, 1), version=version)

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        rows = len(from_tensor(request.inputs["seed"], "seed"))
        return echo(request, context, version=2, image=np.ones((rows, 4, 6, 1), np.float32))

    script = Script(answer, metadata=metadata_of)
    with serve(script) as server, Client(server, model="m", chunking=Chunks(rows=2)) as client:
        assert client.sample(5).shape == (5, 4, 6, 1)


# Retries and the deadline


def test_an_unavailable_server_is_asked_again() -> None:
    script = Script(_aborting(grpc.StatusCode.UNAVAILABLE, times=3))
    with serve(script) as server, Client(server, model="m", retry=QUICK) as client:
        np.testing.assert_array_equal(client.sample(2, seed=9), image_of(seed_rows(9, 2)))
    assert len(script.requests) == 4


def test_only_the_chunk_that_failed_is_sent_again() -> None:
    script = Script(_aborting(grpc.StatusCode.UNAVAILABLE, times=1))
    chunking = Chunks(rows=1, in_flight=2)
    with serve(script) as server, Client(server, model="m", retry=QUICK, chunking=chunking) as client:
        np.testing.assert_array_equal(client.sample(5), image_of(seed_rows(0, 5)))
    assert len(script.requests) == 6
    assert script.busiest <= 2


def test_the_last_attempt_is_the_last() -> None:
    script = Script(_aborting(grpc.StatusCode.UNAVAILABLE, "going\ndown"))
    with serve(script) as server, Client(server, model="m", retry=QUICK) as client:
        with pytest.raises(
            api.ServerUnavailable, match=f"No answer from {server}, asked 4 times: going down."
        ) as raised:
            client.sample(1)
        assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    assert len(script.requests) == 4


@pytest.mark.parametrize(
    ("code", "details", "kind", "message"),
    [
        ("NOT_FOUND", "gone", api.ModelNotFound, r"does not serve model 'm' of version 8: gone"),
        ("INVALID_ARGUMENT", "pixel 3", api.BadInput, "refuses the request: pixel 3"),
        ("FAILED_PRECONDITION", "key", api.SignatureNotFound, "cannot do this with model 'm' of version 8: key"),
        ("RESOURCE_EXHAUSTED", "queue", api.ServerOverloaded, "more to do than it can: queue.*fewer chunks"),
        ("UNAUTHENTICATED", "who", api.AccessDenied, "refuses access: who"),
        ("PERMISSION_DENIED", "you", api.AccessDenied, "refuses access: you"),
        ("INTERNAL", "oops", api.ServerFailed, "failed with INTERNAL: oops"),
        ("DATA_LOSS", "lost", api.ServerFailed, "failed with DATA_LOSS: lost"),
    ],
)
def test_what_asking_again_does_not_mend_is_told_at_once(
    code: str, details: str, kind: type[api.ServingError], message: str
) -> None:
    script = Script(_aborting(grpc.StatusCode[code], details))
    with (
        serve(script) as server,
        Client(server, model="m", version=8, retry=QUICK) as client,
        pytest.raises(api.ServingError, match=message) as raised,
    ):
        client.sample(1)
    assert type(raised.value) is kind
    assert raised.value.code is grpc.StatusCode[code]
    assert len(script.requests) == 1


def test_one_failed_chunk_cancels_the_others() -> None:
    cancelled = threading.Event()
    waiting = threading.Event()

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        if from_tensor(request.inputs["seed"], "seed")[0, 1] == 0:
            context.add_callback(cancelled.set)
            waiting.set()
            cancelled.wait(20)
            return echo(request, context)
        waiting.wait(20)
        return context.abort(grpc.StatusCode.INTERNAL, "no")

    script = Script(answer)
    chunking = Chunks(rows=1, in_flight=2)
    with serve(script) as server, Client(server, model="m", chunking=chunking, timeout_seconds=30) as client:
        with pytest.raises(api.ServerFailed):
            client.sample(9)
        assert cancelled.wait(10)
    assert len(script.requests) == 2


def test_the_deadline_is_of_all_chunks_together() -> None:
    release = threading.Event()

    def slow(request: Any, context: grpc.ServicerContext) -> Any:
        release.wait(0.4)
        return echo(request, context)

    script = Script(slow)
    chunking = Chunks(rows=1, in_flight=1)
    with serve(script) as server, Client(server, model="m", chunking=chunking, timeout_seconds=50) as client:
        with pytest.raises(api.DeadlineExceeded, match=r"did not answer within 2 s\. Ask for fewer rows"):
            client.sample(9, timeout_seconds=2)
        release.set()
    # Each chunk has less time left than the one before it.
    assert len(script.requests) >= 2
    assert 2.1 > script.seconds_left[0] > script.seconds_left[1] + 0.2


def test_no_pause_outlasts_the_deadline() -> None:
    script = Script(_aborting(grpc.StatusCode.UNAVAILABLE))
    patient = Retry(attempts=1000, first_seconds=0.05, multiplier=2.0, longest_seconds=1000.0)
    with (
        serve(script) as server,
        Client(server, model="m", retry=patient, timeout_seconds=1.0) as client,
        pytest.raises(api.ServerUnavailable),
    ):
        client.sample(1)
    assert 2 <= len(script.requests) < 30


def test_pauses_grow_are_drawn_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    retry = Retry(first_seconds=0.5, multiplier=3.0, longest_seconds=4.0)
    drawn = [[retry.pause(failed) for _ in range(300)] for failed in (1, 2, 3, 9)]
    for pauses, longest in zip(drawn, (0.5, 1.5, 4.0, 4.0), strict=True):
        assert 0.9 * longest < max(pauses) <= longest
        assert min(pauses) < 0.1 * longest


def test_a_server_that_starts_late_is_found() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    patient = Retry(attempts=100, first_seconds=0.1, longest_seconds=0.2)
    with Client(f"127.0.0.1:{port}", model="m", retry=patient, timeout_seconds=30) as client:
        with pytest.raises(api.ServerUnavailable, match="Check that a server runs there"):
            client.sample(1, timeout_seconds=2)
        with contextlib.ExitStack() as stack:
            start = threading.Timer(0.5, lambda: stack.enter_context(serve(Script(), port=port)))
            start.start()
            stack.callback(start.join)
            np.testing.assert_array_equal(client.sample(1, seed=2), image_of(seed_rows(2, 1)))


# Messages


def test_a_message_beyond_the_servers_limit_says_so() -> None:
    with (
        serve(Script(), options=[("grpc.max_receive_message_length", 200)]) as server,
        Client(server, model="m", chunking=Chunks(rows=50)) as client,
        pytest.raises(api.MessageTooLarge, match="Send smaller chunks"),
    ):
        client.sample(50)


def test_a_message_beyond_the_clients_limit_says_so() -> None:
    with (
        serve(Script()) as server,
        Client(server, model="m", max_message_bytes=900) as client,
        pytest.raises(api.MessageTooLarge, match="larger than max"),
    ):
        client.sample(50)


def test_an_answer_beyond_grpcs_own_limit_arrives() -> None:
    def large(request: Any, context: grpc.ServicerContext) -> Any:
        return echo(request, context, image=np.full((1, 1200, 1200, 1), 0.25, np.float32))

    def metadata_of(request: Any, context: grpc.ServicerContext) -> Any:
        return metadata(request, context, image=(-1, 1200, 1200, 1))

    with serve(Script(large, metadata=metadata_of)) as server, Client(server, model="m") as client:
        assert client.sample(1).nbytes > 5 * 10**6


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda answer: answer.outputs.pop("image"), r"The answer has no image, only \['canvas'\]"),
        (lambda answer: answer.outputs["image"].tensor_shape.dim[0].__setattr__("size", 1), "for 3 rows"),
        (
            lambda answer: answer.outputs["image"].__setattr__("tensor_content", b"12345678"),
            r"2 values of image for the shape \[3, 2, 3, 1\]",
        ),
        (lambda answer: answer.outputs["image"].CopyFrom(to_tensor(np.zeros((5, 2), np.float32))), "for 3 rows"),
        (lambda answer: answer.outputs["image"].__setattr__("dtype", 14), "unknown dtype 14"),
    ],
)
def test_an_answer_that_is_none_is_not_returned(spoil: Callable[[Any], object], message: str) -> None:
    def spoilt(request: Any, context: grpc.ServicerContext) -> Any:
        answer = echo(request, context)
        spoil(answer)
        return answer

    with (
        serve(Script(spoilt)) as server,
        Client(server, model="m") as client,
        pytest.raises(api.UnexpectedAnswer, match=message),
    ):
        client.sample(3)


def test_typed_fields_and_one_value_for_all_are_understood() -> None:
    """TF Serving answers with float_val, and sends equal values once."""

    def typed(request: Any, context: grpc.ServicerContext) -> Any:
        answer = echo(request, context)
        image = answer.outputs["image"]
        image.ClearField("tensor_content")
        image.float_val.extend([0.5] if len(request.output_filter) else [1.5, 2.5, 3.5, 4.5, 5.5, 6.5])
        return answer

    with serve(Script(typed)) as server, Client(server, model="m") as client:
        np.testing.assert_array_equal(client.sample(1).ravel(), [1.5, 2.5, 3.5, 4.5, 5.5, 6.5])
        one = client.predict("sample", {"seed": seed_rows(0, 1)}, output_filter=("image",))["image"]
        np.testing.assert_array_equal(one, np.full((1, 2, 3, 1), 0.5, np.float32))


def test_a_request_names_model_version_label_signature_and_metadata() -> None:
    script = Script(lambda request, context: echo(request, context, version=12))
    with serve(script) as server:
        with Client(server, model="one", version=12, metadata=[("x-token", "abc")]) as client:
            client.sample(1)
        with Client(server, model="two", label="stable") as client:
            client.sample(1)
    first, second = (request.model_spec for request in script.requests)
    assert (first.name, first.version.value, first.version_label, first.signature_name) == ("one", 12, "", "sample")
    assert (second.name, second.HasField("version"), second.version_label) == ("two", False, "stable")
    assert script.headers[0]["x-token"] == "abc"
    assert "x-token" not in script.headers[1]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda client: client.sample(), "Give either n"),
        (lambda client: client.sample(2, seeds=seed_rows(0, 2)), "Give either n"),
        (lambda client: client.sample(0), "Got n = 0"),
        (lambda client: client.sample(1, seed=2**63), "does not fit into 64 bits"),
        (lambda client: client.sample(seeds=np.zeros((0, 2), np.int64)), r"at least 1; got seed \[0, 2\]"),
        (lambda client: client.score(np.zeros((2, 3), np.float32)), r"shape \[2, 3\]; expected \[n, H, W, C\]"),
        (lambda client: client.score(np.zeros((2, 3, 3, 1), np.uint8)), "are uint8; .* Divide by 255"),
        (
            lambda client: client.score(np.zeros((2, 3, 3, 1)), seeds=seed_rows(0, 3)),
            r"same number of rows, at least 1; got image \[2, 3, 3, 1\], seed \[3, 2\]",
        ),
        (lambda client: client.predict("s", {"x": np.zeros((2, 3), np.complex64)}), "complex64 cannot be sent"),
    ],
)
def test_what_cannot_be_asked_is_not_sent(ask: Callable[[Client], object], message: str) -> None:
    script = Script()
    with serve(script) as server, Client(server, model="m") as client, pytest.raises(api.BadInput, match=message):
        ask(client)
    assert script.requests == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Client("h:1", model="m", version=1, label="a"), "version 1 and label 'a'"),
        (lambda: Client("h:1", model="m", timeout_seconds=0), "timeout_seconds is 0"),
        (lambda: Retry(attempts=0), "at least 1 attempt"),
        (lambda: Chunks(in_flight=0), "1 chunk in flight"),
        (lambda: api.Tls(client_key=b"k"), "go together"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# TLS


def _certificate(names: list[x509.GeneralName]) -> tuple[bytes, bytes]:
    """A key and a certificate that it signed itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "draw test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


def test_tls_both_ways_and_what_a_stranger_is_told() -> None:
    server_key, server_certificate = _certificate([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    client_key, client_certificate = _certificate([x509.DNSName("client")])
    credentials = grpc.ssl_server_credentials(
        [(server_key, server_certificate)], root_certificates=client_certificate, require_client_auth=True
    )
    known = api.Tls(root_certificates=server_certificate, client_key=client_key, client_certificate=client_certificate)
    stranger = api.Tls(root_certificates=server_certificate)
    with serve(Script(), credentials=credentials) as server:
        with Client(server, model="m", tls=known) as client:
            np.testing.assert_array_equal(client.sample(2, seed=4), image_of(seed_rows(4, 2)))
        for tls in (stranger, None):
            with (
                Client(server, model="m", tls=tls, retry=QUICK) as client,
                pytest.raises(api.ServerUnavailable, match="whether it wants TLS"),
            ):
                client.sample(1)


def test_tls_to_a_server_under_another_name() -> None:
    key, certificate = _certificate([x509.DNSName("models.example")])
    with serve(Script(), credentials=grpc.ssl_server_credentials([(key, certificate)])) as server:
        unnamed = api.Tls(root_certificates=certificate)
        with (
            Client(server, model="m", tls=unnamed, retry=QUICK) as client,
            pytest.raises(api.ServerUnavailable),
        ):
            client.sample(1)
        tls = api.Tls(root_certificates=certificate, server_name="models.example")
        with Client(server, model="m", tls=tls) as client:
            assert client.sample(1).shape == (1, 2, 3, 1)


# Imports


def test_the_client_needs_grpc_protobuf_and_numpy_alone() -> None:
    program = (
        "import sys; before = set(sys.modules); import serving.client, serving.contract.all_checks\n"
        "imported = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "own = {'serving', 'grpc', 'google', 'numpy', 'typing_extensions'}\n"  # The last is grpcio's own.
        "print(*sorted(name for name in imported - own if 'cython' not in name and not name.startswith('grpc_')))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, "\n"), finished.stdout + finished.stderr
