"""An exported classifier on the real server: contract, client, Classify, REST, and its picture."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image
from tensorflow_serving.apis import classification_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from pipeline.cli.main import main
from serving import model_check
from serving.client import Client
from serving.contract.all_checks import CHECKS
from serving.contract.tested_server import Server
from serving.pictures.glimpse_sheet import write_glimpse_sheet
from serving.server import Server as ModelServer
from tests import tiny
from tests.serving import model_server

TASK = tiny.CLASSIFIER
CLASSES, STEPS = tiny.CLASSES, tiny.STEPS
COUNT = 6


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, list[bytes]]:
    """Images, uint8, and their tf.Examples, with labels that the model does not always predict."""
    images = tiny.make_images(TASK, COUNT)
    return images, [tiny.serialize(image, str(place), place) for place, image in enumerate(images)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_server.export_model(TASK, tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def model_dir(folder: Path) -> Path:
    return folder / str(model_server.VERSION)


@pytest.fixture(scope="module")
def requests(model_dir: Path, examples: tuple[np.ndarray, list[bytes]]) -> list[model_check.Request]:
    """The serving check's requests, which become the warm-up of the model that is served here."""
    made = model_check.check(str(model_dir), examples[1])
    (model_dir / "assets.extra").mkdir()
    model_check.write_warmup(str(model_dir / "assets.extra" / "tf_serving_warmup_requests"), made)
    return made


@pytest.fixture(scope="module")
def server(folder: Path, requests: list[model_check.Request]) -> Iterator[ModelServer]:
    with model_server.serve(folder, rest_api_port=0) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ModelServer) -> Iterator[Client]:
    with Client(f"127.0.0.1:{server.grpc_port}", model=model_server.MODEL) as made:
        yield made


@pytest.fixture(scope="module")
def answer(model_dir: Path, examples: tuple[np.ndarray, list[bytes]]) -> dict[str, np.ndarray]:
    """The SavedModel's own answer for the images."""
    model = tf.saved_model.load(str(model_dir))
    images = tf.constant(examples[0].astype(np.float32) / 255)
    return {name: value.numpy() for name, value in model.signatures["classify"](image=images).items()}


def test_the_serving_check_asks_both_signatures_and_leaves_a_warm_up(
    requests: list[model_check.Request], model_dir: Path
) -> None:
    assert {name for name, _ in requests} == {"classify", "classify_examples", "serving_default"}
    path = model_dir / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))
    ]
    assert [log.predict_log.request.model_spec.signature_name for log in logs] == [name for name, _ in requests]


@pytest.mark.parametrize("made", CHECKS, ids=lambda made: made.__name__)
def test_the_server_keeps_the_contract(made, client: Client) -> None:
    made(Server(client))


