"""The live page's files and its list of models, without a browser."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server import Server
from tests import tiny
from tests.serving import model_server


@pytest.fixture(scope="module")
def server(tiny_folder: Path) -> Iterator[Server]:
    with model_server.serve(tiny_folder) as running:
        yield running


def _get(server: Server, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "content_type", "begins"),
    [
        ("/live/", "text/html", b"<!doctype html>"),
        ("/live/index.html", "text/html", b"<!doctype html>"),
        ("/live/?model=tiny", "text/html", b"<!doctype html>"),
        ("/live/app.js", "text/javascript", b"/**"),
        ("/live/style.css", "text/css", b"/*"),
        ("/live/icon.svg", "image/svg+xml", b"<svg"),
    ],
)
def test_the_files_come_with_their_types_and_run_no_others_scripts(
    server: Server, path: str, content_type: str, begins: bytes
) -> None:
    status, headers, body = _get(server, path)
    assert (status, headers["Content-Type"]) == (200, f"{content_type}; charset=utf-8") and body.startswith(begins)
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/live/../rest.py", "/live/%2e%2e/rest.py", "/live//etc/passwd", "/live/nothing.js", "/live/app.js/", "/live.py"],
)
def test_no_path_leads_out_of_the_folder(server: Server, path: str) -> None:
    status, _, body = _get(server, path)
    assert status == 404 and "There is nothing at" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("path", "location"), [("/", "live/"), ("/live", "live/"), ("/live?model=a&version=3", "live/?model=a&version=3")]
)
def test_the_root_leads_to_the_page_behind_a_proxys_prefix_too(server: Server, path: str, location: str) -> None:
    status, headers, _ = _get(server, path)
    assert (status, headers["Location"]) == (302, location)


def test_the_models_are_listed_with_the_tasks_of_their_versions(server: Server) -> None:
    status, _, body = _get(server, "/live/models.json")
    task = json.loads(tiny.MODELS["attention"].to_json())
    assert (status, json.loads(body)) == (200, {model_server.MODEL: {str(model_server.VERSION): task}})


def test_a_server_may_have_no_page(tiny_folder: Path) -> None:
    with model_server.serve(tiny_folder, live_page=False) as server:
        assert [_get(server, path)[0] for path in ("/", "/live/", "/live/models.json")] == [404] * 3
