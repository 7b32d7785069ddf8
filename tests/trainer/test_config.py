"""The manifests of distributed training, against their schemas, and what they start: two workers, as a Job would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.cli import train_command
from tests import kubernetes_api, tiny
from tests.pipeline import draw_command
from tests.trainer.training.test_cluster import free_addresses
from trainer import tasks
from trainer.training import tf_config

CONFIG = Path(tf_config.__file__).parents[1] / "config"


def _read(name: str) -> Any:
    return yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))


def _job() -> Any:
    return _read("kubernetes/job.yaml")


JOB, TRAIN_JOB, TF_JOB = JOBS = ["kubernetes/job.yaml", "kubeflow/train-job.yaml", "kubeflow/tf-job.yaml"]


def _train_job() -> tuple[Any, Any, Any]:
    """The TrainJob, and its JobSet's one job with the TrainJob's values, as Kubeflow Trainer puts them in."""
    runtime, train_job = yaml.safe_load_all((CONFIG / TRAIN_JOB).read_text(encoding="utf-8"))
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    values = train_job["spec"]["trainer"]
    workers = values.pop("numNodes")
    job["template"]["spec"] |= {"parallelism": workers, "completions": workers}
    container |= values
    return train_job, runtime, job


def _pods(name: str) -> Any:
    """The template of the workers' pods in the Job, the TrainJob or the TFJob."""
    if name == TRAIN_JOB:
        return _train_job()[2]["template"]["spec"]["template"]
    spec = _read(name)["spec"]
    return spec["template"] if "template" in spec else spec["tfReplicaSpecs"]["Worker"]["template"]


def _container(name: str) -> Any:
    (container,) = _pods(name)["spec"]["containers"]
    return container


def _environment(index: int, name: str = JOB) -> dict[str, str]:
    """What a container of the Job finds: Kubernetes puts in what was defined before, where it says $(NAME)."""
    found: dict[str, str] = {}
    for variable in _container(name)["env"]:
        if "valueFrom" in variable:
            annotation = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
            assert variable["valueFrom"] == {"fieldRef": {"fieldPath": annotation}}
            found[variable["name"]] = str(index)
        else:
            found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], variable["value"])
    return found


def test_the_manifests_keep_to_kubernetes_api() -> None:
    job = _job()
    kubernetes_api.strict("V1Job", job, "job")
    kubernetes_api.strict("V1Service", _read("kubernetes/service.yaml"), "service")
    kubernetes_api.strict("V1NetworkPolicy", _read("kubernetes/network-policy.yaml"), "network-policy")


