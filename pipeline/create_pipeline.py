"""The pipeline: ten stages from a data set to a pushed SavedModel and its report, the same on every orchestrator.

    ingest    ImageExampleGen, ImportSchemaGen, StatisticsGen, StrictExampleValidator
    train     Trainer
    judge     Baseline, BoundEvaluator or ErrorEvaluator, ServingCheck
    deliver   Pusher, RunReport; on request SplitScorer, and Verdict, which fails where the model was refused

On Kubeflow, where each run names its task, ParameterCheck comes first and there is no Baseline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_metadata.proto import metadata_store_pb2
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.curated_schema import CuratedSchema
from components.evaluator.component import BoundEvaluator, ErrorEvaluator
from components.image_example_gen.component import ImageExampleGen
from components.parameter_check import ParameterCheck
from components.run_report.component import RunReport
from components.serving_check import ServingCheck
from components.split_scorer import SplitScorer
from components.strict_example_validator import StrictExampleValidator
from components.task_pusher import TaskPusher
from components.task_trainer import TaskTrainer
from components.verdict import Verdict
from pipeline.baseline_resolver import LatestOtherBlessedModel
from pipeline.initial_state import identify
from pipeline.task_arguments import TaskArguments
from trainer.task import CLASSIFIER

# Node ids, by which a run's metadata are read again; that of the evaluator is its kind's.
PARAMETER_CHECK = "ParameterCheck"
EXAMPLE_GEN = "ImageExampleGen"
SCHEMA_GEN = "ImportSchemaGen"
TRAINER = "Trainer"
BASELINE = "Baseline"
SERVING_CHECK = "ServingCheck"
PUSHER = "Pusher"
RUN_REPORT = "RunReport"
SPLIT_SCORER = "SplitScorer"
VERDICT = "Verdict"

SERVING_CHECK_SECONDS = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class Locations:
    """Folders that the stages open themselves, each given now or by every run."""

    data_dir: str | RuntimeParameter | None
    """TFDS's data directory; None or "" for TFDS's own default."""
    serving_dir: str | RuntimeParameter
    """TF Serving's model_base_path, with a numbered folder for each pushed model; `{task}` is the task's name."""
    checkpoint_root: str | RuntimeParameter
    """Checkpoints of unfinished trainings. It outlives a killed run."""


class Ingestion(NamedTuple):
    """Stages that prepare examples and validate them."""

    example_gen: ImageExampleGen
    schema_gen: CuratedSchema
    statistics_gen: StatisticsGen
    validator: StrictExampleValidator


class Judgement(NamedTuple):
    """Stages that decide whether a model may be pushed."""

    evaluator: BaseComponent
    serving_check: ServingCheck


class Delivery(NamedTuple):
    """Stages that push the model and report on the run."""

    pusher: TaskPusher
    run_report: RunReport


def create_pipeline(
    *,
    task: TaskArguments,
    locations: Locations,
    pipeline_name: str,
    pipeline_root: str,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None,
    enable_cache: bool,
    beam_pipeline_args: Sequence[str],
    init_from: str | None = None,
    score_samples: int | RuntimeParameter | None = None,
    resolve_baseline: bool = True,
    fail_refused: bool = False,
) -> Pipeline:
    """Builds the pipeline of one task, or of one kind of task.

    Args:
        task: what is trained, on what, and what a model must reach to be pushed.
        locations: the folders that outlive a run.
        pipeline_name: stays the same from run to run, for the baseline is looked up under it.
        pipeline_root: where artifacts go.
        metadata_connection_config: MLMD's store; None where the orchestrator brings its own.
        enable_cache: whether a stage whose inputs and parameters have not changed reuses its outputs.
        beam_pipeline_args: options of the stages that run on Beam.
        init_from: where training starts, see `trainer.training.initial_weights`; None for random weights.
        score_samples: samples with which SplitScorer scores each test image; None for no such stage.
        resolve_baseline: whether a stage looks up the last blessed model in the metadata. If not, a model is compared
            with the last one in the serving folder: Kubeflow Pipelines 2.x has no resolvers.
        fail_refused: whether a last stage fails where the model was refused; else such a run succeeds, and pushes
            nothing.
    """
    checks = [check_parameters(task, locations)] if isinstance(task.task, RuntimeParameter) else []
    ingestion = ingest(task, locations, checks)
    trainer = train(task, locations, ingestion, init_from)
    baselines = [find_baseline(trainer)] if resolve_baseline else []
    pushed = {"pushed_versions": checks[0].outputs["pushed_versions"]} if checks else {}
    judgement = judge(task, ingestion, trainer, baselines, {"pushed_models": locations.serving_dir, **pushed})
    delivery = deliver(locations, ingestion, trainer, judgement, pushed, init_from)
    scorers = [] if score_samples is None else [score_split(score_samples, ingestion, trainer, delivery)]
    verdicts = [conclude(judgement, delivery, scorers)] if fail_refused else []
    return Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=[*checks, *ingestion, trainer, *baselines, *judgement, *delivery, *scorers, *verdicts],
        enable_cache=enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def check_parameters(task: TaskArguments, locations: Locations) -> ParameterCheck:
    """Refuses a run whose parameters cannot work, before anything is computed."""
    arguments = {**vars(task), **vars(locations)}
    kind = arguments.pop("kind")
    return ParameterCheck(limit_name=kind.limit, **arguments).with_id(PARAMETER_CHECK)


def ingest(task: TaskArguments, locations: Locations, checks: Sequence[ParameterCheck]) -> Ingestion:
    """Turns a data set into examples, measures them and holds them against the task's schema."""
    example_gen = ImageExampleGen(
        task=task.task, train_examples=task.train_examples, data_dir=locations.data_dir
    ).with_id(EXAMPLE_GEN)
    schema_gen = CuratedSchema(task=task.task).with_id(SCHEMA_GEN)
    # No data flow from the check, but nothing starts before it has passed.
    for check in checks:
        example_gen.add_upstream_node(check)
        schema_gen.add_upstream_node(check)
    examples, schema = example_gen.outputs["examples"], schema_gen.outputs["schema"]
    # The schema marks `image` as one: without it StatisticsGen counts every image as a distinct word.
    statistics_gen = StatisticsGen(examples=examples, schema=schema)
    validator = StrictExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    return Ingestion(example_gen, schema_gen, statistics_gen, validator)


