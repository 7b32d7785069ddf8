"""A stand-in for the API server of Kubeflow Pipelines 2.x, on a socket: as strict as the real one, and it runs nothing.

What it demands was read in kubeflow/pipelines, backend/src/apiserver (template/, server/) and backend/src/v2/compiler;
documents are parsed with kfp's own protobuf schema, which like the real server's parser refuses unknown fields.
"""

from __future__ import annotations

import contextlib
import datetime
import email.parser
import email.policy
import http.server
import itertools
import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

_PREFIX = "/apis/v2beta1"
_FIELDS = {"display_name", "name", "created_at", "pipeline_id", "experiment_id"}
_JSON_TYPES = {
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "STRING": str,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeApi:
    """The server's state; what a test may set is public."""

    def __init__(self, *, multi_user: bool = False) -> None:
        self.multi_user = multi_user
        self.largest_page = 200
        self.refusal: tuple[int, str, str] | None = None
        """Status, content type and body of what every request is answered."""
        self.requests: list[str] = []
        self.uploads: list[list[dict[str, Any]]] = []
        self.url = ""
        self._tables: dict[str, dict[str, dict[str, Any]]] = {
            name: {} for name in ("pipelines", "pipeline_versions", "experiments", "runs")
        }
        self.logs: dict[str, str] = {}
        """Of pods, by their names."""
        self._seconds = itertools.count()

    def rows(self, table: str) -> list[dict[str, Any]]:
        return list(self._tables[table].values())

    def answer(self, method: str, url: str, content_type: str, body: bytes) -> dict[str, Any] | str:
        parsed = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parsed.query))
        self.requests.append(f"{method} {parsed.path.removeprefix(_PREFIX)}")
        log = re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", parsed.path)
        if log is not None and method == "GET":
            self._get("runs", log[1])
            if log[2] not in self.logs:
                raise Refused(500, f"error fetching pod logs: pods {log[2]} not found")
            return self.logs[log[2]]
        if not parsed.path.startswith(_PREFIX + "/"):
            raise Refused(404, "Not Found")
        resource, *rest = parsed.path.removeprefix(_PREFIX + "/").split("/")
        if resource == "healthz" and method == "GET":
            return {"multi_user": self.multi_user}
        if resource == "pipelines" and rest[:1] in (["upload"], ["upload_version"]):
            return self._upload(rest[0], query, content_type, body)
        if resource == "pipelines" and rest[1:2] == ["versions"]:
            self._get("pipelines", rest[0])
            return self._stored("pipeline_versions", method, rest[2:], query | {"pipeline_id": rest[0]})
        if resource == "experiments" and method == "POST":
            return self._create_experiment(json.loads(body))
        if resource == "runs" and method == "POST" and not rest:
            return self._create_run(json.loads(body))
        if resource == "runs" and method == "POST" and rest[0].endswith(":terminate"):
            # The history does not have it, a TODO in run_store.go; only what the agent reports comes into that.
            self._get("runs", rest[0].removesuffix(":terminate")).update(state="CANCELING")
            return {}
        if resource in ("pipelines", "experiments", "runs"):
            return self._stored(resource, method, rest, query)
        raise Refused(404, "Not Found")

    def progress(self, run_id: str, state: str, *stages: tuple[str, str], pipeline: str = "plain") -> None:
        """Has a run's stages be in these states, as Argo's nodes: no error in any of them, nor in the run.

        CACHED is no state of Argo's: such a stage has succeeded, and its executor was skipped.
        """
        details: list[dict[str, Any]] = []

        def add(name: str, node_state: str, below: list[str], minute: int, shown: str | None = None) -> None:
            began = f"2026-01-02T00:{minute:02}:00Z"
            times = {"create_time": began, "start_time": began}
            if node_state not in ("PENDING", "RUNNING"):
                times["end_time"] = f"2026-01-02T00:{minute:02}:45Z"
            children = [{"pod_name": f"{pipeline}-{child}"} for child in below]
            ids = {"run_id": run_id, "task_id": str(uuid.uuid4()), "pod_name": f"{pipeline}-{name}"}
            details.append({**ids, **times, "display_name": shown or name, "state": node_state})
            if children:
                details[-1]["child_tasks"] = children

        add("root-driver", "SUCCEEDED", ["root"], 0)
        add("root", state, [f"{stage}-driver" for stage, _ in stages[:1]], 0)
        for minute, (stage, stage_state) in enumerate(stages):
            following = [f"{after}-driver" for after, _ in stages[minute + 1 : minute + 2]]
            inner = "SKIPPED" if stage_state == "CACHED" else stage_state
            add(f"{stage}-driver", "SUCCEEDED", [stage], minute)
            add(stage, "SUCCEEDED" if stage_state == "CACHED" else stage_state, [f"{stage}(0)", *following], minute)
            add(f"{stage}(0)", inner, [f"{stage}-executor"], minute)
            add(f"{stage}-executor", inner, [], minute, shown="executor")
        # In the order of a Go map.
        self._get("runs", run_id).update(state=state, run_details={"task_details": details[::-1]})

    def report(self, run_id: str, state: str, *history: str) -> None:
        """Has the persistence agent report a run's state; before that, those that it saw by chance."""
        run = self._get("runs", run_id)
        seen = [{"update_time": run["created_at"], "state": each} for each in (*history, state)]
        run.update(state=state, state_history=seen)

    def _stored(self, table: str, method: str, ids: list[str], query: Mapping[str, str]) -> dict[str, Any]:
        if not ids and method == "GET":
            return self._list(table, query)
        row = self._get(table, ids[0])
        if method == "GET":
            return row
        if method == "DELETE":
            if table == "pipelines" and any(v["pipeline_id"] == ids[0] for v in self.rows("pipeline_versions")):
                raise Refused(400, f"Pipeline {ids[0]} cannot be deleted as it has existing pipeline versions")
            del self._tables[table][ids[0]]
            return {}
        raise Refused(501, "Method Not Allowed")

    def _get(self, table: str, identity: str) -> dict[str, Any]:
        if identity not in self._tables[table]:
            raise Refused(404, f"ResourceNotFoundError: {table} {identity} not found.")
        return self._tables[table][identity]

    def _add(self, table: str, key: str, **fields: Any) -> dict[str, Any]:
        now = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
        created = now + datetime.timedelta(seconds=next(self._seconds))
        row = {key: str(uuid.uuid4()), "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"), **fields}
        self._tables[table][row[key]] = {name: value for name, value in row.items() if value not in ("", None)}
        return self._tables[table][row[key]]

    def _namespace(self, given: str | None) -> str:
        """What the real server makes of a namespace: nothing at all where there is one user."""
        if not self.multi_user:
            return ""
        if not given:
            raise Refused(400, "Invalid input error: an empty namespace in multi-user mode")
        return given

    def _list(self, table: str, query: Mapping[str, str]) -> dict[str, Any]:
        rows = self.rows(table)
        if table == "runs" and "experiment_id" in query:
            self._get("experiments", query["experiment_id"])
            rows = [row for row in rows if row["experiment_id"] == query["experiment_id"]]
        elif table == "pipeline_versions":
            rows = [row for row in rows if row["pipeline_id"] == query["pipeline_id"]]
        else:
            # Without a namespace the pipelines are those that all users share.
            wanted = query.get("namespace", "") if table == "pipelines" else self._namespace(query.get("namespace"))
            rows = [row for row in rows if row.get("namespace", "") == (wanted if self.multi_user else "")]
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            if predicate["key"] not in _FIELDS or predicate["operation"] not in ("EQUALS", 1):
                raise Refused(400, f"Invalid input error: filter {predicate}")
            value = predicate.get("stringValue", predicate.get("string_value"))
            rows = [row for row in rows if row.get(predicate["key"]) == value]
        field, _, order = (query.get("sort_by") or "created_at").partition(" ")
        if field not in _FIELDS or order not in ("", "asc", "desc"):
            raise Refused(400, f"Invalid input error: sort_by {query['sort_by']}")
        rows.sort(key=lambda row: row[field], reverse=order == "desc")
        begin = int(query.get("page_token") or 0)
        end = begin + min(int(query.get("page_size") or 20), self.largest_page)
        # Fields without a value do not travel, an empty list and the last page's token among them.
        answer: dict[str, Any] = {table: rows[begin:end]} if rows[begin:end] else {}
        return answer | ({"next_page_token": str(end)} if end < len(rows) else {})

    def _upload(self, kind: str, query: Mapping[str, str], content_type: str, body: bytes) -> dict[str, Any]:
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
        )
        (part,) = (part for part in message.iter_parts() if part.get_param("name", header="content-disposition"))
        if part.get_param("name", header="content-disposition") != "uploadfile":
            raise Refused(400, "Failed to read pipeline from file")
        content = part.get_payload(decode=True)
        documents = [document for document in yaml.safe_load_all(content) if document is not None]
        spec = checked_package(documents)
        if kind == "upload":
            namespace = self._namespace(query.get("namespace"))
            if any(row["display_name"] == query["name"] for row in self.rows("pipelines")):
                raise Refused(409, "Failed to create a pipeline and a pipeline version")
            pipeline = self._add("pipelines", "pipeline_id", display_name=query["name"], namespace=namespace)
        else:
            pipeline = self._get("pipelines", query["pipelineid"])
        self.uploads.append(documents)
        version = self._add(
            "pipeline_versions",
            "pipeline_version_id",
            pipeline_id=pipeline["pipeline_id"],
            display_name=query["name"],
            pipeline_spec=spec,
        )
        return pipeline if kind == "upload" else version

    def _create_experiment(self, experiment: Mapping[str, Any]) -> dict[str, Any]:
        namespace = self._namespace(experiment.get("namespace"))
        name = experiment["display_name"]
        if any(
            row["display_name"] == name and row.get("namespace", "") == namespace for row in self.rows("experiments")
        ):
            raise Refused(409, f"Already exist error: Experiment {name}")
        return self._add("experiments", "experiment_id", display_name=name, namespace=namespace)

    def _create_run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        if not run.get("display_name"):
            raise Refused(400, "The run name is empty. Please specify a valid name")
        self._get("experiments", run["experiment_id"])
        reference = run["pipeline_version_reference"]
        version = self._get("pipeline_versions", reference["pipeline_version_id"])
        if version["pipeline_id"] != reference["pipeline_id"]:
            raise Refused(400, "The pipeline version is of another pipeline")
        spec = version["pipeline_spec"]
        spec = spec.get("pipeline_spec", spec)
        check_parameters(spec, run.get("runtime_config", {}).get("parameters", {}))
        check_compiles(spec)
        return self._add("runs", "run_id", **run, state="PENDING")


