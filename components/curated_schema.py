"""CuratedSchema: a task's name in, its schema out."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any, ClassVar

from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor as import_schema_gen
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

TASK_KEY = "task"
PACKAGE_KEY = "package"


class Executor(import_schema_gen.Executor):
    """Lets TFX's executor check and copy the schema of the task."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `schema`. Raises FileNotFoundError if `package` has none for `task`."""
        path = curated_schema(exec_properties[PACKAGE_KEY], exec_properties[TASK_KEY])
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no curated schema {path}: the task {exec_properties[TASK_KEY]!r} is unknown, or the package "
                f"{exec_properties[PACKAGE_KEY]!r} was installed without its data."
            )
        super().Do(input_dict, output_dict, {standard_component_specs.SCHEMA_FILE_KEY: str(path)})


def curated_schema(package: str, task_name: str) -> Path:
    """Returns the path of a task's schema in the installed package; the file may be missing."""
    return Path(str(importlib.resources.files(package))) / "schema" / task_name / "schema.pbtxt"


class CuratedSchemaSpec(ComponentSpec):
    """Channels and execution properties of CuratedSchema."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        TASK_KEY: ExecutionParameter(type=str),
        PACKAGE_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.SCHEMA_KEY: ChannelParameter(type=standard_artifacts.Schema)
    }


class CuratedSchema(BaseComponent):
    """Takes the schema of a task from a package's data.

    TFX's ImportSchemaGen takes a path, but a path on the host that compiles a pipeline is not one in the image that
    runs it, and a run may be of another task than the pipeline was compiled with.

    Outputs:
      schema: `standard_artifacts.Schema`.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, *, task: str | RuntimeParameter, package: str) -> None:
        """Wires the component.

        Args:
          task: the task's name.
          package: the package that holds schema/TASK/schema.pbtxt.
        """
        super().__init__(
            CuratedSchemaSpec(task=task, package=package, schema=types.Channel(type=standard_artifacts.Schema))
        )
