"""Packages that the runner compiled, once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.kubeflow import compiler, pipeline_spec
from pipeline.kubeflow.compile_settings import CompileSettings

CLUSTER = """
image: registry.example/draw:0.1
image_pull_secrets: [registry-login]
env: {GOOGLE_APPLICATION_CREDENTIALS: /var/secrets/gcs/key.json}
secrets:
  - {name: gcs-key, path: /var/secrets/gcs}
  - {name: minio-keys, env: {AWS_ACCESS_KEY_ID: accesskey, AWS_SECRET_ACCESS_KEY: secretkey}}
volumes:
  - {claim: draw, path: /mnt/draw}
default:
  cpu: 2
  memory_gb: 8
  retries: {count: 2}
stages:
  ImageExampleGen:
    beam: [--runner=FlinkRunner, "--flink_master=flink:8081", --environment_type=LOOPBACK]
  Trainer:
    cpu: 8
    memory_gb: 32
    accelerator: {resource: nvidia.com/gpu, count: 2}
    node_selector: {cloud.google.com/gke-accelerator: nvidia-l4}
    tolerations: [{key: nvidia.com/gpu, effect: NoSchedule}]
    retries: {count: 5, backoff_seconds: 60, factor: 3, give_up_after_hours: 72}
"""


def settings(folder: Path, *, cluster: str = CLUSTER, **changes: object) -> CompileSettings:
    """What is compiled by the cluster's file above, if nothing else is said."""
    cluster_file = folder / "cluster.yaml"
    cluster_file.write_text(cluster)
    options: dict[str, object] = {
        "cluster_file": str(cluster_file),
        "pipeline_root": "minio://mlpipeline/draw",
        "serving_dir": "/mnt/draw/serving/{task}",
        "checkpoint_root": "/mnt/draw/checkpoints",
    }
    return CompileSettings(**{**options, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the generative tasks."""
    folder = tmp_path_factory.mktemp("package")
    compiler.run(settings(folder), folder / "draw.yaml")
    return folder / "draw.yaml"


@pytest.fixture(scope="session")
def documents(package: Path) -> list[pipeline_spec.Document]:
    """Those in `package`: the PipelineSpec and the platform spec."""
    return pipeline_spec.read(package)
