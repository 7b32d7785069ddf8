"""Compiles the pipeline into a package for Kubeflow Pipelines 2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.beam_options import LOCAL_BEAM_ARGUMENTS

if TYPE_CHECKING:
    from pipeline.kubeflow.compile_settings import CompileSettings

ENTRY_POINT = ("python", "-m", "pipeline.kubeflow.container_entrypoint")


def run(settings: CompileSettings, output: Path) -> Path:
    """Writes the package and returns its path: `output`, a .yaml, unless `tfx pipeline` redirects it.

    Raises ValueError where the cluster's file configures a stage that the pipeline lacks.
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

    from pipeline.create_pipeline import Locations, create_pipeline
    from pipeline.task_arguments import TaskArguments

    samples = settings.score_samples
    pipeline = create_pipeline(
        task=TaskArguments.for_each_run(kind=settings.task.kind, **settings.task_parameters),
        locations=Locations(
            **{name: RuntimeParameter(name, str, default=address) for name, address in settings.locations.items()}
        ),
        pipeline_name=settings.pipeline_name,
        pipeline_root=(settings.pipeline_root or "").rstrip("/"),
        metadata_connection_config=None,
        enable_cache=settings.cluster.caching,
        # Each stage on Beam gets its own below; TFX would give these to all stages.
        beam_pipeline_args=(),
        score_samples=None if samples is None else RuntimeParameter("score_samples", int, default=samples),
        resolve_baseline=False,
        fail_refused=settings.cluster.fail_refused,
    )
    on_beam = [component for component in pipeline.components if isinstance(component, BaseBeamComponent)]
    settings.cluster.check_stages(
        [component.id for component in pipeline.components], [component.id for component in on_beam]
    )
    for component in on_beam:
        beam = settings.cluster.stage(component.id).beam
        component.with_beam_pipeline_args(list(LOCAL_BEAM_ARGUMENTS if beam is None else beam))
    return pipeline
