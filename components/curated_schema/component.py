"""The contract of CuratedSchema: a task's name in, its schema out."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.curated_schema import executor


class CuratedSchemaSpec(ComponentSpec):
    """Channels and execution properties of CuratedSchema."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        executor.TASK_KEY: ExecutionParameter(type=str),
        executor.PACKAGE_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.SCHEMA_KEY: ChannelParameter(type=standard_artifacts.Schema)
    }


class CuratedSchema(BaseComponent):
    """Takes the schema of a task from a package's data.

    Our own rather than TFX's ImportSchemaGen, which takes a path: that of the host where a pipeline is compiled is not
    that of the image where it runs, and a run may be of another task than the pipeline was compiled with.

    Outputs:
      schema: `standard_artifacts.Schema`.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, *, task: str | RuntimeParameter, package: str) -> None:
        """Wires the component.

        Args:
          task: its name.
          package: with a file schema/TASK/schema.pbtxt.
        """
        super().__init__(
            CuratedSchemaSpec(task=task, package=package, schema=types.Channel(type=standard_artifacts.Schema))
        )
