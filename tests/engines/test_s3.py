"""The batch job, own images and `draw init` on S3, as moto's server has it: Beam's own file system, over HTTP."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from click.testing import CliRunner
from PIL import Image

from pipeline.cli.main import main
from serving.batch import output_claim
from serving.batch.output_claim import Places
from tests import tiny
from tests.serving.model_server import export_model

pytestmark = pytest.mark.slow

TASK = tiny.MODELS["attention"]
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, with folder markers as a console makes them."""
    import boto3

    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    bucket = boto3.resource("s3", endpoint_url=endpoint).Bucket("bucket")
    bucket.create()
    for marker in ("in/", "out/"):
        bucket.put_object(Key=marker, Body=b"")
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(TASK, tmp_path_factory.mktemp("model"))


def _draw(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def _score(model: Path, endpoint: str, *words: str) -> tuple[int, str]:
    beam = ("--", f"--s3_endpoint_url={endpoint}", "--s3_region_name=us-east-1")
    return _draw("score-batch", "--model", str(model), *words, *beam)


def _keys(bucket: Any, prefix: str) -> set[str]:
    return {each.key.removeprefix(prefix) for each in bucket.objects.filter(Prefix=prefix)} - {""}


def test_arrays_and_tfrecords_are_scored_from_a_bucket_into_a_bucket(
    bucket: Any, endpoint: str, model: Path, tmp_path: Path
) -> None:
    images = tiny.make_images(TASK, 12)
    array = io.BytesIO()
    np.save(array, images[:5])
    bucket.put_object(Key="in/a.npy", Body=array.getvalue())
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        for index, image in enumerate(images[5:]):
            writer.write(tiny.serialize(image, f"example-{index}"))
    bucket.upload_file(str(tmp_path / "x"), "in/deeper/b.tfrecord")
    status, said = _score(model, endpoint, "--input", "s3://bucket/in", "--output", "s3://bucket/out/x")
    assert (status, "12 images scored" in said) == (0, True), said
    assert _keys(bucket, "out/") == {"x-scores-00000-of-00001.parquet", "x-summary.json"}
    summary = json.loads(bucket.Object("out/x-summary.json").get()["Body"].read())
    assert (summary["images"], summary["rejected"]) == (12, 0)
    assert summary["passed_over"]["first"] == [{"path": "s3://bucket/in/", "reason": "it marks a folder"}]
    status, said = _score(model, endpoint, "--input", "s3://bucket/in", "--output", "s3://bucket/out/x")
    assert (status, "choose another output" in said) == (1, True)


def test_what_a_dead_job_left_is_removed(bucket: Any, endpoint: str, model: Path) -> None:
    array = io.BytesIO()
    np.save(array, tiny.make_images(TASK, 3))
    bucket.put_object(Key="in/a.npy", Body=array.getvalue())
    places = Places("s3://bucket/out/x", "0a1b2c3d")
    claim = {**json.loads(output_claim._own(places.token)), "pid": 2**22 + 1, "started": 1.0}
    bucket.put_object(Key="out/x-unfinished.json", Body=json.dumps(claim).encode())
    bucket.put_object(Key="out/x-unfinished-0a1b2c3d/part.parquet", Body=b"half")
    status, said = _score(model, endpoint, "--input", "s3://bucket/in/*.npy", "--output", places.prefix)
    assert status == 0, said
    assert _keys(bucket, "out/") == {"x-scores-00000-of-00001.parquet", "x-summary.json"}
    # And one that fails leaves nothing.
    bucket.put_object(Key="in/a.npy", Body=b"no array")
    status, said = _score(model, endpoint, "--input", "s3://bucket/in/*.npy", "--output", "s3://bucket/out/y")
    assert status == 3, said
    assert "y-unfinished.json" not in _keys(bucket, "out/")


def test_own_images_are_read_from_a_bucket(
    bucket: Any, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.components.ingestion import by_id, ingest, records
    from trainer.task import Binarisation, ImageFiles

    for number in range(30):
        picture = io.BytesIO()
        Image.fromarray(np.random.RandomState(number).randint(0, 256, (14, 10)).astype(np.uint8)).save(picture, "PNG")
        bucket.put_object(Key=f"in/{number}.png", Body=picture.getvalue())
    images = "s3://bucket/in"
    source = ImageFiles(images=images)
    task = tiny.tiny_task(data=source, binarisation=Binarisation.NONE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    examples = ingest(task, tmp_path, tmp_path / "examples")
    splits = [by_id(records(examples, split)) for split in source.splits]
    assert sum(map(len, splits)) == 30 and all(splits)
    monkeypatch.chdir(tmp_path)
    status, said = _draw("init", "mine", "--images", images, "--no-time")
    assert (status, "30 images in s3://bucket/in" in said) == (0, True), said
    assert f"images: {images}" in (tmp_path / "mine.yaml").read_text()


def test_an_endpoint_at_which_nothing_listens_is_told_at_once(bucket: Any, model: Path) -> None:
    started = time.monotonic()
    words = ("--input", "s3://bucket/in", "--output", "s3://bucket/out/x")
    status, said = _score(model, "http://127.0.0.1:9", *words)
    assert status == 1 and time.monotonic() - started < 20
    assert said == (
        "Error: s3://bucket cannot be reached: nothing answers at http://127.0.0.1:9 (Connection refused). Start the "
        "store, or correct --s3_endpoint_url.\n"
    )
