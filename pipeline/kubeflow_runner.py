"""Compiles the pipeline for Kubeflow Pipelines 2; also the file that `tfx pipeline create --engine=kubeflow` is given.

As a script it is `draw compile` without arguments: its settings come from the environment, by the names TASK,
CLUSTER, IMAGE, PIPELINE_ROOT, DATA_DIR, SERVING_DIR, CHECKPOINT_ROOT, STEPS, TRAIN_EXAMPLES, MAX_NLL_BOUND, MAX_ERROR,
TOLERANCE and SCORE_SAMPLES. What a run may say otherwise is the default of a runtime parameter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.local_runner import BEAM_ARGUMENTS

if TYPE_CHECKING:
    from pipeline.compile_settings import CompileSettings

ENTRY_POINT = ("python", "-m", "pipeline.kubeflow.container_entrypoint")


def run(settings: CompileSettings, output: Path) -> Path:
    """Writes the package to `output`, a .yaml, unless `tfx pipeline` has it written elsewhere; returns where it is.

    Raises ValueError where the cluster's file speaks of stages that there are not.
    """
    # These imports take 10 s; help and mistakes should not.
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunnerConfig

    from pipeline.kubeflow import package_runner, platform_spec
    from pipeline.kubeflow.pipeline_spec import Document

    cluster = settings.cluster

    class Runner(package_runner.PackageRunner):
        def documents(self, spec: Document) -> list[Document]:
            return platform_spec.configure(spec, cluster)

        @property
        def output(self) -> Path:
            return Path(self._output_dir, self._output_filename)

    runner = Runner(
        config=KubeflowV2DagRunnerConfig(default_image=cluster.image, default_commands=list(ENTRY_POINT)),
        output_dir=str(output.parent),
        output_filename=output.name,
    )
    runner.run(_pipeline(settings))
    return runner.output


def _pipeline(settings: CompileSettings) -> Any:
    from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
    from tfx.orchestration.data_types import RuntimeParameter

    from pipeline import dag
    from pipeline.task_arguments import TaskArguments

    def address(name: str) -> RuntimeParameter:
        return RuntimeParameter(name, str, default=getattr(settings, name))

    pipeline = dag.create_pipeline(
        task=TaskArguments.of_each_run(
            limit_name=settings.limit_name,
            task=settings.task_name,
            steps=settings.steps,
            train_examples=settings.train_examples,
            limit=settings.limit,
            tolerance=settings.tolerance,
        ),
        pipeline_name=settings.pipeline_name,
        pipeline_root=settings.pipeline_root or "",
        data_dir=address("data_dir"),
        serving_dir=address("serving_dir"),
        checkpoint_root=address("checkpoint_root"),
        metadata_connection_config=None,
        enable_cache=settings.cluster.caching,
        # To each that runs on Beam, below: TFX would give them to the others too.
        beam_pipeline_args=(),
        score_samples=(
            None
            if settings.score_samples is None
            else RuntimeParameter("score_samples", int, default=settings.score_samples)
        ),
        resolve_baseline=False,
    )
    on_beam = [component for component in pipeline.components if isinstance(component, BaseBeamComponent)]
    settings.cluster.check_stages(
        [component.id for component in pipeline.components], [component.id for component in on_beam]
    )
    for component in on_beam:
        beam = settings.cluster.stage(component.id).beam
        component.with_beam_pipeline_args(list(BEAM_ARGUMENTS if beam is None else beam))
    return pipeline


if __name__ == "__main__":
    from pipeline.compile_command import compile_pipeline

    compile_pipeline(args=(), prog_name="kubeflow_runner.py")
