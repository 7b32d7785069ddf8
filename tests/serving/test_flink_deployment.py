"""The manifests and the compose file of Flink's session cluster, against Kubernetes' schemas and against each other."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests import kubernetes_api, tiny

FOLDER = tiny.ROOT / "serving" / "config" / "flink"
KINDS = {"ConfigMap": "V1ConfigMap", "Service": "V1Service", "Deployment": "V1Deployment"}
BOOT = "/opt/apache/beam/boot"


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    text = (FOLDER / "session-cluster.yaml").read_text(encoding="utf-8")
    return {f"{each['kind']} {each['metadata']['name']}": each for each in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return services


def _containers(manifests: dict[str, Any], name: str) -> dict[str, Any]:
    pod = manifests[f"Deployment {name}"]["spec"]["template"]["spec"]
    return {container["name"]: container for container in pod["containers"]}


def test_manifests_keep_to_kubernetes_api(manifests: dict[str, Any]) -> None:
    assert len(manifests) == 4
    for name, manifest in manifests.items():
        kubernetes_api.strict(KINDS[manifest["kind"]], manifest, name)


def test_the_service_leads_to_the_job_manager_and_the_job_server(manifests: dict[str, Any]) -> None:
    service = manifests["Service flink"]["spec"]
    deployment = manifests["Deployment flink-jobmanager"]["spec"]
    assert service["selector"] == deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    ports = {
        port["name"]: port["containerPort"]
        for container in _containers(manifests, "flink-jobmanager").values()
        for port in container["ports"]
    }
    assert {port["name"]: port["port"] for port in service["ports"]} == ports
    conf = yaml.safe_load(manifests["ConfigMap flink"]["data"]["flink-conf.yaml"])
    assert conf["jobmanager.rpc.address"] == conf["rest.address"] == manifests["Service flink"]["metadata"]["name"]
    assert [conf[name] for name in ("jobmanager.rpc.port", "blob.server.port", "rest.port")] == [
        ports[name] for name in ("rpc", "blob", "rest")
    ]
    arguments = _containers(manifests, "flink-jobmanager")["job-server"]["args"]
    assert f"--job-port={ports['jobs']}" in arguments and f"--artifact-port={ports['artifacts']}" in arguments
    assert f"--flink-master=http://localhost:{ports['rest']}" in arguments


def test_each_task_manager_has_a_pool_of_its_own(manifests: dict[str, Any], compose: dict[str, Any]) -> None:
    """One that two task managers share gives both the worker "1-1"."""
    containers = _containers(manifests, "flink-taskmanager")
    pool = ["python", "-P", "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port=50000"]
    expected = [*pool, f"--container_executable={BOOT}"]
    assert containers.keys() == {"taskmanager", "workers"}
    assert containers["workers"]["args"] == compose["workers"]["command"] == expected
    assert compose["workers"]["network_mode"] == "service:taskmanager"


def test_a_task_manager_is_told_its_memory(manifests: dict[str, Any]) -> None:
    """Flink's scripts would work it out, and the image starts Java itself."""
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    for text in (manifests["ConfigMap flink"]["data"]["flink-conf.yaml"], compose["configs"]["flink"]["content"]):
        conf = yaml.safe_load(text)
        assert {f"taskmanager.{name}" for name in (
            "cpu.cores", "memory.task.heap.size", "memory.managed.size", "memory.network.min", "memory.network.max",
            "memory.flink.size",
        )} <= conf.keys()  # fmt: skip


def test_the_images_have_what_the_manifests_call(manifests: dict[str, Any], compose: dict[str, Any]) -> None:
    dockerfile = (tiny.ROOT / "requirements" / "image" / "Dockerfile").read_text(encoding="utf-8")
    assert f"> {BOOT}" in dockerfile and f'ENTRYPOINT ["{BOOT}"]' in dockerfile
    classes = {
        word
        for deployment in ("flink-jobmanager", "flink-taskmanager")
        for container in _containers(manifests, deployment).values()
        for word in container["args"]
        if word.startswith("org.apache.")
    }
    assert classes == {
        word for service in compose.values() for word in service.get("command", []) if word.startswith("org.apache.")
    }
    images = {container["image"] for name in ("flink-jobmanager", "flink-taskmanager")
              for container in _containers(manifests, name).values()}  # fmt: skip
    built = {service["image"]: service["build"]["dockerfile"] for service in compose.values() if "build" in service}
    assert images == built.keys()
    for file in built.values():
        assert (tiny.ROOT / file).is_file()
