"""ServingCheck: the blessing that comes of `serving.model_check`."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.types import standard_artifacts

from components.serving_check import Executor, ServingCheck
from tests.components.ingestion import records
from tests.components.tiny_models import Drawing, bound_model


@pytest.fixture(scope="module")
def requests(digits_examples: standard_artifacts.Examples) -> list[bytes]:
    return records(digits_examples, "test")[:3]


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
    # Time to begin on a busy machine, and none to end.
    blessing = run(known_bound, timeout_seconds=3)
    reason = "There was no result within 3 s; the process was killed.\n"
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
