"""The part of TF Serving's protocol that a client speaks, as messages that need no TensorFlow.

The generated modules of tensorflow-serving-api import `tensorflow.core...`, and with it all of TensorFlow: ten seconds,
for a dozen messages. They are declared here again, with TF Serving's field numbers: the client is imported in 0.3 s,
and its host needs no TensorFlow at all. A test compares every field with tensorflow-serving-api's.
"""

from __future__ import annotations

from typing import Any

from serving.protos import declare

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
message StringValue { string value = 1; }
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

_CLASSES = declare(_DECLARATIONS, package="draw.serving.client")

StringValue: Any = _CLASSES["StringValue"]
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
"""Request and response class of each method, by its name in gRPC."""
