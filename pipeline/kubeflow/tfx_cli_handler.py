"""Implements `tfx pipeline` and `tfx run` with --engine=kubeflow in place of TFX's handler, unimportable since 1.16.

It serves any pipeline that KubeflowV2DagRunner compiles. TFX's command imports this package under another name (see
draw_tfx_startup.py), for `pipeline` may be a package of the user's: hence the relative imports.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path, PurePath
from typing import Any

import click
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.tools.cli import labels
from tfx.tools.cli.handler import base_handler, kubeflow_v2_dag_runner_patcher

from . import package_runner, pipeline_spec, run_progress, runtime_parameters
from .kfp_client import Api


class _Patcher(kubeflow_v2_dag_runner_patcher.KubeflowV2DagRunnerPatcher):
    """Makes the DSL's runner write YAML of schema 2.1.0, and keeps the defaults that TFX leaves out of it."""

    PIPELINE_DEFAULTS = "pipeline_defaults"

    def __init__(self, *, check_name: Callable[[str], object] = lambda name: None, **options: Any) -> None:
        super().__init__(call_real_run=True, **options)
        self._check_name = check_name

    def _before_run(self, runner: Any, pipeline: tfx_pipeline.Pipeline, context: MutableMapping[str, Any]) -> None:
        # First, for building an image takes minutes.
        self._check_name(context[self.PIPELINE_NAME])
        super()._before_run(runner, pipeline, context)
        runner.config.use_pipeline_spec_2_1 = True
        runner._output_filename = str(PurePath(runner._output_filename).with_suffix(".yaml"))
        context[self.OUTPUT_FILE_PATH] = str(PurePath(runner._output_dir, runner._output_filename))
        context[self.PIPELINE_DEFAULTS] = package_runner.defaults(pipeline)


