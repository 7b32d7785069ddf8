"""Serves the live page: the files of the folder live_page, and the list of models that they ask for."""

from __future__ import annotations

import functools
import json
import pathlib
import urllib.parse
from typing import Any

from starlette.responses import Response
from tensorflow_serving.apis import model_pb2

from serving.reference.model_reference import Reference
from serving.server.model_versions import State
from serving.server.served_models import ServedModels
from serving.server.status_error import StatusError

PATH = "/live/"
_FOLDER = pathlib.Path(__file__).parent / "live_page"

# Not by the module mimetypes, which believes the host's own tables.
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml; charset=utf-8"}

# Connections may go anywhere, because the page asks the server that its own address names; scripts and styles are ours.
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src http: https:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LivePage:
    """Answers GET requests for the page. It holds its files in memory, and so no path leads to any other."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models
        self._files = {PATH + file.name: (file.read_bytes(), _KINDS[file.suffix]) for file in _FOLDER.iterdir()}
        self._files[PATH] = self._files[f"{PATH}index.html"]

    def get(self, path: str, query: str) -> Response | None:
        """Answers a path, or returns None where the page has nothing there."""
        if path in ("/", PATH[:-1]):
            # Relative, for a proxy may have put a prefix before it.
            return Response(status_code=302, headers={"Location": PATH[1:] + (f"?{query}" if query else "")})
        if path == f"{PATH}models.json":
            return Response(json.dumps(self._tasks()), headers=_HEADERS, media_type="application/json")
        if path == f"{PATH}reference.json":
            return Response(self._reference(query), headers=_HEADERS, media_type="application/json")
        if path in self._files:
            content, kind = self._files[path]
            return Response(content, headers=_HEADERS, media_type=kind)
        return None

    def _reference(self, query: str) -> str:
        """Returns the bounds of the reference of a version, for `model` and `version` of a query; null without one."""
        asked = urllib.parse.parse_qs(query)
        try:
            spec = model_pb2.ModelSpec(name=asked["model"][0])
            spec.version.value = int(asked["version"][0])
            with self._models.acquire(spec) as servable:
                return "null" if servable.reference is None else _bounds(servable.reference)
        except (KeyError, ValueError, StatusError):
            return "null"

    def _tasks(self) -> dict[str, dict[str, Any]]:
        """Reads the task that lies beside each available version, None where there is none."""
        return {
            name: {
                str(version): self._task(name, version)
                for version, status in statuses.items()
                if status.state == State.AVAILABLE
            }
            for name, statuses in self._models.all_statuses().items()
        }

    def _task(self, name: str, version: int) -> Any:
        spec = model_pb2.ModelSpec(name=name)
        spec.version.value = version
        try:
            with self._models.acquire(spec) as servable:
                return servable.task
        # A version may go while it is listed.
        except StatusError:
            return None


@functools.lru_cache(maxsize=8)
def _bounds(reference: str) -> str:
    """Takes the bounds out of a reference, which is longer than a page needs. Raises ValueError for a bad one."""
    return json.dumps(Reference.from_json(reference).scores["nll_bound"].to_json())
