"""`draw init` chooses a task that fits the images and the host, and writes a file that is ready to run."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from click.testing import CliRunner
from PIL import Image

from components.image_example_gen.first_look import Look, Sight, look
from components.image_example_gen.image_names import ImageNames
from pipeline import new_task
from pipeline.cli.main import main
from trainer import task_file
from trainer.task import ClassifyingTask, GenerativeTask, Task

GREY = Sight(rows=100, columns=100, is_colour=False, extreme=0.1, border=20.0)
LOOK = Look(
    images=1_000,
    sights=(GREY,) * 50,
    unreadable=(),
    class_names=(),
    class_counts=(),
    greatest_label=None,
    split_names=("train", "validation", "test"),
    splits=(),
)


def _chosen(look: Look = LOOK, *, classify: bool = False, gpu: bool = False, seconds: float | None = 0.1) -> Task:
    new = new_task.choose(look, "/photos", classify=classify, has_accelerator=gpu)
    new_task.choose_steps(new, look, seconds)
    path = Path("chosen.yaml")
    path.write_text(new.text("chosen"))
    return task_file.load(str(path))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _with(**changes: object) -> Look:
    return dataclasses.replace(LOOK, sights=tuple(sight._replace(**changes) for sight in LOOK.sights))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "gpu", "expected", "resize"),
    [
        ((100, 100), False, (32, 32), "stretch"),
        ((100, 100), True, (64, 64), "stretch"),
        ((60, 80), True, (54, 54), "fit"),
        ((28, 28), False, (28, 28), "none"),
        ((20, 30), False, (20, 30), "none"),
        ((4, 6), False, (28, 28), "fit"),
    ],
)
def test_the_size_fits_the_images_and_the_host(
    size: tuple[int, int], gpu: bool, expected: tuple[int, int], resize: str
) -> None:
    task = _chosen(_with(rows=size[0], columns=size[1]), gpu=gpu)
    assert task.image_shape[:2] == expected and task.data.resize.value == resize  # type: ignore[union-attr]


def test_colour_and_binarisation_are_read_off_the_images() -> None:
    assert (_chosen().image_shape[2], _chosen().binarisation.value) == (1, "none")
    assert _chosen(_with(is_colour=True, extreme=1.0)).image_shape[2] == 3
    assert _chosen(_with(extreme=0.95)).binarisation.value == "stochastic_each_epoch"
    assert _chosen(_with(columns=140, border=240.0)).data.padding == 255  # type: ignore[union-attr]


def test_the_steps_fit_the_time() -> None:
    assert _chosen(seconds=0.1).recipe.steps == 4_000  # 400 times each image
    assert _chosen(seconds=0.5).recipe.steps == 1_200  # ten minutes
    assert _chosen(seconds=60).recipe.steps == 500
    assert _chosen(seconds=None).recipe.steps == 4_000
    assert _chosen(dataclasses.replace(LOOK, images=30)).recipe.batch_size == 15


def test_a_new_task_has_no_threshold() -> None:
    task = _chosen()
    assert isinstance(task, GenerativeTask) and task.gate.max_nll_bound is None


def test_a_classifier_has_the_classes_of_the_folders() -> None:
    classes = dataclasses.replace(LOOK, class_names=("bolt", "no", "nut"), class_counts=(300, 300, 400))
    task = _chosen(classes, classify=True)
    assert isinstance(task, ClassifyingTask) and task.classes == 3 and task.gate.max_error is None
    assert task.data.class_names == ("bolt", "no", "nut")
    with pytest.raises(ValueError, match="have no classes: a classifier needs two"):
        _chosen(classify=True)


def test_folders_of_other_names_are_taken() -> None:
    task = _chosen(dataclasses.replace(LOOK, split_names=("train", "val", "test"), splits=("train", "val", "test")))
    assert task.data.splits == ("train", "val", "test")


def test_a_portion_of_bad_images_is_allowed_for() -> None:
    task = _chosen(dataclasses.replace(LOOK, unreadable=(("a.png", "it is broken"),) * 5))
    assert 0.09 < task.data.max_bad < 0.13  # type: ignore[union-attr]


def test_too_few_images_are_told() -> None:
    with pytest.raises(ValueError, match="There are 7 images in /photos: a task needs more"):
        _chosen(dataclasses.replace(LOOK, images=7))
    nothing = dataclasses.replace(LOOK, sights=(), unreadable=(("a.png", "it is broken"),))
    with pytest.raises(
        ValueError, match=r"No image in /photos can be read, of 1 that were tried:\n  a.png: it is broken"
    ):
        _chosen(nothing)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(40):
        pixels = np.random.RandomState(number).randint(0, 256, (50 + number, 60, 3)).astype(np.uint8)
        (tmp_path / "photos" / f"kind{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"kind{number % 2}" / f"{number}.png")
    (tmp_path / "photos" / "kind0" / "broken.jpg").write_text("no picture")
    return tmp_path / "photos"


def test_a_look_counts(photos: Path) -> None:
    seen = look(str(photos))
    assert (seen.images, len(seen.sights), len(seen.unreadable)) == (41, 40, 1)
    assert (min(seen.sizes), max(seen.sizes)) == ((50, 60), (89, 60))
    assert all(sight.is_colour for sight in seen.sights)
    assert dict(zip(seen.class_names, seen.class_counts, strict=True)) == {"kind0": 21, "kind1": 20}
    assert len(look(str(photos), limit=10).sights) + len(look(str(photos), limit=10).unreadable) == 10
    np.savez(photos.parent / "a.npz", image=np.zeros((30, 20, 10), np.uint8))
    assert look(str(photos.parent / "a.npz")).sizes == [(20, 10)] * 30


def test_a_look_at_a_large_jpeg_tells_its_own_size_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.RandomState(0).randint(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((4_000, 3_000)).save(tmp_path / "large.jpg", exif=exif)
    assert look(str(tmp_path / "large.jpg")).sizes == [(4_000, 3_000)]


LABELS = {"numbers": np.repeat([0, 1, 2], 500), "texts": np.repeat(["bolt", "nut", "screw"], 500)}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_a_table_has_the_classes_of_its_labels(labels: str, suffix: str, tmp_path: Path) -> None:
    """Which may be sorted by them, so that the first rows have one."""
    images = np.random.RandomState(0).randint(0, 256, (1_500, 12, 10)).astype(np.uint8)
    if suffix == "npz":
        np.savez(tmp_path / "t.npz", image=images, label=LABELS[labels])
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({"image": images.tolist(), "label": LABELS[labels]})
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=4)
    seen = look(str(tmp_path / f"t.{suffix}"))
    assert (seen.images, seen.classes) == (1_500, 3) and set(seen.sizes) == {(12, 10)}
    assert 100 <= len(seen.sizes) <= 400
    assert seen.class_names == (("bolt", "nut", "screw") if labels == "texts" else ())
    task = _chosen(seen, classify=True)
    assert isinstance(task, ClassifyingTask) and task.classes == 3


def test_a_table_of_hugging_face_has_the_names_of_its_labels(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": np.zeros((40, 12, 10), np.uint8).tolist(), "label": np.arange(40) % 2})
    features = {"image": {"_type": "Image"}, "label": {"names": ["bolt", "nut", "screw"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "t.parquet")
    assert look(str(tmp_path / "t.parquet")).class_names == ("bolt", "nut", "screw")
    pq.write_table(table.replace_schema_metadata({"huggingface": "{}"}), tmp_path / "t.parquet")
    assert look(str(tmp_path / "t.parquet")).classes == 2


def test_an_archive_has_the_classes_of_its_folders(photos: Path) -> None:
    shutil.make_archive("photos", "zip", photos.parent, "photos")
    seen = look("photos.zip")
    assert (seen.images, seen.class_names, seen.class_counts) == (41, ("kind0", "kind1"), ())


def test_a_class_that_is_called_train_is_none_of_the_splits(tmp_path: Path) -> None:
    for name in ("car", "plane", "train"):
        (tmp_path / "vehicles" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.random.RandomState(number).randint(0, 256, (12, 10)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "vehicles" / name / f"{number}.png")
    seen = look(str(tmp_path / "vehicles"))
    assert (seen.splits, seen.class_names) == ((), ("car", "plane", "train"))
    assert _chosen(seen, classify=True).data.train == "training"


def _pictures(folder: Path, names: Iterable[str]) -> str:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(number).randint(0, 256, (12, 10)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, format="PNG")
    return str(folder)


@pytest.mark.parametrize(
    "names",
    [("train", "val", "test"), ("Train", "Valid", "Test"), ("training", "validation", "testing"), ("TRAIN", "dev", "")],
)
def test_the_folders_of_the_splits_are_known_as_people_write_them(names: tuple[str, ...], tmp_path: Path) -> None:
    images = _pictures(tmp_path / "i", [f"{name}/{k % 2}/{k}.png" for name in names if name for k in range(30)])
    seen = look(images)
    assert seen.splits == tuple(filter(None, names)) and seen.class_names == ("0", "1") and not seen.unreadable
    shutil.make_archive("packed", "zip", images)
    assert look("packed.zip").splits == seen.splits
    for name in filter(None, names):
        shutil.make_archive(f"zips/{name}", "zip", f"{images}/{name}")
    assert (look("zips").splits, look("zips").class_names) == (seen.splits, seen.class_names)


def test_what_lies_beside_the_pictures_is_none_of_the_images(tmp_path: Path) -> None:
    images = _pictures(tmp_path / "i", [f"kind{k % 2}/_DSC{k}.PNG" for k in range(40)])
    Path(images, "labels.csv").write_text("file,label\n_DSC0.PNG,nut\n")
    Path(images, "kind0", "film.mov").write_bytes(b"\0\0\0\x14ftypqt  " * 10)
    Path(images, ".DS_Store").touch()
    seen = look(images)
    assert (seen.images, seen.class_names, seen.class_counts) == (40, ("kind0", "kind1"), (20, 20))
    assert sorted(Path(path).name for path, _ in seen.unreadable) == ["film.mov", "labels.csv"]
    assert "it is a HEIC, AVIF or MP4 file" in dict(seen.unreadable)[f"{images}/kind0/film.mov"]
    assert seen.passed_over == {"its name begins with a dot or an underscore": 1}
    status, shown = _init("parts", "--images", images, "--no-time")
    assert status == 0 and "not read   1: its name begins with a dot" in shown


def test_images_without_a_class_serve_a_model_that_draws(tmp_path: Path) -> None:
    names = [f"kind{k % 2}/{k}.png" for k in range(40)]
    images = _pictures(tmp_path / "i", [*names, "preview.png"])
    seen = look(images)
    assert seen.class_names == ("kind0", "kind1") and seen.unlabelled == 1 / 41
    assert not _chosen(seen).data.has_labels
    task = _chosen(seen, classify=True)
    assert task.data.class_names == ("kind0", "kind1") and task.data.max_bad > 1 / 41  # type: ignore[union-attr]
    flat = look(_pictures(tmp_path / "flat", [*(f"{k}.png" for k in range(40)), "old/1.png"]))
    assert (flat.classes, flat.unlabelled) == (0, 0)


def test_images_that_no_split_takes_are_told(tmp_path: Path) -> None:
    images = _pictures(tmp_path / "i", [f"{split}/{k}.png" for split in ("train", "test", "more") for k in range(20)])
    seen = look(images)
    assert len(seen.sights) == 40 and len(seen.unreadable) == 20
    assert all("it is in none of the folders train" in why for _, why in seen.unreadable)


def test_a_division_that_cannot_be_is_told_before_the_run(tmp_path: Path) -> None:
    names = [f"kind/{k}.png" for k in range(100)]
    by_hash = ImageNames(splits=("train", "validation", "test"), present=frozenset(), prefix=(), class_names=())
    few = [name for name in names if by_hash.split(name, name.encode()) == "train"]
    images = _pictures(tmp_path / "i", few[:25])
    with pytest.raises(ValueError, match=r"Of the 25 images in .* none would be in validation or in test\."):
        _chosen(look(images))
    names = [f"{split}/a/{k}.png" for split in ("train", "validation", "test") for k in range(10)]
    images = _pictures(tmp_path / "j", [*names, "test/b/1.png"])
    with pytest.raises(ValueError, match="No image to learn from has the class b"):
        _chosen(look(images), classify=True)
    _chosen(look(images))


def test_a_table_of_pixels_is_looked_at(tmp_path: Path) -> None:
    """As MNIST is on Kaggle; and a table of 0 and 1 is binary already."""
    pixels = np.random.RandomState(0).randint(0, 256, (30, 785))
    pixels[:, 0] = np.arange(30) % 3
    header = ",".join(["label", *(f"pixel{place}" for place in range(784))])
    np.savetxt(tmp_path / "mnist.csv", pixels, fmt="%d", delimiter=",", header=header, comments="")
    seen = look(str(tmp_path / "mnist.csv"))
    assert (seen.sizes, seen.classes) == ([(28, 28)] * 30, 3)
    assert _chosen(seen, classify=True).image_shape == (28, 28, 1)
    np.save(tmp_path / "bits.npy", np.random.RandomState(0).randint(0, 2, (30, 12, 10)).astype(np.uint8))
    assert _chosen(look(str(tmp_path / "bits.npy"))).binarisation.value == "given"
    np.save(tmp_path / "nchw.npy", np.zeros((30, 3, 12, 10), np.uint8))
    with pytest.raises(ValueError, match=r"expected \[n, rows, columns\] or \[n, rows, columns, 3\]"):
        _chosen(look(str(tmp_path / "nchw.npy")))


def test_black_images_are_told() -> None:
    with pytest.raises(ValueError, match="/photos are black: no pixel is above 1 of 255"):
        _chosen(_with(brightest=1))


@pytest.mark.parametrize("label", [None, -1, float("nan")])
def test_a_table_may_lack_labels(label: float | None, tmp_path: Path) -> None:
    import pandas as pd

    buffer = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (12, 10, 3)).astype(np.uint8)).save(buffer, "PNG")
    labels = [label if row < 10 else row % 3 for row in range(40)]
    frame = pd.DataFrame({"image": [{"bytes": buffer.getvalue(), "path": None}] * 40, "label": labels})
    frame.to_parquet(tmp_path / "t.parquet")
    seen = look(str(tmp_path / "t.parquet"))
    # Each is seen once.
    assert seen.sizes == [(12, 10)] * 40 and all(sight.is_colour for sight in seen.sights)
    assert (seen.classes, seen.unlabelled) == (3, 0.25)
    assert not _chosen(seen).data.has_labels
    assert _chosen(seen, classify=True).data.max_bad == 0.26  # type: ignore[union-attr]


class LookedAt(tfds.core.GeneratorBasedBuilder):
    """Registers itself in TFDS as looked_at."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(shape=(12, 10, 1)), "label": tfds.features.ClassLabel(num_classes=3)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[int, dict[str, object]]]]:
        return {"train": self._generate_examples(30), "test": self._generate_examples(10)}

    def _generate_examples(self, count: int) -> Iterator[tuple[int, dict[str, object]]]:
        for row in range(count):
            image = np.random.RandomState(row).randint(0, 256, (12, 10, 1)).astype(np.uint8)
            yield row, {"image": image, "label": row % 3}