def train(task: TaskArguments, locations: Locations, ingestion: Ingestion, init_from: str | None) -> TaskTrainer:
    """Trains the model, once the examples are valid."""
    trainer = TaskTrainer(
        examples=ingestion.example_gen.outputs["examples"],
        run_fn="trainer.run_fn.run_fn",
        task=task.task,
        steps=task.steps,
        train_examples=task.train_examples,
        checkpoint_root=locations.checkpoint_root,
        initial_state=None if init_from is None else identify(init_from),
    ).with_id(TRAINER)
    # No data flow between the two, but nothing is trained on data with an anomaly.
    trainer.add_upstream_node(ingestion.validator)
    return trainer


def find_baseline(trainer: TaskTrainer) -> Resolver:
    """Looks up the model that the new one is compared with."""
    return Resolver(
        strategy_class=LatestOtherBlessedModel,
        candidate=trainer.outputs["model"],
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id(BASELINE)


def judge(
    task: TaskArguments,
    ingestion: Ingestion,
    trainer: TaskTrainer,
    baselines: Sequence[Resolver],
    pushed: Mapping[str, Any],
) -> Judgement:
    """Decides whether the model is good enough, and whether TF Serving's signatures answer.

    The baseline is that of `baselines`, or where there is none the last model of those that are `pushed`.
    """
    inputs: dict[str, Any] = {
        "examples": ingestion.example_gen.outputs["examples"],
        "model": trainer.outputs["model"],
    }
    baseline = pushed
    for resolver in baselines:
        baseline = {"baseline_model": resolver.outputs["model"]}
    thresholds: dict[str, Any] = {task.kind.limit: task.limit, "tolerance": task.tolerance}
    evaluator_class = ErrorEvaluator if task.kind is CLASSIFIER else BoundEvaluator
    evaluator = evaluator_class(**inputs, **baseline, **thresholds)
    serving_check = ServingCheck(**inputs, timeout_seconds=SERVING_CHECK_SECONDS)
    return Judgement(evaluator.with_id(task.kind.evaluator), serving_check.with_id(SERVING_CHECK))


def deliver(
    locations: Locations,
    ingestion: Ingestion,
    trainer: TaskTrainer,
    judgement: Judgement,
    pushed: Mapping[str, Any],
    init_from: str | None,
) -> Delivery:
    """Pushes a model that has both blessings, and reports on the run whatever they say."""
    pusher = TaskPusher(
        model_blessing=judgement.evaluator.outputs["blessing"],
        infra_blessing=judgement.serving_check.outputs["blessing"],
        serving_dir=locations.serving_dir,
        **pushed,
    ).with_id(PUSHER)
    run_report = RunReport(
        examples=ingestion.example_gen.outputs["examples"],
        statistics=ingestion.statistics_gen.outputs["statistics"],
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        evaluation=judgement.evaluator.outputs["evaluation"],
        infra_blessing=judgement.serving_check.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        init_from=init_from,
    ).with_id(RUN_REPORT)
    return Delivery(pusher, run_report)


def score_split(
    samples: int | RuntimeParameter, ingestion: Ingestion, trainer: TaskTrainer, delivery: Delivery
) -> SplitScorer:
    """Scores every test image, after the push so that a good model does not wait."""
    scorer = SplitScorer(
        examples=ingestion.example_gen.outputs["examples"], model=trainer.outputs["model"], samples=samples
    )
    scorer.add_upstream_node(delivery.pusher)
    return scorer.with_id(SPLIT_SCORER)


def conclude(judgement: Judgement, delivery: Delivery, scorers: Sequence[SplitScorer]) -> Verdict:
    """Fails the run of a refused model, after everything else."""
    verdict = Verdict(
        evaluation=judgement.evaluator.outputs["evaluation"],
        infra_blessing=judgement.serving_check.outputs["blessing"],
        report=delivery.run_report.outputs["report"],
    )
    for scorer in scorers:
        verdict.add_upstream_node(scorer)
    return verdict.with_id(VERDICT)
