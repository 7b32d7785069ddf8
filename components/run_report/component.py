"""RunReport: everything there is to know about a run, on one HTML page."""

from __future__ import annotations

from tfx.types import standard_artifacts

from components.declared_component import DeclaredComponent
from components.run_report import artifact
from components.run_report.executor import Executor


class RunReport(
    DeclaredComponent,
    executor=Executor,
    inputs={
        "examples": standard_artifacts.Examples,
        "statistics": standard_artifacts.ExampleStatistics,
        "model": standard_artifacts.Model,
        "model_run": standard_artifacts.ModelRun,
        "evaluation": standard_artifacts.ModelEvaluation,
        "infra_blessing": standard_artifacts.InfraBlessing,
        "pushed_model": standard_artifacts.PushedModel,
    },
    properties={"init_from": str},
    outputs={"report": artifact.RunReport},
    defaults={"init_from": None},
):
    """Writes the page of a run, whether its model was pushed or refused.

    A section that cannot be made, say because the model draws no finite pixel, says so in its place, in a warning and
    in the artifact's property `failed_sections`. The run does not fail, since its purpose is served by then.

    Args:
      examples: the examples, of all splits.
      statistics: the statistics of the examples.
      model: a SavedModel with its task.
      model_run: TensorBoard's summaries of its training.
      evaluation: the gate's evaluation, with its split.
      infra_blessing: the serving check's verdict.
      pushed_model: where the model was pushed to, if it was.
      init_from: where training started, for the command that repeats the run; None for random weights.

    Outputs:
      report: `components.RunReport`, a folder with report.html.
    """
