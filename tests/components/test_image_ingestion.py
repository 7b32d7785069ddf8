"""Own images become tf.Examples: split and class by their names, the size by the task; the rest is told."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.types import standard_artifacts

from components.image_example_gen import image_ingestion, image_names
from components.image_example_gen.image_names import survey
from serving.images.bad_image import BadImage
from serving.images.input_files import find_inputs, list_files
from serving.images.pixel_draws import draw_pixels
from tests import tiny
from tests.components.ingestion import by_id, ingest, records, validate
from trainer.task import Binarisation, ClassifyingTask, ImageFiles, Resize, Task

ROWS, COLUMNS = tiny.ROWS, tiny.COLUMNS
NO_BOUNDS = 0.99


def _picture(seed: int, rows: int = 2 * ROWS, columns: int = 2 * COLUMNS) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (rows, columns)).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _task(images: Path | str, *, binarisation: Binarisation = Binarisation.NONE, **data: object) -> Task:
    source = ImageFiles(images=str(images), **data)  # type: ignore[arg-type]
    return tiny.tiny_task(data=source, binarisation=binarisation)


def _classifier(images: Path, classes: int, **data: object) -> ClassifyingTask:
    source = ImageFiles(images=str(images), has_labels=True, **data)  # type: ignore[arg-type]
    return tiny.tiny_classifier(data=source, classes=classes)


def _splits(examples: standard_artifacts.Examples, task: Task) -> dict[str, dict[str, Mapping[str, bytes | int]]]:
    return {split: by_id(records(examples, split)) for split in task.data.splits}


def _summary(examples: standard_artifacts.Examples) -> dict[str, object]:
    summary: dict[str, object] = json.loads(Path(examples.uri, "summary.json").read_text())
    return summary


def _rejected(examples: standard_artifacts.Examples) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(examples.uri, "rejected.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(60):
        _save(folder / f"sub{number % 2}" / f"{number}.png", _picture(number))
    (folder / "README.md").write_text("About these.")
    return folder


def test_a_folder_is_divided_by_its_names_alone(photos: Path, tmp_path: Path) -> None:
    task = _task(photos)
    splits = _splits(ingest(task, tmp_path, tmp_path / "all"), task)
    assert sum(map(len, splits.values())) == 60 and len(splits["train"]) > 40 and all(splits.values())
    # Elsewhere, and with others beside them, each stays in its split.
    more = tmp_path / "moved"
    shutil.copytree(photos, more)
    for number in range(100, 130):
        _save(more / f"{number}.png", _picture(number))
    again = _splits(ingest(_task(more), tmp_path, tmp_path / "more"), task)
    for split, examples in splits.items():
        assert examples.keys() <= again[split].keys()
        for name, features in examples.items():
            assert again[split][name] == features


def test_a_picture_is_scaled_without_aliasing(photos: Path, tmp_path: Path) -> None:
    task = _task(photos, resize=Resize.STRETCH)
    splits = _splits(ingest(task, tmp_path, tmp_path / "examples"), task)
    for examples in splits.values():
        for name, features in examples.items():
            pixels = np.frombuffer(features["image"], np.uint8).reshape(ROWS, COLUMNS).astype(float)  # type: ignore[arg-type]
            source = np.asarray(Image.open(photos / name)).astype(float)
            blocks = source.reshape(ROWS, 2, COLUMNS, 2).mean(axis=(1, 3))
            # A triangle filter is a little wider than the block.
            assert np.corrcoef(pixels.ravel(), blocks.ravel())[0, 1] > 0.8
            assert abs(pixels.mean() - source.mean()) < 10


def test_the_schema_fits(photos: Path, tmp_path: Path) -> None:
    task = _task(photos, has_labels=True)
    validate(task, ingest(task, tmp_path, tmp_path / "examples"), tmp_path)


@pytest.fixture
def by_class(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    number = 0
    for split, count in (("train", 6), ("validation", 3), ("test", 3)):
        for kind in ("nut", "bolt"):
            for _ in range(count):
                number += 1
                _save(folder / split / kind / "deeper" / f"{number}.png", _picture(number))
    return folder


def test_folders_say_split_and_class(by_class: Path, tmp_path: Path) -> None:
    task = _classifier(by_class, 2)
    examples = ingest(task, tmp_path, tmp_path / "examples")
    for split, features in _splits(examples, task).items():
        assert len(features) == {"train": 12, "validation": 6, "test": 6}[split]
        for name, values in features.items():
            assert name.startswith(f"{split}/") and values["label"] == ["bolt", "nut"].index(name.split("/")[1])
    assert _summary(examples)["classes"] == {name: {"train": 6, "validation": 3, "test": 3} for name in ("bolt", "nut")}


def test_a_split_without_a_folder_gets_a_tenth_of_the_training_images(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "images" / "train")
    _save(tmp_path / "images" / "test" / "x.png", _picture(99))
    task = _task(tmp_path / "images")
    splits = _splits(ingest(task, tmp_path, tmp_path / "examples"), task)
    assert list(splits["test"]) == ["test/x.png"]
    assert 0 < len(splits["validation"]) < 15 and len(splits["train"]) + len(splits["validation"]) == 60


def test_folders_may_have_other_names(by_class: Path, tmp_path: Path) -> None:
    (by_class / "validation").rename(by_class / "val")
    task = _task(by_class, validation="val")
    assert {split: len(each) for split, each in _splits(ingest(task, tmp_path, tmp_path / "e"), task).items()} == {
        "train": 12,
        "val": 6,
        "test": 6,
    }
    with pytest.raises(ValueError, match="it is in none of the folders train, validation, test"):
        ingest(_task(by_class), tmp_path, tmp_path / "wrong")


def _zip(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"parts/{file.relative_to(folder)}")


def _tar(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        archive.add(folder, "parts")


@pytest.mark.parametrize(("name", "pack"), [("a.zip", _zip), ("a.tar", _tar), ("a.tar.gz", _tar), ("a.tgz", _tar)])
def test_an_archive_is_a_folder(name: str, pack: Callable[[Path, Path], None], by_class: Path, tmp_path: Path) -> None:
    pack(by_class, tmp_path / name)
    task = _classifier(tmp_path / name, 2)
    plain = _splits(ingest(_classifier(by_class, 2), tmp_path, tmp_path / "plain"), task)
    packed = _splits(ingest(task, tmp_path, tmp_path / "packed"), task)
    for split, examples in plain.items():
        assert {name: values["image"] for name, values in examples.items()} == {
            identity.removeprefix(f"{name}/parts/"): values["image"] for identity, values in packed[split].items()
        }
        assert all(values["label"] == ("nut" in identity) for identity, values in packed[split].items())


def test_archives_of_one_name_are_told_apart_by_their_folders(by_class: Path, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        (tmp_path / "tars" / split).mkdir(parents=True)
        shutil.make_archive(str(tmp_path / "tars" / split / "shard"), "tar", by_class / split)
    task = _classifier(tmp_path / "tars", 2)
    for split, features in _splits(ingest(task, tmp_path, tmp_path / "examples"), task).items():
        paths = [path.relative_to(by_class / split) for path in (by_class / split).rglob("*.png")]
        assert sorted(features) == sorted(f"{split}/shard.tar/{path}" for path in paths)
        assert all(values["label"] == ("/nut/" in name) for name, values in features.items())


def test_an_archive_may_be_called_like_a_split(by_class: Path, tmp_path: Path) -> None:
    (tmp_path / "zips").mkdir()
    for split in ("train", "validation", "test"):
        shutil.make_archive(str(tmp_path / "zips" / split), "zip", by_class / split)
    names = survey(ImageFiles(images=str(tmp_path / "zips"), has_labels=True)).names
    for split in ("train", "validation", "test"):
        for kind in ("bolt", "nut"):
            name = f"{split}.zip/{kind}/deeper/1.png"
            assert (names.split(name, name.encode()), names.label(name, None)) == (split, int(kind == "nut"))
    # One that has the splits in it is called as it likes.
    _zip(by_class, tmp_path / "train.zip")
    names = survey(ImageFiles(images=str(tmp_path / "train.zip"), has_labels=True)).names
    name = "train.zip/parts/test/nut/deeper/1.png"
    assert (names.split(name, name.encode()), names.label(name, None)) == ("test", 1)


def test_web_dataset_says_the_class_beside_the_picture(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for number in range(40):
            for suffix, content in ((".cls", str(number % 2).encode()), (".png", _png(_picture(number)))):
                info = tarfile.TarInfo(f"{number:04}{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    task = _classifier(tmp_path / "shard.tar", 2)
    for examples in _splits(ingest(task, tmp_path, tmp_path / "examples"), task).values():
        for name, values in examples.items():
            assert values["label"] == int(name[-8:-4]) % 2


def test_arrays_and_tables_have_labels_of_their_own(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = np.arange(40) % 2
    images = np.stack([_picture(number) for number in range(40)])
    np.savez(tmp_path / "a.npz", image=images, label=labels)
    column = [{"bytes": _png(image), "path": None} for image in images]
    pq.write_table(pa.table({"image": column, "label": labels}), tmp_path / "a.parquet", row_group_size=7)
    pixels = {}
    for name in ("a.npz", "a.parquet"):
        task = _classifier(tmp_path / name, 2)
        examples = {
            identity.partition(":")[2]: values
            for split in _splits(ingest(task, tmp_path, tmp_path / f"{name}-examples"), task).values()
            for identity, values in split.items()
        }
        assert {int(row): values["label"] for row, values in examples.items()} == dict(enumerate(labels.tolist()))
        pixels[name] = {row: values["image"] for row, values in examples.items()}
    assert pixels["a.npz"] == pixels["a.parquet"]


def test_labels_that_are_texts_want_the_names_of_the_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", image=np.stack([_picture(1)] * 2), label=["bolt", "nut"])
    data = ImageFiles(images=str(tmp_path / "t.npz"), has_labels=True)
    with pytest.raises(BadImage, match=r"its class is 'nut', and the task names none: list all .* data\.class_names"):
        survey(data).names.label("t.npz", "nut")
    assert survey(dataclasses.replace(data, class_names=("bolt", "nut"))).names.label("t.npz", b"nut") == 1


@pytest.mark.parametrize("rest", [".npz", "-00000-of-00001.npz"])
def test_a_table_that_is_called_like_a_split_is_in_it(rest: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, seed in (("train", 1), ("validation", 2), ("test", 3)):
        np.savez(folder / f"{split}{rest}", image=np.stack([_picture(seed), _picture(seed + 10)]))
    task = _task(folder)
    splits = _splits(ingest(task, tmp_path, tmp_path / "examples"), task)
    assert {split: sorted(names) for split, names in splits.items()} == {
        split: [f"{split}{rest}:{row}" for row in (0, 1)] for split in splits
    }


@pytest.mark.parametrize("mode", [mode for mode in Binarisation if mode is not Binarisation.GIVEN])
def test_grey_images_are_binarised(mode: Binarisation, photos: Path, tmp_path: Path) -> None:
    grey = _splits(ingest(_task(photos), tmp_path, tmp_path / "grey"), _task(photos))
    task = _task(photos, binarisation=mode)
    for split, examples in _splits(ingest(task, tmp_path, tmp_path / "binary"), task).items():
        for name, values in examples.items():
            pixels = np.frombuffer(grey[split][name]["image"], np.uint8)  # type: ignore[arg-type]
            expected = {
                Binarisation.NONE: pixels,
                Binarisation.THRESHOLD: (pixels > 127).astype(np.uint8),
                Binarisation.STOCHASTIC: draw_pixels(pixels, identity=name.encode()),
            }[task.split_binarisation(split)]
            assert values["image"] == expected.tobytes()


def test_black_and_white_pictures_are_binary_as_they_are(tmp_path: Path) -> None:
    for number in range(40):
        _save(
            tmp_path / "bw" / f"{number}.png", np.where(_picture(number, ROWS, COLUMNS) > 127, 255, 0).astype(np.uint8)
        )
    task = _task(tmp_path / "bw", binarisation=Binarisation.GIVEN)
    for examples in _splits(ingest(task, tmp_path, tmp_path / "examples"), task).values():
        assert examples and all(set(values["image"]) == {0, 1} for values in examples.values())  # type: ignore[arg-type]


def test_what_cannot_be_used_is_named_and_counted(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(photos, folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "vanished.png").symlink_to(folder / "nothing")
    task = _task(folder, max_bad=0.05)
    examples = ingest(task, tmp_path, tmp_path / "examples")
    (rejected,) = _rejected(examples)
    assert rejected["path"] == str(folder / "broken.png") and "it is no picture" in str(rejected["reason"])
    assert _summary(examples)["rejected"] == 1
    with pytest.raises(
        ValueError, match=r"1 of 61 images cannot be used \(1\.6%; data\.max_bad allows 1\.0%\)"
    ) as error:
        ingest(_task(folder), tmp_path, tmp_path / "strict")
    kept = Path(re.findall(r"All of them are in (.*)$", str(error.value))[0])
    assert json.loads(kept.read_text())["path"] == str(folder / "broken.png")
    assert f"{folder}/broken.png: it" in str(error.value)


def test_a_name_may_be_any_bytes(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(photos, folder)
    name = b"\xff\xfe.png"
    (folder / "sub0" / "0.png").rename(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"broken" + name)).write_text("no picture")
    examples = ingest(_task(folder, max_bad=0.1), tmp_path, tmp_path / "examples")
    ids = {
        tf.train.Example.FromString(record).features.feature["id"].bytes_list.value[0]
        for split in _task(folder).data.splits
        for record in records(examples, split)
    }
    assert name in ids and len(ids) == 60
    assert len(_rejected(examples)) == 1
    with pytest.raises(ValueError, match="1 of 61 images") as error:
        ingest(_task(folder), tmp_path, tmp_path / "strict")
    assert r"broken\xff\xfe.png: it is no picture" in str(error.value)


def test_an_image_that_two_splits_have_stays_where_it_judges(by_class: Path, tmp_path: Path) -> None:
    test_image = next((by_class / "test" / "nut" / "deeper").iterdir())
    shutil.copy(test_image, by_class / "train" / "nut" / "copy.png")
    shutil.copy(test_image, by_class / "validation" / "nut" / "copy.png")
    shutil.copy(next((by_class / "train" / "bolt" / "deeper").iterdir()), by_class / "train" / "bolt" / "twice.png")
    task = _classifier(by_class, 2)
    examples = ingest(task, tmp_path, tmp_path / "examples")
    splits = _splits(examples, task)
    assert "train/nut/copy.png" not in splits["train"] and "validation/nut/copy.png" not in splits["validation"]
    assert str(test_image.relative_to(by_class)) in splits["test"]
    # Twice in one split harms nobody.
    assert "train/bolt/twice.png" in splits["train"]
    summary = _summary(examples)
    assert summary["duplicates_removed"] == 2
    assert summary["splits"] == {"train": 13, "validation": 6, "test": 6}


def test_a_split_that_loses_all_its_images_is_told_with_the_reasons(by_class: Path, tmp_path: Path) -> None:
    """By copies that the splits that judge have too; what could not be read is kept then as well."""
    for file in (by_class / "test").rglob("*.png"):
        file.write_bytes(b"")
    shutil.rmtree(by_class / "train")
    shutil.copytree(by_class / "validation", by_class / "train")
    with pytest.raises(ValueError, match=r"no image in split 'train': .* after 6 were left out that") as error:
        ingest(_task(by_class, max_bad=0.5), tmp_path, tmp_path / "e")
    kept = Path(re.findall(r" 6 could not be used: (\S+) says why", str(error.value))[0])
    assert {json.loads(line)["reason"] for line in kept.read_text().splitlines()} == {"it is empty"}


def test_black_images_are_told(tmp_path: Path) -> None:
    """Masks hold 0 and 1, which are two blacks."""
    for number in range(40):
        _save(tmp_path / "masks" / f"{number}.png", _picture(number) // 128)
    with pytest.raises(ValueError, match=r"masks are black: .* save pictures as 0 and 255"):
        ingest(_task(tmp_path / "masks"), tmp_path, tmp_path / "e")


def test_a_folder_of_a_class_may_be_called_any_bytes_and_have_a_table_beside_it(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(photos, folder)
    (folder / "sub0").rename(folder / os.fsdecode(b"caf\xe9"))
    (folder / "train.csv").write_text("file,label\n0.png,nut\n")
    examples = ingest(_classifier(folder, 2, max_bad=0.05), tmp_path, tmp_path / "examples")
    classes: dict[str, dict[str, int]] = _summary(examples)["classes"]  # type: ignore[assignment]
    assert {name: sum(counts.values()) for name, counts in classes.items()} == {r"caf\xe9": 30, "sub1": 30}
    (rejected,) = _rejected(examples)
    assert "A table of labels beside pictures is not read: lay these" in str(rejected["reason"])


def test_pictures_that_are_smaller_than_the_crop_are_told(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fewer than the 50 x 60 of data\.crop"):
        ingest(_task(photos, crop=(50, 60)), tmp_path, tmp_path / "examples")


def test_no_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.images is .*/none, and no file is there"):
        ingest(_task(tmp_path / "none"), tmp_path, tmp_path / "e")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file is there"):
        ingest(_task(tmp_path / "empty"), tmp_path, tmp_path / "e")
    (tmp_path / "empty" / "README.md").touch()
    with pytest.raises(ValueError, match="no file there is an image"):
        ingest(_task(tmp_path / "empty"), tmp_path, tmp_path / "e")


def test_files_that_vanish_meanwhile_are_counted(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images"
    shutil.copytree(photos, folder)

    def survey_and_lose(data: ImageFiles) -> image_names.Survey:
        result = survey(data)
        (folder / "sub0" / "0.png").unlink()
        return result

    monkeypatch.setattr(image_ingestion, "survey", survey_and_lose)
    examples = ingest(_task(folder, max_bad=0.05), tmp_path, tmp_path / "examples")
    assert (_summary(examples)["vanished"], _summary(examples)["rejected"]) == (1, 0)
    shutil.copy(photos / "sub0" / "0.png", folder / "sub0" / "0.png")
    with pytest.raises(ValueError, match=rf"1 of 60 images .*\(1\.7%.*\n  1 vanished from {folder} while the others"):
        ingest(_task(folder), tmp_path, tmp_path / "strict")


def test_a_folder_that_vanishes_meanwhile_is_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(photos, folder)

    def survey_and_lose(data: ImageFiles) -> image_names.Survey:
        result = survey(data)
        shutil.rmtree(folder)
        return result

    monkeypatch.setattr(image_ingestion, "survey", survey_and_lose)
    with pytest.raises(Exception, match=rf"No such file or directory: '{folder}'"):
        ingest(_task(folder), tmp_path, tmp_path / "examples")


def test_files_that_are_passed_over_are_counted(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        (folder / f"link{number}").symlink_to(photos / f"sub{number}")
    (folder / "note.txt").touch()
    with pytest.raises(ValueError, match=r"no file there is an image: .* 2 passed over: it is a link to a folder"):
        ingest(_task(folder), tmp_path, tmp_path / "e")
    shutil.copytree(photos / "sub0", folder / "more")
    summary = _summary(ingest(_task(folder), tmp_path, tmp_path / "examples"))
    assert summary["passed_over"] == {
        "it is a link to a folder": 2,
        "its name is that of a text, not of images": 1,
    }


def test_rows_of_as_many_pixels_as_an_image_are_images(tmp_path: Path) -> None:
    images = np.stack([_picture(number, ROWS, COLUMNS) for number in range(40)])
    np.save(tmp_path / "flat.npy", images.reshape(40, -1))
    task = _task(tmp_path / "flat.npy")
    examples = {
        name: values["image"]
        for split in _splits(ingest(task, tmp_path, tmp_path / "e"), task).values()
        for name, values in split.items()
    }
    assert examples == {f"flat.npy:{row}": image.tobytes() for row, image in enumerate(images)}


def test_a_class_that_is_called_train_may_be_one(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vehicles"
    shutil.copytree(photos / "sub0", folder / "train")
    shutil.copytree(photos / "sub1", folder / "plane")
    with pytest.raises(ValueError, match="where one of these is a class, something that there is not"):
        ingest(_classifier(folder, 2), tmp_path, tmp_path / "e")
    task = _classifier(folder, 2, train="training")
    examples = ingest(task, tmp_path, tmp_path / "examples")
    assert sum(map(sum, (each.values() for each in _summary(examples)["classes"].values()))) == 60  # type: ignore[attr-defined]


def test_one_image_is_too_few(tmp_path: Path) -> None:
    _save(tmp_path / "one" / "a.png", _picture(1))
    with pytest.raises(ValueError, match=r"There is no image in split '\w+': 1 image is divided as train "):
        ingest(_task(tmp_path / "one"), tmp_path, tmp_path / "e")


def test_nothing_but_rubbish_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for number in range(5):
        (tmp_path / "bad" / f"{number}.jpg").write_text("no picture")
    with pytest.raises(ValueError, match=r"5 of 5 images cannot be used \(all;"):
        ingest(_task(tmp_path / "bad", max_bad=NO_BOUNDS), tmp_path, tmp_path / "e")


def test_classes_are_checked(by_class: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2 folders of classes \(bolt, nut\), and the task has 3 classes"):
        ingest(_classifier(by_class, 3), tmp_path, tmp_path / "e")
    shutil.rmtree(by_class / "train" / "nut")
    with pytest.raises(ValueError, match="No training image has the class nut"):
        ingest(_classifier(by_class, 2), tmp_path, tmp_path / "e2")
    with pytest.raises(ValueError, match="its class is 'nut'; expected one of bolt, screw"):
        ingest(_classifier(by_class, 2, class_names=("bolt", "screw")), tmp_path, tmp_path / "e3")


def test_images_without_a_class_are_told(photos: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in photos.rglob("*.png"):
        shutil.copy(file, flat / file.name)
    with pytest.raises(ValueError, match="it has no class: it lies in no folder of a class"):
        ingest(_task(flat, has_labels=True), tmp_path, tmp_path / "e")


def test_the_cache_notices_other_files(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(photos, folder)
    data = ImageFiles(images=str(folder))
    before = survey(data).fingerprint
    assert survey(data).fingerprint == before
    _save(folder / "new.png", _picture(500))
    after = survey(data).fingerprint
    assert after != before
    assert survey(dataclasses.replace(data, images=f"{folder}/*.png")).files == 1
    assert len(list(list_files(find_inputs([str(folder)])))) == 61


def test_a_tfds_data_set_is_prepared_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.components import tiny_binary_dataset_builder

    monkeypatch.setattr(
        tiny_binary_dataset_builder,
        "image",
        lambda split, index: _picture(len(split) + 10 * index, *tiny_binary_dataset_builder.IMAGE_SHAPE[:2])[..., None],
    )
    tiny_binary_dataset_builder.Builder(data_dir=tmp_path).download_and_prepare()
    task = _task("tfds:tiny_binary:2.1.0", binarisation=Binarisation.NONE, resize=Resize.STRETCH)
    splits = _splits(ingest(task, tmp_path, tmp_path / "examples"), task)
    assert splits["test"] and all(len(values["image"]) == ROWS * COLUMNS for values in splits["test"].values())  # type: ignore[arg-type]
