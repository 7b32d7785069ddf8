"""The pipeline: ten stages from a data set to a pushed SavedModel and its report, the same on every orchestrator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.io import fileio
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.curated_schema import CuratedSchema
from components.evaluator.component import BoundEvaluator, ErrorEvaluator
from components.parameter_check import ParameterCheck
from components.run_report.component import RunReport
from components.serving_check import ServingCheck
from components.split_scorer import SplitScorer
from components.strict_example_validator import StrictExampleValidator
from components.task_pusher import TaskPusher
from components.task_trainer import TaskTrainer
from components.tfds_example_gen.component import TfdsExampleGen
from pipeline.baseline_resolver import LatestOtherBlessedModel
from pipeline.task_arguments import TaskArguments
from trainer.task import ErrorGate, Gate, Task

# Node ids, by which a run's metadata is read again.
TRAINER = "Trainer"
PARAMETER_CHECK = "ParameterCheck"
EXAMPLE_GEN = "TfdsExampleGen"
SCHEMA_GEN = "ImportSchemaGen"
BASELINE = "Baseline"
BOUND_EVALUATOR = "BoundEvaluator"
ERROR_EVALUATOR = "ErrorEvaluator"
SERVING_CHECK = "ServingCheck"
PUSHER = "Pusher"
RUN_REPORT = "RunReport"
SPLIT_SCORER = "SplitScorer"

SERVING_CHECK_SECONDS = 300


def create_pipeline(
    *,
    task: TaskArguments,
    pipeline_name: str,
    pipeline_root: str,
    data_dir: str | RuntimeParameter | None,
    serving_dir: str | RuntimeParameter,
    checkpoint_root: str | RuntimeParameter,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None,
    enable_cache: bool,
    beam_pipeline_args: Sequence[str],
    initial_state: str | None = None,
    score_samples: int | RuntimeParameter | None = None,
    resolve_baseline: bool = True,
) -> Pipeline:
    """The pipeline of one task, or of one kind of tasks.

    Args:
        task: what is trained, on what, and what a model must reach to be pushed. Where a run says so, another stage
            comes first that checks what it says.
        pipeline_name: stays the same from run to run; the last blessed model is looked for under it.
        pipeline_root: where the artifacts go.
        data_dir: TFDS's data directory; None, or "", for TFDS's own default.
        serving_dir: TF Serving's model_base_path; a pushed model is a numbered folder in it. `{task}` in it is the name
            of the task.
        checkpoint_root: a folder that outlives a killed run.
        metadata_connection_config: MLMD's store; None where the orchestrator brings its own.
        enable_cache: whether a stage whose inputs and parameters have not changed takes its former outputs.
        beam_pipeline_args: for the stages that run on Beam.
        initial_state: the .npz where training begins, see `trainer.training.loop.train`; None for the beginning.
        score_samples: how many samples of each image of the test split are scored in a stage of its own, of a
            generative task; None for no such stage.
        resolve_baseline: whether the last blessed model is looked up in the metadata, by a stage of its own. If not,
            a model is compared with the last one in `serving_dir`, for Kubeflow Pipelines 2.x has no resolvers.
    """
    example_gen = TfdsExampleGen(task=task.task, train_examples=task.train_examples, data_dir=data_dir).with_id(
        EXAMPLE_GEN
    )
    examples = example_gen.outputs["examples"]

    # The schema comes before the statistics: it marks `image` as such, and StatisticsGen then measures the bytes
    # instead of counting every image as a distinct word.
    schema_gen = CuratedSchema(
        task=task.task.name if isinstance(task.task, Task) else task.task, package=__package__
    ).with_id(SCHEMA_GEN)
    schema = schema_gen.outputs["schema"]
    statistics_gen = StatisticsGen(examples=examples, schema=schema)
    validator = StrictExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)

    checks = []
    if isinstance(task.task, RuntimeParameter):
        check = ParameterCheck(
            limit_name=task.limit_name,
            task=task.task,
            steps=task.steps,
            train_examples=task.train_examples,
            limit=task.limit,
            tolerance=task.tolerance,
            data_dir=data_dir,
            checkpoint_root=checkpoint_root,
            serving_dir=serving_dir,
        ).with_id(PARAMETER_CHECK)
        # No data flows from it, but nothing is made of parameters that cannot be.
        for first in (example_gen, schema_gen):
            first.add_upstream_node(check)
        checks.append(check)

    trainer = TaskTrainer(
        examples=examples,
        run_fn="trainer.run_fn.run_fn",
        task=task.task,
        steps=task.steps,
        train_examples=task.train_examples,
        checkpoint_root=checkpoint_root,
        initial_state=None if initial_state is None else _file(initial_state),
    ).with_id(TRAINER)
    # No data flows between the two, but nothing is trained on data with an anomaly.
    trainer.add_upstream_node(validator)
    model = trainer.outputs["model"]

    judged: dict[str, Any] = {"examples": examples, "model": model, "tolerance": task.tolerance}
    resolvers = []
    if resolve_baseline:
        baseline = Resolver(
            strategy_class=LatestOtherBlessedModel,
            candidate=model,
            model=Channel(type=Model),
            model_blessing=Channel(type=ModelBlessing),
        ).with_id(BASELINE)
        resolvers.append(baseline)
        judged["baseline_model"] = baseline.outputs["model"]
    else:
        judged["pushed_models"] = serving_dir
    evaluator = (
        ErrorEvaluator(**judged, max_error=task.limit).with_id(ERROR_EVALUATOR)
        if task.limit_name == ErrorGate.LIMIT
        else BoundEvaluator(**judged, max_nll_bound=task.limit).with_id(BOUND_EVALUATOR)
    )
    serving_check = ServingCheck(model=model, examples=examples, timeout_seconds=SERVING_CHECK_SECONDS).with_id(
        SERVING_CHECK
    )
    pusher = TaskPusher(
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        serving_dir=serving_dir,
    ).with_id(PUSHER)

    # Of a refused model too: Pusher then gives a pushed model that says it is none.
    run_report = RunReport(
        examples=examples,
        statistics=statistics_gen.outputs["statistics"],
        model=model,
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        infra_blessing=serving_check.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
    ).with_id(RUN_REPORT)

    scorers = []
    if score_samples is not None:
        scorer = SplitScorer(examples=examples, model=model, samples=score_samples)
        # No data flows between the two, but a model that may be pushed does not wait for its scores.
        scorer.add_upstream_node(pusher)
        scorers.append(scorer.with_id(SPLIT_SCORER))

    return Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=[
            *checks,
            example_gen,
            schema_gen,
            statistics_gen,
            validator,
            trainer,
            *resolvers,
            evaluator,
            serving_check,
            pusher,
            run_report,
            *scorers,
        ],
        enable_cache=enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def evaluator_of(gate: Gate | ErrorGate) -> str:
    """The node id of the stage that judges by such a gate."""
    return ERROR_EVALUATOR if isinstance(gate, ErrorGate) else BOUND_EVALUATOR


def _file(path: str) -> dict[str, str]:
    """A file by its content, for the cache compares what is in it."""
    with fileio.open(path, "rb") as file:
        return {"path": path, "sha256": hashlib.sha256(file.read()).hexdigest()}
