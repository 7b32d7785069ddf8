"""Triton's model repository, against the message that Triton reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from pipeline.cli.main import main
from pipeline.portable import triton_config
from tests import tiny
from tests.pipeline.portable.conftest import Case, save

SCHEMA = Path(__file__).with_name("triton_model_config.binpb")
"""The descriptor of model_config.proto, from tritonclient 2.73.0 (NVIDIA, BSD 3-clause)."""


def _config(text: str) -> Any:
    """The text as inference.ModelConfig. Raises ParseError for what is none."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(SCHEMA.read_bytes()))
    descriptor = pool.FindMessageTypeByName("inference.ModelConfig")
    if hasattr(message_factory, "GetMessageClass"):
        kind = message_factory.GetMessageClass(descriptor)
    else:
        kind = message_factory.MessageFactory(pool).GetPrototype(descriptor)
    return text_format.Parse(text, kind())


def test_a_repository_has_a_folder_a_model(tmp_path: Path) -> None:
    model = save(tiny.MODELS["attention"], tmp_path / "model")
    result = CliRunner().invoke(main, ["export", str(model), "--format", "triton", "-o", str(tmp_path / "models")])
    assert result.exit_code == 0, result.output
    files = sorted(path.relative_to(tmp_path / "models").as_posix() for path in (tmp_path / "models").rglob("*.*"))
    names = [f"tiny_{name}" for name in ("decode", "decode_sequence", "encode")]
    assert files == sorted(f"{name}/{file}" for name in names for file in ("1/model.onnx", "config.pbtxt"))
    for name in names:
        # Triton wants the folder's name.
        assert _config((tmp_path / "models" / name / "config.pbtxt").read_text()).name == name


def test_a_configuration_is_that_of_the_file(case: Case) -> None:
    """Of every kind of model: Triton compares types and sizes, with the rows that it adds where it merges requests."""
    for exported in case.exported:
        model = onnx.load(exported.path)
        config = _config(triton_config.text(model, "name"))
        assert (config.name, config.backend) == ("name", "onnxruntime")
        assert config.max_batch_size >= 1 and config.dynamic_batching.max_queue_delay_microseconds > 0
        for tensors, values in ((config.input, model.graph.input), (config.output, model.graph.output)):
            assert [tensor.name for tensor in tensors] == [value.name for value in values]
            for tensor, value in zip(tensors, values, strict=True):
                sizes = [size.dim_value for size in value.type.tensor_type.shape.dim][1:]
                shape = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
                assert shape == sizes and list(tensor.dims) == (sizes or [1])
                types = {"TYPE_FP32": onnx.TensorProto.FLOAT, "TYPE_INT64": onnx.TensorProto.INT64}
                name = config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[tensor.data_type].name
                assert types[name] == value.type.tensor_type.elem_type


def test_a_mistake_in_a_configuration_would_be_seen() -> None:
    with pytest.raises(text_format.ParseError, match="max_batch"):
        _config('name: "a"\nmax_batch: 4')
    with pytest.raises(text_format.ParseError, match="TYPE_FLOAT"):
        _config('input [ { name: "z" data_type: TYPE_FLOAT } ]')