def test_a_data_set_of_tfds_is_looked_at(tmp_path: Path) -> None:
    LookedAt(data_dir=tmp_path).download_and_prepare()
    seen = look("tfds:looked_at", data_dir=str(tmp_path))
    assert (seen.images, seen.sizes, seen.classes) == (40, [(12, 10)] * 30, 3)
    assert seen.splits == ("train", "test")
    task = _chosen(seen, classify=True)
    assert (task.data.class_names, task.data.test) == (("0", "1", "2"), "test")


def test_a_file_without_rows_has_no_images(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 5, 4), np.uint8))
    seen = look(str(tmp_path / "none.npy"))
    assert seen.images == 0
    with pytest.raises(ValueError, match=r"^There is no image in /photos\.$"):
        _chosen(seen)


def _init(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["init", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_command_writes_a_file_that_is_ready(photos: Path) -> None:
    status, shown = _init("parts", "--images", "photos", "--no-time")
    assert status == 0, shown
    assert "41 images in photos" in shown and "unreadable 1\n" in shown and "broken.jpg: it is no picture" in shown
    assert shown.endswith("next: draw run --task parts.yaml\n")
    task = task_file.load("parts.yaml")
    assert task.data.address == str(photos) and task.image_shape == (32, 32, 3)
    text = Path("parts.yaml").read_text()
    assert all("#" in line for line in text.splitlines() if line and not line.endswith((":", "photos", "write: 12")))
    assert _init("parts", "--images", "photos", "--no-time") == (
        1,
        "Error: parts.yaml is there already: choose another name, or overwrite it with --force.\n",
    )
    assert _init("parts", "--images", "photos", "--no-time", "--force", "--classify")[0] == 0
    assert isinstance(task_file.load("parts.yaml"), ClassifyingTask)


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("mnist", "photos", "name is mnist, which is a built-in task's"),
        ("My Parts", "photos", "my_parts would do"),
        ("parts", "nowhere", "nowhere, and no file is there"),
        ("parts", "tfds:mnits", "cannot open the data set 'mnits'"),
        ("nowhere/parts", "photos", "Cannot write nowhere/parts.yaml: No such file or directory. Choose another"),
        ("/proc/parts", "photos", "Cannot write /proc/parts.yaml: "),
        ("parts", "photos/kind0/broken.jpg", "No image in photos/kind0/broken.jpg can be read"),
    ],
)
def test_a_mistake_writes_nothing(photos: Path, name: str, images: str, message: str) -> None:
    status, shown = _init(name, "--images", images, "--no-time")
    assert status == 1 and message in shown
    assert not message.startswith("Cannot write") or "looking at" not in shown
    assert not list(Path().glob("*.yaml"))