class KubeflowHandler(base_handler.BaseHandler):
    """Handler with the methods that TFX's command calls."""

    @functools.cached_property
    def _api(self) -> Api:
        return Api(
            endpoint=self.flags_dict[labels.ENDPOINT],
            iap_client_id=self.flags_dict[labels.IAP_CLIENT_ID],
            namespace=self.flags_dict[labels.NAMESPACE],
        )

    @property
    def _name(self) -> str:
        return self.flags_dict[labels.PIPELINE_NAME]

    def compile_pipeline(self) -> None:
        """Writes the package where the DSL's runner says."""
        name, path = self._compile(_Patcher())
        click.echo(f'Pipeline "{name}" compiled successfully.\nPipeline package path: {path}')

    def create_pipeline(self) -> None:
        """Compiles and uploads a new pipeline."""
        _ = self._api  # A wrong endpoint fails before the pipeline is compiled.

        def check_name(name: str) -> None:
            if self._find_pipeline(name) is not None:
                raise click.ClickException(f'Pipeline "{name}" already exists. Use tfx pipeline update.')

        with self._packaged(check_name) as (name, path):
            options = {"namespace": self._api.namespace} if self._api.namespace else {}
            self._api.call("upload_pipeline", str(path), pipeline_name=name, **options)
        click.echo(f'Pipeline "{name}" created successfully.')

    def update_pipeline(self) -> None:
        """Compiles and uploads a version of an existing pipeline, which later runs use."""
        _ = self._api
        with self._packaged(self._pipeline_id) as (name, path):
            self._api.call(
                "upload_pipeline_version",
                str(path),
                pipeline_version_name=f"{name}_{time.strftime('%Y%m%d%H%M%S')}",
                pipeline_id=self._pipeline_id(name),
            )
        click.echo(f'Pipeline "{name}" updated successfully.')

    def list_pipelines(self) -> None:
        """Prints a line for each pipeline of the namespace."""
        pipelines = self._api.all("list_pipelines", "pipelines", namespace=self._api.namespace)
        if not pipelines:
            click.echo("No pipelines to display.")
            return
        rows = [[pipeline.display_name, pipeline.pipeline_id, _created_at(pipeline)] for pipeline in pipelines]
        click.echo(self._format_table(["pipeline_name", "pipeline_id", "created_at"], rows))

    def delete_pipeline(self) -> None:
        """Deletes a pipeline with all its versions. Its runs stay in the experiment of its name."""
        pipeline_id = self._pipeline_id(self._name)
        # The API does not delete a pipeline that has versions.
        for version in self._api.all("list_pipeline_versions", "pipeline_versions", pipeline_id=pipeline_id):
            self._api.call("delete_pipeline_version", pipeline_id, version.pipeline_version_id)
        self._api.call("delete_pipeline", pipeline_id)
        click.echo(f'Pipeline "{self._name}" deleted successfully.')

    def get_schema(self) -> None:
        """Refuses: the schema is an artifact of a run, at an address that only the run knows."""
        raise click.ClickException(
            "tfx pipeline schema is not supported with --engine=kubeflow. The schema is an artifact of the run: look "
            "for it on the run's page."
        )

    def create_run(self) -> None:
        """Runs the latest version of a pipeline."""
        pipeline_id = self._pipeline_id(self._name)
        versions = self._api.call("list_pipeline_versions", pipeline_id, page_size=1, sort_by="created_at desc")
        if not versions.pipeline_versions:
            raise click.ClickException(f'Pipeline "{self._name}" has no version. Use tfx pipeline update.')
        (version,) = versions.pipeline_versions
        root, parameters = self._run_settings(pipeline_spec.without_platform(version.pipeline_spec or {}))
        experiment = self._api.call("create_experiment", self._name, namespace=self._api.namespace)
        run = self._api.call(
            "run_pipeline",
            experiment_id=experiment.experiment_id,
            job_name=self._name,
            params=parameters,
            pipeline_id=pipeline_id,
            version_id=version.pipeline_version_id,
            pipeline_root=root,
        )
        click.echo(f"Run created for pipeline: {self._name}")
        self._print_runs([run])

    def _run_settings(self, spec: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Returns the root of the run's artifacts (None for the pipeline's own), and its parameters."""
        given = dict(self.flags_dict[labels.RUNTIME_PARAMETER])
        definitions = pipeline_spec.parameters(spec)
        root = None
        if runtime_parameters.ROOT not in definitions:
            root = given.pop(runtime_parameters.ROOT, None)
        if root is not None and not pipeline_spec.is_root(root):
            raise click.ClickException(
                f"{runtime_parameters.ROOT} has to begin with {', '.join(pipeline_spec.OBJECT_STORES)} and a bucket; "
                f"it is {root!r}."
            )
        try:
            return root, runtime_parameters.typed(definitions, given)
        except ValueError as error:
            raise click.ClickException(str(error)) from error

    def list_runs(self) -> None:
        """Prints a line for each run of a pipeline, the latest first."""
        experiment = self._api.named("list_experiments", "experiments", self._name)
        if experiment is None:
            self._pipeline_id(self._name)  # Raises where there is none; a deleted one leaves its runs.
        runs = experiment and self._api.all(
            "list_runs", "runs", experiment_id=experiment.experiment_id, sort_by="created_at desc"
        )
        if runs:
            self._print_runs(runs)
        else:
            click.echo("No runs found.")

    def get_run(self) -> None:
        """Prints a run's state and that of each stage, with the error of one that failed."""
        run = self._api.call("get_run", self.flags_dict[labels.RUN_ID])
        self._print_runs([run])
        for line in run_progress.lines(run, self._api.spec(run), functools.partial(self._api.log, run.run_id)):
            click.echo(line)

    def terminate_run(self) -> None:
        """Stops a run."""
        self._api.call("terminate_run", self.flags_dict[labels.RUN_ID])
        click.echo("Run terminated.")

    def delete_run(self) -> None:
        """Deletes the record of a run."""
        self._api.call("delete_run", self.flags_dict[labels.RUN_ID])
        click.echo("Run deleted.")

    def _print_runs(self, runs: list[Any]) -> None:
        rows = [[run.display_name, run.run_id, run_progress.state(run), _created_at(run)] for run in runs]
        click.echo(self._format_table(["pipeline_name", "run_id", "status", "created_at"], rows))

    def _find_pipeline(self, name: str) -> Any | None:
        return self._api.named("list_pipelines", "pipelines", name)

    def _pipeline_id(self, name: str) -> str:
        pipeline = self._find_pipeline(name)
        if pipeline is None:
            raise click.ClickException(
                f'Cannot find pipeline "{name}". tfx pipeline list shows those of this endpoint and namespace.'
            )
        return pipeline.pipeline_id

    @contextlib.contextmanager
    def _packaged(self, check_name: Callable[[str], object]) -> Iterator[tuple[str, Path]]:
        """Yields the pipeline's name, and its package in a folder that is deleted after the upload."""
        build_image = self._build_image if self.flags_dict[labels.BUILD_IMAGE] else None
        with tempfile.TemporaryDirectory(prefix="tfx-kubeflow-") as folder:
            yield self._compile(
                _Patcher(check_name=check_name, build_image_fn=build_image, prepare_dir_fn=lambda name: folder)
            )

    def _compile(self, patcher: _Patcher) -> tuple[str, Path]:
        """Compiles the pipeline; returns its name and the path of its valid, completed package."""
        dsl = self.flags_dict[labels.PIPELINE_DSL_PATH]
        try:
            context = self.execute_dsl(patcher)
            path = Path(context[patcher.OUTPUT_FILE_PATH])
            documents = pipeline_spec.read(path)
            completed = [
                pipeline_spec.complete(
                    document,
                    pipeline_root=context[patcher.PIPELINE_ROOT],
                    defaults=context[patcher.PIPELINE_DEFAULTS],
                )
                if pipeline_spec.is_pipeline_spec(document)
                else document
                for document in documents
            ]
            pipeline_spec.validate(completed)
            pipeline_spec.write(path, completed)
        except (ValueError, RuntimeError) as error:
            # Errors for the pipeline's author, from TFX or from us. Any other exception is a bug and keeps its trace.
            raise click.ClickException(f"{dsl}: {error}") from error
        return context[patcher.PIPELINE_NAME], path

    def _build_image(self, image: str | Mapping[str, str]) -> str:
        """Builds ./Dockerfile, pushes it as the runner's default image, and returns its name with its digest."""
        if not isinstance(image, str):
            raise click.ClickException("--build-image builds one image, but the runner's default_image has several.")
        import docker  # type: ignore[import-untyped]
        from tfx.tools.cli.container_builder import builder

        try:
            # Checked first: the builder would write a Dockerfile before it misses the engine.
            docker.from_env().ping()
            built = builder.build(target_image=image, base_image=self.flags_dict.get(labels.BASE_IMAGE))
        except docker.errors.DockerException as error:
            raise click.ClickException(
                f"--build-image needs a Docker engine that builds and pushes {image}: {error}"
            ) from error
        click.echo(f'New container image "{built}" was built.')
        return built


def _created_at(resource: Any) -> str:
    return resource.created_at.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
