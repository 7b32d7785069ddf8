"""A SavedModel whose answers a test can work out by hand, and a client for the server that serves it."""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import Server

State = get_model_status_pb2.ModelVersionStatus.State
NAME = "tiny"

Outputs = dict[str, tf.Tensor]


class Tiny(tf.Module):
    """A model whose `double` is offset + 2 x; each other signature shows what `double` cannot."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = tf.Variable(offset, trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def double(self, x: tf.Tensor) -> Outputs:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(tf.abs(x) < 1e6), ["x is out of range."])]):
            return {"y": self.offset + 2 * x, "total": tf.reduce_sum(x, axis=1)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, name="turns"), tf.TensorSpec([None], tf.int64, name="number")]
    )
    def spin(self, turns: tf.Tensor, number: tf.Tensor) -> Outputs:
        """Counts to the greatest of `turns`; `size` is the number of rows that are computed together."""
        limit = tf.reduce_max(turns)
        turned = tf.while_loop(lambda i: i < limit, lambda i: (i + 1,), (tf.constant(0, tf.int64),))[0]
        return {"number": number + 0 * turned, "size": tf.fill(tf.shape(number), tf.size(number))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: tf.Tensor) -> Outputs:
        value = _values(inputs)
        classes = tf.tile(tf.constant([["low", "high"]]), [tf.size(value), 1])
        return {"classes": classes, "scores": tf.stack([1 - value, value], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def measure(self, inputs: tf.Tensor) -> Outputs:
        return {"outputs": self.offset + 10 * _values(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="number")])
    def whole(self, number: tf.Tensor) -> Outputs:
        return {"next": number + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def shout(self, text: tf.Tensor) -> Outputs:
        return {"loud": tf.strings.upper(text), "raw_bytes": text}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def widen(self, x: tf.Tensor) -> Outputs:
        return {"wide": tf.ensure_shape(tf.tile(x, [1, 5000]), [None, 15_000])}


def save(
    base: pathlib.Path, version: int, offset: float, *, warm_up: Sequence[prediction_log_pb2.PredictionLog] = ()
) -> None:
    """Writes the version as an exporter does: whole or not at all."""
    tiny = Tiny(offset)
    names = ("double", "spin", "classify", "measure", "whole", "shout", "widen")
    unfinished = base.parent / f"unfinished-{base.name}-{version}"
    signatures = {name: getattr(tiny, name) for name in names}
    tf.saved_model.save(tiny, str(unfinished), signatures={**signatures, "serving_default": tiny.double})
    if warm_up:
        (unfinished / "assets.extra").mkdir()
        with tf.io.TFRecordWriter(str(unfinished / "assets.extra" / "tf_serving_warmup_requests")) as writer:
            for log in warm_up:
                writer.write(log.SerializeToString())
    base.mkdir(exist_ok=True)
    unfinished.rename(base / str(version))


def request(
    inputs: Mapping[str, object],
    *,
    signature: str = "",
    outputs: Sequence[str] = (),
    model: str = NAME,
    version: int | None = None,
    label: str | None = None,
) -> predict_pb2.PredictRequest:
    """Makes a Predict request of arrays."""
    made = predict_pb2.PredictRequest(output_filter=outputs)
    made.model_spec.name, made.model_spec.signature_name = model, signature
    if version is not None:
        made.model_spec.version.value = version
    if label is not None:
        made.model_spec.version_label = label
    for alias, value in inputs.items():
        made.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return made


def predict_log(made: predict_pb2.PredictRequest) -> prediction_log_pb2.PredictionLog:
    """Makes an entry of a warm-up file."""
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=made))


def rows(*values: float) -> dict[str, np.ndarray]:
    """Makes inputs of `double` with a row for each value: the value, and it plus 1 and 2."""
    return {"x": np.array(values, np.float32)[:, None] + np.arange(3, dtype=np.float32)}


def example(value: float | None) -> tf.train.Example:
    """Makes a tf.Example for `classify` and `measure`; None leaves its feature out."""
    made = tf.train.Example()
    if value is not None:
        made.features.feature["value"].float_list.value.append(value)
    return made


class Client:
    """The stubs of one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, made: predict_pb2.PredictRequest, timeout: float = 20.0) -> dict[str, np.ndarray]:
        response = self.prediction.Predict(made, timeout=timeout)
        return {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}

    def states(self, model: str = NAME) -> dict[int, int]:
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = model
        return {row.version: row.state for row in self.models.GetModelStatus(asked, timeout=20).model_version_status}


@contextlib.contextmanager
def client(port: int) -> Iterator[Client]:
    """Connects to the server on that port of this machine."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        yield Client(channel)


def wait_until_available(server: Server, model: str = NAME, version: int | None = None, timeout: float = 30.0) -> None:
    """Waits until the version, or any where it is None, answers requests; fails with the states where none does."""
    until = time.monotonic() + timeout
    states: dict[int, int] = {}
    with client(server.grpc_port) as asked:
        while True:
            with contextlib.suppress(grpc.RpcError):  # There is none yet.
                states = asked.states(model)
            if any(state == State.AVAILABLE and version in (None, number) for number, state in states.items()):
                return
            assert time.monotonic() < until, states
            time.sleep(0.02)


def _values(inputs: tf.Tensor) -> tf.Tensor:
    return tf.io.parse_example(inputs, {"value": tf.io.FixedLenFeature([], tf.float32)})["value"]
