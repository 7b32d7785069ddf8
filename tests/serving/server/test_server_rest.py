"""The model server's REST API and its metrics, asked over a socket."""

from __future__ import annotations

import base64
import http.client
import json
import math
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.server import Server, ServerConfig, models_from_folder
from serving.server.batching import BatchingParameters
from serving.server.prometheus_metrics import Metrics
from tests.serving import tiny_servable

_MODEL = "/v1/models/tiny"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models") / "tiny"
    tiny_servable.save(base, 12, offset=0.5)
    options = ServerConfig(
        models=models_from_folder(base / "12"),
        batching=BatchingParameters(max_batch_size=4),
        rest_api_num_threads=3,
        max_request_bytes=2000,
        max_response_bytes=60,
    )
    with Server(options) as made:
        yield made


def _ask(server: Server, method: str, path: str, body: object = None) -> tuple[int, str]:
    sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    try:
        connection.request(method, path, sent)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _post(server: Server, path: str, body: object) -> Any:
    status, answer = _ask(server, "POST", path, body)
    assert status == 200, answer
    return json.loads(answer)


_DOUBLED = {"y": [[2.5, 4.5, 6.5], [-7.5, 8.5, 0.5]], "total": [6.0, 0.0]}
_X = [[1, 2.0, 3], [-4, 4, 0]]


@pytest.mark.parametrize("place", ["", "/versions/12"])
@pytest.mark.parametrize("named", [True, False])
def test_predict_by_row_and_by_column(server: Server, place: str, named: bool) -> None:
    path = f"{_MODEL}{place}:predict"
    assert _post(server, path, {"inputs": {"x": _X} if named else _X}) == {"outputs": _DOUBLED}
    rows = [{"y": y, "total": total} for y, total in zip(_DOUBLED["y"], _DOUBLED["total"], strict=True)]
    assert _post(server, path, {"instances": [{"x": x} for x in _X] if named else _X}) == {"predictions": rows}


def test_one_output_has_no_name(server: Server) -> None:
    body = {"signature_name": "whole", "inputs": 41}
    assert _post(server, f"{_MODEL}:predict", body) == {"outputs": 42}
    spin = {"signature_name": "measure", "instances": [{"b64": _encoded(tiny_servable.example(0.25))}]}
    assert _post(server, f"{_MODEL}:predict", spin) == {"predictions": [3.0]}


def test_bytes_travel_in_base64(server: Server) -> None:
    encoded = base64.b64encode(b"a\xff").decode()
    answer = _post(server, f"{_MODEL}:predict", {"signature_name": "shout", "instances": ["zoo", {"b64": encoded}]})
    assert answer["predictions"] == [
        {"loud": "ZOO", "raw_bytes": {"b64": base64.b64encode(b"zoo").decode()}},
        {"loud": {"b64": base64.b64encode(b"A\xff").decode()}, "raw_bytes": {"b64": encoded}},
    ]


def test_classify(server: Server) -> None:
    body = {"signature_name": "classify", "examples": [{"value": 0.25}, {"value": [0.875]}]}
    answer = _post(server, f"{_MODEL}:classify", body)
    assert answer == {"results": [[["low", 0.75], ["high", 0.25]], [["low", 0.125], ["high", 0.875]]]}
    body = {"signature_name": "classify", "context": {"value": 0.5}, "examples": [{}, {"value": 0.25}]}
    results = _post(server, f"{_MODEL}:classify", body)["results"]
    assert results == [[["low", 0.5], ["high", 0.5]], [["low", 0.75], ["high", 0.25]]]


