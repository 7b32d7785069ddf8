"""The model server, asked over a socket."""

from __future__ import annotations

import http.client
import json
import math
import pathlib
import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from serving.server import Server, ServerConfig, models_from_folder
from serving.server.batching import BatchingParameters
from serving.server.served_models import ModelConfig
from tests.serving import tiny_servable
from tests.serving.tiny_servable import NAME, Client, State, predict_log, request, rows
from tests.waiting import wait_for

# A busy machine draws slowly.
_UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_POLL = 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    base = tmp_path_factory.mktemp("models") / NAME
    tiny_servable.save(base, 3, offset=0.25)
    tiny_servable.save(base, 12, offset=0.5)
    return base


@pytest.fixture(scope="module", params=["alone", "batching"])
def client(request: pytest.FixtureRequest, folder: pathlib.Path) -> Iterator[Client]:
    sizes = BatchingParameters(max_batch_size=40, allowed_batch_sizes=(3, 40), batch_timeout_micros=500)
    options = ServerConfig(
        models=models_from_folder(folder),
        batching=sizes if request.param == "batching" else None,
        max_request_rows=40,
        max_message_bytes=6 * 2**20,
    )
    with Server(options) as server, tiny_servable.client(server.grpc_port) as made:
        yield made


@pytest.fixture
def base(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of its own, for tests that change it, with version 1."""
    tiny_servable.save(tmp_path / NAME, 1, offset=1.0)
    return tmp_path / NAME


def _served(base: pathlib.Path, **options: object) -> Server:
    return Server(ServerConfig(models=models_from_folder(base), file_system_poll_wait_seconds=_POLL, **options))


def _refusal(call: object) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()  # type: ignore[operator]
    return caught.value


def test_the_answer_is_the_models_and_names_what_answered(client: Client) -> None:
    response = client.prediction.Predict(request(rows(1, -4)), timeout=20)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), [[2.5, 4.5, 6.5], [-7.5, -5.5, -3.5]])
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["total"]), [6, -9])
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (NAME, 12, "serving_default")


def test_the_output_filter_leaves_out_the_rest(client: Client) -> None:
    assert set(client.predict(request(rows(1), outputs=["total"]))) == {"total"}


def test_values_may_be_sent_one_by_one_and_the_last_repeats(client: Client) -> None:
    made = request(rows(1))
    made.inputs["x"].ClearField("tensor_content")
    made.inputs["x"].float_val.extend([3.0, 5.0])
    np.testing.assert_array_equal(client.predict(made)["total"], [3 + 5 + 5])


def test_strings_come_back_as_they_are(client: Client) -> None:
    text = np.array([b"a\xff\x00", b"", b"zoo"], object)
    outputs = client.predict(request({"text": text}, signature="shout"))
    assert outputs["raw_bytes"].tolist() == text.tolist()
    assert outputs["loud"].tolist() == [b"A\xff\x00", b"", b"ZOO"]


def test_a_signature_without_rows_is_computed_by_itself(client: Client) -> None:
    assert client.predict(request({"number": np.int32(41)}, signature="whole"))["next"] == 42


_BAD = {
    "no model_spec": (predict_pb2.PredictRequest(), _INVALID, "no model_spec"),
    "no model": (request(rows(1), model=""), _INVALID, "names no model"),
    "unknown model": (request(rows(1), model="big"), grpc.StatusCode.NOT_FOUND, r"no model 'big'.*\['tiny'\]"),
    "unknown version": (request(rows(1), version=7), grpc.StatusCode.NOT_FOUND, r"Version 7 .* these are: \[12\]"),
    "unknown label": (request(rows(1), label="best"), _INVALID, "no version label 'best'"),
    "unknown signature": (
        request(rows(1), signature="triple"),
        grpc.StatusCode.FAILED_PRECONDITION,
        r"no signature 'triple', only \[.*'double'",
    ),
    "missing input": (request({}), _INVALID, r"takes 'x' float32 \[\?, 3\]. Missing: \['x'\]"),
    "unknown input": (request({**rows(1), "z": 1.0}), _INVALID, r"unknown: \['z'\]"),
    "unknown output": (request(rows(1), outputs=["q"]), _INVALID, r"no output 'q' .*\['total', 'y'\]"),
    "output twice": (request(rows(1), outputs=["y", "y"]), _INVALID, "twice"),
    "dtype": (request({"x": np.ones((1, 3))}), _INVALID, "'x' is float64; the signature takes float32"),
    "rank": (request({"x": np.ones(3, np.float32)}), _INVALID, r"shape \[3\]; the signature takes float32 \[\?, 3\]"),
    "shape": (request({"x": np.ones((1, 4), np.float32)}), _INVALID, r"shape \[1, 4\]"),
    "no rows": (request({"x": np.ones((0, 3), np.float32)}), _INVALID, "empty.*at least one row"),
    "many rows": (request({"x": np.ones((41, 3), np.float32)}), _INVALID, "41 rows.*at most 40"),
    "rows differ": (
        request({"turns": np.ones(2, np.int64), "number": np.ones(3, np.int64)}, signature="spin"),
        _INVALID,
        "same number of rows",
    ),
    "NaN": (request(rows(1, math.nan)), _INVALID, r"^x is out of range\.$"),
    "infinity": (request(rows(math.inf)), _INVALID, "out of range"),
}


@pytest.mark.parametrize("case", _BAD)
def test_a_bad_request_is_refused_with_the_reason(client: Client, case: str) -> None:
    made, code, message = _BAD[case]
    refusal = _refusal(lambda: client.predict(made))
    assert refusal.code() == code
    assert re.search(message, refusal.details()), refusal.details()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensor_content": b"1234"}, r"4 bytes; shape \[2, 3\] of float32 has 24"),
        ({"float_val": [1.0] * 7}, r"7 values; its shape \[2, 3\] has 6"),
        ({}, "0 values"),
        ({"dtype": 99, "tensor_content": bytes(24)}, "unknown dtype 99"),
        ({"dtype": 0, "tensor_content": bytes(24)}, "of no dtype"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(client: Client, change: dict[str, object], message: str) -> None:
    made = request({"x": np.ones((2, 3), np.float32)})
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, tensor_shape=made.inputs["x"].tensor_shape)
    proto.MergeFrom(tensor_pb2.TensorProto(**change))
    if "dtype" in change:
        proto.dtype = change["dtype"]
    made.inputs["x"].CopyFrom(proto)
    refusal = _refusal(lambda: client.predict(made))
    assert refusal.code() == _INVALID
    assert re.search(message, refusal.details()), refusal.details()


def test_as_many_rows_as_the_limit_are_taken(client: Client) -> None:
    assert client.predict(request(rows(*range(40))))["total"].tolist() == [3 * value + 3 for value in range(40)]
    made = classification_pb2.ClassificationRequest()
    made.model_spec.name, made.model_spec.signature_name = NAME, "classify"
    made.input.example_list.examples.extend(map(tiny_servable.example, [0.25] * 40))
    assert len(client.prediction.Classify(made, timeout=20).result.classifications) == 40


def test_a_shape_beyond_memory_is_refused_before_it_is_made(client: Client) -> None:
    made = request({"text": np.array([b"a"], object)}, signature="shout")
    made.inputs["text"].tensor_shape.dim[0].size = 2**62
    assert _refusal(lambda: client.predict(made)).code() == _INVALID


def test_five_megabytes_are_taken_and_seven_are_not(client: Client) -> None:
    made = request({"text": np.array([b"a" * 5 * 2**20], object)}, signature="shout", outputs=["loud"])
    assert client.predict(made)["loud"].tolist() == [b"A" * 5 * 2**20]
    large = request({"text": np.array([b"a" * 7 * 2**20], object)}, signature="shout")
    assert _refusal(lambda: client.predict(large)).code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_answer_beyond_the_limit_is_refused(folder: pathlib.Path) -> None:
    with (
        _served(folder, max_response_bytes=96, rest_api_port=None) as server,
        tiny_servable.client(server.grpc_port) as client,
    ):
        assert len(client.predict(request(rows(*range(8)), outputs=["y"]))["y"]) == 8
        refusal = _refusal(lambda: client.predict(request(rows(*range(8)))))
        assert refusal.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "128 bytes" in refusal.details() and "at most 96" in refusal.details()
        assert server.rest_port == 0


_SHAPES = st.lists(st.integers(-2, 5), max_size=4)
_NUMBERS = st.lists(st.floats(width=32), max_size=20)


@st.composite
def _tensors(make: st.DrawFn) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=make(st.sampled_from([0, 1, 1, 1, 2, 3, 7, 9, 10, 14, 19, 101, 7000])))
    for size in make(st.one_of(_SHAPES, st.just([2, 3]), st.just([2**40, 3]))):
        proto.tensor_shape.dim.add().size = size
    proto.tensor_shape.unknown_rank = make(st.integers(0, 9)) == 0
    proto.float_val.extend(make(_NUMBERS))
    proto.int64_val.extend(make(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
    proto.string_val.extend(make(st.lists(st.binary(max_size=9), max_size=3)))
    proto.tensor_content = make(st.one_of(st.just(b""), st.binary(max_size=50), st.binary(min_size=24, max_size=24)))
    return proto


@settings(max_examples=150, deadline=None, suppress_health_check=_UNCHECKED)
@given(
    tensors=st.dictionaries(st.sampled_from(["x", "text", "number", "turns", ""]), _tensors(), max_size=2),
    signature=st.sampled_from(["", "double", "shout", "whole", "measure", "é"]),
    outputs=st.lists(st.sampled_from(["y", "total", "loud"]), max_size=2),
)
def test_whatever_is_sent_gets_a_right_answer_or_a_reason(
    client: Client, tensors: dict[str, tensor_pb2.TensorProto], signature: str, outputs: list[str]
) -> None:
    made = request({}, signature=signature, outputs=outputs)
    for alias, proto in tensors.items():
        made.inputs[alias].CopyFrom(proto)
    call = client.prediction.Predict.future(made, timeout=20)
    if call.code() != grpc.StatusCode.OK:
        assert call.code() in (_INVALID, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED)
        assert call.details()
    elif signature in ("", "double"):
        sent = tf.make_ndarray(tensors["x"]).reshape(-1, 3)
        expected = {"y": 0.5 + 2 * sent, "total": sent.sum(axis=1, dtype=np.float64)}
        for alias, proto in call.result().outputs.items():
            np.testing.assert_allclose(tf.make_ndarray(proto), expected[alias], rtol=1e-5, atol=0.5)


def test_classify(client: Client) -> None:
    made = classification_pb2.ClassificationRequest()
    made.model_spec.name, made.model_spec.signature_name = NAME, "classify"
    made.input.example_list.examples.extend(map(tiny_servable.example, (0.25, 0.875)))
    response = client.prediction.Classify(made, timeout=20)
    shown = [[(chosen.label, chosen.score) for chosen in row.classes] for row in response.result.classifications]
    assert shown == [[("low", 0.75), ("high", 0.25)], [("low", 0.125), ("high", 0.875)]]
    assert response.model_spec.version.value == 12 and response.model_spec.signature_name == "classify"


def test_an_examples_own_feature_wins_over_the_contexts(client: Client) -> None:
    made = classification_pb2.ClassificationRequest()
    made.model_spec.name, made.model_spec.signature_name = NAME, "classify"
    made.input.example_list_with_context.context.CopyFrom(tiny_servable.example(0.5))
    made.input.example_list_with_context.examples.extend(map(tiny_servable.example, (None, 0.25)))
    response = client.prediction.Classify(made, timeout=20)
    assert [row.classes[1].score for row in response.result.classifications] == [0.5, 0.25]


def test_regress_and_multi_inference_are_not_implemented(client: Client) -> None:
    for call, made in (
        (client.prediction.Regress, regression_pb2.RegressionRequest()),
        (client.prediction.MultiInference, inference_pb2.MultiInferenceRequest()),
    ):
        assert _refusal(lambda call=call, made=made: call(made, timeout=20)).code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("signature", "examples", "message"),
    [
        ("classify", [], "empty"),
        ("nope", [0.5], "no signature 'nope'"),
        ("double", [0.5], "needs one input of serialized"),
        ("measure", [0.5], r"gives \['outputs'\]; this request needs classes"),
        ("classify", [None], "value"),
        ("classify", [0.5] * 41, "41 examples.*at most 40"),
    ],
)
def test_a_bad_classification_is_refused_with_the_reason(
    client: Client, signature: str, examples: list[float | None], message: str
) -> None:
    made = classification_pb2.ClassificationRequest()
    made.model_spec.name, made.model_spec.signature_name = NAME, signature
    made.input.example_list.examples.extend(map(tiny_servable.example, examples))
    refusal = _refusal(lambda: client.prediction.Classify(made))
    assert refusal.code() == _INVALID
    assert re.search(message, refusal.details()), refusal.details()


def test_metadata_are_the_signatures(client: Client) -> None:
    made = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    made.model_spec.name = NAME
    response = client.prediction.GetModelMetadata(made, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 12
    assert signatures.signature_def["double"].inputs["x"].dtype == tf.float32.as_datatype_enum
    assert set(signatures.signature_def["double"].outputs) == {"y", "total"}
    made.metadata_field[:] = ["task"]
    assert dict(client.prediction.GetModelMetadata(made, timeout=20).metadata) == {}  # the model has none
    for fields in ([], ["assets"]):
        del made.metadata_field[:]
        made.metadata_field.extend(fields)
        assert _refusal(lambda: client.prediction.GetModelMetadata(made)).code() == _INVALID


def test_health_and_reflection(client: Client) -> None:
    stub = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        status = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status
        assert status == health_pb2.HealthCheckResponse.SERVING
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (listed,) = reflection_pb2_grpc.ServerReflectionStub(client.channel).ServerReflectionInfo(asked, timeout=20)
    names = {service.name for service in listed.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("batching", [None, BatchingParameters(num_batch_threads=2)])
def test_a_new_version_takes_over_without_a_failed_request(
    base: pathlib.Path, batching: BatchingParameters | None
) -> None:
    stop = threading.Event()
    seen: list[tuple[int, float]] = []
    failures: list[Exception] = []

    def ask(client: Client) -> None:
        while not stop.is_set():
            try:
                response = client.prediction.Predict(request(rows(0), outputs=["y"]), timeout=20)
                seen.append((response.model_spec.version.value, tf.make_ndarray(response.outputs["y"])[0, 0]))
            except grpc.RpcError as error:
                failures.append(error)

    def ask_rest(url: str) -> None:
        while not stop.is_set():
            try:
                with urllib.request.urlopen(url, b'{"inputs": [[0, 1, 2]]}', timeout=20) as answer:
                    assert json.loads(answer.read())["outputs"]["y"][0][0] in (1, 2, 3, 4)
            except (OSError, AssertionError) as error:
                failures.append(error)

    with _served(base, batching=batching) as server, tiny_servable.client(server.grpc_port) as client:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/{NAME}:predict"
        callers = [threading.Thread(target=ask, args=(client,)) for _ in range(6)]
        callers += [threading.Thread(target=ask_rest, args=(url,)) for _ in range(3)]
        for caller in callers:
            caller.start()
        for version in (2, 3, 4):
            tiny_servable.save(base, version, offset=float(version))
            wait_for(lambda version=version: version in {number for number, _ in seen})
        wait_for(lambda: client.states() == {1: State.END, 2: State.END, 3: State.END, 4: State.AVAILABLE})
        count = len(seen)
        wait_for(lambda: len(seen) > count + 20)
        stop.set()
        for caller in callers:
            caller.join()
    assert not failures
    assert {version for version, _ in seen} == {1, 2, 3, 4}
    assert all(offset == version for version, offset in seen)


def test_a_version_stays_for_the_requests_that_it_works_for_and_for_no_others(
    base: pathlib.Path, held: threading.Event
) -> None:
    held.set()
    with _served(base) as server, tiny_servable.client(server.grpc_port) as client:
        # None of these may keep the version: refused before, refused by TensorFlow, and given up by the caller.
        for made in (
            request(rows(1), signature="triple"),
            request({"x": np.ones((1, 4), np.float32)}),
            request(rows(math.nan)),
        ):
            assert _code_of(client, made) is not None
        for verb, body in (("predict", {"inputs": 1}), ("classify", {"examples": [{}]})):
            url = f"http://127.0.0.1:{server.rest_port}/v1/models/{NAME}:{verb}"
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(url, json.dumps(body).encode(), timeout=20)
        held.clear()
        servable = server._models._versions[NAME]._servables[1]
        wait_for(lambda: not servable.in_use)
        answer, given_up = (client.prediction.Predict.future(request(rows(1)), timeout=60) for _ in range(2))
        wait_for(lambda: servable._holders == 2)
        given_up.cancel()
        wait_for(lambda: servable._holders == 1)
        tiny_servable.save(base, 2, offset=2.0)
        wait_for(lambda: client.states() == {1: State.UNLOADING, 2: State.AVAILABLE})
        held.set()
        assert answer.result().model_spec.version.value == 1
        wait_for(lambda: client.states() == {1: State.END, 2: State.AVAILABLE})


def test_a_broken_version_is_reported_and_the_old_one_stays(base: pathlib.Path) -> None:
    with _served(base) as server, tiny_servable.client(server.grpc_port) as client:
        # A folder without the graph may still be copied, and is no version yet.
        (base / "5").mkdir()
        (base / "temp-6").mkdir()
        tiny_servable.save(base, 2, offset=2.0, warm_up=[predict_log(request(rows(1), model="any", version=9))])
        tiny_servable.wait_until_available(server, NAME, 2)
        assert 5 not in client.states()
        (base / "5" / "saved_model.pb").write_bytes(b"no graph")
        wait_for(lambda: client.states().get(5) == State.END)
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name, asked.model_spec.version.value = NAME, 5
        (status,) = client.models.GetModelStatus(asked).model_version_status
        assert status.status.error_code == _INVALID.value[0] and "is no SavedModel" in status.status.error_message
        np.testing.assert_array_equal(client.predict(request(rows(0)))["y"], [[2, 4, 6]])

        # The copy goes on, and what was broken is tried again.
        shutil.rmtree(base / "5")
        tiny_servable.save(base, 5, offset=5.0)
        tiny_servable.wait_until_available(server, NAME, 5)
        np.testing.assert_array_equal(client.predict(request(rows(0)))["y"], [[5, 7, 9]])

        # The pushed model may be removed, all versions at once; what is served stays.
        base.rename(base.with_name("removed"))
        time.sleep(4 * _POLL)
        np.testing.assert_array_equal(client.predict(request(rows(0)))["y"], [[5, 7, 9]])


def _classify_log(value: float | None) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    made = log.classify_log.request
    made.model_spec.signature_name = "classify"
    made.input.example_list.examples.append(tiny_servable.example(value))
    return log


def test_a_version_that_fails_its_warm_up_is_not_served(base: pathlib.Path) -> None:
    good = [predict_log(request(rows(1))), _classify_log(0.5)]
    bad = {
        2: (predict_log(request(rows(math.nan))), r"Warm-up request 3 .* x is out of range"),
        3: (_classify_log(None), r"Warm-up request 3 .*value"),
        4: (prediction_log_pb2.PredictionLog(regress_log={}), "Warm-up request 3 .*predict and classify logs only"),
    }
    with _served(base) as server, tiny_servable.client(server.grpc_port) as client:
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = NAME
        for version, (log, reason) in bad.items():
            tiny_servable.save(base, version, offset=2.0, warm_up=[*good, log])
            wait_for(lambda version=version: client.states().get(version) == State.END)
            broken = client.models.GetModelStatus(asked).model_version_status[0]
            assert broken.version == version and re.search(reason, broken.status.error_message)
        assert client.prediction.Predict(request(rows(0))).model_spec.version.value == 1
        tiny_servable.save(base, 5, offset=5.0, warm_up=good)
        tiny_servable.wait_until_available(server, NAME, 5)


def test_health_says_when_one_of_two_models_cannot_be_asked(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / NAME).mkdir()
    models = {"other": ModelConfig(base_path=folder), **models_from_folder(tmp_path / NAME)}
    config = ServerConfig(models=models, file_system_poll_wait_seconds=_POLL)
    with Server(config) as server, tiny_servable.client(server.grpc_port) as client:
        stub = health_pb2_grpc.HealthStub(client.channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert _refusal(lambda: client.predict(request(rows(1)))).code() == grpc.StatusCode.NOT_FOUND
        assert _refusal(client.states).code() == grpc.StatusCode.NOT_FOUND
        assert client.predict(request(rows(0), model="other"))["y"][0, 0] == 0.5
        tiny_servable.save(tmp_path / NAME, 8, offset=8.0)
        tiny_servable.wait_until_available(server, NAME)
        wait_for(lambda: stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING)


def test_models_labels_and_policies_come_from_a_configuration(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    written = tmp_path / "models.config"
    written.write_text(f"""
        model_config_list {{
          config {{
            name: "tiny" base_path: "{folder}" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 3 }}
          }}
        }}""")
    options = ServerConfig(
        model_config_file=written,
        model_config_file_poll_wait_seconds=_POLL,
        allow_reload_config=True,
        model_roots=(other,),
    )
    with Server(options) as server, tiny_servable.client(server.grpc_port) as client:
        assert client.states() == {3: State.AVAILABLE, 12: State.AVAILABLE}
        assert client.predict(request(rows(0), label="stable"))["y"][0, 0] == 0.25
        assert client.predict(request(rows(0), version=3))["y"][0, 0] == 0.25
        assert client.predict(request(rows(0)))["y"][0, 0] == 0.5

        config = f"""
            config {{ name: "tiny" base_path: "{folder}" version_labels {{ key: "stable" value: 12 }} }}
            config {{
              name: "other" base_path: "{other}" model_version_policy {{ specific {{ versions: 3 }} }}
              version_labels {{ key: "stable" value: 3 }}
            }}"""
        reload = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(config, reload.config.model_config_list)
        assert client.models.HandleReloadConfigRequest(reload, timeout=20).status.error_code == 0
        assert client.predict(request(rows(0), label="stable"))["y"][0, 0] == 0.5
        assert client.predict(request(rows(0), model="other"))["y"][0, 0] == 0.25
        assert client.predict(request(rows(0), model="other", label="stable"))["y"][0, 0] == 0.25
        wait_for(lambda: client.states() == {3: State.END, 12: State.AVAILABLE})

        # Of a configuration with one wrong label no label takes effect.
        first, second = reload.config.model_config_list.config
        first.model_version_policy.all.SetInParent()
        first.version_labels["stable"] = 3
        second.version_labels["new"] = 99
        refusal = _refusal(lambda: client.models.HandleReloadConfigRequest(reload))
        assert refusal.code() == grpc.StatusCode.FAILED_PRECONDITION and "version 99" in refusal.details()
        assert client.predict(request(rows(0), version=3))["y"][0, 0] == 0.25
        assert client.predict(request(rows(0), label="stable"))["y"][0, 0] == 0.5
        assert _code_of(client, request(rows(0), model="other", label="new")) == _INVALID
        assert client.predict(request(rows(0), model="other"))["y"][0, 0] == 0.25

        # Of a configuration with one wrong model no model does.
        first.name, second.base_path = "third", "relative"
        refusal = _refusal(lambda: client.models.HandleReloadConfigRequest(reload))
        assert refusal.code() == _INVALID and "relative base_path" in refusal.details()
        assert _code_of(client, request(rows(0), model="third")) == grpc.StatusCode.NOT_FOUND
        assert client.predict(request(rows(0)))["y"][0, 0] == 0.5
        refusal = _refusal(lambda: client.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest()))
        assert refusal.code() == _INVALID and "model_config_list" in refusal.details()

        # The file is read again when it changes; one that is wrong changes nothing.
        written.write_text("model_config_list { config {")
        time.sleep(4 * _POLL)
        assert client.predict(request(rows(0), model="other"))["y"][0, 0] == 0.25
        written.write_text(f'model_config_list {{ config {{ name: "other" base_path: "{other}" }} }}')
        wait_for(lambda: _code_of(client, request(rows(0))) == grpc.StatusCode.NOT_FOUND)
        assert client.predict(request(rows(0), model="other"))["y"][0, 0] == 0.5


@pytest.mark.parametrize("protocol", ["gRPC", "REST"])
@pytest.mark.parametrize("batching", [None, BatchingParameters(num_batch_threads=1, max_batch_size=1)])
def test_a_stop_answers_what_is_under_way(
    folder: pathlib.Path, batching: BatchingParameters | None, protocol: str, held: threading.Event
) -> None:
    server = _served(folder, grpc_max_threads=1, batching=batching)
    server.start()

    def waiting() -> float:
        page = f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(page, timeout=20) as answer:
            return float(re.search(rb"^draw_serving_waiting_requests (.*)$", answer.read(), re.MULTILINE)[1])

    def ask(number: int) -> list[int]:
        inputs = {"turns": [0], "number": [number]}
        if protocol == "gRPC":
            arrays = {alias: np.array(value) for alias, value in inputs.items()}
            return client.predict(request(arrays, signature="spin"), timeout=60)["number"].tolist()
        body = json.dumps({"signature_name": "spin", "inputs": inputs}).encode()
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/{NAME}:predict"
        with urllib.request.urlopen(url, body, timeout=60) as answer:
            return json.loads(answer.read())["outputs"]["number"]

    with tiny_servable.client(server.grpc_port) as client, futures.ThreadPoolExecutor(3) as callers:
        answers = [callers.submit(ask, number) for number in range(3)]
        # One is computed, and the others wait for the only thread.
        wait_for(lambda: waiting() == 2)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        stopping.join(0.5)
        assert stopping.is_alive()
        held.set()
        assert [answer.result() for answer in answers] == [[0], [1], [2]]
        stopping.join(20)
        assert not stopping.is_alive()
        server.stop()


def test_a_stop_waits_for_a_rest_caller_that_reads_slowly(folder: pathlib.Path) -> None:
    server = _served(folder)
    server.start()
    body = json.dumps({"signature_name": "shout", "instances": ["a" * 10 * 2**20]}).encode()
    with socket.socket() as caller:
        # Less than the answer, which would else fit into the buffers of the two sockets.
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        caller.settimeout(20)
        caller.connect(("127.0.0.1", server.rest_port))
        head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        with http.client.HTTPResponse(caller) as answer:
            answer.begin()
            assert answer.status == 200
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            stopping.join(0.5)
            assert stopping.is_alive()
            assert len(answer.read()) > 20 * 2**20
            stopping.join(20)
            assert not stopping.is_alive()


def test_a_port_that_is_taken_is_reported(base: pathlib.Path) -> None:
    with _served(base) as server:
        with pytest.raises(OSError, match=f"gRPC cannot listen on 127.0.0.1:{server.grpc_port}"):
            _served(base, port=server.grpc_port).start()
        with pytest.raises(OSError, match=f"REST cannot listen on 127.0.0.1:{server.rest_port}"):
            _served(base, rest_api_port=server.rest_port).start()


def _code_of(client: Client, made: predict_pb2.PredictRequest) -> grpc.StatusCode | None:
    try:
        client.predict(made)
    except grpc.RpcError as error:
        return error.code()
    return None
