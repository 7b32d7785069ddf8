"""A job compares each image, and all of them together, with the model's reference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy import stats

from pipeline.cli.main import main
from serving.batch.job import Job, score_batch
from serving.batch.model_source import SavedModelSource
from serving.batch.split_reference import measure_reference, write_reference
from serving.beam_options import LOCAL_BEAM_ARGUMENTS
from serving.reference.image_scores import FLAG_BY
from serving.reference.model_reference import NO_REFERENCE, REFERENCE_FILE
from serving.saved_model import read_reference
from tests import tiny
from tests.serving.batch.conftest import COUNT, TASK

KNOWN = 399
PORTABLE = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of the images of the reference."""
    folder = tmp_path_factory.mktemp("known")
    return tiny.write_examples(folder, tiny.make_images(TASK, KNOWN, seed=8), labels=[n % 3 for n in range(KNOWN)])


@pytest.fixture(scope="module")
def calibrated(versions: Path, known: list[str], tmp_path_factory: pytest.TempPathFactory) -> SavedModelSource:
    """The model with a reference."""
    folder = tmp_path_factory.mktemp("calibrated") / "3"
    shutil.copytree(versions / "3", folder)
    write_reference(str(folder), measure_reference(str(folder), known, split="watch"))
    return SavedModelSource.from_directory(str(folder))


def _rows(prefix: Path, kind: str = "scores") -> dict[str, dict[str, Any]]:
    files = sorted(prefix.parent.glob(f"{prefix.name}-{kind}-*.parquet"))
    return {row["id"]: row for file in files for row in pq.read_table(file).to_pylist()}


def _blank(folder: Path, count: int) -> Path:
    """Writes images that are nothing like those of the reference."""
    np.savez(folder / "blank.npz", image=np.zeros((count, *TASK.image_shape), np.uint8))
    return folder / "blank.npz"


def test_the_reference_is_what_the_job_scores(calibrated: SavedModelSource, known: list[str], tmp_path: Path) -> None:
    summary = score_batch(Job(model=calibrated, input=known, output=str(tmp_path / "out")))
    reference = read_reference(calibrated.directory)
    assert reference is not None and (reference.count, reference.split) == (KNOWN, "watch")
    rows = _rows(tmp_path / "out")
    for name in ("nll_bound", "reconstruction", "kl"):
        values = np.array([row[name] for row in rows.values()])
        assert reference.scores[name].mean == pytest.approx(values.mean(), rel=1e-5)
        np.testing.assert_allclose(reference.scores[name].quantiles, np.sort(values), rtol=1e-4)
        assert summary["drift"][name]["ks"] < 0.02
    assert {label: each["nll_bound"].count for label, each in reference.by_class.items()} == dict.fromkeys("012", 133)