def test_status_and_metadata(server: Server) -> None:
    for path in (_MODEL, f"{_MODEL}/versions/12"):
        status, answer = _ask(server, "GET", path)
        assert status == 200
        row = {"version": "12", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        assert json.loads(answer) == {"model_version_status": [row]}
    metadata = json.loads(_ask(server, "GET", f"{_MODEL}/metadata")[1])
    assert metadata["model_spec"] == {"name": "tiny", "signature_name": "", "version": "12"}
    x = metadata["metadata"]["signature_def"]["signature_def"]["double"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT" and [dim["size"] for dim in x["tensor_shape"]["dim"]] == ["-1", "3"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (f"{_MODEL}:predict", {"inputs": [[1, 2]]}, 400, r"shape \[1, 2\]; the signature takes float32 \[\?, 3\]"),
        (f"{_MODEL}:predict", {"inputs": [[1, 2, 3], [4]]}, 400, "ragged"),
        (f"{_MODEL}:predict", {"inputs": [[1, 2, [3]]]}, 400, "ragged"),
        (f"{_MODEL}:predict", {"inputs": [[1, 2, "3"]]}, 400, '^The input holds 1 and "3": send'),
        (f"{_MODEL}:predict", {"inputs": [[1, 2, True]]}, 400, "^The input holds 1 and true: send"),
        (f"{_MODEL}:predict", {"inputs": [[True, True, True]]}, 400, "'x' holds true, which is no float32"),
        (f"{_MODEL}:predict", {"inputs": [[1, None, 2]]}, 400, "^The input holds 1 and null: send"),
        (f"{_MODEL}:predict", {"inputs": [[1, 2, math.nan]]}, 400, r"^x is out of range\.$"),
        (f"{_MODEL}:predict", {"inputs": [[1, 2, 10**400]]}, 400, "no JSON: number is infinity"),
        (f"{_MODEL}:predict", {"inputs": [[0, 0, 0]] * 5}, 400, "5 rows.*at most 4"),
        (f"{_MODEL}:predict", {"inputs": [[0, 0, 0]] * 4}, 429, "64 bytes.*at most 60"),
        (f"{_MODEL}:predict", {"inputs": []}, 400, "shape"),
        (f"{_MODEL}:predict", {"instances": []}, 400, "at least one row"),
        (f"{_MODEL}:predict", {"instances": [{"x": [1, 2, 3]}, {"z": 1}]}, 400, r"names \['z'\]"),
        (f"{_MODEL}:predict", {"inputs": {"z": 1}}, 400, r"Missing: \['x'\]; unknown: \['z'\]"),
        (f"{_MODEL}:predict", {"inputs": [], "instances": []}, 400, "either 'instances'"),
        (f"{_MODEL}:predict", {"inputs": [1, 2], "signature_name": "spin"}, 400, "every value must be named"),
        (f"{_MODEL}:predict", {"inputs": 2.5, "signature_name": "whole"}, 400, "holds 2.5, which is no int32"),
        (f"{_MODEL}:predict", {"inputs": 2**31, "signature_name": "whole"}, 400, "no int32"),
        (f"{_MODEL}:predict", {"inputs": [{"b64": "?"}], "signature_name": "shout"}, 400, "no base64"),
        (f"{_MODEL}:predict", {"inputs": 1, "signature_name": "nope"}, 400, "no signature 'nope'"),
        (f"{_MODEL}:predict", {"inputs": 1, "signature_name": 5}, 400, "'signature_name' must be text"),
        (f"{_MODEL}:predict", [1], 400, "must be a JSON object"),
        (f"{_MODEL}:predict", b"{", 400, "no JSON"),
        (f"{_MODEL}:predict", b"[" * 1900, 400, "no JSON"),
        (f"{_MODEL}:predict", b" " * 2001, 413, "2001 bytes.*at most 2000"),
        (f"{_MODEL}:classify", {"examples": []}, 400, "at least one object"),
        (f"{_MODEL}:classify", {"examples": [{"value": [1, "a"]}]}, 400, "all its values of one kind"),
        (f"{_MODEL}/versions/3:predict", {"inputs": _X}, 404, "Version 3"),
        (f"{_MODEL}/labels/best:predict", {"inputs": _X}, 400, "no version label 'best'"),
        ("/v1/models/big:predict", {"inputs": _X}, 404, "no model 'big'"),
        (f"{_MODEL}:regress", {"examples": [{}]}, 400, "^Malformed request: POST /v1/models/tiny:regress$"),
        (f"{_MODEL}:guess", {}, 400, r"^Malformed request: POST /v1/models/tiny:guess$"),
        ("/v2/models", {}, 404, "nothing at /v2/models"),
        ("/v1/models/big", None, 404, "no model 'big'"),
        ("/v1/models", None, 400, "Malformed request: GET"),
    ],
)
def test_a_bad_request_is_refused_with_the_reason(
    server: Server, path: str, body: object, status: int, message: str
) -> None:
    answered, text = _ask(server, "GET" if body is None else "POST", path, body)
    assert answered == status, text
    ((name, reason),) = json.loads(text).items()
    assert name == "error" and re.search(message, reason), reason


