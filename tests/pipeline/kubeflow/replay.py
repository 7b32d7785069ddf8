"""Runs a compiled pipeline on this machine: every task's own command, as KFP's driver and launcher would have it run.

What they do was read in the source of kubeflow/pipelines, 2.0 to 2.16 (backend/src/v2): `driver.Container`,
`resolveInputs`, `provisionOutputs`, the metadata's `converter.go`, `cacheutils`, and `launcher_v2.go`. Different here:
tasks run one after another, in processes rather than pods; the mirror and the answer's file lie in a folder that is the
task's own, instead of in `/`; retries do not wait, but Argo's clock may jump where a pod is lost; an image is the
project as it is; what the platform document adds to a pod (volumes, secrets, tolerations) is not there.

    python -m tests.pipeline.kubeflow.replay draw.yaml --folder /tmp/cluster -p steps=60 -p max_nll_bound=400
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import enum
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

PROJECT = Path(__file__).resolve().parents[3]

_SCHEMES = {"gs": "gcs", "minio": "minio", "s3": "s3"}
_LOGS = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact"}}}
"""An output that the back end gives to every task, from 2.5 on, where it keeps logs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """As the metadata store keeps it: it knows neither the schema of its type, nor a boolean from a number."""

    id: int
    uri: str
    properties: Mapping[str, Any]

    def runtime(self) -> dict[str, Any]:
        """As the driver hands it to a task that takes it."""
        return {
            "name": str(self.id),
            "uri": self.uri,
            "type": {"instanceSchema": ""},
            "metadata": copy.deepcopy(dict(self.properties)),
        }


@dataclasses.dataclass(kw_only=True)
class Task:
    """What became of a task in one run."""

    state: str
    """SUCCEEDED, CACHED, FAILED, or OMITTED where an earlier one has failed."""
    outputs: dict[str, Artifact] = dataclasses.field(default_factory=dict)
    attempts: list[str] = dataclasses.field(default_factory=list)
    """What each of them has written to its log."""
    seconds: float = 0.0
    address: str = ""
    """Where its outputs lie: <root>/<pipeline>/<run>/<stage>."""


class RetryPolicy(enum.Enum):
    """Argo's retryPolicy, which belongs to the installation."""

    ON_ERROR = "as Kubeflow Pipelines 2.17 ships it: a lost pod is tried again, an exit code is not"
    ON_FAILURE = "Argo's own, where Kubeflow Pipelines ships none: the reverse"


class Ending(enum.Enum):
    """How the pod of an attempt ended, in Argo's words."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    """By an exit code, out of memory, or at its deadline."""
    ERROR = "Error"
    """Lost: evicted, deleted, or with its node."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetryStrategy:
    """What the back end makes of a task's retryPolicy."""

    limit: int
    max_seconds: float | None
    """From the start of the first attempt: none begins later, and one that runs then is killed. None for no bound."""
    policy: RetryPolicy

    @classmethod
    def of_task(cls, spec: Mapping[str, Any], policy: RetryPolicy) -> RetryStrategy:
        given = spec.get("retryPolicy")
        if given is None:
            # The template's own, of 2.17.
            return cls(limit=2 if policy is RetryPolicy.ON_ERROR else 0, max_seconds=None, policy=policy)
        return cls(
            limit=int(given.get("maxRetryCount", 0)),
            max_seconds=float(str(given.get("backoffMaxDuration", "0")).removesuffix("s")),
            policy=policy,
        )

    def goes_on(self, ending: Ending, attempts: int, seconds: float) -> bool:
        """Whether another attempt begins, given how the last of `attempts` ended, `seconds` after the first began."""
        covered = Ending.ERROR if self.policy is RetryPolicy.ON_ERROR else Ending.FAILED
        return ending is covered and attempts <= self.limit and (self.max_seconds is None or seconds < self.max_seconds)


