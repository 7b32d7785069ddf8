"""The batch job end to end: the same numbers from every format, batch, runner and worker, and what goes wrong."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from click.testing import CliRunner
from PIL import Image

from pipeline.cli.main import main
from serving.batch.blocks import SAMPLES_TOGETHER, blocks, score_blocks
from serving.batch.job import Job, score_batch
from serving.batch.model_source import SavedModelSource, model_source
from serving.batch.saved_model_scorer import SavedModelScorer
from serving.batch.sinks import SCHEMA
from serving.beam_options import LOCAL_BEAM_ARGUMENTS
from serving.reference.image_scores import CALIBRATED
from tests import tiny
from tests.reference import draw as reference
from tests.serving.batch.conftest import COUNT
from tests.serving.model_server import MODEL, VERSION, export_model

IDS = [f"example-{index}" for index in range(COUNT)]
_WORDS = ("id", "model_version", *CALIBRATED)
PORTABLE = ("--runner=PortableRunner", "--job_endpoint=embed")


def _rows(prefix: Path) -> dict[str, dict[str, Any]]:
    """What was written, by id."""
    files = sorted(prefix.parent.glob(f"{prefix.name}-scores-*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def _rejected(prefix: Path) -> list[dict[str, Any]]:
    files = prefix.parent.glob(f"{prefix.name}-rejected-*.jsonl")
    return [json.loads(line) for file in sorted(files) for line in file.read_text().splitlines()]


def _assert_same(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == expected.keys()
    for identity, row in found.items():
        # float32's last places: a product of matrices depends on how many rows it has.
        numbers = {name: value for name, value in row.items() if name not in _WORDS}
        assert numbers == pytest.approx({name: expected[identity][name] for name in numbers}, rel=1e-5, abs=1e-5), (
            identity
        )
        assert {name: row[name] for name in _WORDS} == {name: expected[identity][name] for name in _WORDS}


@pytest.fixture(scope="module")
def expected(model: SavedModelSource, images: np.ndarray) -> dict[str, dict[str, Any]]:
    """The scores of 3 samples of each image, one call an image."""
    scorer = SavedModelScorer(model.directory)
    rows = {}
    for identity, image in zip(IDS, images.astype(np.float32), strict=True):
        (estimate,) = score_blocks(scorer, list(blocks(identity.encode(), image, 3)))
        rows[identity] = {
            "id": identity,
            "nll_bound": estimate.nll_bound,
            "reconstruction": estimate.reconstruction,
            "kl": estimate.kl,
            "standard_error": estimate.standard_error,
            "importance_weighted_bound": estimate.importance_weighted_bound,
            "samples": 3,
            "bits_per_dimension": estimate.nll_bound / math.log(2) / 35,
            "model_version": "3",
            **dict.fromkeys(CALIBRATED),  # the model has no reference
        }
    return rows


@pytest.fixture
def worker_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a pool that starts worker processes, as beside Flink on Kubernetes."""
    # The pool starts `python`.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{tiny.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    yield address
    server.stop(grace=1).wait()


