"""RunReport: everything there is to know about a run, on one HTML page."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.run_report import executor
from components.run_report.artifact import RunReport as RunReportArtifact


class RunReportSpec(ComponentSpec):
    """Channels of RunReport. The task comes with the model, the gate and its split with the evaluation."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {}
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        standard_component_specs.STATISTICS_KEY: ChannelParameter(type=standard_artifacts.ExampleStatistics),
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.MODEL_RUN_KEY: ChannelParameter(type=standard_artifacts.ModelRun),
        standard_component_specs.EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        standard_component_specs.INFRA_BLESSING_KEY: ChannelParameter(type=standard_artifacts.InfraBlessing),
        standard_component_specs.PUSHED_MODEL_KEY: ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {executor.REPORT_KEY: ChannelParameter(type=RunReportArtifact)}


class RunReport(BaseComponent):
    """Writes the page of a run, whether its model was pushed or refused.

    A section that cannot be made, say because the model draws no finite pixel, says so in its place, in a warning and
    in the artifact's property `failed_sections`. The run does not fail, since its purpose is served by then.

    Outputs:
      report: `components.RunReport`, a folder with report.html.
    """

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        model: types.BaseChannel,
        model_run: types.BaseChannel,
        evaluation: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        pushed_model: types.BaseChannel,
    ) -> None:
        """Wires the component.

        Args:
          examples: the examples, of all splits.
          statistics: the statistics of the examples.
          model: a SavedModel with its task.
          model_run: TensorBoard's summaries of its training.
          evaluation: the gate's evaluation.
          infra_blessing: the serving check's verdict.
          pushed_model: where the model was pushed to, if it was.
        """
        super().__init__(
            RunReportSpec(
                examples=examples,
                statistics=statistics,
                model=model,
                model_run=model_run,
                evaluation=evaluation,
                infra_blessing=infra_blessing,
                pushed_model=pushed_model,
                report=types.Channel(type=RunReportArtifact),
            )
        )
