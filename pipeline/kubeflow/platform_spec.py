"""Writes a cluster's resources into a package: fields of the PipelineSpec, and a platform spec for the rest.

The names are those of kubeflow/pipelines' pipeline_spec.proto and kubernetes_executor_config.proto. Of two names for
one field the older is used, which every back end of Kubeflow Pipelines 2 understands.
"""

from __future__ import annotations

import copy
from typing import Any

from pipeline.kubeflow.cluster_file import Cluster
from pipeline.kubeflow.pipeline_spec import Document
from pipeline.kubeflow.stage_resources import NEVER_CACHED, NEVER_REPEATED, Stage

_EXECUTOR = "{}_executor"
"""TFX's label for a task's executor."""


def configure(spec: Document, cluster: Cluster) -> list[Document]:
    """Returns a package's documents, given its PipelineSpec."""
    configured = copy.deepcopy(spec)
    executors: dict[str, Document] = {}
    for name, task in configured["root"]["dag"]["tasks"].items():
        stage, label = cluster.stage(name), _EXECUTOR.format(name)
        container = configured["deploymentSpec"]["executors"][label]["container"]
        if resources := stage.resource_spec():
            container["resources"] = resources
        if cluster.env:
            container["env"] = [{"name": variable, "value": value} for variable, value in sorted(cluster.env.items())]
        if name not in NEVER_REPEATED and (retry_policy := stage.retry_policy()):
            task["retryPolicy"] = retry_policy
        if name in NEVER_CACHED:
            task["cachingOptions"] = {"enableCache": False}
        if executor := _executor(stage, cluster):
            executors[label] = executor
    if not executors:
        return [configured]
    return [configured, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}]


def _executor(stage: Stage, cluster: Cluster) -> Document:
    """Returns a KubernetesExecutorConfig."""
    fields: dict[str, Any] = {
        "secretAsEnv": [
            {
                "secretName": secret.name,
                "keyToEnv": [{"secretKey": key, "envVar": variable} for variable, key in sorted(secret.env.items())],
            }
            for secret in cluster.secrets
            if secret.env is not None
        ],
        "secretAsVolume": [
            {"secretName": secret.name, "mountPath": secret.path}
            for secret in cluster.secrets
            if secret.path is not None
        ],
        "pvcMount": [{"constant": volume.claim, "mountPath": volume.path} for volume in cluster.volumes],
        "imagePullSecret": [{"secretName": name} for name in cluster.image_pull_secrets],
        **stage.node_fields(),
    }
    return {name: value for name, value in fields.items() if value}
