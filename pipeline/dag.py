"""The pipeline: nine stages from a data set to a pushed SavedModel, the same on every orchestrator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.components.pusher.component import Pusher
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.io import fileio
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.bound_evaluator.component import BoundEvaluator
from components.error_evaluator.component import ErrorEvaluator
from components.serving_check.component import ServingCheck
from components.split_scorer.component import SplitScorer
from components.strict_example_validator.component import StrictExampleValidator
from components.tfds_example_gen.component import TfdsExampleGen
from pipeline.baseline import LatestOtherBlessedModel
from trainer.task import ErrorGate, Gate, Task

# Node ids, by which a run's metadata is read again.
TRAINER = "Trainer"
EXAMPLE_GEN = "TfdsExampleGen"
BASELINE = "Baseline"
BOUND_EVALUATOR = "BoundEvaluator"
ERROR_EVALUATOR = "ErrorEvaluator"
SERVING_CHECK = "ServingCheck"
PUSHER = "Pusher"
SPLIT_SCORER = "SplitScorer"

SERVING_CHECK_SECONDS = 300


def create_pipeline(
    *,
    task: Task,
    gate: Gate | ErrorGate,
    pipeline_name: str,
    pipeline_root: str,
    data_dir: str | None,
    serving_dir: str,
    checkpoint_root: str,
    schema_path: str,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None,
    enable_cache: bool,
    beam_pipeline_args: Sequence[str],
    initial_state: str | None = None,
    score_samples: int | None = None,
    resolve_baseline: bool = True,
) -> Pipeline:
    """The pipeline of one task.

    Args:
        task: what is trained, on what.
        gate: what a model must reach to be pushed. Beside the task, not in it: the Trainer's cache key holds the
            task, and a model need not be trained again to be judged again.
        pipeline_name: stays the same from run to run; the last blessed model is looked for under it.
        pipeline_root: where the artifacts go.
        data_dir: TFDS's data directory; None for TFDS's own default.
        serving_dir: TF Serving's model_base_path; a pushed model is a numbered folder in it.
        checkpoint_root: a folder that outlives a killed run.
        schema_path: the curated schema, a .pbtxt.
        metadata_connection_config: MLMD's store; None where the orchestrator brings its own.
        enable_cache: whether a stage whose inputs and parameters have not changed takes its former outputs.
        beam_pipeline_args: for the stages that run on Beam.
        initial_state: the .npz where training begins, see `trainer.loop.train`; None for the beginning.
        score_samples: how many samples of each image of the test split are scored in a stage of its own, of a
            generative task; None for no such stage.
        resolve_baseline: whether the last blessed model is looked up in the metadata, by a stage of its own. If not,
            a model is compared with the last one in `serving_dir`, for Kubeflow Pipelines 2.x has no resolvers.
    """
    example_gen = TfdsExampleGen(task=task, data_dir=data_dir).with_id(EXAMPLE_GEN)
    examples = example_gen.outputs["examples"]

    # The schema comes before the statistics: it marks `image` as such, and StatisticsGen then measures the bytes
    # instead of counting every image as a distinct word.
    schema_gen = ImportSchemaGen(schema_file=schema_path)
    schema = schema_gen.outputs["schema"]
    statistics_gen = StatisticsGen(examples=examples, schema=schema)
    validator = StrictExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)

    custom_config: dict[str, Any] = {"task": task.to_json(), "checkpoint_root": checkpoint_root}
    if initial_state is not None:
        # The cache compares what is in the file, not where it lies.
        with fileio.open(initial_state, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        custom_config["initial_state"] = {"path": initial_state, "sha256": digest}
    trainer = Trainer(
        run_fn="trainer.run_fn.run_fn",
        examples=examples,
        train_args=trainer_pb2.TrainArgs(splits=[task.data.train], num_steps=task.recipe.steps),
        eval_args=trainer_pb2.EvalArgs(splits=[task.data.validation]),
        custom_config=custom_config,
    ).with_id(TRAINER)
    # No data flows between the two, but nothing is trained on data with an anomaly.
    trainer.add_upstream_node(validator)
    model = trainer.outputs["model"]

    judged: dict[str, Any] = {
        "examples": examples,
        "model": model,
        "split": task.data.test,
        "tolerance": gate.tolerance,
    }
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
        ErrorEvaluator(**judged, max_error=gate.max_error)
        if isinstance(gate, ErrorGate)
        else BoundEvaluator(**judged, max_nll_bound=gate.max_nll_bound)
    ).with_id(evaluator_of(gate))
    serving_check = ServingCheck(
        model=model, examples=examples, split=task.data.test, timeout_seconds=SERVING_CHECK_SECONDS
    ).with_id(SERVING_CHECK)
    # Without a model of its own it pushes the one in the infra blessing, which has requests to warm it up.
    pusher = Pusher(
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
        ),
    ).with_id(PUSHER)

    scorers = []
    if score_samples is not None:
        scorer = SplitScorer(examples=examples, model=model, split=task.data.test, samples=score_samples)
        # No data flows between the two, but a model that may be pushed does not wait for its scores.
        scorer.add_upstream_node(pusher)
        scorers.append(scorer.with_id(SPLIT_SCORER))

    return Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=[
            example_gen,
            schema_gen,
            statistics_gen,
            validator,
            trainer,
            *resolvers,
            evaluator,
            serving_check,
            pusher,
            *scorers,
        ],
        enable_cache=enable_cache,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def evaluator_of(gate: Gate | ErrorGate) -> str:
    """The node id of the stage that judges by such a gate."""
    return ERROR_EVALUATOR if isinstance(gate, ErrorGate) else BOUND_EVALUATOR


def curated_schema(task_name: str) -> Path:
    """The path of a task's schema as it was installed with this package."""
    return Path(__file__).resolve().parent / "schema" / task_name / "schema.pbtxt"
