"""The warm-up file of a SavedModel: requests that TF Serving replays before a version is available.

It is a TFRecord file of PredictionLog messages, at most 1,000:
https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from serving.client import wire
from serving.client.tensor_codec import to_tensor

Request = tuple[str, Mapping[str, np.ndarray]]
"""A signature's name and its inputs."""


def write_warmup(path: str, requests: Iterable[Request]) -> None:
    """Writes the requests to `path`; they name no model, because a server replays them to the model beside the file."""
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in requests:
            log = wire.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(to_tensor(array))
            writer.write(log.SerializeToString())