def test_the_client_classifies(
    client: Client, examples: tuple[np.ndarray, list[bytes]], answer: dict[str, np.ndarray]
) -> None:
    result = client.classify(examples[0].astype(np.float32) / 255)
    assert result.probabilities.shape == (COUNT, CLASSES)
    assert result.glimpse_window is not None and result.glimpse_window.shape == (COUNT, STEPS, 5)
    for name, value in result._asdict().items():
        np.testing.assert_allclose(value, answer[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_classify_over_grpc(
    server: ModelServer, examples: tuple[np.ndarray, list[bytes]], answer: dict[str, np.ndarray]
) -> None:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = model_server.MODEL, "classify_examples"
    request.input.example_list.examples.extend(tf.train.Example.FromString(example) for example in examples[1])
    # Who asks need not know what the image shows, nor give it a name.
    for example in request.input.example_list.examples:
        for name in ("label", "id"):
            del example.features.feature[name]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        rows = stub.Classify(request, timeout=20).result.classifications
        del request.input.example_list.examples[1].features.feature["image"]
        with pytest.raises(grpc.RpcError, match="image") as refused:
            stub.Classify(request, timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [[chosen.label for chosen in row.classes] for row in rows] == [[str(k) for k in range(CLASSES)]] * COUNT
    scores = [[chosen.score for chosen in row.classes] for row in rows]
    np.testing.assert_allclose(scores, answer["probabilities"], rtol=1e-5, atol=1e-6)


def test_classify_over_rest(
    server: ModelServer, examples: tuple[np.ndarray, list[bytes]], answer: dict[str, np.ndarray]
) -> None:
    rows = [{"image": {"b64": base64.b64encode(image.tobytes()).decode()}} for image in examples[0]]
    body = json.dumps({"signature_name": "classify_examples", "examples": rows}).encode()
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/{model_server.MODEL}:classify"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as response:
        results = json.loads(response.read())["results"]
    assert [[label for label, _ in row] for row in results] == [[str(k) for k in range(CLASSES)]] * COUNT
    scores = [[score for _, score in row] for row in results]
    np.testing.assert_allclose(scores, answer["probabilities"], rtol=1e-5, atol=1e-6)


def test_a_user_classifies_a_picture(
    server: ModelServer,
    examples: tuple[np.ndarray, list[bytes]],
    answer: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(examples[0][2]).save(path)
    options = ["--server", f"127.0.0.1:{server.grpc_port}", "--model", model_server.MODEL]
    result = CliRunner().invoke(main, ["classify", str(path), *options])
    assert result.exit_code == 0, result.output
    label = answer["label"][2]
    assert result.output.splitlines()[1].split() == ["0", str(label), f"{answer['probabilities'][2, label]:.4f}"]


# The picture of where it looks


def test_the_sheet_shows_images_with_their_glimpses(
    model_dir: Path, examples: tuple[np.ndarray, list[bytes]], tmp_path: Path
) -> None:
    file = tmp_path / "examples.gz"
    tiny.write_records(file, examples[1])
    write_glimpse_sheet(model_dir, [str(file)], tmp_path / "sheet.png", rows=2, columns=3, size=TASK.read)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    # 5 x 7 at 40 times their size, a line of 16 above each, gaps of 2.
    assert pixels.shape == (2 * (7 * 40 + 16 + 2) + 2, 3 * (5 * 40 + 2) + 2, 3)
    # Of fewer images it has fewer.
    write_glimpse_sheet(model_dir, [str(file)], tmp_path / "more.png", rows=2, columns=4, size=TASK.read)
    with Image.open(tmp_path / "more.png") as sheet:
        assert sheet.size == (4 * (5 * 40 + 2) + 2, 2 * (7 * 40 + 16 + 2) + 2)
    tiny.write_records(file, examples[1][:3])
    write_glimpse_sheet(model_dir, [str(file)], tmp_path / "few.png", rows=2, columns=4, size=TASK.read)
    with Image.open(tmp_path / "few.png") as sheet:
        assert sheet.size == (3 * (5 * 40 + 2) + 2, 7 * 40 + 16 + 4)


def test_a_model_without_glimpses_is_refused(tmp_path: Path) -> None:
    folder = model_server.export_model(tiny.MODELS["attention"], tmp_path / "generative")
    with pytest.raises(ValueError, match=r"no signature 'classify', only .*'sample'.*: only a classifier has it"):
        write_glimpse_sheet(folder / str(model_server.VERSION), [], tmp_path / "s.png", rows=1, columns=1, size=2)


# What the serving check rejects


class Judge(tf.Module):
    """Classifies by the mean of an image; its subclasses each misbehave in one respect."""

    def probabilities(self, image: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(image, axis=[1, 2, 3])
        return tf.stack([mean, 1 - mean], axis=1)

    def label(self, probabilities: tf.Tensor) -> tf.Tensor:
        return tf.argmax(probabilities, axis=1)

    def classes(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.tile([["0", "1"]], [rows, 1])

    def classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self.probabilities(image)
        return {"probabilities": probabilities, "label": self.label(probabilities)}

    def classify_examples(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        image = tf.io.parse_example(inputs, {"image": tf.io.FixedLenFeature([], tf.string)})["image"]
        raw = tf.cast(tf.reshape(tf.io.decode_raw(image, tf.uint8), [-1, *TASK.image_shape]), tf.float32)
        return {"scores": self.probabilities(raw / 255), "classes": self.classes(tf.size(inputs))}

    def save(self, path: Path) -> str:
        image = tf.TensorSpec([None, *TASK.image_shape], tf.float32, name="image")
        self.one = tf.function(self.classify, input_signature=[image])
        self.other = tf.function(
            self.classify_examples, input_signature=[tf.TensorSpec([None], tf.string, name="inputs")]
        )
        tf.saved_model.save(self, str(path), signatures={"classify": self.one, "classify_examples": self.other})
        return str(path)


class Unnormalised(Judge):
    def probabilities(self, image: tf.Tensor) -> tf.Tensor:
        return super().probabilities(image) * 1.1


class Undefined(Judge):
    def probabilities(self, image: tf.Tensor) -> tf.Tensor:
        return super().probabilities(image) * np.nan


class LeastProbable(Judge):
    def label(self, probabilities: tf.Tensor) -> tf.Tensor:
        return tf.argmin(probabilities, axis=1)


class OfTheBatch(Judge):
    def probabilities(self, image: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.cumsum(super().probabilities(image), axis=0))


class FewClasses(Judge):
    def classes(self, rows: tf.Tensor) -> tf.Tensor:
        return super().classes(rows)[:, :1]


class ClassesOfTheBatch(Judge):
    def classes(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.strings.join([super().classes(rows), tf.strings.as_string(rows)])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Unnormalised, "classify: probabilities must be probabilities, of which each row sums to 1"),
        (Undefined, "classify: probabilities is not finite"),
        (LeastProbable, "classify: label is not the most probable class"),
        (OfTheBatch, "classify: rows of (label|probabilities) depend on the batch"),
        (FewClasses, "classify_examples: classes must be of the shape of scores"),
        (ClassesOfTheBatch, "classify_examples: rows of classes depend on the batch"),
    ],
)
def test_a_classifier_that_misbehaves_is_rejected(
    kind: type[Judge], reason: str, examples: tuple[np.ndarray, list[bytes]], tmp_path: Path
) -> None:
    model_check.check(Judge().save(tmp_path / "good"), examples[1])
    with pytest.raises(model_check.CheckFailed, match=reason):
        model_check.check(kind().save(tmp_path / "bad"), examples[1])
