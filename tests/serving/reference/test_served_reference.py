"""Whoever answers tells the model's reference, and the client's scores come with what it says of them."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.client import Client, UnexpectedAnswer, wire
from serving.contract import tested_server
from serving.contract.all_checks import check_server
from serving.local_model import LocalModel
from serving.reference.complexity import complexity
from serving.reference.model_reference import REFERENCE_FILE, Reference
from serving.saved_model import read_reference
from serving.server import Server
from tests import tiny
from tests.serving import model_server, scripted_server

TASK = tiny.MODELS["attention"]


def _reference(shift: float = 0.0) -> Reference:
    parts = np.random.default_rng(4).gamma(9.0, 2.0, (2, 700))
    reconstruction, kl = parts[0] + shift, parts[1]
    statistics = {
        "nll_bound": reconstruction + kl,
        "reconstruction": reconstruction,
        "kl": kl,
        "complexity": np.random.default_rng(5).gamma(5.0, 10.0, 700),
    }
    return Reference.from_statistics(statistics, split="watch", labels=[n % 2 for n in range(700)])


def _write(folder: Path, version: int, text: str) -> Path:
    """Exports a version with a reference of this text; returns its folder."""
    made = model_server.export_model(TASK, folder.with_name(f"{folder.name}-{version}"), version=version)
    (made / str(version) / REFERENCE_FILE).write_text(text)
    folder.mkdir(exist_ok=True)
    shutil.move(made / str(version), folder / str(version))
    return folder / str(version)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of versions 3 and 4, whose references differ, and 5, whose reference is none."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    _write(folder, 3, _reference().to_json())
    _write(folder, 4, _reference(shift=30.0).to_json())
    _write(folder, 5, '{"format": 1}')
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of version 3."""
    served = tmp_path_factory.mktemp("served")
    shutil.copytree(folder / "3", served / "3")
    with model_server.serve(served) as running:
        yield running


def _images(count: int) -> np.ndarray:
    return tiny.make_images(TASK, count).astype(np.float32)


def test_a_file_is_read_as_it_was_written(folder: Path) -> None:
    made, read = _reference(), read_reference(folder / "3")
    assert read is not None
    assert (read.split, read.count, read.non_finite) == ("watch", 700, 0)
    assert read.by_class.keys() == {"0", "1"} and read.by_class["1"]["kl"].count == 350
    np.testing.assert_allclose(read.scores["kl"].quantiles, made.scores["kl"].quantiles, rtol=1e-6)


def test_images_without_a_finite_score_are_left_out_and_counted() -> None:
    parts = {"reconstruction": np.array([1.0, np.nan, 3.0]), "kl": np.array([1.0, 2.0, np.inf])}
    reference = Reference.from_statistics({"nll_bound": parts["kl"], **parts}, split="watch")
    assert (reference.count, reference.non_finite) == (1, 2)
    nothing = dict.fromkeys(("nll_bound", "reconstruction", "kl"), np.array([np.nan]))
    with pytest.raises(ValueError, match="none has a finite score"):
        Reference.from_statistics(nothing, split="watch")


@pytest.mark.parametrize(("classes", "kept"), [(100, 100), (101, 0), (400, 0)])
def test_many_classes_make_no_long_file(classes: int, kept: int) -> None:
    """Such as people, or labels that are none but numbers of rows: a server would hold no reference at all."""
    scores = dict.fromkeys(("nll_bound", "reconstruction", "kl"), np.arange(400.0))
    reference = Reference.from_statistics(scores, split="watch", labels=[row % classes for row in range(400)])
    assert (reference.count, len(reference.by_class)) == (400, kept)
    assert len(reference.to_json()) < 2**20


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"scores": {}},
        {"scores": {"nll_bound": 3}},
        {"count": 699},
        {"by_class": None},
        {"split": None, "non_finite": "x"},
        {"fit": None},
        {"compressor": None},
        {"compressor": "bz3"},
        {"fit": {"features": ["kl"], "mean": [1.0], "precision": [[1.0]]}},
        {"fit": {"features": ["height"], "mean": [1.0], "precision": [[1.0]]}},
        {"fit": {"features": ["kl", "complexity"], "mean": [1.0], "precision": [[1.0]]}},
        {"fit": {"features": [], "mean": [], "precision": []}},
    ],
    ids=str,
)
def test_a_file_that_is_none_is_refused(change: dict) -> None:
    values = {**json.loads(_reference().to_json()), **change}
    with pytest.raises(ValueError, match="reference"):
        Reference.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("quantiles", lambda values: values[::-1]),
        ("quantiles", lambda values: values[:-1]),
        ("quantiles", lambda values: [*values[:-1], 1e999]),
        ("ranks", lambda values: [0, *values[1:]]),
        ("ranks", lambda values: [[rank] for rank in values]),
        ("ranks", lambda values: [*values[:-1], 10**30]),
        ("mean", lambda value: "many"),
        ("standard_deviation", lambda value: -1.0),
        ("histogram", lambda value: {**value, "counts": value["counts"][1:]}),
        ("histogram", lambda value: {**value, "edges": value["edges"][::-1]}),
        ("count", lambda value: -1),
    ],
)
def test_numbers_that_no_distribution_has_are_refused(name: str, spoil) -> None:
    values = json.loads(_reference().to_json())
    values["scores"]["nll_bound"][name] = spoil(values["scores"]["nll_bound"][name])
    with pytest.raises(ValueError, match="reference"):
        Reference.from_json(json.dumps(values))


