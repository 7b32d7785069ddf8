"""The full names of TF Serving's two services, with their descriptors where reflection looks for them."""

from __future__ import annotations

import contextlib
import importlib

from google.protobuf import descriptor_pool


def _service(module: str, name: str) -> str:
    # The two modules add their descriptors to protobuf's pool, and then set an attribute of them that protobuf from 4
    # on does not let them set. tensorflow-serving-api 2.19 is the newest there is.
    with contextlib.suppress(AttributeError):
        importlib.import_module(f"tensorflow_serving.apis.{module}")
    full_name: str = descriptor_pool.Default().FindServiceByName(f"tensorflow.serving.{name}").full_name
    return full_name


PREDICTION_SERVICE = _service("prediction_service_pb2", "PredictionService")
MODEL_SERVICE = _service("model_service_pb2", "ModelService")
