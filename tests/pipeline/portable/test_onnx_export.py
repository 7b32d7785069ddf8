"""The ONNX files: what they answer beside the SavedModel, what they say of themselves, and what is not written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from pipeline.portable import onnx_export, onnx_graph, onnx_ops, verification
from serving.saved_model import SavedModel
from tests import tiny
from tests.pipeline.portable.conftest import KINDS, Case, save
from trainer.export import exporter
from trainer.task import Task
from trainer.training import initial_weights


def _inputs(case: Case, signature: str, rows: int, seed: int = 3) -> dict[str, np.ndarray]:
    """Noise and images, 0 or 1 where the task's are."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(size=(rows, *case.task.image_shape))
    made: dict[str, np.ndarray] = {"image": np.rint(image) if case.task.binary else image}
    if case.task is not tiny.CLASSIFIER:
        made["z"] = made["eps"] = rng.standard_normal((rows, tiny.STEPS, tiny.LATENTS))
    names = case.saved_model.signature(signature).inputs
    return {name: made[name].astype(np.float32) for name in names}


def _signatures(case: Case) -> tuple[str, ...]:
    return verification.SIGNATURES[type(case.task)]


@pytest.mark.parametrize("rows", [1, 5, 67])
def test_any_number_of_rows_gets_the_saved_models_answer(case: Case, rows: int) -> None:
    for name in _signatures(case):
        session = onnxruntime.InferenceSession(case.folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        inputs = _inputs(case, name, rows)
        expected = case.saved_model.signature(name).call(inputs)
        names = [output.name for output in session.get_outputs()]
        assert set(names) == set(expected)
        for key, value in zip(names, session.run(None, inputs), strict=True):
            assert value.dtype == expected[key].dtype
            np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-4 * abs(expected[key]).max())
        # A row is the same alone.
        alone = session.run(None, {key: value[-1:] for key, value in inputs.items()})
        for value, whole in zip(alone, session.run(None, inputs), strict=True):
            np.testing.assert_allclose(value, whole[-1:], rtol=1e-5, atol=1e-5 * abs(whole).max())


def test_each_signature_has_a_file_that_equals_the_saved_model(case: Case) -> None:
    assert [exported.path.name for exported in case.exported] == [f"{name}.onnx" for name in _signatures(case)]
    assert all(0 <= exported.difference <= verification.TOLERANCE for exported in case.exported)
    assert Task.from_json((case.folder / "task.json").read_text(encoding="utf-8")) == case.task


def test_a_file_says_what_it_is(case: Case) -> None:
    for name in _signatures(case):
        model = onnx.load(case.folder / f"{name}.onnx")
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", onnx_graph.OPSET)]
        properties = {entry.key: entry.value for entry in model.metadata_props}
        assert Task.from_json(properties["task"]) == case.task
        assert (properties["signature"], properties["opset"]) == (name, str(onnx_graph.OPSET))
        assert json.loads(properties["units"]).items() >= {("nll_bound", "nats"), ("write_window", "pixels")}
        for value in (*model.graph.input, *model.graph.output):
            first, *others = value.type.tensor_type.shape.dim
            assert first.dim_param == "n" and value.doc_string
            assert all(size.dim_value > 0 for size in others)
        inputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        assert inputs == dict.fromkeys(case.saved_model.signature(name).inputs, onnx.TensorProto.FLOAT)
        # The weights of one half of the model are not in the files of the other, and nothing is in a file twice.
        weights = [tensor.name for tensor in model.graph.initializer]
        assert len(weights) == len(set(weights))
        assert any(weight.startswith("encoder/") for weight in weights) == (name == "encode")
        assert any(weight.startswith("write/") for weight in weights) == (name != "classify")


def test_a_recurrence_is_one_loop_and_not_a_node_a_step(case: Case) -> None:
    for name in _signatures(case):
        graph = onnx.load(case.folder / f"{name}.onnx").graph
        (loop,) = (node for node in graph.node if node.op_type == "Loop")
        (body,) = (attribute.g for attribute in loop.attribute)
        assert len(graph.node) < 100 and len(body.node) < 250


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny.MODELS["attention"], tmp_path_factory.mktemp("attention") / "model")


