"""ServingCheck: the requests that `serving.model_check` makes, and the blessing that comes of its exit."""

from __future__ import annotations

import math
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.types import standard_artifacts

from components.serving_check import Executor, ServingCheck
from serving.model_check import CheckFailed, check, main
from tests.components.ingestion import records
from tests.components.tiny_models import IMAGE_SHAPE, KnownBound, Outputs, bound_model


class WeightOfTheBatch(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "log_weight": outputs["log_weight"] + 0.1 * tf.reduce_mean(outputs["log_weight"])}


class ImageOfThePlace(KnownBound):
    """A row's noise depends on its place in the batch: the mistake that one constant seed makes."""

    def sample(self, seed: tf.Tensor) -> Outputs:
        image = tf.random.stateless_uniform([tf.shape(seed)[0], *IMAGE_SHAPE], [1, 2])
        return {"image": image * tf.cast(1 + seed[:, 0], tf.float32)[:, None, None, None] / 10}


class OwnNoise(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": tf.random.uniform([tf.shape(seed)[0], *IMAGE_SHAPE])}


class DeafToSeeds(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": tf.fill([tf.shape(seed)[0], *IMAGE_SHAPE], 0.5)}


class TooBright(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"] * 1.5}


class Negative(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"] - 0.5}


class UndefinedImage(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"] * math.nan}


class Cropped(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"][:, 1:]}


class DoublePrecision(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": tf.cast(super().sample(seed)["image"], tf.float64)}


class Canvas(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"canvas": super().sample(seed)["image"]}


class InfiniteBound(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        return {**super().scores(image, sevens), "nll_bound": tf.fill([tf.shape(image)[0]], math.inf)}


class MeanBound(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "nll_bound": tf.reduce_mean(outputs["nll_bound"])}


class NoSteps(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "kl_per_step": outputs["kl"]}


class NoWeight(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        del outputs["log_weight"]
        return outputs


class BinaryOnly(KnownBound):
    """Refuses grey pixels, and pixels beyond 1, as the models of a binarised task do."""

    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        tf.debugging.Assert(tf.reduce_all((image == 0) | (image == 1)), ["0 or 1"])
        return super().score(image, seed)


class GreyOnly(KnownBound):
    """Refuses pixels beyond 1, and sees whether they came as 1/255 where they should be grey."""

    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        tf.debugging.Assert((tf.reduce_max(image) <= 1) & (tf.reduce_max(image) > 0.5), ["grey"])
        return super().score(image, seed)


class NoiseInTheBound(KnownBound):
    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        outputs = super().score(image, seed)
        return {**outputs, "kl": outputs["kl"] + tf.random.uniform([tf.shape(image)[0]])}


@pytest.fixture(scope="module")
def requests(digits_examples: standard_artifacts.Examples) -> list[bytes]:
    return records(digits_examples, "test")[:3]


class Drawing(KnownBound):
    """The signatures beyond those that every generative model needs."""

    SHIFT = 0.0
    """By which the last canvas and the reconstruction are too bright."""

    def sample_sequence(self, seed: tf.Tensor) -> Outputs:
        image = self.sample(seed)["image"]
        return {"canvas": tf.stack([image / 2, image + self.SHIFT], axis=1)}

    def reconstruct(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        return {"image": image / 2 + self.sample(seed)["image"] / 2 + self.SHIFT}

    def save(self, directory: pathlib.Path, names: Sequence[str] = ("sample", "score", "score_examples")) -> None:
        seed = tf.TensorSpec([None, 2], tf.int64, name="seed")
        image = tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, name="image")
        self.more = {
            "serving_default": tf.function(self.sample, input_signature=[seed]),
            "sample_sequence": tf.function(self.sample_sequence, input_signature=[seed]),
            "reconstruct": tf.function(self.reconstruct, input_signature=[image, seed]),
        }
        super().save(directory, names, self.more)


class TooBrightSequence(Drawing):
    SHIFT = 0.6

    def reconstruct(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        return {"image": image + 0 * self.sample(seed)["image"]}


class TooBrightReconstruction(Drawing):
    SHIFT = 0.6

    def sample_sequence(self, seed: tf.Tensor) -> Outputs:
        return {"canvas": tf.stack([self.sample(seed)["image"]] * 2, axis=1)}


class NoCanvas(Drawing):
    def sample_sequence(self, seed: tf.Tensor) -> Outputs:
        return {"canvas": self.sample(seed)["image"][:, :, :, 0]}


@pytest.mark.parametrize("kind", [KnownBound, BinaryOnly, Drawing])
def test_a_good_model_passes(kind: type[KnownBound], requests: list[bytes], tmp_path: pathlib.Path) -> None:
    kind().save(tmp_path)
    check(str(tmp_path), requests)


def test_grey_images_are_scaled(digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path) -> None:
    GreyOnly().save(tmp_path)
    check(str(tmp_path), records(digits_examples, "train")[:2])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (WeightOfTheBatch, "score_examples: rows of log_weight depend on the batch"),
        (ImageOfThePlace, "sample: rows of image depend on the batch"),
        (OwnNoise, "sample: image differs when the same is asked again"),
        (DeafToSeeds, "sample: two seeds gave the same image"),
        (TooBright, r"sample: image reaches from .* to 1\.\d+; expected 0 to 1"),
        (Negative, r"sample: image reaches from -0\.\d+ to .*; expected 0 to 1"),
        (UndefinedImage, "sample: image is not finite"),
        (Cropped, r"sample: image is float32 \(3, 27, 28, 1\); expected float32 \(3, 28, 28, 1\)"),
        (DoublePrecision, "sample: image is float64"),
        (Canvas, r"sample: there is no output image, only \['canvas'\]"),
        (InfiniteBound, "score_examples: nll_bound is not finite"),
        (MeanBound, r"score_examples: nll_bound has shape \(\) for 3 rows"),
        (NoSteps, r"score_examples: kl_per_step has shape \(3,\); expected \[n, T\]"),
        (NoWeight, "score_examples: there is no output log_weight"),
        (NoiseInTheBound, "score: kl differs when the same is asked again"),
        (TooBrightSequence, r"sample_sequence: image reaches from .* to 1\.\d+; expected 0 to 1"),
        (TooBrightReconstruction, r"reconstruct: image reaches from .* to 1\.\d+; expected 0 to 1"),
        (NoCanvas, r"sample_sequence: image is float32 \(3, 28, 28\); expected float32 \(3, 28, 28, 1\)"),
    ],
)
def test_a_model_with_one_fault_is_told_it(
    kind: type[KnownBound], reason: str, requests: list[bytes], tmp_path: pathlib.Path
) -> None:
    kind().save(tmp_path)
    with pytest.raises(CheckFailed, match=f"^{reason}"):
        check(str(tmp_path), requests)


@pytest.mark.parametrize("missing", ["sample", "score", "score_examples"])
def test_each_signature_is_needed(missing: str, requests: list[bytes], tmp_path: pathlib.Path) -> None:
    names = [name for name in ("sample", "score", "score_examples") if name != missing]
    KnownBound().save(tmp_path, names)
    with pytest.raises(CheckFailed, match=f"^{missing}: there is no such signature, only "):
        check(str(tmp_path), requests)


def test_one_example_shows_nothing_about_rows(requests: list[bytes], tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckFailed, match="Got 1 examples; at least 2"):
        check(str(tmp_path), requests[:1])


def test_examples_of_another_task_are_told(tmp_path: pathlib.Path, requests: list[bytes]) -> None:
    class AnySize(KnownBound):
        def score_examples(self, examples: tf.Tensor) -> Outputs:
            return self.scores(tf.zeros([tf.shape(examples)[0], 1, 1, 1]), tf.zeros(tf.shape(examples)[0]))

    AnySize().save(tmp_path)
    small = tf.train.Example()
    small.features.feature["image"].bytes_list.value.append(np.zeros(15, np.uint8).tobytes())
    with pytest.raises(CheckFailed, match=r"score: an example's image has 15 bytes, but the model takes \(28, 28, 1\)"):
        check(str(tmp_path), [requests[0], small.SerializeToString()])


@pytest.fixture(scope="module")
def known_bound(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    return bound_model(tmp_path_factory.mktemp("known_bound"))


@pytest.fixture
def run(digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path) -> Callable[..., types.Artifact]:
    def execute(model: types.Artifact, *, timeout_seconds: int = 120, split: str | None = None) -> types.Artifact:
        blessing = standard_artifacts.InfraBlessing()
        blessing.uri = str(tmp_path / "blessing")
        pathlib.Path(blessing.uri).mkdir()
        Executor().Do(
            {"model": [model], "examples": [digits_examples]},
            {"blessing": [blessing]},
            {"split": split, "timeout_seconds": timeout_seconds},
        )
        return blessing

    return execute


def _files(blessing: types.Artifact) -> dict[str, str]:
    return {path.name: path.read_text() for path in pathlib.Path(blessing.uri).iterdir() if path.is_file()}


def test_a_servable_model_is_blessed_and_pushed_with_the_requests_that_it_answered(
    run: Callable[..., types.Artifact],
    requests: list[bytes],
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    blessing = run(bound_model(tmp_path / "model", Drawing))
    told = _files(blessing)
    assert told.keys() == {"INFRA_BLESSED", "check.log"}
    assert told["check.log"].splitlines()[-1].startswith("The model answers sample, score_examples, score, serving_def")
    assert told["check.log"].endswith("as it should; asked with 5 examples.\n")
    assert PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    assert not [record for record in caplog.records if record.name.startswith("components.")]

    pushed = pathlib.Path(PusherExecutor().GetModelPath({"infra_blessing": [blessing]}))
    original = tmp_path / "model" / "Format-Serving"
    files = {path.relative_to(original) for path in original.rglob("*") if path.is_file()}
    extra = pathlib.Path("assets.extra/tf_serving_warmup_requests")
    assert {path.relative_to(pushed) for path in pushed.rglob("*") if path.is_file()} == files | {extra}
    for path in files:
        assert (pushed / path).read_bytes() == (original / path).read_bytes()

    asked: dict[str, list[int]] = {}
    signatures = tf.saved_model.load(str(pushed)).signatures
    for record in tf.data.TFRecordDataset(str(pushed / extra)):
        # By TF Serving's own message.
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        (rows,) = {len(array) for array in inputs.values()}
        asked.setdefault(request.model_spec.signature_name, []).append(rows)
        signatures[request.model_spec.signature_name](**{name: tf.constant(array) for name, array in inputs.items()})
        if request.model_spec.signature_name == "score_examples":
            assert list(inputs["examples"][:3]) == requests[:rows]
    names = ("sample", "sample_sequence", "score", "score_examples", "reconstruct", "serving_default")
    assert asked == {name: [1, 5] for name in names}


@pytest.fixture
def replace_check(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts another `serving.model_check` first on this process's path, made of the program that it is given."""

    def replace(program: str) -> None:
        package = tmp_path / "elsewhere" / "serving"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "model_check.py").write_text(program)
        monkeypatch.syspath_prepend(package.parent)
        # Python looks in the working directory first.
        monkeypatch.chdir(tmp_path)

    return replace


def test_a_model_that_fails_is_not_blessed_and_the_run_goes_on(
    run: Callable[..., types.Artifact],
    replace_check: Callable[[str], None],
    known_bound: types.Artifact,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # What `main` prints for a model with a fault, by its own test.
    replace_check("import sys; print('loaded'); print('score_examples: nll_bound is not finite.'); sys.exit(1)")
    blessing = run(known_bound)
    reason = "score_examples: nll_bound is not finite.\n"
    files = _files(blessing)
    assert files["INFRA_NOT_BLESSED"] == reason
    assert "INFRA_BLESSED" not in files
    assert not [path for path in pathlib.Path(blessing.uri).iterdir() if path.is_dir()]
    assert not blessing.get_int_custom_property("has_model")
    assert files["check.log"].endswith(reason)
    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    (warning,) = (record for record in caplog.records if record.name.startswith("components."))
    assert reason.strip() in warning.getMessage()


@pytest.mark.parametrize(
    ("kind", "line"),
    [(None, "NotASavedModel: There is no model in"), (InfiniteBound, "score_examples: nll_bound is not finite.")],
)
def test_the_reason_is_one_line(
    kind: type[KnownBound] | None,
    line: str,
    requests: list[bytes],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind is not None:
        kind().save(tmp_path / "model")
    with tf.io.TFRecordWriter(str(tmp_path / "examples")) as writer:
        for request in requests:
            writer.write(request)
    monkeypatch.setattr(sys, "argv", ["check", str(tmp_path / "model"), str(tmp_path / "examples")])
    assert main() == 1
    (printed,) = capsys.readouterr().out.splitlines()
    assert printed.startswith(line)


def test_the_check_is_found_where_this_process_finds_it(
    run: Callable[..., types.Artifact], replace_check: Callable[[str], None], known_bound: types.Artifact
) -> None:
    replace_check(
        "import os, sys; open(sys.argv[4], 'w').close(); print('passed on', os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    assert _files(run(known_bound))["check.log"].endswith("passed on -1\n")


def test_a_check_that_takes_too_long_is_killed(
    run: Callable[..., types.Artifact], replace_check: Callable[[str], None], known_bound: types.Artifact
) -> None:
    replace_check("import sys, time; print('loading', file=sys.stderr, flush=True); time.sleep(60)")
    blessing = run(known_bound, timeout_seconds=1)
    reason = "There was no result within 1 s; the process was killed.\n"
    assert _files(blessing) == {"INFRA_NOT_BLESSED": reason, "check.log": f"loading\n{reason}"}
    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    commands = [path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")]
    assert not [command for command in commands if known_bound.uri.encode() in command]


@pytest.mark.parametrize(
    ("program", "status"), [("os.kill(os.getpid(), signal.SIGSEGV)", -11), ("os._exit(0)", 0)], ids=["crash", "silence"]
)
def test_a_process_that_ends_without_a_word_is_not_blessed(
    program: str,
    status: int,
    run: Callable[..., types.Artifact],
    replace_check: Callable[[str], None],
    known_bound: types.Artifact,
) -> None:
    replace_check(f"import os, signal, sys; print('about to end', file=sys.stderr, flush=True); {program}")
    files = _files(run(known_bound))
    assert files["INFRA_NOT_BLESSED"] == f"The process ended with status {status} and no result; see check.log.\n"
    assert files["check.log"].startswith("about to end\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds is 0; expected at least 1"),
        ({"split": "validation"}, r"Split does not exist .*validation"),
    ],
)
def test_a_pipeline_that_is_wired_wrongly_fails(
    arguments: dict[str, object], message: str, run: Callable[..., types.Artifact], known_bound: types.Artifact
) -> None:
    with pytest.raises(ValueError, match=message):
        run(known_bound, **arguments)


def test_the_contract() -> None:
    component = ServingCheck(
        model=types.Channel(type=standard_artifacts.Model),
        examples=types.Channel(type=standard_artifacts.Examples),
        split="test",
    )
    assert component.outputs["blessing"].type is standard_artifacts.InfraBlessing
    assert component.exec_properties == {"split": "test", "timeout_seconds": 600}
