"""TFX's KubeflowV2DagRunner, writing a package that Kubeflow Pipelines 2.x accepts in place of a PipelineJob."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx.orchestration import data_types
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

# handler.py says why this is relative.
from pipeline.kubeflow import pipeline_spec


def defaults(pipeline: tfx_pipeline.Pipeline) -> dict[str, Any]:
    """By name, the defaults of the pipeline's runtime parameters, which TFX does not write down.

    Raises:
        ValueError: two parameters of one name have different defaults.
    """
    found: dict[str, Any] = {}
    for component in pipeline.components:
        for value in component.exec_properties.values():
            if not isinstance(value, data_types.RuntimeParameter) or value.default is None:
                continue
            if found.setdefault(value.name, value.default) != value.default:
                raise ValueError(
                    f"Runtime parameter {value.name!r} has two defaults, {found[value.name]!r} and {value.default!r}."
                    " Give every use of it the same."
                )
    return found


class PackageRunner(kubeflow_v2_dag_runner.KubeflowV2DagRunner):
    """Compiles a pipeline into `output_dir/output_filename`, a .yaml."""

    def documents(self, spec: pipeline_spec.Document) -> list[pipeline_spec.Document]:
        """The package's documents, given its PipelineSpec; a subclass may change it and add a platform spec."""
        return [spec]

    def run(
        self,
        pipeline: tfx_pipeline.Pipeline,
        parameter_values: Mapping[str, Any] | None = None,
        write_out: bool | None = True,
    ) -> pipeline_spec.Document:
        """Returns the PipelineSpec, and writes the package unless told otherwise.

        Raises:
            InvalidPipelineSpec: the back end would refuse it.
        """
        self._config.use_pipeline_spec_2_1 = True
        # `tfx pipeline` changes where the file goes while this call lasts.
        job = super().run(pipeline, parameter_values, write_out=False)
        spec = pipeline_spec.complete(pipeline_spec.from_job(job), pipeline_root=None, defaults=defaults(pipeline))
        documents = self.documents(spec)
        pipeline_spec.validate(documents)
        if write_out:
            folder = Path(self._output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            pipeline_spec.write(folder / self._output_filename, documents)
        return spec
