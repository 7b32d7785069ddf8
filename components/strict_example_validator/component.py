"""The contract of StrictExampleValidator: that of TFX's ExampleValidator, but an anomaly fails the execution."""

from __future__ import annotations

from tfx.components.example_validator.component import ExampleValidator
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec

from components.strict_example_validator.executor import Executor


class StrictExampleValidator(ExampleValidator):
    """Compares statistics with a schema, and stops the pipeline where TFX's own only writes down what it found.

    Constructor, inputs and output (`anomalies`, `standard_artifacts.ExampleAnomalies`) are those of ExampleValidator.
    """

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