def test_text_that_is_no_json_is_refused() -> None:
    for text in ("", "{", "[" * 100_000, "null", "3", b"\xff\xfe"):
        with pytest.raises(ValueError, match="reference"):
            Reference.from_json(text)


@pytest.mark.parametrize("where", ["server", "process"])
def test_scores_come_with_their_place_in_the_reference(server: Server, folder: Path, where: str) -> None:
    image = _images(9)
    if where == "server":
        answers = Client(f"127.0.0.1:{server.grpc_port}", model="tiny", version=3)
    else:
        answers = LocalModel(str(folder / "3"), name="tiny")
    with answers:
        reference, scores = answers.reference(), answers.score(image)
        raw = answers.score(image, calibrated=False)
    assert reference is not None and raw.percentile is None
    bound = reference.scores["nll_bound"]
    np.testing.assert_allclose(scores.percentile, bound.percentile(scores.nll_bound), rtol=1e-9)
    np.testing.assert_allclose(scores.typicality, bound.two_sided_p(scores.nll_bound), rtol=1e-9)
    sizes = complexity(image)
    np.testing.assert_allclose(scores.complexity_corrected, scores.nll_bound.astype(np.float64) - sizes)
    statistics = {"reconstruction": scores.reconstruction, "kl": scores.kl, "complexity": sizes}
    np.testing.assert_allclose(scores.mahalanobis, reference.fit.distances(statistics))
    for name in ("complexity_corrected", "mahalanobis"):
        places = reference.scores[name].percentile(getattr(scores, name))
        np.testing.assert_allclose(getattr(scores, f"{name}_percentile"), places)


def test_a_reference_that_is_no_use_costs_no_score(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(folder / "5", bad / "5")
    with model_server.serve(bad) as running, Client(f"127.0.0.1:{running.grpc_port}", model="tiny") as client:
        assert client.score(_images(2)).percentile is None
        with pytest.raises(UnexpectedAnswer, match="reference cannot be used"):
            client.reference()
        (fault,) = [each.fault for each in check_server(tested_server.Server(client)) if each.fault]
        assert "reference cannot be used" in fault
        assert _get(running, "/live/reference.json?model=tiny&version=5") == (200, None)
    with LocalModel(str(bad), name="tiny") as model:
        assert model.score(_images(2)).percentile is None


def test_each_version_has_its_own(folder: Path, tmp_path: Path) -> None:
    """The scores of an answer are compared with the reference of the version that gave it."""
    served = tmp_path / "served"
    shutil.copytree(folder / "3", served / "3")
    with (
        model_server.serve(served, file_system_poll_wait_seconds=0.2) as running,
        Client(f"127.0.0.1:{running.grpc_port}", model="tiny") as client,
    ):
        first = client.score(_images(4))
        shutil.copytree(folder / "4", tmp_path / "4")
        (tmp_path / "4").rename(served / "4")
        until = time.monotonic() + 60
        while client.metadata().version != 4 and time.monotonic() < until:
            time.sleep(0.05)
        second = client.score(_images(4))
    np.testing.assert_allclose(first.nll_bound, second.nll_bound, rtol=1e-5)
    assert (second.percentile < first.percentile).all()


def test_a_server_that_knows_no_such_field_has_none() -> None:
    def tell(request: wire.GetModelMetadataRequest, context: grpc.ServicerContext) -> object:
        if "reference" in request.metadata_field:  # as TF Serving answers
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Metadata field reference is not supported")
        return scripted_server.metadata(request, context)

    script = scripted_server.Script(scripted_server.echo, metadata=tell)
    with scripted_server.serve(script) as address, Client(address, model="other") as client:
        assert client.reference() is None


def _get(server: Server, path: str) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_the_live_page_gets_the_bounds(server: Server, folder: Path) -> None:
    status, bounds = _get(server, "/live/reference.json?model=tiny&version=3")
    expected = json.loads((folder / "3" / REFERENCE_FILE).read_text())["scores"]["nll_bound"]
    assert status == 200 and bounds["ranks"] == expected["ranks"]
    np.testing.assert_allclose(bounds["quantiles"], expected["quantiles"], rtol=1e-6)
    for query in ("", "?model=tiny", "?model=tiny&version=9", "?model=tiny&version=x", "?model=other&version=3"):
        assert _get(server, f"/live/reference.json{query}") == (200, None)


def test_a_server_with_a_reference_keeps_to_the_contract(server: Server) -> None:
    with Client(f"127.0.0.1:{server.grpc_port}", model="tiny") as client:
        assert [each.check for each in check_server(tested_server.Server(client)) if each.fault] == []