def test_the_summary_is_of_the_rows(
    model: SavedModelSource, examples: Path, expected: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "new" / "out"
    summary = score_batch(Job(model=model, input=str(examples), output=str(output), samples=3, pictures=4))
    _assert_same(_rows(output), expected)
    names = {path.name.split("-00000")[0] for path in output.parent.iterdir()}
    assert names == {"out-scores", "out-summary.json", "out-most-likely.png", "out-least-likely.png"}
    assert summary == json.loads((tmp_path / "new" / "out-summary.json").read_text())
    assert (summary["images"], summary["rejected"], summary["model_version"]) == (COUNT, 0, "3")
    for name in ("nll_bound", "reconstruction", "kl", "importance_weighted_bound"):
        values = np.array([row[name] for row in expected.values()])
        assert summary[name]["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert summary[name]["standard_error"] == pytest.approx(values.std(ddof=1) / math.sqrt(COUNT), rel=1e-5)
    ranked = sorted(IDS, key=lambda identity: expected[identity]["importance_weighted_bound"])
    assert [row["id"] for row in summary["least_likely"]] == ranked[:-11:-1]


def test_pictures_show_the_images_at_either_end(
    model: SavedModelSource, examples: Path, images: np.ndarray, expected: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    score_batch(Job(model=model, input=str(examples), output=str(tmp_path / "out"), samples=3, pictures=2))
    ranked = sorted(range(COUNT), key=lambda place: expected[IDS[place]]["importance_weighted_bound"])
    for name, places in (("most", ranked[:2]), ("least", ranked[:-3:-1])):
        with Image.open(tmp_path / f"out-{name}-likely.png") as picture:
            sheet = np.asarray(picture)
        # 7 x 5 images at 12 times their size, with gaps of 2.
        for column, place in enumerate(places):
            block = sheet[2:, 2 + 62 * column :][:84:12, :60:12]
            np.testing.assert_array_equal(block, 255 * images[place, ..., 0])


@pytest.mark.parametrize("rows", [1, 7])
def test_the_size_of_a_batch_changes_nothing(
    rows: int, model: SavedModelSource, examples: Path, expected: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    score_batch(Job(model=model, input=str(examples), output=str(tmp_path / "out"), samples=3, rows=rows))
    _assert_same(_rows(tmp_path / "out"), expected)


@pytest.mark.parametrize(
    "flags",
    [
        ("--direct_running_mode=multi_threading", "--direct_num_workers=3"),
        (*PORTABLE, "--environment_type=LOOPBACK", "--sdk_worker_parallelism=2"),
    ],
    ids=["threads", "portable_loopback"],
)
def test_the_runner_changes_nothing(
    flags: tuple[str, ...],
    model: SavedModelSource,
    examples: Path,
    expected: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    job = Job(model=model, input=str(examples), output=str(tmp_path / "out"), samples=3, rows=24)
    summary = score_batch(job, (*LOCAL_BEAM_ARGUMENTS, *flags))
    _assert_same(_rows(tmp_path / "out"), expected)
    assert summary["images"] == COUNT


@pytest.mark.slow
def test_workers_of_an_external_pool_change_nothing(
    model: SavedModelSource, examples: Path, expected: dict[str, dict[str, Any]], worker_pool: str, tmp_path: Path
) -> None:
    job = Job(model=model, input=str(examples), output=str(tmp_path / "out"), samples=3, rows=24)
    score_batch(job, (*PORTABLE, "--environment_type=EXTERNAL", f"--environment_config={worker_pool}"))
    _assert_same(_rows(tmp_path / "out"), expected)


def test_a_server_gives_the_same_scores(
    tiny_server: str, examples: Path, expected: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    served = model_source(tiny_server, name=MODEL, timeout_seconds=60)
    assert served.images.binary and served.version == str(VERSION)
    score_batch(Job(model=served, input=str(examples), output=str(tmp_path / "out"), samples=3))
    _assert_same(_rows(tmp_path / "out"), expected)


def test_samples_of_an_image_are_spread_and_merged_again(
    model: SavedModelSource, images: np.ndarray, tmp_path: Path
) -> None:
    samples = SAMPLES_TOGETHER + 6
    # Two images of one id are two rows all the same, and a refused one is rejected once.
    grey = np.full((1, 7, 5, 1), 3, np.uint8)
    np.savez(tmp_path / "in.npz", image=np.concatenate([images[:2], grey]), id=["same", "same", "grey"])
    output = tmp_path / "out"
    score_batch(Job(model=model, input=str(tmp_path / "in.npz"), output=str(output), samples=samples, pictures=1))
    rows = [row for file in tmp_path.glob("out-scores-*") for row in pq.read_table(file).to_pylist()]
    scorer = SavedModelScorer(model.directory)
    wholes = [
        -np.logaddexp.reduce(
            scorer.score(
                np.repeat(image[None].astype(np.float32), samples, axis=0), _seeds_by_hand(scorer, b"same", samples)
            ).log_weight.astype(np.float64)
        )
        + math.log(samples)
        for image in images[:2]
    ]
    assert sorted(row["importance_weighted_bound"] for row in rows) == pytest.approx(sorted(wholes), rel=1e-6)
    assert {row["samples"] for row in rows} == {samples}
    assert [row["id"] for row in _rejected(output)] == ["grey"]


def _seeds_by_hand(scorer: SavedModelScorer, identity: bytes, samples: int) -> np.ndarray:
    halves = [tf.strings.to_hash_bucket_strong([identity], 2**62, key=[key, 150204623]).numpy()[0] for key in (1, 2)]
    return np.array([[halves[0], halves[1] + sample] for sample in range(samples)])


def test_the_importance_weighted_bound_falls_to_the_likelihood(tmp_path: Path) -> None:
    """One latent dimension and one step: the likelihood is an integral over a line."""
    task = tiny.tiny_task(glimpses=1, latent_size=1)
    model = SavedModelSource.from_directory(str(export_model(task, tmp_path / "model")))
    images = tiny.make_images(task, 2)
    np.save(tmp_path / "images.npy", images)

    parameters = tiny.make_case(task, rows=2, scale=0.7, seed=6).weights  # as exported
    z = np.linspace(-8, 8, 401)
    logits = reference.generate(parameters, z[None, :, None], tiny.LARGE_N).canvas[-1]
    log_prior = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    truth = []
    for image in images.astype(np.float64):
        log_joint = log_prior - np.sum(np.logaddexp(0, logits) - image * logits, axis=(1, 2, 3))
        truth.append(-np.logaddexp.reduce(log_joint) - math.log(z[1] - z[0]))

    score_batch(Job(model=model, input=str(tmp_path / "images.npy"), output=str(tmp_path / "out"), samples=40_000))
    rows = _rows(tmp_path / "out")
    found = [rows[f"images.npy:{row}"]["importance_weighted_bound"] for row in range(2)]
    np.testing.assert_allclose(found, truth, atol=0.01)
    # One sample alone is far from it.
    assert np.mean([row["nll_bound"] for row in rows.values()]) > np.mean(truth) + 0.1


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_text_holds_the_same(
    file_format: str, model: SavedModelSource, examples: Path, expected: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    score_batch(Job(model=model, input=str(examples), output=str(output), samples=3, file_format=file_format))
    rows = {}
    for file in tmp_path.glob(f"out-scores-*.{file_format}"):
        lines = file.read_text().splitlines()
        for row in csv.DictReader(lines) if file_format == "csv" else map(json.loads, lines):
            assert list(row) == SCHEMA.names
            numbers = {name: float(row[name]) for name in SCHEMA.names if name not in _WORDS}
            rows[row["id"]] = {**{name: row[name] or None for name in _WORDS}, **numbers}
    _assert_same(rows, expected)


class _Broken(tf.Module):
    """Its bound is the image's ink, and NaN for a black image; it refuses a white one."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 7, 5, 1], tf.float32, name="image"),
            tf.TensorSpec([None, 2], tf.int64, name="seed"),
        ]
    )
    def score(self, image: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        ink = tf.reduce_sum(image, axis=[1, 2, 3])
        check = tf.debugging.Assert(tf.reduce_all(ink < 35), ["No white images, please."])
        with tf.control_dependencies([check]):
            bound = tf.where(ink == 0, np.nan, ink)
        return {
            "nll_bound": bound,
            "reconstruction": bound,
            "kl": bound,
            "kl_per_step": bound[:, None],
            "log_weight": -bound,
        }


@pytest.fixture
def broken(model: SavedModelSource, tmp_path: Path) -> SavedModelSource:
    module = _Broken()
    tf.saved_model.save(module, str(tmp_path / "broken"), signatures={"score": module.score})
    images = dataclasses.replace(model.images, binary=False)
    return SavedModelSource(directory=str(tmp_path / "broken"), images=images)


def test_bad_rows_are_told_and_the_others_scored(broken: SavedModelSource, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0.1, 0.9, (30, 7, 5)).astype(np.float32)
    images[3, 2, 2] = np.nan
    images[5] = 1.0
    images[9] = 0.0
    images[11, 0, 0] = -0.5
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "some.npy", images)
    np.save(tmp_path / "in" / "wrong.npy", images[:2, :6])
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (tmp_path / "in" / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "in" / ".hidden").write_text("no image")
    output = tmp_path / "out"
    summary = score_batch(Job(model=broken, input=str(tmp_path / "in"), output=str(output)))
    rows, rejected = _rows(output), _rejected(output)
    bad = {3, 5, 9, 11}
    assert rows.keys() == {f"some.npy:{row}" for row in set(range(30)) - bad}
    assert rows["some.npy:7"]["nll_bound"] == pytest.approx(images[7].sum(), rel=1e-5)
    reasons = {(Path(row["file"]).name, row["row"]): row["reason"] for row in rejected}
    assert reasons == {
        ("some.npy", 3): "its pixels reach from nan to nan; expected floats from 0 to 1",
        ("some.npy", 5): "No white images, please.",
        ("some.npy", 9): "the model's score is not finite",
        ("some.npy", 11): reasons["some.npy", 11],
        ("wrong.npy", None): "its array has the shape [2, 6, 5]; expected [n, 7, 5, 1] or [n, 7, 5]",
        ("broken.png", None): reasons["broken.png", None],
        ("torn.npz", None): reasons["torn.npz", None],
    }
    assert "from -0.5 to" in reasons["some.npy", 11]
    assert reasons["broken.png", None].startswith("it is no picture that can be read")
    assert reasons["torn.npz", None] == "it cannot be read: File is not a zip file"
    assert (summary["images"], summary["rejected"], summary["losses_of_unknown_size"]) == (26, 7, 1)
    hidden = {"path": str(tmp_path / "in" / ".hidden"), "reason": "its name begins with a dot or an underscore"}
    assert summary["passed_over"] == {"files": 1, "first": [hidden]}
    assert summary["note"] is not None


def test_a_job_that_fails_leaves_nothing(model: SavedModelSource, examples: Path, tmp_path: Path) -> None:
    lost = dataclasses.replace(model, directory=str(tmp_path / "gone"))
    with pytest.raises(Exception, match="gone"):
        score_batch(Job(model=lost, input=str(examples), output=str(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_not_overwritten(model: SavedModelSource, examples: Path, tmp_path: Path) -> None:
    (tmp_path / "out-summary.json").write_text("{}")
    with pytest.raises(ValueError, match="choose another output"):
        score_batch(Job(model=model, input=str(examples), output=str(tmp_path / "out")))


def test_without_input_there_is_no_job(model: SavedModelSource, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file matches"):
        score_batch(Job(model=model, input=str(tmp_path / "*.gz"), output=str(tmp_path / "out")))


def test_the_command_tells_by_its_status(versions: Path, images: np.ndarray, tmp_path: Path) -> None:
    bad = images[:5].copy()
    bad[0, 0, 0] = 77
    np.save(tmp_path / "images.npy", bad)

    def draw(output: str, *options: str) -> tuple[int, str]:
        paths = ["--model", str(versions), "--input", str(tmp_path / "images.npy"), "--output", str(tmp_path / output)]
        result = CliRunner().invoke(main, ["score-batch", *paths, *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.output

    status, said = draw("a", "--samples", "2")
    assert status == 3
    assert "4 images scored with 2 samples each, 1 rejected" in said
    assert draw("b", "--max-bad", "1", "--format", "csv", "--", "--direct_num_workers=2")[0] == 0
    status, said = draw("c", "--threshold", "0.2")
    assert (status, "5 images scored" in said) == (0, True)
    status, said = draw("a")
    assert (status, "choose another output" in said) == (1, True)
    status, said = draw("a", "--overwrite", "--threshold", "0.2")
    assert (status, "5 images scored" in said) == (0, True)
    assert not list(tmp_path.glob("a-rejected-*"))
    status, said = draw("d", "--", "--direct_num_worker=2")
    assert status == 1
    assert "Beam has no option '--direct_num_worker'. Did you mean --direct_num_workers?" in said
    assert not list(tmp_path.glob("d-*"))