@pytest.mark.parametrize("beam_arguments", [LOCAL_BEAM_ARGUMENTS, PORTABLE], ids=["local", "portable"])
@pytest.mark.parametrize("by", FLAG_BY)
def test_images_beyond_the_quantile_are_flagged(
    calibrated: SavedModelSource, examples: Path, by: str, beam_arguments: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    inputs = [str(examples), str(_blank(tmp_path, 3))]
    job = Job(model=calibrated, input=inputs, output=str(output), flag_rate=0.2, flag_by=by, rows=16)
    summary = score_batch(job, beam_arguments)
    reference = read_reference(calibrated.directory)
    assert reference is not None
    bound = reference.scores["nll_bound"]
    rows = _rows(output)
    values = np.array([row["nll_bound"] for row in rows.values()])
    np.testing.assert_allclose([row["percentile"] for row in rows.values()], bound.percentile(values), rtol=1e-9)
    np.testing.assert_allclose([row["typicality"] for row in rows.values()], bound.two_sided_p(values), rtol=1e-9)
    if by == "typicality":
        p_values = bound.two_sided_p(values)
    else:
        name = "nll_bound" if by == "bound" else by
        p_values = reference.scores[name].upper_p(np.array([row[name] for row in rows.values()]))
    expected = {identity for identity, p in zip(rows, p_values, strict=True) if p <= 0.2}
    flagged = _rows(output, "flagged")
    assert 0 < len(expected) < len(rows) and flagged == {identity: rows[identity] for identity in expected}
    told = summary["flagged"]
    assert (told["by"], told["flagged"]) == (by, len(expected))
    assert told["expected"] == pytest.approx(0.2 * (COUNT + 3))
    assert [each["id"] for each in told["most_unusual"]][:3] != [] and len(told["most_unusual"]) == len(expected)
    p_of = dict(zip(rows, p_values, strict=True))
    assert [p_of[each["id"]] for each in told["most_unusual"]] == sorted(p_of[identity] for identity in expected)
    with Image.open(f"{output}-flagged.png") as sheet:
        assert sheet.width > 0
    assert not list(tmp_path.glob("out-*-likely.png"))


def test_the_drift_is_that_of_all_scores(calibrated: SavedModelSource, examples: Path, tmp_path: Path) -> None:
    job = Job(model=calibrated, input=[str(examples), str(_blank(tmp_path, 30))], output=str(tmp_path / "out"))
    summary = score_batch(job, (*LOCAL_BEAM_ARGUMENTS, "--direct_num_workers=2"))
    rows = _rows(tmp_path / "out")
    reference = read_reference(calibrated.directory)
    assert reference is not None and summary["flagged"] is None
    for name, drift in summary["drift"].items():
        values = np.array([row[name] for row in rows.values()])
        assert len(reference.scores[name].quantiles) == KNOWN and len(summary["drift"]) == 5
        exact = stats.ks_2samp(reference.scores[name].quantiles, values, method="asymp")
        assert (drift["ks"], drift["p_value"]) == pytest.approx((exact.statistic, exact.pvalue))
        assert drift["shift"] == pytest.approx(values.mean() - reference.scores[name].mean)
        assert sum(drift["histogram"]["batch"]) == len(values) and sum(drift["histogram"]["reference"]) == KNOWN


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_without_a_reference_all_of_it_is_null(
    model: SavedModelSource, examples: Path, file_format: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    summary = score_batch(Job(model=model, input=str(examples), output=str(output), file_format=file_format))
    assert summary["reference"] is summary["drift"] is summary["flagged"] is None
    assert summary["reference_note"] == NO_REFERENCE
    (file,) = tmp_path.glob("out-scores-*")
    if file_format == "parquet":
        assert pq.read_table(file).column("percentile").null_count == COUNT
    elif file_format == "csv":
        assert file.read_text().splitlines()[1].endswith(",3,,,,,,")
    else:
        assert json.loads(file.read_text().splitlines()[0])["typicality"] is None
    with pytest.raises(ValueError, match=r"Nothing can be flagged\. The model has no reference"):
        score_batch(Job(model=model, input=str(examples), output=f"{output}2", flag_rate=0.1))


def test_a_rate_that_the_reference_cannot_show_is_refused(
    calibrated: SavedModelSource, examples: Path, tmp_path: Path
) -> None:
    job = Job(model=calibrated, input=str(examples), output=str(tmp_path / "out"), flag_rate=0.002, flag_by="bound")
    with pytest.raises(ValueError, match=r"has 399 images, which is too few for a rate of 0\.002 by bound"):
        score_batch(job)
    assert not list(tmp_path.iterdir())


def test_a_reference_of_a_later_format_is_none(calibrated: SavedModelSource, examples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "3"
    shutil.copytree(calibrated.directory, folder)
    values = json.loads((folder / REFERENCE_FILE).read_text())
    (folder / REFERENCE_FILE).write_text(json.dumps({**values, "format": 99}))
    later = SavedModelSource.from_directory(str(folder))
    summary = score_batch(Job(model=later, input=str(examples), output=str(tmp_path / "out")))
    assert summary["images"] == COUNT and summary["drift"] is None
    assert "format 99" in summary["reference_note"]


def _draw(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


def test_the_commands_make_a_reference_and_act_on_drift(
    versions: Path, known: list[str], examples: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "versions"
    shutil.copytree(versions, folder)
    score = ("score-batch", "--model", folder, "--input", examples, "--output", tmp_path / "out", "--overwrite")
    status, said = _draw(*score)
    assert status == 0 and NO_REFERENCE in said
    status, said = _draw(*score, "--max-drift", 0.5)
    assert status == 1 and "nothing to compare with" in said
    status, said = _draw("reference", folder, "--input", *known)
    assert status == 0 and f"{KNOWN} images" in said and (folder / "3" / REFERENCE_FILE).exists()
    status, said = _draw("reference", folder, "--input", *known)
    assert status == 1 and "--overwrite" in said
    status, said = _draw(*score, "--max-drift", 0.5, "--flag-rate", 0.1)
    assert status == 0 and "compared with the 399 images" in said and "images flagged by mahalanobis" in said
    blank = _blank(tmp_path, 50)
    status, said = _draw(
        "score-batch", "--model", folder, "--input", blank, "--output", tmp_path / "blank", "--max-drift", 0.5
    )
    assert status == 4 and "at most 0.5 was allowed" in said
    assert json.loads((tmp_path / "blank-summary.json").read_text())["images"] == 50


def test_a_reference_with_holes_is_not_made(versions: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.full((4, *TASK.image_shape), 100, np.uint8))
    status, said = _draw("reference", versions, "--input", tmp_path / "grey.npy")
    assert status == 1 and "row 0" in said and "not 0 or 1" in said
    assert not (versions / "3" / REFERENCE_FILE).exists()


def test_a_reference_that_cannot_be_written_says_where(versions: Path, known: list[str], tmp_path: Path) -> None:
    shutil.copytree(versions, tmp_path / "versions")
    (tmp_path / "versions" / "3" / f"{REFERENCE_FILE}.partial").mkdir()
    status, said = _draw("reference", tmp_path / "versions", "--input", *known)
    assert status == 1 and f"Cannot write {tmp_path / 'versions' / '3' / REFERENCE_FILE}: " in said


def test_a_score_to_flag_by_flags_nothing_by_itself() -> None:
    words = ("score-batch", "--model", "mnist", "--input", "in", "--output", "out", "--flag-by", "typicality")
    status, said = _draw(*words)
    assert status == 2 and "give a --flag-rate" in said
