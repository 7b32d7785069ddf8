"""The client's messages against tensorflow-serving-api's: field by field, and byte by byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor, wrappers_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import wire
from serving.client.errors import BadInput
from serving.client.tensor_codec import from_tensor, to_tensor

OFFICIAL = {
    "StringValue": wrappers_pb2.StringValue,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "PredictionLog": prediction_log_pb2.PredictionLog,
}

_FIELD = descriptor.FieldDescriptor


def _assert_same(ours: Any, official: Any, seen: set[str]) -> None:
    """Every field of ours is the official one, and so on in its messages."""
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    assert ours.fields
    for field in ours.fields:
        other = official.fields_by_name[field.name]
        where = f"{official.full_name}.{field.name}"
        assert field.number == other.number, where
        assert field.label == other.label, where
        if other.type == _FIELD.TYPE_ENUM:
            assert field.type == _FIELD.TYPE_INT32, where
        else:
            assert field.type == other.type, where
        if field.message_type is not None:
            assert field.message_type.GetOptions().map_entry == other.message_type.GetOptions().map_entry, where
            _assert_same(field.message_type, other.message_type, seen)


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_field_is_the_official_one(name: str) -> None:
    _assert_same(getattr(wire, name).DESCRIPTOR, OFFICIAL[name].DESCRIPTOR, set())


def test_the_methods_have_the_official_names() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.names: set[str] = set()

        def unary_unary(self, name: str, **_: object) -> None:
            self.names.add(name)

    channel = Recorder()
    prediction_service_pb2_grpc.PredictionServiceStub(channel)
    model_service_pb2_grpc.ModelServiceStub(channel)
    assert wire.METHODS.keys() <= channel.names


def test_a_request_is_read_by_the_official_message() -> None:
    request = wire.PredictRequest(output_filter=["kl"])
    request.model_spec.name = "digits"
    request.model_spec.version.value = 17
    request.model_spec.signature_name = "score"
    request.inputs["seed"].CopyFrom(to_tensor(np.array([[1, -(2**62)]])))
    official = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert official.model_spec.version.value == 17
    assert official.model_spec.signature_name == "score"
    assert list(official.output_filter) == ["kl"]
    np.testing.assert_array_equal(tf.make_ndarray(official.inputs["seed"]), [[1, -(2**62)]])


ARRAYS = [
    np.array([[0.5, -1.25, np.inf]], np.float32),
    np.array([0.1, 1e300]),
    np.array([[1], [-(2**31)]], np.int32),
    np.array([2**62, -1], np.int64),
    np.array([0, 255], np.uint8),
    np.array([-128, 127], np.int8),
    np.array([-(2**15), 5], np.int16),
    np.array([True, False]),
    np.array([b"\xff\x00", b""], object),
    np.zeros((0, 3), np.float32),
    np.array(2.5, np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_tensors_are_tensorflows(array: np.ndarray) -> None:
    official = tf.make_ndarray(tensor_pb2.TensorProto.FromString(to_tensor(array).SerializeToString()))
    assert official.dtype == array.dtype and official.shape == array.shape
    np.testing.assert_array_equal(official, array)
    for proto in (tf.make_tensor_proto(array), _with_typed_fields(array)):
        back = from_tensor(wire.TensorProto.FromString(proto.SerializeToString()), "x")
        assert back.dtype == array.dtype and back.shape == array.shape
        np.testing.assert_array_equal(back, array)


def _with_typed_fields(array: np.ndarray) -> Any:
    """As TF Serving answers, with a value for each element in the field of its type."""
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    name = {"f4": "float", "f8": "double", "i8": "int64", "b1": "bool", "O": "string"}.get(array.dtype.str[1:], "int")
    getattr(proto, f"{name}_val").extend(array.ravel().tolist())
    return proto


def test_an_array_that_is_not_contiguous_keeps_its_order() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    np.testing.assert_array_equal(from_tensor(to_tensor(array), "x"), array)


def test_an_unknown_dtype_is_not_sent() -> None:
    with pytest.raises(BadInput, match="float16 cannot be sent; expected one of float32, "):
        to_tensor(np.zeros(1, np.float16))
