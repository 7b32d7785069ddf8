"""A model of somebody's own images scores pictures of any size, on the very pixels that it was trained on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli.main import main
from serving.batch.job import Job, score_batch
from serving.batch.model_source import SavedModelSource, model_source
from serving.images.picture_decoder import decode_picture
from serving.images.preparation import Preparation
from tests import tiny
from tests.components.ingestion import by_id, ingest, records
from tests.serving import model_server
from trainer.task import Binarisation, ImageFiles, Resize, Task

MODES = [Binarisation.NONE, Binarisation.THRESHOLD, Binarisation.STOCHASTIC]


def _task(folder: Path, mode: Binarisation) -> Task:
    data = ImageFiles(images=str(folder), crop=(30, 24), resize=Resize.FILL, crop_margin=(2, 1))
    return tiny.tiny_task(data=data, binarisation=mode)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(30):
        pixels = np.random.RandomState(number).randint(0, 256, (30 + number, 40, 3)).astype(np.uint8)
        (folder / str(number % 2)).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / str(number % 2) / f"{number}.png")
    return folder


def _scores(model: SavedModelSource, source: str, output: Path) -> dict[str, float]:
    score_batch(Job(model=model, input=source, output=str(output)))
    table = pq.read_table(sorted(map(str, output.parent.glob(f"{output.name}-scores-*")))).to_pydict()
    return dict(zip(table["id"], table["nll_bound"], strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_pictures_score_as_the_examples_that_were_made_of_them(
    mode: Binarisation, photos: Path, tmp_path: Path
) -> None:
    task = _task(photos, mode)
    model = SavedModelSource.from_directory(str(model_server.export_model(task, tmp_path / "model")))
    examples = ingest(task, tmp_path, tmp_path / "examples")
    assert sum(len(by_id(records(examples, split))) for split in task.data.splits) == 30
    stored = _scores(model, f"{tmp_path}/examples/Split-*/*", tmp_path / "stored")
    pictures = _scores(model, str(photos), tmp_path / "pictures")
    assert len(pictures) == 30 and pictures.keys() == stored.keys()
    for name, score in pictures.items():
        assert score == pytest.approx(stored[name], rel=1e-5)


def test_a_server_tells_how_to_prepare_a_picture(photos: Path, tmp_path: Path) -> None:
    task = _task(photos, Binarisation.STOCHASTIC)
    folder = model_server.export_model(task, tmp_path / "own")
    picture = str(photos / "1" / "7.png")
    runner = CliRunner()
    with model_server.serve(folder) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        source = model_source(address, name=model_server.MODEL, timeout_seconds=60)
        assert source.images == SavedModelSource.from_directory(str(folder)).images
        served = runner.invoke(main, ["score", picture, "--server", address, "--model", model_server.MODEL, "--csv"])
    here = runner.invoke(main, ["score", picture, "--model", str(folder), "--csv"])
    assert (served.exit_code, here.exit_code) == (0, 0), served.output + here.output
    assert served.output == here.output


def test_a_classifier_names_the_class(photos: Path, tmp_path: Path) -> None:
    names = tuple(f"kind {label}" for label in range(tiny.CLASSES))
    data = ImageFiles(images=str(photos), has_labels=True, class_names=names)
    folder = model_server.export_model(tiny.tiny_classifier(data=data), tmp_path / "own")
    picture = str(photos / "1" / "7.png")
    runner = CliRunner()
    here = runner.invoke(main, ["classify", picture, "--model", str(folder)])
    with model_server.serve(folder) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        served = runner.invoke(main, ["classify", picture, "--server", address, "--model", model_server.MODEL])
    assert (served.exit_code, here.exit_code) == (0, 0), served.output + here.output
    assert served.output == here.output
    heading, row = here.output.splitlines()
    assert heading.split() == ["image", "label", "probability", "class"]
    assert row.endswith(f"  kind {row.split()[1]}")


def test_a_picture_of_another_size_is_taken_where_the_user_says_how(photos: Path, tmp_path: Path) -> None:
    folder = str(model_server.export_model(tiny.MODELS["attention_colour"], tmp_path / "model"))
    picture = str(photos / "1" / "7.png")
    refused = CliRunner().invoke(main, ["score", picture, "--model", folder])
    assert refused.exit_code == 1 and "its shape is [37, 40, 3]; expected [5, 7, 3]" in refused.output
    assert CliRunner().invoke(main, ["score", picture, "--model", folder, "--resize", "fit"]).exit_code == 0


def _grey(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.uint8)[..., None]


def test_fit_shows_all_and_pads() -> None:
    image = Preparation(resize="fit", padding=9).apply(_grey([[100] * 8] * 2), (4, 4, 1))
    assert image[..., 0].tolist() == [[9] * 4, [100] * 4, [9] * 4, [9] * 4]


def test_fill_covers_and_cuts_both_sides_alike() -> None:
    image = Preparation(resize="fill").apply(_grey([[0, 0, 200, 200, 200, 200, 0, 0]] * 4), (2, 2, 1))
    assert image[..., 0].tolist() == [[200, 200], [200, 200]] or image.min() > 150


def test_stretch_scales_each_side_by_itself() -> None:
    image = Preparation(resize="stretch").apply(_grey([[0] * 4 + [240] * 4] * 2), (4, 2, 1))
    assert (image[:, 0, 0] < 60).all() and (image[:, 1, 0] > 180).all()


def test_a_fine_pattern_becomes_its_mean_and_not_a_coarse_one() -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = Preparation(resize="stretch").apply(checkers.astype(np.uint8)[..., None], (8, 8, 1))
    assert abs(image.astype(int) - 127).max() <= 2


def test_a_crop_is_of_the_centre_and_comes_first() -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
    assert Preparation(crop=(2, 4), resize="none").apply(pixels, (2, 4, 1)).tolist() == pixels[2:4, 1:5].tolist()


@pytest.mark.parametrize("resize", ["fit", "fill", "stretch"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_in_part_to_the_same_image(resize: str, orientation: int) -> None:
    smooth = np.asarray(
        Image.fromarray(np.random.RandomState(3).randint(0, 256, (12, 17, 3)).astype(np.uint8)).resize((1700, 1200))
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95, exif=exif)
    preparation = Preparation(resize=resize)
    shape = (40, 30, 3)
    part = decode_picture(buffer.getvalue(), 3, at_least=preparation.enough(shape))
    whole = decode_picture(buffer.getvalue(), 3)
    assert part.size < whole.size / 10 and min(part.shape[0] / 40, part.shape[1] / 30) >= 2
    difference = preparation.apply(part, shape).astype(int) - preparation.apply(whole, shape)
    assert abs(difference).max() <= 12 and abs(difference).mean() < 2


@pytest.mark.parametrize("preparation", [Preparation(resize="none"), Preparation(resize="fit", crop=(9, 9))])
def test_what_is_not_scaled_from_the_whole_is_decoded_whole(preparation: Preparation) -> None:
    assert preparation.enough((40, 30, 3)) is None
