"""TF Serving's configuration and the Kubernetes manifests, against their schemas and against each other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from kubernetes import client as kubernetes
from tensorflow_serving.config import model_server_config_pb2

from serving.client import Chunks
from serving.server import config_files
from serving.server.served_models import ModelConfig
from tests import kubernetes_api

CONFIG = Path(inspect.getfile(config_files)).parents[1] / "config"

KINDS = {
    "kubernetes/deployment.yaml": kubernetes.V1Deployment,
    "kubernetes/service.yaml": kubernetes.V1Service,
    "kubernetes/autoscaler.yaml": kubernetes.V2HorizontalPodAutoscaler,
    "kubernetes/disruption-budget.yaml": kubernetes.V1PodDisruptionBudget,
}


def _read(name: str) -> Any:
    return yaml.safe_load((CONFIG / name).read_text(encoding="utf-8"))


def _models() -> dict[str, ModelConfig]:
    path = CONFIG / "models.config"
    return config_files.parse_models(path.read_bytes(), path)


@pytest.mark.parametrize("name", KINDS)
def test_manifests_keep_to_kubernetes_api(name: str) -> None:
    manifest = kubernetes_api.strict(KINDS[name].__name__, _read(name), name)
    assert f"V{manifest.api_version.rpartition('/')[2][1:]}{manifest.kind}" == KINDS[name].__name__


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda pod: pod["containers"][0].update(imagePullPolice="Always"), AssertionError, "no .'imagePullPolice'"),
        (lambda pod: pod["containers"][0]["ports"][0].update(containerPort="grpc"), AssertionError, "is no int"),
        (lambda pod: pod["containers"][0].pop("name"), ValueError, "`name`"),
    ],
)
def test_a_mistake_in_a_manifest_would_be_seen(spoil: Any, error: type[Exception], message: str) -> None:
    manifest = _read("kubernetes/deployment.yaml")
    spoil(manifest["spec"]["template"]["spec"])
    with pytest.raises(error, match=message):
        kubernetes_api.strict("V1Deployment", manifest, "deployment")


def test_manifests_fit_together() -> None:
    deployment, service, autoscaler, budget = (_read(name) for name in KINDS)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert autoscaler["spec"]["scaleTargetRef"] == {
        key: value
        for key, value in {**deployment, "name": deployment["metadata"]["name"]}.items()
        if key in ("apiVersion", "kind", "name")
    }
    # Otherwise a disruption could not be had.
    assert budget["spec"]["minAvailable"] < autoscaler["spec"]["minReplicas"]
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    assert f"--port={ports['grpc']}" in server["args"] and f"--rest_api_port={ports['http']}" in server["args"]
    (model,) = _models().items()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["path"].startswith(f"/v1/models/{model[0]}")
        assert server[probe]["httpGet"]["port"] in ports
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    assert volumes.keys() == set(mounts.values())
    assert str(model[1].base_path).startswith(next(path for path, name in mounts.items() if name == "models"))
    stopping = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
    assert stopping < deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_kustomization_names_every_file() -> None:
    kustomization = _read("kustomization.yaml")
    assert (kustomization["apiVersion"], kustomization["kind"]) == (
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
    )
    assert kustomization["resources"] == list(KINDS)
    (generated,) = kustomization["configMapGenerator"]
    assert set(generated["files"]) == {path.name for path in CONFIG.glob("*.config")}
    volumes = _read("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "config", "configMap": {"name": generated["name"]}} in volumes
    arguments = _read("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {path for text in arguments for path in re.findall(r"=/config/(.+)", text)} == set(generated["files"])


@pytest.mark.parametrize(
    ("name", "model_format", "storage", "version"),
    [
        ("inference-service", "tensorflow", r"pvc://[a-z-]+/digits", r"\d+\.\d+\.\d+"),
        # Triton's versions are a year, a month, and the image with Python's backend.
        ("triton-inference-service", "triton", r"pvc://[a-z-]+/triton", r"\d\d\.\d\d-py3"),
    ],
)
def test_the_inference_services_keep_to_kserves_schema(
    name: str, model_format: str, storage: str, version: str
) -> None:
    """Fields of serving.kserve.io/v1beta1, from KServe's Control Plane API; a model's others are a container's."""
    service = _read(f"kserve/{name}.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert service.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert service["spec"].keys() <= {"predictor", "transformer", "explainer"}
    predictor = dict(service["spec"]["predictor"])
    model = dict(predictor.pop("model"))
    extension = {
        "minReplicas": int,
        "maxReplicas": int,
        "scaleTarget": int,
        "scaleMetric": str,
        "containerConcurrency": int,
        "timeout": int,
        "canaryTrafficPercent": int,
    }
    for name, value in predictor.items():
        assert type(value) is extension[name], name
    assert predictor["scaleMetric"] in ("cpu", "memory", "concurrency", "rps")
    assert predictor["minReplicas"] <= predictor["maxReplicas"]
    assert model.pop("modelFormat") == {"name": model_format}
    assert re.fullmatch(storage, model.pop("storageUri"))
    assert re.fullmatch(version, model.pop("runtimeVersion"))
    assert model.pop("protocolVersion", "v1") == ("v2" if model_format == "triton" else "v1")
    kubernetes_api.strict("V1Container", {"name": "kserve-container", **model}, "model")
    (port,) = model["ports"]
    assert (port["name"], port["containerPort"]) == ("h2c", 9000)


def test_models_config_is_the_real_message_and_ours_reads_it() -> None:
    text = (CONFIG / "models.config").read_text(encoding="utf-8")
    (config,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == ("digits", "/models/digits", "tensorflow")
    assert list(_models()) == ["digits"]
    # What it says of labels in a comment can be uncommented.
    labelled = text_format.Parse(
        re.sub(r"#  (?= model_version|  ?version_labels)", "", text), model_server_config_pb2.ModelServerConfig()
    )
    (config,) = labelled.model_config_list.config
    assert set(config.version_labels.values()) == set(config.model_version_policy.specific.versions)
    assert len(config.version_labels) == 2


def test_batching_takes_what_the_client_sends() -> None:
    batching = config_files.read_batching(CONFIG / "batching.config")
    assert Chunks().rows <= batching.max_batch_size
    # TF Serving refuses to start otherwise.
    assert batching.allowed_batch_sizes[-1] == batching.max_batch_size
    assert list(batching.allowed_batch_sizes) == sorted(batching.allowed_batch_sizes)


def test_monitoring_is_where_it_is_scraped() -> None:
    annotations = _read("kubernetes/deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    assert config_files.read_monitoring(CONFIG / "monitoring.config") == annotations["prometheus.io/path"]


def test_the_commands_name_files_that_are_there() -> None:
    readme = (CONFIG / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"/config/([\w.-]+\.config)", readme))
    assert named == {path.name for path in CONFIG.glob("*.config")}
    image = _read("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image in readme
    assert image.endswith(f":{_read('kserve/inference-service.yaml')['spec']['predictor']['model']['runtimeVersion']}")