def test_the_train_job_keeps_to_kubeflows_schema() -> None:
    """Fields of trainer.kubeflow.org/v1alpha1, from its API; those of a JobSet's job are Kubernetes'."""
    train_job, runtime, job = _train_job()
    for manifest, kind in ((train_job, "TrainJob"), (runtime, "TrainingRuntime")):
        assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}
        assert (manifest["apiVersion"], manifest["kind"]) == ("trainer.kubeflow.org/v1alpha1", kind)
    reference = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": runtime["metadata"]["name"]}
    assert train_job["spec"].keys() == {"runtimeRef", "trainer"} and train_job["spec"]["runtimeRef"] == reference
    assert train_job["spec"]["trainer"].keys() <= {"image", "command", "args", "env", "resourcesPerNode"}
    # No torch, mpi or other policy beside it: this is the plain one.
    assert runtime["spec"].keys() == {"mlPolicy", "template"} and runtime["spec"]["mlPolicy"].keys() == {"numNodes"}
    assert job.keys() == {"name", "template"}
    # By this label and this name the TrainJob's values find their places.
    assert job["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert _container(TRAIN_JOB)["name"] == "node"
    kubernetes_api.strict("V1JobTemplateSpec", job["template"], "template")
    # A mistake below the JobSet is seen too.
    job["template"]["spec"]["backoffLimits"] = 10
    with pytest.raises(AssertionError, match="backoffLimits"):
        kubernetes_api.strict("V1JobTemplateSpec", job["template"], "template")


def test_the_workers_of_the_train_job_find_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    train_job, _, job = _train_job()
    (port,) = _container(TRAIN_JOB)["ports"]
    workers, name = job["template"]["spec"]["completions"], train_job["metadata"]["name"]
    # The JobSet has the TrainJob's name, makes the headless service of it, and gives each pod a host name.
    hosts = [f"{name}-{job['name']}-0-{index}.{name}:{port['containerPort']}" for index in range(workers)]
    for index in range(workers):
        monkeypatch.setenv("TF_CONFIG", config := _environment(index, TRAIN_JOB)["TF_CONFIG"])
        found = tf_config.Cluster.from_environment()
        assert found and found.jobs == {"worker": tuple(hosts)}
        assert json.loads(config)["task"] == {"type": "worker", "index": index}


def test_the_train_job_does_about_a_status_what_the_job_does() -> None:
    spec = _train_job()[2]["template"]["spec"]
    text = json.dumps(spec["podFailurePolicy"]).replace('"node"', '"worker"')
    assert json.loads(text) == _job()["spec"]["podFailurePolicy"]
    for field in ("successPolicy", "backoffLimit", "parallelism", "completions"):
        assert spec[field] == _job()["spec"][field], field


def test_the_tf_job_keeps_to_kubeflows_schema() -> None:
    """Fields of kubeflow.org/v1, from the training operator's API; a template's are a pod's."""
    job = _read("kubeflow/tf-job.yaml")
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert job.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert job["spec"].keys() == {"runPolicy", "tfReplicaSpecs"}
    assert job["spec"]["runPolicy"] == {"cleanPodPolicy": "Running"}
    (workers,) = job["spec"]["tfReplicaSpecs"].values()
    assert workers.keys() == {"replicas", "restartPolicy", "template"} and workers["restartPolicy"] == "ExitCode"
    kubernetes_api.strict("V1PodTemplateSpec", workers["template"], "template")
    container = _container("kubeflow/tf-job.yaml")
    assert container["name"] == "tensorflow" and "env" not in container
    assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]


def test_every_index_finds_its_place_in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    job, service = _job(), _read("kubernetes/service.yaml")
    workers = job["spec"]["completions"]
    pod = job["spec"]["template"]
    assert job["spec"]["parallelism"] == workers and job["spec"]["completionMode"] == "Indexed"
    # A pod's name in the cluster is NAME-INDEX.SUBDOMAIN, where a headless service has the subdomain's name.
    assert service["metadata"]["name"] == pod["spec"]["subdomain"] and service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    (port,) = _container("kubernetes/job.yaml")["ports"]
    assert service["spec"]["ports"] == [{"name": port["name"], "port": port["containerPort"]}]
    names = [f"{job['metadata']['name']}-{index}.{pod['spec']['subdomain']}" for index in range(workers)]
    for index in range(workers):
        monkeypatch.setenv("TF_CONFIG", config := _environment(index)["TF_CONFIG"])
        found = tf_config.Cluster.from_environment()
        assert found and found.jobs == {"worker": tuple(f"{name}:{port['containerPort']}" for name in names)}
        assert json.loads(config)["task"] == {"type": "worker", "index": index}


