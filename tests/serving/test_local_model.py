"""A model in this process answers as one on a server does, to the library and to the commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from serving import pretrained
from serving.client import BadInput, Client, SignatureNotFound
from serving.local_model import LocalModel
from tests.serving.model_server import MODEL


@pytest.fixture(scope="module")
def local(tiny_folder: Path) -> LocalModel:
    return LocalModel(str(tiny_folder), name="tiny")


@pytest.fixture
def images() -> np.ndarray:
    """More than one batch of a model in this process."""
    return np.random.default_rng(4).integers(0, 2, (70, 7, 5, 1)).astype(np.float32)


def test_every_signature_answers_as_on_a_server(local: LocalModel, tiny_server: str, images: np.ndarray) -> None:
    with Client(tiny_server, model=MODEL) as client:
        for here, there in [
            (local.sample(67, seed=3), client.sample(67, seed=3)),
            (local.sample_sequence(3, seed=3), client.sample_sequence(3, seed=3)),
            (local.score(images, seed=5), client.score(images, seed=5)),
            (local.reconstruct(images[:3], seed=5), client.reconstruct(images[:3], seed=5)),
            (local.encode(images), client.encode(images)),
            (local.decode(local.noise(67, seed=3)), client.sample(67, seed=3)),
            (local.decode_sequence(local.noise(3, seed=3)), client.sample_sequence(3, seed=3)),
        ]:
            for mine, theirs in zip(here, there, strict=True):
                if mine is theirs is None:  # the model has no reference
                    continue
                np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
        assert local.metadata().signatures.keys() == client.metadata().signatures.keys()
        assert local.metadata().image_shape == client.metadata().image_shape == (7, 5, 1)


def test_the_window_size_comes_with_the_model(local: LocalModel) -> None:
    assert (local.window_size("read"), local.window_size("write")) == (4, 8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((2, 7, 5, 1), 0.5, np.float32), "0 or 1"),
        (np.zeros((2, 5, 7, 1), np.float32), r"image has the shape \[2, 5, 7, 1\]; expected \[n, 7, 5, 1\]"),
        (np.zeros((0, 7, 5, 1), np.float32), "n at least 1"),
    ],
)
def test_bad_input_is_refused_with_the_reason(local: LocalModel, image: np.ndarray, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        local.score(image)


def test_a_signature_that_is_not_there(local: LocalModel) -> None:
    with pytest.raises(SignatureNotFound, match="no signature 'classify', only"):
        local.classify(np.zeros((1, 7, 5, 1), np.float32))
    with pytest.raises(BadInput, match="takes"):
        local.predict("sample", {"seeds": np.zeros((1, 2), np.int64)})


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.zeros((2, 6, 3), np.float32), r"z has the shape \[2, 6, 3\]; expected \[n, 6, 2\]"),
        (np.zeros((2, 6, 2), np.int64), r"z is int64 of the shape \[2, 6, 2\]; expected floats \[n, T, Z\]"),
        (np.zeros((0, 6, 2), np.float32), "n at least 1"),
        (np.full((1, 6, 2), np.nan), "Every latent variable must be a number"),
        ([[1.0], [2.0, 3.0]], "z is no array|z is object"),
    ],
)
def test_bad_latents_are_refused_with_the_reason(local: LocalModel, z: np.ndarray, message: str) -> None:
    for decode in (local.decode, local.decode_sequence):
        with pytest.raises(BadInput, match=message):
            decode(z)


def test_inputs_of_different_numbers_of_rows_are_refused(local: LocalModel, images: np.ndarray) -> None:
    """Also where the first has as many as a call of the model, so that the others' would just be left over."""
    for rows in (1, 64):
        for call in (
            lambda rows=rows: local.score(images[:rows], seeds=np.zeros((70, 2), np.int64)),
            lambda rows=rows: local.encode(images[:rows], eps=local.noise(70)),
        ):
            with pytest.raises(BadInput, match=rf"same number of rows, at least 1; got image \[{rows}, 7, 5, 1\]"):
                call()