def test_a_body_of_exactly_the_limit_is_taken(server: Server) -> None:
    body = json.dumps({"inputs": _X}).encode().ljust(2000)
    assert _ask(server, "POST", f"{_MODEL}:predict", body)[0] == 200


def test_metrics_count_and_time_requests(server: Server) -> None:
    before = _metrics(server)
    _post(server, f"{_MODEL}:predict", {"inputs": _X})
    _ask(server, "POST", f"{_MODEL}:predict", {"inputs": [[math.inf, 0, 0]]})
    after = _metrics(server)

    def rise(name: str, **labels: str) -> float:
        key = (f":tensorflow:serving:{name}", frozenset(labels.items()))
        return after[key] - before.get(key, 0)

    predict = {"model_name": "tiny", "API": "predict"}
    assert rise("request_count", **predict, status="OK") == 1
    assert rise("request_count", **predict, status="INVALID_ARGUMENT") == 1
    over_rest = {**predict, "entrypoint": "REST"}
    assert rise("request_latency_count", **over_rest) == rise("request_latency_bucket", **over_rest, le="+Inf") == 2
    assert rise("request_latency_sum", **over_rest) > 100
    assert rise("batching:processed_batch_size_sum") == 2
    available = {"model_name": "tiny", "version": "12", "state": "AVAILABLE"}
    assert after["draw_serving_version_state", frozenset(available.items())] == 1
    buckets = [
        value
        for (name, labels), value in after.items()
        if name == ":tensorflow:serving:request_latency_bucket" and frozenset(over_rest.items()) < labels
    ]
    assert buckets == sorted(buckets) and len(buckets) == 34


def test_invented_model_names_leave_the_metrics_as_they_are(server: Server) -> None:
    with tiny_servable.client(server.grpc_port) as client:
        for number in range(2):
            made = tiny_servable.request(tiny_servable.rows(1), model=f"invented{number}")
            with pytest.raises(grpc.RpcError, match="no model 'invented"):
                client.prediction.Predict(made, timeout=20)
            assert _ask(server, "POST", f"/v1/models/invented{number}:predict", {"inputs": _X})[0] == 404
            assert _ask(server, "POST", f"/v1/models/invented{number}:classify", {"examples": [{}]})[0] == 404
    assert not any("invented" in value for _, labels in _metrics(server) for _, value in labels)


def _metrics(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples by their names and labels."""
    status, page = _ask(server, "GET", "/monitoring/prometheus/metrics")
    assert status == 200
    families = text_string_to_metric_families(page)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def _encoded(example: Any) -> str:
    return base64.b64encode(example.SerializeToString()).decode()


def test_metrics_have_tf_servings_names_and_buckets() -> None:
    metrics = Metrics()
    metrics.requests.labels('a"b\\c\nd', "predict", "OK").inc(2)
    metrics.queuing_latency.observe(60)
    metrics.batch_size.observe(3)
    metrics.set_version_states([("tiny", 11, "END")])
    metrics.set_version_states([("tiny", 12, "AVAILABLE")])
    page = metrics.page().decode()
    assert {
        ':tensorflow:serving:request_count{API="predict",model_name="a\\"b\\\\c\\nd",status="OK"} 2.0',
        ':tensorflow:serving:batching_session:queuing_latency_bucket{le="58.32"} 0.0',
        ':tensorflow:serving:batching_session:queuing_latency_bucket{le="104.976"} 1.0',
        ':tensorflow:serving:batching:processed_batch_size_bucket{le="2"} 0.0',
        ':tensorflow:serving:batching:processed_batch_size_bucket{le="4"} 1.0',
        'draw_serving_version_state{model_name="tiny",state="AVAILABLE",version="12"} 1.0',
    } <= set(page.splitlines())
    assert not re.search(r"_total|_created|version=\"11\"", page)


def test_metrics_can_be_elsewhere(tmp_path: pathlib.Path) -> None:
    tiny_servable.save(tmp_path / "tiny", 1, offset=0.0)
    with Server(ServerConfig(models=models_from_folder(tmp_path / "tiny"), prometheus_path=None)) as server:
        assert _ask(server, "GET", "/monitoring/prometheus/metrics")[0] == 404