@pytest.mark.parametrize("name", JOBS)
def test_draw_train_takes_the_arguments(name: str) -> None:
    pod, container = _pods(name)["spec"], _container(name)
    # The image's entry point stays: it is what hands signals on.
    assert "command" not in container and container["args"][:2] == ["draw", "train"]
    # Parsed and not run: an unknown option, or one that is missing, raises.
    given = train_command.train.make_context("train", container["args"][2:]).params
    tasks.get(given["task_name"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts.values())
    for option in ("examples", "validation", "checkpoints", "output"):
        assert str(given[option]).startswith("/runs/")
    assert pod["volumes"][0] == {"name": "runs", "persistentVolumeClaim": {"claimName": "draw-runs"}}


@pytest.mark.parametrize("name", [TRAIN_JOB, TF_JOB])
def test_the_others_run_the_same_as_the_job(name: str) -> None:
    job, other = _container(JOB), _container(name)
    for field in ("args", "resources", "securityContext", "volumeMounts"):
        assert job[field] == other[field], field
    assert _pods(JOB)["metadata"] == _pods(name)["metadata"]
    (image,) = _read("kustomization.yaml")["images"]
    assert job["image"] == image["name"]
    assert other["image"] == f"{image['newName']}:{image['newTag']}"


def test_the_kustomization_names_every_file() -> None:
    assert {CONFIG / name for name in _read("kustomization.yaml")["resources"]} == set(CONFIG.glob("kubernetes/*"))


def _action(status: int) -> str:
    """What the Job does about a worker that ended so."""
    for rule in _job()["spec"]["podFailurePolicy"]["rules"]:
        if status in rule.get("onExitCodes", {}).get("values", ()):
            return rule["action"]
    return "Count"


def test_a_loss_is_made_good_and_a_mistake_is_not_repeated() -> None:
    expected = {
        train_command.WORKER_LOST: "Ignore",
        128 + signal.SIGALRM: "Ignore",
        128 + signal.SIGKILL: "Count",
        128 + signal.SIGSEGV: "Count",
        1: "FailJob",
        2: "FailJob",
    }
    assert {status: _action(status) for status in expected} == expected


class _Emulation:
    """The Job's pods as processes of this host: the containers' own commands, with the volume and the names mapped."""

    def __init__(self, volume: Path) -> None:
        names = re.findall(r'"([\w.-]+:\d+)"', _environment(0)["TF_CONFIG"])
        self._addresses = dict(zip(names, free_addresses(len(names)), strict=True))
        self._volume = volume
        self.failures: list[int] = []
        self.workers = [self._start(index) for index in range(len(names))]

    def __enter__(self) -> _Emulation:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
            worker.communicate()

    def _start(self, index: int) -> subprocess.Popen[str]:
        environment = _environment(index)
        for name, address in self._addresses.items():
            environment["TF_CONFIG"] = environment["TF_CONFIG"].replace(name, address)
        arguments = [word.replace("/runs/mnist", str(self._volume)) for word in _container(JOBS[0])["args"]]
        others = ["--task=digits", "--steps=600"]  # The last one counts.
        return draw_command.start(*arguments, *others, folder=self._volume, variables=environment)

    def reconcile(self) -> None:
        """Starts anew whoever ended, as the Job's policy says."""
        for index, worker in enumerate(self.workers):
            if status := worker.poll():
                # A container's status is 128 and the number of the signal that ended it.
                self.failures.append(status if status > 0 else 128 - status)
                output, errors = worker.communicate()
                assert _action(self.failures[-1]) in ("Ignore", "Count"), output + errors
                self.workers[index] = self._start(index)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_anew_and_the_model_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "-1")
    task = tasks.get("digits")
    examples = tmp_path / "ImageExampleGen" / "examples" / "1"
    images = tiny.make_images(task, 130, binary=False)
    tiny.write_examples(examples / "Split-train", images[:110])
    tiny.write_examples(examples / "Split-validation", (images[110:] > 127).astype(np.uint8))
    with _Emulation(tmp_path) as job:
        while not list(tmp_path.glob("checkpoints/draw-train/*/ckpt-*.index")):
            assert all(worker.poll() is None for worker in job.workers)
            time.sleep(0.2)
        job.workers[1].kill()
        while job.workers[0].poll() is None:
            time.sleep(0.2)
        # The other may have been killed, or ended itself, first: now both are gone, and both come back.
        job.workers[1].wait()
        job.reconcile()
        assert sorted(job.failures) == [128 + signal.SIGKILL, train_command.WORKER_LOST]
        told = []
        while not (told and told[-1].startswith("step 600/600")):
            told.append(job.workers[0].stdout.readline())
            assert told[-1], "".join(told) + job.workers[0].stderr.read()
        assert any(line.startswith("resuming at step ") for line in told)
        # The chief is writing the model now, and needs nobody for that.
        job.workers[1].kill()
        output, errors = job.workers[0].communicate(timeout=120)
        assert job.workers[0].returncode == 0, output + errors
    assert (tmp_path / "trained" / "1" / "saved_model.pb").exists()
