"""Client of the API of Kubeflow Pipelines 2.x: kfp's own without retries, with one-line errors."""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import click
import google.auth.exceptions
import kfp
import kfp_server_api
import urllib3  # type: ignore[import-untyped]

# tfx_cli_handler.py says why this is relative.
from . import pipeline_spec

CONNECT_SECONDS, READ_SECONDS = 10, 60
_PAGE_SIZE = 100
# Of a response that is no JSON, such as a proxy's page.
_SHOWN_CHARACTERS = 300
# Start of urllib3's messages: the object that failed.
_FAILED_OBJECT = re.compile(r"^(<[^>]*>|HTTPS?Connection\([^)]*\)): ")


class ApiFailed(click.ClickException):
    """A refused request or an unreachable API, with what to do about it in one line; ends the command with status 1."""


class _OneShotClient(kfp.Client):
    """kfp's client, without its minute of retries and their stack traces where nothing answers."""

    def _load_config(self, *arguments: Any, **options: Any) -> Any:
        config = super()._load_config(*arguments, **options)
        config.retries = False
        return config

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Asks for the API's health, which kfp does first where it knows no namespace."""
        # The generated client's method has different names in kfp 2.5 and 2.16.
        response, _, headers = self._healthz_api.api_client.call_api(
            "/apis/v2beta1/healthz",
            "GET",
            response_type="V2beta1GetHealthzResponse",
            auth_settings=["Bearer"],
            _request_timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        if "json" not in headers.get("Content-Type", ""):
            # kfp would take a login page for an empty response.
            raise ApiFailed(
                f"{self.host} answers, but not as Kubeflow Pipelines does. Is --endpoint right, and does it let you in "
                "without a login? Where it asks for one, give --iap_client_id, or the cookie in "
                "~/.config/kfp/context.json."
            )
        return response

    @property
    def host(self) -> str:
        return self._existing_config.host


class Api:
    """Kubeflow Pipelines at one endpoint, in one namespace."""

    def __init__(self, *, endpoint: str | None, iap_client_id: str | None, namespace: str) -> None:
        """Connects to the API. Raises ApiFailed where that fails."""
        self.namespace: str | None = namespace
        endpoint = endpoint or os.environ.get("KF_PIPELINES_ENDPOINT")  # as kfp reads it
        self._endpoint = endpoint or "the cluster of this machine's kube configuration (no --endpoint was given)"
        with self._failures(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._client = _OneShotClient(
                    host=endpoint or None, client_id=iap_client_id or None, namespace=namespace
                )
            except google.auth.exceptions.GoogleAuthError as error:
                raise ApiFailed(f"Google gives no token for --iap_client_id {iap_client_id}: {error}") from error
            multi_user = self._client.get_kfp_healthz().multi_user
        # Only multi-user installations have namespaces; kfp's default, `kubeflow`, is that of its own pods.
        self.namespace = self._client.get_user_namespace() if multi_user else None
        if multi_user and not self.namespace:
            raise ApiFailed(f"{self._endpoint} has several users: name your own namespace with --namespace.")

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turns the failure of a request into ApiFailed."""
        try:
            yield
        except kfp_server_api.ApiException as error:
            raise ApiFailed(self._refusal(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = _FAILED_OBJECT.sub("", str(error)).rstrip(".")
            raise ApiFailed(f"Nothing answers at {self._endpoint}: {reason}. Is --endpoint right?") from error

    def _refusal(self, error: kfp_server_api.ApiException) -> str:
        message = _message(error.body) or error.reason
        if not error.status:
            return f"No connection to {self._endpoint}: {message}."
        message = f"{error.status}: {message}"
        if error.status == 401 or 300 <= error.status < 400:
            return (
                f"{self._endpoint} does not know who you are ({message}). Give --iap_client_id, or the cookie in "
                "~/.config/kfp/context.json."
            )
        if error.status == 403:
            where = f" in namespace {self.namespace!r}" if self.namespace else ""
            return f"{self._endpoint} does not allow this{where} ({message})."
        if error.status == 404:
            return f"{self._endpoint} has no such thing ({message}). Are --endpoint and the id right?"
        if error.status >= 500:
            return f"{self._endpoint} failed ({message}). Its own log says why."
        return f"{self._endpoint} refused the request ({message})."

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of kfp's client. Raises ApiFailed where that fails."""
        with self._failures():
            return getattr(self._client, method)(*arguments, **options)

    def log(self, run_id: str, node: str) -> str | None:
        """Reads the log of a run's node; None where the API has none, as of a pod that is gone."""
        try:
            # kfp has no method for it, for it is of the API's first version.
            response = self._client._run_api.api_client.call_api(
                f"/apis/v1alpha1/runs/{run_id}/nodes/{node}/log",
                "GET",
                auth_settings=["Bearer"],
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
            return str(response.data.decode(errors="replace")) if response.status == 200 else None
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, OSError):
            return None

    def spec(self, run: Any) -> Mapping[str, Any] | None:
        """Reads the PipelineSpec that a run follows; None where it was deleted with its pipeline."""
        version = run.pipeline_version_reference
        if run.pipeline_spec or version is None:
            return pipeline_spec.without_platform(run.pipeline_spec or {}) or None
        try:
            version = self._client.get_pipeline_version(version.pipeline_id, version.pipeline_version_id)
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, OSError):
            return None
        return pipeline_spec.without_platform(version.pipeline_spec or {}) or None

    def all(self, method: str, field: str, **options: Any) -> list[Any]:
        """Lists the items of all pages."""
        items: list[Any] = []
        token = ""
        while True:
            page = self.call(method, page_token=token, page_size=_PAGE_SIZE, **options)
            items += getattr(page, field) or []
            token = page.next_page_token
            if not token:
                return items

    def named(self, method: str, field: str, name: str) -> Any | None:
        """Returns the namespace's one item of this name, or None."""
        predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        items = self.all(method, field, filter=json.dumps({"predicates": [predicate]}), namespace=self.namespace)
        if len(items) > 1:
            raise ApiFailed(f"{self._endpoint} has {len(items)} {field} of the name {name!r}; delete all but one.")
        return items[0] if items else None


def _message(body: str | bytes | None) -> str:
    """Extracts the message of an error response: gRPC gateway's form, that of uploads, or text."""
    if isinstance(body, bytes):
        body = body.decode(errors="replace")
    try:
        parsed = json.loads(body or "")
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return " ".join((body or "").split())[:_SHOWN_CHARACTERS]
    for key in ("message", "error", "error_message"):
        if parsed.get(key):
            return " ".join(str(parsed[key]).split()).rstrip(".")
    return ""