def checked_package(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """What a version's pipeline_spec is for an upload, as NewV2SpecTemplate has it."""
    spec = platform = None
    for document in documents:
        message = _parsed(document, pipeline_spec_pb2.PipelineSpec())
        if message is not None and message.pipeline_info.name and message.HasField("root"):
            if spec is not None:
                raise Refused(400, "multiple pipeline specs provided")
            spec = message
            continue
        message = _parsed(document, pipeline_spec_pb2.PlatformSpec())
        if message is not None and "kubernetes" in message.platforms:
            if platform is not None:
                raise Refused(400, "multiple platform specs provided")
            platform = message
            continue
        # The real server passes over it; nobody means to upload such a thing.
        raise Refused(400, f"pipeline spec is invalid: unknown template format: {list(document)}")
    if spec is None:
        raise Refused(400, "no pipeline spec is provided")
    if spec.schema_version != "2.1.0":
        raise Refused(
            400, f"KFP only supports schema version 2.1.0, but the pipeline spec has version {spec.schema_version}"
        )
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", spec.pipeline_info.name):
        raise Refused(400, "invalid v2 pipeline spec: name should consist of lower case alphanumeric characters")
    parsed = json_format.MessageToDict(spec)
    if platform is None:
        return parsed
    return {"pipeline_spec": parsed, "platform_spec": json_format.MessageToDict(platform)}


def _parsed(document: Mapping[str, Any], message: Any) -> Any | None:
    try:
        return json_format.ParseDict(document, message)
    except json_format.ParseError:
        return None


def check_parameters(spec: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """validatePipelineJobInputs."""
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, definition in definitions.items():
        if name not in given:
            if not definition.get("isOptional") and "defaultValue" not in definition:
                raise Refused(400, f"parameter {name} is not optional, yet has neither default value nor user value")
            continue
        type_name = definition.get("parameterType")
        if type_name not in _JSON_TYPES:
            raise Refused(400, f"input parameter {name} has unspecified type")
        value = given[name]
        if not isinstance(value, _JSON_TYPES[type_name]) or (type_name != "BOOLEAN" and isinstance(value, bool)):
            raise Refused(400, f"input parameter {name} requires type {type_name}")
    unknown = set(given) - set(definitions)
    if unknown:
        raise Refused(400, f"parameter(s) provided are not required by pipeline: {', '.join(sorted(unknown))}")


def check_compiles(spec: Mapping[str, Any]) -> None:
    """What the compiler to Argo refuses."""
    deployment = json_format.ParseDict(
        spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig(), ignore_unknown_fields=True
    )
    components = spec["components"]
    if "root" in components:
        raise Refused(400, 'Failed to compile job: component name "root" is reserved')
    for name, task in spec["root"]["dag"]["tasks"].items():
        component = components.get(task["componentRef"]["name"])
        if component is None:
            raise Refused(400, f"Failed to compile job: cannot find component ref for task name={name}")
        label = component["executorLabel"]
        kind = deployment.executors[label].WhichOneof("spec") if label in deployment.executors else None
        if kind == "resolver":
            raise Refused(400, "Failed to compile job: resolver not implemented yet")
        if kind not in ("container", "importer"):
            raise Refused(400, f"Failed to compile job: executor(label={label}) not implemented")
    root = spec.get("defaultPipelineRoot", "")
    if not re.fullmatch(r"(gs|s3|minio)://[^/?]+/?[^?]*(\?.+)?", root):
        # The real server finds out in the first driver.
        raise Refused(400, f"unrecognized pipeline root format: {root!r}")


@contextlib.contextmanager
def serving(fake: FakeApi) -> Iterator[FakeApi]:
    """Serves `fake` on 127.0.0.1, at `fake.url`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content_type, text = self._answer(fake.answer, body)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def _answer(self, answer: Callable[..., Mapping[str, Any] | str], body: bytes) -> tuple[int, str, str]:
            if fake.refusal is not None:
                return fake.refusal
            try:
                result = answer(self.command, self.path, self.headers.get("Content-Type", ""), body)
                if isinstance(result, str):
                    return 200, "text/plain", result
                return 200, "application/json", json.dumps(result)
            except Refused as refused:
                # Uploads do not pass through gRPC's gateway, and have an error of their own.
                if "/upload" in self.path:
                    error = {"error_message": str(refused), "error_details": str(refused)}
                else:
                    error = {"error": str(refused), "code": 3, "message": str(refused), "details": []}
                return refused.status, "application/json", json.dumps(error)

        do_GET = do_POST = do_DELETE = _respond

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