def test_a_file_that_answers_otherwise_is_refused(
    attention: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = initial_weights.read_weights(str(attention))
    weights["write/b"] = weights["write/b"] + np.float32(1e-3)
    monkeypatch.setattr(initial_weights, "read_weights", lambda folder: weights)
    with pytest.raises(verification.NotEqual, match=r"decode: ONNX Runtime .* gives another image than the SavedModel"):
        list(onnx_export.export(str(attention), tmp_path))
    assert not list(tmp_path.glob("*.onnx"))


def test_a_not_finite_answer_is_refused(attention: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = initial_weights.read_weights(str(attention))
    weights["write/b"] = weights["write/b"] * np.float32(np.nan)
    monkeypatch.setattr(initial_weights, "read_weights", lambda folder: weights)
    with pytest.raises(verification.NotEqual):
        list(onnx_export.export(str(attention), tmp_path))


def _draw(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_writes_and_tells(attention: Path, tmp_path: Path) -> None:
    shutil.copytree(attention, tmp_path / "model")
    (tmp_path / "model" / "assets" / "reference.json").write_text('{"of": "its scores"}')
    result = _draw("export", tmp_path / "model", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for name in ("task.json", "reference.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "model" / "assets" / name).read_bytes()
    lines = result.output.splitlines()
    for name, line in zip(("decode", "decode_sequence", "encode"), lines, strict=True):
        assert line.startswith(f"{tmp_path / 'out' / name}.onnx  0.0 MB, equal to the SavedModel to ")
        assert onnx.load(tmp_path / "out" / f"{name}.onnx").graph.name == f"tiny_{name}"


@pytest.mark.parametrize(
    ("model", "status", "reason"),
    [("none", 1, "There is no model in"), ("gs://models/digits", 2, "is an address at gs://")],
)
def test_a_model_that_is_not_there(model: str, status: int, reason: str, tmp_path: Path) -> None:
    result = _draw("export", model, "-o", tmp_path)
    assert (result.exit_code, reason in result.output) == (status, True), result.output


def test_a_model_of_before_says_how_it_gets_latent_variables(attention: Path, tmp_path: Path) -> None:
    """Such as the project's own, exported when a signature drew its own noise."""
    loaded = tf.saved_model.load(str(attention))
    old = {name: function for name, function in loaded.signatures.items() if name in ("sample", "score")}
    module = tf.Module()
    module.loaded = loaded
    module.task_json = tf.saved_model.Asset(str(attention / "assets" / "task.json"))
    tf.saved_model.save(module, str(tmp_path / "old"), signatures=old)
    result = _draw("export", tmp_path / "old", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "has no signature 'decode'" in result.output and "draw run --init-from MODEL --steps 0" in result.output
    assert not (tmp_path / "out").exists()


# The operations, by themselves


def _converted(function: Any, *shapes: list[int | None]) -> onnxruntime.InferenceSession:
    """A function of TensorFlow as a model of its own."""
    with tf.Graph().as_default():
        inputs = [tf.compat.v1.placeholder(tf.float32, shape) for shape in shapes]
        outputs = function(*inputs)
        writer = onnx_graph.Writer()
        writer.names |= {tensor.ref(): f"x{place}" for place, tensor in enumerate(inputs)}
        named = {f"y{place}": tensor for place, tensor in enumerate(outputs)}
        graph = onnx_graph.graph("operations", writer, {f"x{i}": x for i, x in enumerate(inputs)}, named)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", onnx_graph.OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_slices_are_tensorflows() -> None:
    def slices(x: tf.Tensor) -> list[tf.Tensor]:
        first = tf.cast(tf.shape(x)[0] - tf.shape(x)[0] + 1, tf.int32)
        return [x[:, 1:3], x[..., 2], x[:, None, -2], x[1:, ..., :-1], x[0, 1:], x[None], x[first], x[:, :, 1:2, None]]

    x = np.random.default_rng(1).standard_normal((5, 4, 6)).astype(np.float32)
    session = _converted(slices, [None, 4, 6])
    for given, wanted in zip(session.run(None, {"x0": x}), slices(tf.constant(x)), strict=True):
        np.testing.assert_array_equal(given, wanted.numpy())


def test_products_and_sums_are_tensorflows() -> None:
    def products(a: tf.Tensor, b: tf.Tensor) -> list[tf.Tensor]:
        return [
            tf.matmul(a, b),
            tf.matmul(b, a, transpose_a=True, transpose_b=True),
            tf.matmul(a[0], b[0]),
            tf.matmul(b[0], a[0], transpose_a=True, transpose_b=True),
            tf.reduce_sum(a, axis=[0, 2]),
            tf.reduce_sum(a, axis=1, keepdims=True),
            *tf.unstack(a, axis=1)[:2],
            tf.stack([a, 2 * a], axis=2),
            tf.math.log1p(tf.exp(-tf.abs(100 * a))),
            tf.math.log1p(tf.abs(a)),
            tf.cast(tf.argmax(a, axis=2), tf.float32),
        ]

    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 5), (3, 5, 2)))
    session = _converted(products, [None, 4, 5], [None, 5, 2])
    for given, wanted in zip(session.run(None, {"x0": a, "x1": b}), products(a, b), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: [tf.cumsum(x)], "TensorFlow's operation Cumsum"),
        (lambda x: [x[::2]], "has steps other than 1"),
        (lambda x: [x[:, ::-1]], "has steps other than 1"),
    ],
)
def test_what_has_no_counterpart_is_named(function: Any, reason: str) -> None:
    with pytest.raises(onnx_ops.Unsupported, match=reason):
        _converted(function, [None, 4])


def test_the_saved_model_is_what_it_is_held_against(attention: Path, tmp_path: Path) -> None:
    """And its numbers are the files', not only those of the same functions."""
    (decode, *_) = onnx_export.export(str(attention), tmp_path)
    session = onnxruntime.InferenceSession(decode.path, providers=["CPUExecutionProvider"])
    z = np.zeros((2, tiny.STEPS, tiny.LATENTS), np.float32)
    expected = SavedModel(attention).signature("decode").call({"z": z})["image"]
    np.testing.assert_allclose(session.run(None, {"z": z})[0], expected, rtol=1e-5)


def test_a_single_row_that_differs_is_refused(attention: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 32 it would be below the tolerance of them all."""
    source = verification.Source(str(attention))
    answers = source.signatures["decode"].call(source.inputs("decode"))
    assert source.difference("decode", answers, "This") < 1e-6
    answers["image"][9] *= np.float32(1 + 1.5e-4)
    monkeypatch.setattr(verification, "TOLERANCE", 1e-4)
    with pytest.raises(verification.NotEqual, match=r"This gives another image .* in one row by 0\.00015"):
        source.difference("decode", answers, "This")
    for spoilt in ({}, {"image": answers["image"][:, 1:]}, {"image": answers["image"].astype(np.float64)}):
        with pytest.raises(verification.NotEqual, match="decode: This gives"):
            source.difference("decode", spoilt, "This")


@pytest.mark.parametrize("scale", [1e-2, 1e-4])
def test_a_model_whose_latent_variables_say_nothing_is_exported(scale: float, tmp_path: Path) -> None:
    """Its KL is what rounding leaves of 1 less 1, in either runtime."""
    task = tiny.MODELS["no_attention"]
    weights = tiny.make_case(task, scale=0.7, seed=6).weights
    small = {name: scale * value if name.startswith("latent/") else value for name, value in weights.items()}
    exporter.export(task, {name: value.astype(np.float32) for name, value in small.items()}, str(tmp_path / "model"))
    assert len(list(onnx_export.export(str(tmp_path / "model"), tmp_path / "onnx"))) == 3
    source = verification.Source(str(tmp_path / "model"))
    answers = source.signatures["encode"].call(source.inputs("encode"))
    assert abs(answers["kl_per_step"]).max() < 1e-3
    answers["kl_per_step"] += np.float32(1e-4)
    with pytest.raises(verification.NotEqual, match="another kl_per_step"):
        source.difference("encode", answers, "This")


@pytest.mark.parametrize("name", ["attention", "no_attention_colour", "classifier"])
def test_tensorflow_lite_has_the_same_signatures_for_any_number_of_rows(name: str, tmp_path: Path) -> None:
    model = save(KINDS[name], tmp_path / "model")
    result = _draw("export", model, "--format", "tflite", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    source = verification.Source(str(model))
    for signature in source.signatures:
        runner = tf.lite.Interpreter(str(tmp_path / "out" / f"{signature}.tflite")).get_signature_runner()
        for rows in (1, 5):
            inputs = {key: value[:rows] for key, value in source.inputs(signature).items()}
            expected = source.signatures[signature].call(inputs)
            for key, value in runner(**inputs).items():
                np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-4 * abs(expected[key]).max())
