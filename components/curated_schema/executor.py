"""Executor of CuratedSchema: TFX's own, of the file that belongs to the task."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor as import_schema_gen
from tfx.types import standard_component_specs

TASK_KEY = "task"
PACKAGE_KEY = "package"


class Executor(import_schema_gen.Executor):
    """Checks that the file is a schema, and copies it."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `schema`. Raises FileNotFoundError where `package` has none of `task`."""
        path = curated_schema(exec_properties[PACKAGE_KEY], exec_properties[TASK_KEY])
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no curated schema {path}: the task {exec_properties[TASK_KEY]!r} is unknown, or the package "
                f"{exec_properties[PACKAGE_KEY]!r} was installed without its data."
            )
        super().Do(input_dict, output_dict, {standard_component_specs.SCHEMA_FILE_KEY: str(path)})


def curated_schema(package: str, task_name: str) -> Path:
    """The path of a task's schema as it was installed with the package."""
    return Path(str(importlib.resources.files(package))) / "schema" / task_name / "schema.pbtxt"
