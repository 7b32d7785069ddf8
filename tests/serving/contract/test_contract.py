"""The contract checks on our server, on TF Serving where one is given, and on servers that break the contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from serving.client import Chunks, Client, seed_rows, wire
from serving.client.tensor_codec import from_tensor, to_tensor
from serving.contract import answer_checks, refusal_checks
from serving.contract.all_checks import CHECKS, check_server
from serving.contract.tested_server import ContractBroken, Server
from tests.serving import model_server

TF_SERVING = os.environ.get("DRAW_TF_SERVING", "")
TF_SERVING_MODEL = os.environ.get("DRAW_TF_SERVING_MODEL", "digits")


@pytest.fixture(scope="module")
def ours(tiny_server: str) -> Iterator[Server]:
    with Client(tiny_server, model=model_server.MODEL) as client:
        yield Server(client)


@pytest.fixture(scope="module")
def batching(batching_server: str) -> Iterator[Server]:
    with Client(batching_server, model=model_server.MODEL) as client:
        yield Server(client)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_our_server(check: Callable[[Server], None], ours: Server) -> None:
    check(ours)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_our_server_where_it_merges_requests(check: Callable[[Server], None], batching: Server) -> None:
    check(batching)


@pytest.mark.skipif(not TF_SERVING, reason="DRAW_TF_SERVING names no running tensorflow_model_server (HOST:PORT)")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_tensorflow_model_server(check: Callable[[Server], None]) -> None:
    with Client(TF_SERVING, model=TF_SERVING_MODEL) as client:
        check(Server(client))


class Crooked(Server):
    """Our server with one thing changed in what it says."""

    def __init__(self, server: Server, bend: Callable[[str, Any, Any], Any]) -> None:
        super().__init__(server._client)
        self._bend = bend

    def ask(self, method: str, request: Any) -> Any:
        try:
            answer = super().ask(method, request)
        except grpc.RpcError as error:
            answer = error
        bent = self._bend(method, request, answer)
        if isinstance(bent, grpc.RpcError):
            raise bent
        return bent


class Refusal(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__()
        self._said = (code, details)

    def code(self) -> grpc.StatusCode:
        return self._said[0]

    def details(self) -> str:
        return self._said[1]


def _outputs(change: Callable[[str, np.ndarray], np.ndarray]) -> Callable[[str, Any, Any], Any]:
    """Bends the arrays of an answer to Predict."""

    def bend(method: str, request: Any, answer: Any) -> Any:
        if method == wire.PREDICT and not isinstance(answer, grpc.RpcError):
            for name, tensor in answer.outputs.items():
                tensor.CopyFrom(to_tensor(change(name, from_tensor(tensor, name).copy())))
        return answer

    return bend


def _refusals(code: grpc.StatusCode, details: str = "no") -> Callable[[str, Any, Any], Any]:
    return lambda method, request, answer: Refusal(code, details) if isinstance(answer, grpc.RpcError) else answer


def _never_refuses(method: str, request: Any, answer: Any) -> Any:
    return wire.METHODS[method][1]() if isinstance(answer, grpc.RpcError) else answer


def _by_place(name: str, array: np.ndarray) -> np.ndarray:
    place = np.arange(len(array), dtype=array.dtype).reshape(-1, *[1] * (array.ndim - 1))
    return array + place * np.float32(1e-3)


_calls = iter(range(10**9))


def _by_time(name: str, array: np.ndarray) -> np.ndarray:
    return array + np.float32(1e-3 * next(_calls))


def _half(name: str, array: np.ndarray) -> np.ndarray:
    return array / 2 if name in ("kl", "canvas") else array


def _other_model(method: str, request: Any, answer: Any) -> Any:
    if method == wire.PREDICT and not isinstance(answer, grpc.RpcError):
        answer.model_spec.version.value = 99
    return answer


def _no_filter(method: str, request: Any, answer: Any) -> Any:
    if method == wire.PREDICT and len(request.output_filter):
        answer.outputs["more"].CopyFrom(to_tensor(np.zeros(1, np.float32)))
    return answer


def _not_available(method: str, request: Any, answer: Any) -> Any:
    if method == wire.GET_MODEL_STATUS and not isinstance(answer, grpc.RpcError):
        answer.model_version_status[0].state = 50
    return answer


def _bad_default(method: str, request: Any, answer: Any) -> Any:
    if method == wire.PREDICT and request.model_spec.signature_name == "":
        image = from_tensor(answer.outputs["image"], "image")
        answer.outputs["image"].CopyFrom(to_tensor(image[::-1]))
    return answer


def _other_decoder(method: str, request: Any, answer: Any) -> Any:
    if method == wire.PREDICT and request.model_spec.signature_name == "decode":
        answer.outputs["image"].CopyFrom(to_tensor(from_tensor(answer.outputs["image"], "image")[::-1]))
    return answer


INTERNAL = grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("check", "bend", "message"),
    [
        (answer_checks.an_answer_names_the_model_its_version_and_the_signature, _other_model, "says that it is of"),
        (answer_checks.the_default_signature_is_the_first_of_its_task, _bad_default, "image of the default signature"),
        (answer_checks.the_same_request_gets_the_same_answer, _outputs(_by_time), "asked twice"),
        (answer_checks.a_row_does_not_depend_on_its_batch, _outputs(_by_place), "in another order|of a row alone"),
        (answer_checks.seeds_make_the_difference, _outputs(lambda _, array: array * 0), "images of their own"),
        (answer_checks.images_are_means, _outputs(lambda _, array: array + 1), "sample: image reaches"),
        (answer_checks.images_are_means, _outputs(_half), "The last canvas"),
        (answer_checks.scores_add_up, _outputs(_half), "nll_bound and its parts"),
        (
            answer_checks.latent_variables_are_those_of_the_seeds,
            _other_decoder,
            "image of decode with the seeds' noise",
        ),
        (answer_checks.an_output_filter_keeps_what_it_names, _no_filter, r"asked for \w+ alone, got"),
        (answer_checks.scores_add_up, _outputs(lambda _, array: array * np.float32(np.nan)), "is not finite"),
        (answer_checks.scores_add_up, _outputs(lambda _, array: array[1:]), "for 5 rows; expected"),
        (answer_checks.scores_add_up, _outputs(lambda _, array: array.astype(np.float64)), "is float64"),
        *((check, _never_refuses, "got an answer") for check in refusal_checks.CHECKS),
        *((check, _refusals(INTERNAL), "got INTERNAL: no") for check in refusal_checks.CHECKS),
        (refusal_checks.bad_arrays_are_invalid, _refusals(grpc.StatusCode.INVALID_ARGUMENT, " "), "without a reason"),
        (refusal_checks.the_server_answers_as_before, _not_available, "No version is AVAILABLE"),
    ],
)
def test_a_server_that_breaks_the_contract_is_told(
    check: Callable[[Server], None], bend: Callable[[str, Any, Any], Any], message: str, ours: Server
) -> None:
    with pytest.raises(ContractBroken, match=message):
        check(Crooked(ours, bend))


def test_metadata_with_other_inputs_break_the_contract(ours: Server) -> None:
    crooked = Crooked(ours, lambda method, request, answer: answer)
    signatures = dict(ours.metadata.signatures)
    signatures["sample"] = signatures["score"]
    crooked.metadata = ours.metadata._replace(signatures=signatures)
    with pytest.raises(ContractBroken, match="sample takes"):
        answer_checks.metadata_has_the_signatures_of_the_contract(crooked)
    crooked.metadata = ours.metadata._replace(signatures={"other": signatures["score"]})
    with pytest.raises(ContractBroken, match="There is none of"):
        answer_checks.metadata_has_the_signatures_of_the_contract(crooked)


def test_every_check_is_run_and_a_fault_does_not_end_it(ours: Server) -> None:
    findings = list(check_server(Crooked(ours, _not_available)))
    assert [finding.check for finding in findings] == [check.__name__.replace("_", " ") for check in CHECKS]
    assert [finding.check for finding in findings if finding.fault] == ["the server answers as before"]


# The client on the real model: what the scripted server of test_client cannot show.


def test_chunks_of_the_real_model_make_the_same_images(tiny_server: str) -> None:
    with Client(tiny_server, model=model_server.MODEL) as client:
        whole = client.sample(24, seed=5)
    with Client(tiny_server, model=model_server.MODEL, chunking=Chunks(rows=7, in_flight=3)) as client:
        # To float32's last place: TensorFlow computes the last rows of a batch by another loop.
        np.testing.assert_allclose(client.sample(24, seed=5), whole, atol=3e-7, rtol=0)
        again = client.sample(24, seed=5)
        assert again.tobytes() == client.sample(24, seed=5).tobytes()
        np.testing.assert_allclose(client.sample(seeds=seed_rows(5, 24)[11:13]), whole[11:13], atol=3e-7, rtol=0)


def test_every_method_on_the_real_model(tiny_server: str) -> None:
    images = np.random.default_rng(1).integers(0, 2, (4, 7, 5, 1)).astype(bool)
    with Client(tiny_server, model=model_server.MODEL, version=model_server.VERSION) as client:
        sequence = client.sample_sequence(3, seed=8)
        assert sequence.canvas.shape == (3, 6, 7, 5, 1) and sequence.write_window is not None
        assert sequence.write_window.shape == (3, 6, 5)
        np.testing.assert_allclose(sequence.canvas[:, -1], client.sample(3, seed=8), atol=3e-7)
        scores = client.score(images, seed=2)
        np.testing.assert_allclose(scores.nll_bound, scores.reconstruction + scores.kl, rtol=1e-5)
        assert scores.kl_per_step.shape == (4, 6)
        assert not np.array_equal(scores.log_weight, client.score(images, seed=3).log_weight)
        reconstruction = client.reconstruct(images)
        assert reconstruction.image.shape == images.shape
        np.testing.assert_allclose(reconstruction.canvas[:, -1], reconstruction.image, atol=3e-7)
        assert reconstruction.read_window is not None and reconstruction.write_window is not None
        assert not np.allclose(reconstruction.read_window, reconstruction.write_window)
        z = client.noise(3, seed=8)
        assert z.shape == (3, 6, 2)
        np.testing.assert_allclose(client.decode(z), client.sample(3, seed=8), atol=1e-6)
        for mine, seeded in zip(client.decode_sequence(z), sequence, strict=True):
            np.testing.assert_allclose(mine, seeded, rtol=1e-5, atol=1e-5)
        latents = client.encode(images, eps=client.noise(4, seed=2))
        np.testing.assert_allclose(latents.nll_bound, scores.nll_bound, rtol=1e-5)
        np.testing.assert_allclose(latents.kl_per_step, scores.kl_per_step, rtol=1e-4, atol=1e-5)
        mean = client.encode(images)
        np.testing.assert_array_equal(mean.z, mean.mu)
        (status,) = client.status()
        assert status == (model_server.VERSION, "AVAILABLE", "")
        metadata = client.metadata()
        assert (metadata.name, metadata.version) == (model_server.MODEL, model_server.VERSION)
        assert metadata.image_shape == (7, 5, 1)
        assert metadata.signatures["score"].inputs["image"] == (np.float32, (None, 7, 5, 1))