def test_noise_takes_seeds_alone(local: LocalModel) -> None:
    seeds = np.array([[5, 0], [5, 1]])
    np.testing.assert_array_equal(local.noise(seeds=seeds), local.noise(2, seed=5))
    for bad in (seeds[0], seeds.astype(np.float64), seeds[:, :1], seeds[:0]):
        with pytest.raises(BadInput, match=r"expected int64 \[n, 2\], n at least 1"):
            local.noise(seeds=bad)


# The commands


@pytest.fixture
def models(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pretrained models that holds one, and no server anywhere."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_folder, folder / "small")
    metrics = {"title": "Small", "metric": "nll_bound", "value": 12.345, "standard_error": 0.5}
    (folder / "small" / pretrained.METRICS_FILE).write_text(
        json.dumps({**metrics, "training": [{"steps": 600, "hours": 1.5}, {"steps": 400, "hours": 0.5}]})
    )
    monkeypatch.setenv("DRAW_MODELS", str(folder))
    for name in ("DRAW_SERVER", "DRAW_MODEL", "TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


def _draw(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_models_are_listed_with_what_they_reach(models: Path) -> None:
    heading, row = _draw("models").output.splitlines()
    assert heading.split()[:3] == ["name", "title", "test"]
    assert row.startswith("small  Small  12.35 ± 0.50 nats  1,000  2 ")


def test_without_models_it_says_where_they_come_from(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAW_MODELS", str(models / "none"))
    result = _draw("models")
    assert result.exit_code == 1
    assert "pip install draw-tfx-models" in result.output


@pytest.mark.parametrize("named", ["small", "./models/small"])
def test_commands_take_a_name_or_a_folder_and_no_server(models: Path, tmp_path: Path, named: str) -> None:
    pixels = np.random.default_rng(4).integers(0, 2, (3, 7, 5), np.uint8)
    np.savez(tmp_path / "images.npz", image=pixels)
    for arguments in (
        ("sample", "-n", 2, "-o", "sheet.png"),
        ("sequence", "-o", "drawing.gif"),
        ("score", "images.npz", "-o", "scores.csv"),
        ("reconstruct", "images.npz", "-o", "pairs.png"),
        ("interpolate", "images.npz", "-o", "film.gif", "--frames", 2),
        ("score-batch", "--input", "images.npz", "--output", "batch/out", "--format", "csv"),
    ):
        result = _draw(*arguments, "--model", named)
        assert result.exit_code == 0, result.output
    for name in ("sheet.png", "drawing.gif", "scores.csv", "pairs.png"):
        assert (tmp_path / name).stat().st_size
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1 + 3


def test_what_is_for_a_server_is_refused(models: Path) -> None:
    result = _draw("sample", "--model", "small", "--label", "stable", "--tls")
    assert result.exit_code == 1
    assert "--label, --tls: for a --server alone, and small is asked in this process" in result.output


def test_a_server_is_asked_where_one_is_named(models: Path, tiny_server: str) -> None:
    result = _draw("sample", "--server", tiny_server, "--model", "small", "-o", "sheet.png")
    assert result.exit_code == 1
    assert f"{tiny_server} does not serve model 'small'" in result.output


def test_a_name_that_nobody_has(models: Path) -> None:
    with pytest.raises(ValueError, match=r"no pretrained model 'smal'\. There are: small"):
        pretrained.find("smal")
    assert pretrained.resolve("smal") == "smal"


@pytest.mark.parametrize("kept", [100, None], ids=["cut short", "missing"])
def test_a_damaged_model_is_an_error_of_one_line(
    tiny_folder: Path, images: np.ndarray, kept: int | None, tmp_path: Path
) -> None:
    """Such as one that is being copied."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    (data,) = (tmp_path / "model").glob("*/variables/variables.data-*")
    if kept is None:
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:kept])
    np.save(tmp_path / "images.npy", images.astype(np.uint8))
    for words in (
        ("sample", "--model", tmp_path / "model", "-o", tmp_path / "samples.png"),
        ("reference", tmp_path / "model", "--input", tmp_path / "images.npy"),
        ("export", tmp_path / "model", "-o", tmp_path / "onnx"),
    ):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 1 and "so it is damaged, or not all of it is there" in result.output, result
