"""The part of TF Serving's protocol that a client speaks, as messages that need no TensorFlow.

The generated modules of tensorflow-serving-api import `tensorflow.core...`, and with it all of TensorFlow: ten seconds,
for a dozen messages. Those are declared here anew, with TF Serving's field numbers, in a descriptor pool of their own,
so that a program may import TensorFlow's besides; the client is imported in 0.3 s, and its host needs no TensorFlow at
all. What is on the wire is the same, and a test holds every field against tensorflow-serving-api's.

An enum is declared as int32, which is the same on the wire.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "draw.serving"

# From tensorflow/core: framework/tensor.proto, tensor_shape.proto, protobuf/meta_graph.proto.
# From tensorflow_serving/apis: model.proto, predict.proto, get_model_status.proto, get_model_metadata.proto,
# prediction_log.proto. From google/protobuf: any.proto and wrappers.proto.
_DECLARATIONS = """
message Dim { int64 size = 1; }
message TensorShapeProto { repeated Dim dim = 2; bool unknown_rank = 3; }
message TensorProto {
  int32 dtype = 1; TensorShapeProto tensor_shape = 2; bytes tensor_content = 4;
  repeated float float_val = 5; repeated double double_val = 6; repeated int32 int_val = 7;
  repeated bytes string_val = 8; repeated int64 int64_val = 10; repeated bool bool_val = 11;
}
message TensorInfo { string name = 1; int32 dtype = 2; TensorShapeProto tensor_shape = 3; }
message SignatureDef {
  map<string, TensorInfo> inputs = 1; map<string, TensorInfo> outputs = 2; string method_name = 3;
}
message Int64Value { int64 value = 1; }
message Any { string type_url = 1; bytes value = 2; }
message ModelSpec { string name = 1; Int64Value version = 2; string version_label = 4; string signature_name = 3; }
message PredictRequest {
  ModelSpec model_spec = 1; map<string, TensorProto> inputs = 2; repeated string output_filter = 3;
}
message PredictResponse { ModelSpec model_spec = 2; map<string, TensorProto> outputs = 1; }
message GetModelStatusRequest { ModelSpec model_spec = 1; }
message StatusProto { int32 error_code = 1; string error_message = 2; }
message ModelVersionStatus { int64 version = 1; int32 state = 2; StatusProto status = 3; }
message GetModelStatusResponse { repeated ModelVersionStatus model_version_status = 1; }
message GetModelMetadataRequest { ModelSpec model_spec = 1; repeated string metadata_field = 2; }
message GetModelMetadataResponse { ModelSpec model_spec = 1; map<string, Any> metadata = 2; }
message SignatureDefMap { map<string, SignatureDef> signature_def = 1; }
message PredictLog { PredictRequest request = 1; PredictResponse response = 2; }
message PredictionLog { PredictLog predict_log = 6; }
"""

_MESSAGE = re.compile(r"message (\w+) \{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"(repeated )?(?:map<string, (\w+)>|(\w+)) (\w+) = (\d+);")
_KIND = descriptor_pb2.FieldDescriptorProto


def _declare(declarations: str) -> dict[str, Any]:
    """The messages' classes by name."""
    file = descriptor_pb2.FileDescriptorProto(name="draw/serving/client/wire.proto", package=_PACKAGE, syntax="proto3")
    for name, body in _MESSAGE.findall(declarations):
        message = file.message_type.add(name=name)
        for repeated, map_value, kind, field, number in _FIELD.findall(body):
            if map_value:
                # What protoc makes of a map field.
                entry = message.nested_type.add(name="".join(part.title() for part in field.split("_")) + "Entry")
                entry.options.map_entry = True
                _add_field(entry, "string", "key", 1)
                _add_field(entry, map_value, "value", 2)
                kind, repeated = f"{name}.{entry.name}", "repeated"
            _add_field(message, kind, field, int(number), repeated=bool(repeated))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {message.name: _message_class(pool, message.name) for message in file.message_type}


def _add_field(message: Any, kind: str, name: str, number: int, *, repeated: bool = False) -> None:
    field = message.field.add(name=name, number=number)
    field.label = _KIND.LABEL_REPEATED if repeated else _KIND.LABEL_OPTIONAL
    scalar = f"TYPE_{kind.upper()}"
    if scalar in _KIND.Type.DESCRIPTOR.values_by_name:
        field.type = _KIND.Type.Value(scalar)
    else:
        field.type = _KIND.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


def _message_class(pool: Any, name: str) -> Any:
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    # protobuf 3.20 has the one, protobuf 5 and later the other.
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


_CLASSES = _declare(_DECLARATIONS)

TensorProto: Any = _CLASSES["TensorProto"]
TensorInfo: Any = _CLASSES["TensorInfo"]
ModelSpec: Any = _CLASSES["ModelSpec"]
PredictRequest: Any = _CLASSES["PredictRequest"]
PredictResponse: Any = _CLASSES["PredictResponse"]
GetModelStatusRequest: Any = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse: Any = _CLASSES["GetModelStatusResponse"]
GetModelMetadataRequest: Any = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse: Any = _CLASSES["GetModelMetadataResponse"]
SignatureDefMap: Any = _CLASSES["SignatureDefMap"]
PredictionLog: Any = _CLASSES["PredictionLog"]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

METHODS = {
    PREDICT: (PredictRequest, PredictResponse),
    GET_MODEL_METADATA: (GetModelMetadataRequest, GetModelMetadataResponse),
    GET_MODEL_STATUS: (GetModelStatusRequest, GetModelStatusResponse),
}
"""By name as gRPC has it: what it takes and gives."""
