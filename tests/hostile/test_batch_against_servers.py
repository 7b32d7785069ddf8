"""A batch job whose server is away, full or started anew for a while, and one that asks what is no server."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.batch.blocks import Refused
from serving.batch.job import Job, score_batch
from serving.batch.model_source import ServedModelSource, model_source
from serving.client import ServingError, seed_rows, wire
from serving.client.tensor_codec import from_tensor, to_tensor
from serving.images.image_format import ImageFormat
from tests.serving.scripted_server import Script, serve

OUTPUTS = {"nll_bound": 1, "reconstruction": 1, "kl": 1, "kl_per_step": 2, "log_weight": 1}


def _metadata(request: Any, context: grpc.ServicerContext) -> Any:
    """`score` of images [n, 2, 3, 1], version 1."""
    del request, context
    signatures = wire.SignatureDefMap()
    score = signatures.signature_def["score"]
    for name, shape in {"image": (-1, 2, 3, 1), "seed": (-1, 2)}.items():
        score.inputs[name].dtype = 1 if name == "image" else 9
        for size in shape:
            score.inputs[name].tensor_shape.dim.add(size=size)
    for name, rank in OUTPUTS.items():
        score.outputs[name].dtype = 1
        for size in (-1, 4)[:rank]:
            score.outputs[name].tensor_shape.dim.add(size=size)
    answer = wire.GetModelMetadataResponse(model_spec={"name": "m", "version": {"value": 1}})
    answer.metadata["signature_def"].value = signatures.SerializeToString()
    return answer


def _score(request: Any, context: grpc.ServicerContext) -> Any:
    """The number of bright pixels as the bound of an image of 0 and 1."""
    image = from_tensor(request.inputs["image"], "image")
    if not np.isin(image, (0, 1)).all():
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "pixels must be 0 or 1")
    bright = image.sum(axis=(1, 2, 3))
    answer = wire.PredictResponse(model_spec={"name": "m", "version": {"value": 1}})
    for name, rank in OUTPUTS.items():
        answer.outputs[name].CopyFrom(to_tensor(bright if rank == 1 else np.repeat(bright[:, None], 4, axis=1)))
    return answer


class Outage:
    """A server of the scores that fails in its way from its `after`-th request on, for so many seconds."""

    def __init__(self, code: grpc.StatusCode, details: str, *, after: int, seconds: float) -> None:
        self._failure = code, details
        self._after, self._seconds = after, seconds
        self._requests, self._end = 0, 0.0
        self._lock = threading.Lock()

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self._requests += 1
            if self._requests == self._after:
                self._end = time.monotonic() + self._seconds
        if time.monotonic() < self._end:
            context.abort(*self._failure)
        return _score(request, context)


@pytest.fixture
def images(tmp_path: Path) -> np.ndarray:
    pixels = np.random.default_rng(3).integers(0, 2, (700, 2, 3, 1)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", image=pixels, id=np.arange(700))
    return pixels


@pytest.mark.parametrize(
    ("code", "details", "seconds"),
    [
        ("UNAVAILABLE", "going down", 4),
        ("RESOURCE_EXHAUSTED", "the queue is full", 4),
        ("NOT_FOUND", "version 1 is loading", 2),
    ],
)
def test_a_job_outlasts_a_server_that_is_away(
    code: str, details: str, seconds: float, images: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outage = Outage(grpc.StatusCode[code], details, after=4, seconds=seconds)
    with serve(Script(outage, metadata=_metadata)) as server:
        source = model_source(server, name="m", timeout_seconds=60)
        job = Job(model=source, input=str(tmp_path / "images.npz"), output=str(tmp_path / "out"), file_format="jsonl")
        summary = score_batch(job)
    assert (summary["images"], summary["rejected"]) == (700, 0)
    rows = [json.loads(line) for path in tmp_path.glob("out-scores-*") for line in path.read_text().splitlines()]
    np.testing.assert_array_equal(
        [row["nll_bound"] for row in sorted(rows, key=lambda row: int(row["id"]))], images.sum(axis=(1, 2, 3))
    )
    said = capfd.readouterr().err
    assert said.count("does not answer; asking again for up to") == 1 and details in said


def test_a_server_that_starts_anew_on_its_port_is_asked_on() -> None:
    with serve(Script(_score, metadata=_metadata)) as server:
        scorer = model_source(server, name="m", timeout_seconds=30).open()
        image, seed = np.ones((70, 2, 3, 1), np.float32), seed_rows(0, 70)
        np.testing.assert_array_equal(scorer.score(image, seed).kl, np.full(70, 6))
    with contextlib.ExitStack() as stack:
        again = Script(_score, metadata=_metadata)
        start = threading.Timer(4, lambda: stack.enter_context(serve(again, port=int(server.split(":")[1]))))
        start.start()
        stack.callback(start.join)
        np.testing.assert_array_equal(scorer.score(image, seed).kl, np.full(70, 6))


def test_a_server_that_stays_away_ends_the_job_at_the_timeout() -> None:
    scorer = _source("127.0.0.1:1", timeout_seconds=3).open()
    began = time.monotonic()
    with pytest.raises(ServingError, match="No answer from 127"):
        scorer.score(np.ones((1, 2, 3, 1), np.float32), seed_rows(0, 1))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("code", "error"), [("INVALID_ARGUMENT", Refused), ("FAILED_PRECONDITION", ServingError)])
def test_an_image_is_rejected_for_itself_alone(code: str, error: type[Exception]) -> None:
    """That a server has lost the signature rejects no image: it ends the job."""

    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode[code], "no")

    with serve(Script(refuse, metadata=_metadata)) as server:
        scorer = _source(server, timeout_seconds=10).open()
        with pytest.raises(error):
            scorer.score(np.ones((1, 2, 3, 1), np.float32), seed_rows(0, 1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("http://127.0.0.1:8501/v1/models/digits", "is a URL, as REST has them"),
        ("::1:8500", "has no port|without brackets"),
        ("127.0.0.1:0", "has the port 0"),
    ],
)
def test_what_is_no_address_is_told(model: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_source(model, name="m", timeout_seconds=5)


def _source(server: str, *, timeout_seconds: float) -> ServedModelSource:
    images = ImageFormat(shape=(2, 3, 1), binary=True)
    return ServedModelSource(server=server, name="m", number=1, timeout_seconds=timeout_seconds, images=images)