class Cluster:
    """An object store, the metadata and the cache of one namespace, in a folder."""

    def __init__(self, folder: Path, *, policy: RetryPolicy = RetryPolicy.ON_ERROR) -> None:
        self.folder = folder
        self.policy = policy
        self.lost_after_seconds = 0.0
        """What Argo's clock shows, since the first attempt began, where a pod is lost; 0 leaves it as it is."""
        self._artifacts: list[Artifact] = []
        self._cache: dict[str, dict[str, Artifact]] = {}

    def path(self, address: str) -> Path:
        """Where the object store keeps what lies at an address; no task is told."""
        scheme, _, key = address.partition("://")
        if scheme not in _SCHEMES:
            raise ValueError(f"{address} is no address of an object store.")
        return self.folder / "objects" / scheme / key

    def run(
        self,
        package: Path,
        parameters: Mapping[str, Any] | None = None,
        *,
        kill: Mapping[str, str] | None = None,
        show: bool = False,
    ) -> dict[str, Task]:
        """Runs the package with runtime parameters, and gives what became of each task.

        `kill` says of a task at which of its words its first attempt is killed, as by an eviction of its pod.
        """
        document = next(iter(yaml.safe_load_all(package.read_text(encoding="utf-8"))))
        json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
        given = root_parameters(document["root"].get("inputDefinitions", {}).get("parameters", {}), parameters or {})
        root = f"{document['defaultPipelineRoot'].rstrip('/')}/{document['pipelineInfo']['name']}/{uuid.uuid4()}"
        specs, done = document["root"]["dag"]["tasks"], {}
        while waiting := [name for name in specs if name not in done]:
            name = next(name for name in waiting if set(specs[name].get("dependentTasks", ())) <= set(done))
            upstream = [done[other].state for other in specs[name].get("dependentTasks", ())]
            if {"FAILED", "OMITTED"} & set(upstream):
                done[name] = Task(state="OMITTED")
            else:
                component = document["components"][specs[name]["componentRef"]["name"]]
                container = document["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
                done[name] = self._run_task(
                    specs[name], component, container, given, done, f"{root}/{name}", (kill or {}).get(name)
                )
            if show:
                print(f"{name:24} {done[name].state} {done[name].seconds:6.1f} s", flush=True)
        return done

    def _run_task(
        self,
        spec: Mapping[str, Any],
        component: Mapping[str, Any],
        container: Mapping[str, Any],
        given: Mapping[str, Any],
        done: Mapping[str, Task],
        root: str,
        kill_at: str | None,
    ) -> Task:
        started = time.monotonic()
        executor_input = input_of_task(spec, component, given, done, root)
        key = _cache_key(executor_input, container)
        if spec.get("cachingOptions", {}).get("enableCache") and key in self._cache:
            return Task(state="CACHED", outputs=self._cache[key])
        task = Task(state="FAILED", address=root)
        strategy = RetryStrategy.of_task(spec, self.policy)
        clock_zero = started
        while True:
            # The same for each attempt, as paths in a pod are: checkpoints are found by those of the examples.
            pod = self.folder / "pod"
            passed = time.monotonic() - clock_zero
            # The first has no deadline: Argo bounds those that come after it.
            deadline = None if not task.attempts or strategy.max_seconds is None else strategy.max_seconds - passed
            try:
                ending, log = self._launch(pod, executor_input, container, None if task.attempts else kill_at, deadline)
                task.attempts.append(log)
                if ending is Ending.SUCCEEDED:
                    task.state, task.outputs = "SUCCEEDED", self._publish(pod, executor_input)
                    break
            finally:
                shutil.rmtree(pod)
            if ending is Ending.ERROR:
                check_factor(spec)
                clock_zero = time.monotonic() - self.lost_after_seconds if self.lost_after_seconds else clock_zero
            if not strategy.goes_on(ending, len(task.attempts), time.monotonic() - clock_zero):
                break
        if task.state == "SUCCEEDED":
            self._cache[key] = task.outputs
        task.seconds = time.monotonic() - started
        return task

    def _launch(
        self,
        pod: Path,
        executor_input: dict[str, Any],
        container: Mapping[str, Any],
        kill_at: str | None,
        deadline: float | None,
    ) -> tuple[Ending, str]:
        """Downloads the inputs, runs the command, and gives how it ended and what it said."""
        (pod / "tmp").mkdir(parents=True)
        executor_input["outputs"]["outputFile"] = str(_output_file(pod))
        for _, artifact in _artifacts(executor_input["inputs"]):
            _copy_files(self.path(artifact["uri"]), _mirrored(pod, artifact["uri"]))
        for _, artifact in _artifacts(executor_input["outputs"]):
            _mirrored(pod, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
        words = [
            word.replace("{{$}}", json.dumps(executor_input))
            for word in (*container.get("command", ()), *container.get("args", ()))
        ]
        if words[0] in ("python", "python3"):
            words[0] = sys.executable
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(pod / "tmp"),
            "TMPDIR": str(pod / "tmp"),
            "PYTHONPATH": str(PROJECT),
            "CUDA_VISIBLE_DEVICES": "-1",
            "KFP_MIRROR_ROOT": str(pod),
            **{variable["name"]: variable.get("value", "") for variable in container.get("env", ())},
        }
        log, lost = [], False
        with subprocess.Popen(
            words,
            cwd=pod,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            # As Argo's own executor does it at the deadline.
            timer = threading.Timer(deadline or 0, lambda: os.killpg(process.pid, signal.SIGTERM))
            if deadline is not None:
                timer.start()
            for line in process.stdout:
                log.append(line)
                if kill_at is not None and kill_at in line:
                    lost = True
                    os.killpg(process.pid, signal.SIGKILL)
            timer.cancel()
        text = "".join(log)
        _mirrored(pod, executor_input["outputs"]["artifacts"]["executor-logs"]["artifacts"][0]["uri"]).write_text(text)
        if lost:
            return Ending.ERROR, text
        return Ending.SUCCEEDED if process.returncode == 0 else Ending.FAILED, text

    def _publish(self, pod: Path, executor_input: Mapping[str, Any]) -> dict[str, Artifact]:
        """Uploads the outputs, and records them as the task describes them in its answer."""
        answer = json.loads(_output_file(pod).read_text(encoding="utf-8"))
        json_format.ParseDict(answer, pipeline_spec_pb2.ExecutorOutput())
        outputs = {}
        for key, provisioned in _artifacts(executor_input["outputs"]):
            (described,) = answer.get("artifacts", {}).get(key, {}).get("artifacts", [{}])
            uri = described.get("uri") or provisioned["uri"]
            # The launcher itself only warns of an address that it does not know, and uploads nothing.
            _copy_files(_mirrored(pod, uri), self.path(uri))
            metadata = {"display_name": key, "store_session_info": '{"Provider":"minio","Params":{"fromEnv":"true"}}'}
            metadata |= provisioned.get("metadata", {}) | described.get("metadata", {})
            properties = {name: _recorded(value) for name, value in metadata.items()}
            outputs[key] = Artifact(id=len(self._artifacts) + 1, uri=uri, properties=properties)
            self._artifacts.append(outputs[key])
        return outputs


def check_factor(spec: Mapping[str, Any]) -> None:
    """Raises ValueError as Argo fails a step, once its pod is lost and not before."""
    factor = float(spec.get("retryPolicy", {}).get("backoffFactor", 1))
    if factor != int(factor):
        raise ValueError(f"value '{factor:g}' cannot be resolved to an int")


def root_parameters(definitions: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := set(given) - set(definitions):
        raise ValueError(f"The pipeline has no parameters {sorted(unknown)}, only {sorted(definitions)}.")
    values = {name: given.get(name, definition.get("defaultValue")) for name, definition in definitions.items()}
    for name, value in values.items():
        if value is None:
            raise ValueError(f"parameter {name} is not optional, yet has neither default value nor user provided value")
        _check_type(name, value, definitions[name]["parameterType"])
    return values


def _check_type(name: str, value: Any, kind: str) -> None:
    kinds = {"STRING": str, "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise ValueError(f"input parameter {name!r} type mismatch: expect {kind}, got {value!r}")


def input_of_task(
    spec: Mapping[str, Any],
    component: Mapping[str, Any],
    given: Mapping[str, Any],
    done: Mapping[str, Task],
    root: str,
) -> dict[str, Any]:
    """The driver's, but for the place of the answer."""
    definitions = component.get("inputDefinitions", {}).get("parameters", {})
    values = {
        name: definition["defaultValue"] for name, definition in definitions.items() if "defaultValue" in definition
    }
    for name, source in spec.get("inputs", {}).get("parameters", {}).items():
        values[name] = (
            given[source["componentInputParameter"]]
            if "componentInputParameter" in source
            else source["runtimeValue"]["constant"]
        )
    for name, definition in definitions.items():
        if name not in values and not definition.get("isOptional"):
            raise ValueError(f"neither value nor default value provided for non-optional parameter {name!r}")
        if name in values:
            _check_type(name, values[name], definition["parameterType"])
    taken = {}
    for key, source in spec.get("inputs", {}).get("artifacts", {}).items():
        output = source["taskOutputArtifact"]
        taken[key] = {"artifacts": [done[output["producerTask"]].outputs[output["outputArtifactKey"]].runtime()]}
    salt = uuid.uuid4()
    provisioned = {
        key: {
            "artifacts": [
                {
                    "uri": f"{root}/{salt}/{key}",
                    "type": definition["artifactType"],
                    **({"metadata": definition["metadata"]} if "metadata" in definition else {}),
                }
            ]
        }
        for key, definition in (component.get("outputDefinitions", {}).get("artifacts", {}) | _LOGS).items()
    }
    # Protobuf's JSON leaves out what is empty.
    sides = {
        "inputs": {"parameterValues": values, "artifacts": taken},
        "outputs": {"artifacts": provisioned},
    }
    executor_input = {side: {name: what for name, what in holds.items() if what} for side, holds in sides.items()}
    json_format.ParseDict(executor_input, pipeline_spec_pb2.ExecutorInput())
    return executor_input


def _cache_key(executor_input: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """By the inputs' names and values, the outputs but for their places, image and command."""
    inputs = executor_input["inputs"]
    words = [
        inputs.get("parameterValues", {}),
        {key: artifact["name"] for key, artifact in _artifacts(inputs)},
        {key: {**artifact, "uri": ""} for key, artifact in _artifacts(executor_input["outputs"])},
        [container["image"], *container.get("command", ()), *container.get("args", ()), container.get("env", [])],
    ]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _recorded(value: Any) -> Any:
    """A value of an artifact's metadata as it comes back from the metadata store."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, list):
        return {"list": value}
    if isinstance(value, dict):
        return {"struct": value}
    raise ValueError(f"failed to convert RuntimeArtifact to MLMD artifact: unknown/unsupported value type {value!r}")


def _artifacts(side: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(key, several["artifacts"][0]) for key, several in side.get("artifacts", {}).items()]


def _output_file(pod: Path) -> Path:
    return pod / "tmp" / "kfp_outputs" / "output_metadata.json"


def _mirrored(pod: Path, address: str) -> Path:
    scheme, _, key = address.partition("://")
    return pod / _SCHEMES[scheme] / key


def _copy_files(source: Path, target: Path) -> None:
    """An object store has no folders: an empty one does not arrive, nor do the times of files."""
    for path in [source] if source.is_file() else sorted(source.rglob("*")):
        if path.is_file():
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)


def main() -> None:
    """Replays a package from the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("package", type=Path, help="the compiled pipeline")
    parser.add_argument("--folder", type=Path, required=True, help="where the object store and the logs are to lie")
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=JSON")
    options = parser.parse_args()
    parameters = {}
    for text in options.parameters:
        name, _, value = text.partition("=")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    tasks = Cluster(options.folder).run(options.package, parameters, show=True)
    for name, task in tasks.items():
        (options.folder / f"{name}.log").write_text("".join(task.attempts), encoding="utf-8")
    sys.exit(any(task.state not in ("SUCCEEDED", "CACHED") for task in tasks.values()))


if __name__ == "__main__":
    main()
