"""What goes in comes out: the command's status and lines for rows that are lost, files passed over and full disks."""

from __future__ import annotations

import csv
import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from click.testing import CliRunner

from pipeline.cli.main import main
from serving.batch.sinks import naming
from serving.pictures.png import save_whole
from tests import tiny


def _draw(model: Path, output: Path, *words: str | Path) -> tuple[int, str]:
    arguments = ["score-batch", "--model", str(model), "--output", str(output), *map(str, words)]
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def test_the_shells_own_pattern_scores_every_file(
    versions: Path, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        np.save(tmp_path / "in" / f"{name}.npy", images[:4])
    monkeypatch.chdir(tmp_path)
    files = sorted(Path("in").glob("*.npy"))
    status, said = _draw(versions, Path("out/one"), "--input", *files, "--samples", "2")
    assert (status, "12 images scored" in said) == (0, True)
    status, said = _draw(versions, Path("out/two"), "--input", files[0], "--samples", "2", "--input", *files[1:])
    assert (status, "12 images scored" in said) == (0, True)
    status, said = _draw(versions, Path("out/three"), "--input", files[0], "--samples", "2", *files[1:])
    assert (status, "There is no place for 'in/b.npy', 'in/c.npy'" in said) == (2, True)


def test_a_torn_file_fails_the_job_whatever_may_be_bad(versions: Path, images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "torn.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index, image in enumerate(images[:9]):
            writer.write(tiny.serialize(image, f"{index}"))
    path.write_bytes(path.read_bytes()[:-5])
    status, said = _draw(versions, tmp_path / "out", "--input", path, "--max-bad", "1000")
    assert status == 3
    assert "8 images scored" in said
    assert "In 1 place more rows are lost, and nobody can tell how many" in said


def test_rows_that_a_header_tells_count_each(versions: Path, images: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "cut.npy", images[:30])
    content = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[: -20 * 35])  # 20 rows of 35 pixels
    for may_be_bad, expected in ((19, 3), (20, 0)):
        output = tmp_path / f"out-{may_be_bad}"
        status, said = _draw(versions, output, "--input", tmp_path / "cut.npy", "--max-bad", str(may_be_bad))
        assert "10 images scored with 1 sample each, 20 rejected" in said
        assert status == expected


@pytest.mark.parametrize("content", ["hidden", "rejected"])
def test_nothing_scored_is_never_a_success(content: str, versions: Path, images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    if content == "hidden":
        np.save(tmp_path / "in" / ".images.npy", images)
    else:
        np.save(tmp_path / "in" / "images.npy", images[:3] + 7)
    status, said = _draw(versions, tmp_path / "out", "--input", tmp_path / "in", "--max-bad", "100")
    assert (status, "Nothing was scored." in said) == (3, True)
    if content == "hidden":
        line = f"  {tmp_path}/in/.images.npy: its name begins with a dot or an underscore"
        assert f"1 file passed over:\n{line}\n" in said


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_an_id_of_any_bytes_is_written(file_format: str, versions: Path, images: np.ndarray, tmp_path: Path) -> None:
    ids = [b"nul\0", b"line\nbreak", b'"quote",', b"\xff\xfe", b" ", "ü☃".encode(), b"return\r"]
    with tf.io.TFRecordWriter(str(tmp_path / "odd.tfrecord")) as writer:
        for identity, image in zip(ids, images, strict=False):
            features = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in (("image", image.tobytes()), ("id", identity))
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    output = tmp_path / "out"
    status, said = _draw(versions, output, "--input", tmp_path / "odd.tfrecord", "--format", file_format)
    assert (status, "7 images scored" in said) == (0, True), said
    if file_format == "csv":
        (path,) = tmp_path.glob("out-scores-*")
        with path.open(newline="") as file:
            shown = [row["id"] for row in csv.DictReader(file)]
        assert shown == ["nul\\x00", "line\nbreak", '"quote",', "\\xff\\xfe", " ", "ü☃", "return\r"]


@pytest.mark.parametrize("samples", [1, 1_001])
def test_a_name_of_any_bytes_is_scored_or_told(
    samples: int, versions: Path, images: np.ndarray, tmp_path: Path
) -> None:
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    for name, content in ((b"\xff-good.npy", images[:2]), (b"\xff-bad.npy", images[:1, :3])):
        with open(os.path.join(folder, name), "wb") as file:
            np.save(file, content)
    (tmp_path / "in" / os.fsdecode(b"\xff.txt")).touch()
    output = tmp_path / "out"
    status, said = _draw(
        versions, output, "--input", tmp_path / "in", "--samples", str(samples), "--max-bad", "1", "--format", "csv"
    )
    assert status == 0, said
    (scores,) = tmp_path.glob("out-scores-*")
    with scores.open(encoding="utf-8") as file:
        assert sorted(row["id"] for row in csv.DictReader(file)) == ["\\xff-good.npy:0", "\\xff-good.npy:1"]
    assert "\\xff.txt" in said


def test_a_full_disk_names_the_file(
    versions: Path, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "images.npy", images)
    create = FileSystems.create

    class Full:
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    def create_full(path: str, *arguments: Any, **options: Any) -> Any:
        return Full() if path.endswith(".csv") else create(path, *arguments, **options)

    monkeypatch.setattr(FileSystems, "create", create_full)
    status, said = _draw(versions, tmp_path / "out", "--input", tmp_path / "images.npy", "--format", "csv")
    assert status == 1
    assert said.startswith(f"Error: Cannot write {tmp_path}/out-unfinished-")
    assert said.endswith(".csv: No space left on device.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]
    with pytest.raises(OSError, match=r"Cannot write here: \[Errno"), naming("here"):
        raise OSError("[Errno of another kind]")


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022])
def test_what_is_written_follows_the_umask(umask: int, versions: Path, images: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "new").mkdir()
    before = os.umask(umask)
    try:
        status, _ = _draw(versions, tmp_path / "new" / "out", "--input", tmp_path / "images.npy", "--pictures", "2")
        save_whole(tmp_path / "new" / "sheet.png", lambda file: file.write(b"png"))
    finally:
        os.umask(before)
    assert status == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert len(modes) == 5
    assert set(modes.values()) == {0o666 & ~umask}
