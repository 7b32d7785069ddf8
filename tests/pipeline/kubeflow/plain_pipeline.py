"""A pipeline that is not ours, in the file that `tfx pipeline create` is given; its settings are variables."""

import os
from typing import Any

from absl import app
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common import resolver
from tfx.dsl.input_resolution.strategies import latest_artifact_strategy
from tfx.orchestration import data_types
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.types import channel, standard_artifacts


@component
def Train(
    model: OutputArtifact[standard_artifacts.Model], steps: Parameter[int], rate: Parameter[float], name: Parameter[str]
) -> None:
    pass


def main(_: Any) -> None:
    image, root = os.environ.get("PLAIN_IMAGE", "image:1"), os.environ.get("PLAIN_ROOT", "gs://bucket/root")
    steps = int(os.environ.get("PLAIN_STEPS", "100"))
    if steps < 1:
        raise ValueError(f"PLAIN_STEPS is {steps}: give at least 1.")
    components = [
        Train(
            steps=data_types.RuntimeParameter(name="steps", ptype=int, default=steps),
            rate=data_types.RuntimeParameter(name="rate", ptype=float, default=0.5),
            name=data_types.RuntimeParameter(name="name", ptype=str),
        )
    ]
    if "PLAIN_RESOLVER" in os.environ:
        components.append(
            resolver.Resolver(
                strategy_class=latest_artifact_strategy.LatestArtifactStrategy,
                model=channel.Channel(type=standard_artifacts.Model),
            ).with_id("Latest")
        )
    kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(default_image=image),
        output_dir=os.environ.get("PLAIN_OUTPUT"),
    ).run(tfx_pipeline.Pipeline(pipeline_name="plain", pipeline_root=root, components=components))


if __name__ == "__main__":
    app.run(main)
