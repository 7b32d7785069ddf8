"""TFX's KubeflowV2DagRunner, which here writes a package for Kubeflow Pipelines 2.x instead of a PipelineJob."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx.orchestration import data_types
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

# tfx_cli_handler.py says why this is relative.
from . import pipeline_spec


def defaults(pipeline: tfx_pipeline.Pipeline) -> dict[str, Any]:
    """Collects the defaults of the pipeline's runtime parameters by name; TFX does not write them down.

    Raises:
        ValueError: two parameters of one name have different defaults.
    """
    values: dict[str, Any] = {}
    for component in pipeline.components:
        for value in component.exec_properties.values():
            if not isinstance(value, data_types.RuntimeParameter) or value.default is None:
                continue
            if values.setdefault(value.name, value.default) != value.default:
                raise ValueError(
                    f"Runtime parameter {value.name!r} has two defaults, {values[value.name]!r} and {value.default!r}."
                    " Give every use of it the same."
                )
    return values


class PackageRunner(kubeflow_v2_dag_runner.KubeflowV2DagRunner):
    """Compiles a pipeline into `output_dir/output_filename`, a .yaml."""

    def documents(self, spec: pipeline_spec.Document) -> list[pipeline_spec.Document]:
        """Returns the package's documents; a subclass may change the PipelineSpec and add a platform spec."""
        return [spec]

    def run(
        self,
        pipeline: tfx_pipeline.Pipeline,
        parameter_values: Mapping[str, Any] | None = None,
        write_out: bool | None = True,
    ) -> pipeline_spec.Document:
        """Compiles the pipeline, writes the package unless `write_out` is false, and returns the PipelineSpec.

        Raises:
            InvalidPipelineSpec: the back end would refuse it.
        """
        self._config.use_pipeline_spec_2_1 = True
        # `tfx pipeline` changes the output folder during this call.
        job = super().run(pipeline, parameter_values, write_out=False)
        spec = pipeline_spec.complete(pipeline_spec.from_job(job), pipeline_root=None, defaults=defaults(pipeline))
        documents = self.documents(spec)
        pipeline_spec.validate(documents)
        if write_out:
            folder = Path(self._output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            pipeline_spec.write(folder / self._output_filename, documents)
        return spec
