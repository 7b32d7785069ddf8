"""Runs of tiny tasks and their reports, made by the pipeline's own stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils, standard_artifacts

from components import RunReport
from components.evaluator.executor import BoundExecutor as BoundEvaluator
from components.evaluator.executor import ErrorExecutor as ErrorEvaluator
from components.run_report.artifact import REPORT_FILE
from components.run_report.executor import Executor
from tests import tiny
from trainer import run_fn
from trainer.export import exporter
from trainer.task import ClassifyingTask, DataSource, GenerativeTask, Task

CLASS_NAMES = tuple(f"kind {label}" for label in range(tiny.CLASSES))
RECIPE = {"steps": 12, "validation_interval": 4}
TASKS: dict[str, Task] = {
    "generative": tiny.tiny_task(
        RECIPE,
        name="mnist",
        data=DataSource(builder="tiny:1.0.0", train="fit+more", validation="watch", test="judge"),
    ),
    "classifier": tiny.tiny_classifier(RECIPE, data=dataclasses.replace(tiny.CLASSIFIER.data, class_names=CLASS_NAMES)),
}
COUNTS = {"fit": 40, "more": 6, "watch": 13, "judge": 26}
LABELS = [place % 4 for place in range(max(COUNTS.values()))]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyRun:
    """The artifacts of one run, except the report."""

    root: Path
    artifacts: dict[str, types.Artifact]

    def report(
        self, folder: str = "report", *, init_from: str | None = None, **replacements: types.Artifact
    ) -> tuple[Path, list[str]]:
        """Writes a page with some artifacts replaced, and returns it with the names of the sections that failed."""
        report = RunReport()
        report.uri = str(self.root / folder)
        inputs = {key: [artifact] for key, artifact in {**self.artifacts, **replacements}.items()}
        Executor(BaseExecutor.Context()).Do(inputs, {"report": [report]}, {"init_from": init_from})
        return Path(report.uri) / REPORT_FILE, report.get_string_custom_property("failed_sections").splitlines()


def artifact(kind: type[types.Artifact], folder: Path) -> types.Artifact:
    """Makes a folder and an artifact of it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = kind()
    made.uri = str(folder)
    return made


def finished_run(task: Task, root: Path, *, limit: float) -> TinyRun:
    """Trains the task for some steps and judges it with the gate's `limit`."""
    examples = artifact(standard_artifacts.Examples, root / "examples")
    statistics = artifact(standard_artifacts.ExampleStatistics, root / "statistics")
    model = artifact(standard_artifacts.Model, root / "model" / "7")
    model_run = artifact(standard_artifacts.ModelRun, root / "model_run")
    for made in (examples, statistics):
        made.split_names = artifact_utils.encode_split_names(list(COUNTS))
    for seed, (split, count) in enumerate(COUNTS.items()):
        directory = root / "examples" / f"Split-{split}"
        tiny.write_examples(directory, tiny.make_images(task, count, seed=seed), labels=LABELS[:count])
        split_statistics = statistics_pb2.DatasetFeatureStatisticsList()
        split_statistics.datasets.add(num_examples=count)
        (root / "statistics" / f"Split-{split}").mkdir()
        (root / "statistics" / f"Split-{split}" / "FeatureStats.pb").write_bytes(split_statistics.SerializeToString())
    run_fn.run_fn(
        FnArgs(
            train_files=[str(root / "examples" / f"Split-{split}" / "*") for split in task.data.training_splits],
            eval_files=[str(root / "examples" / "Split-watch" / "*")],
            serving_model_dir=str(root / "model" / "7" / "Format-Serving"),
            model_run_dir=model_run.uri,
            custom_config={"task": task.to_json(), "checkpoint_root": str(root / "checkpoints")},
        )
    )
    infra_blessing = artifact(standard_artifacts.InfraBlessing, root / "infra_blessing")
    infra_blessing.set_int_custom_property("blessed", 1)
    pushed_model = artifact(standard_artifacts.PushedModel, root / "pushed_model")
    pushed_model.set_string_custom_property("pushed_destination", "/serving/tiny/1790000000")
    return TinyRun(
        root=root,
        artifacts={
            "examples": examples,
            "statistics": statistics,
            "model": model,
            "model_run": model_run,
            "evaluation": evaluated(task, model, examples, root / "evaluation", limit=limit),
            "infra_blessing": infra_blessing,
            "pushed_model": pushed_model,
        },
    )


def evaluated(
    task: Task,
    model: types.Artifact,
    examples: types.Artifact,
    folder: Path,
    *,
    limit: float,
) -> types.Artifact:
    """Judges a model and returns the evaluation."""
    evaluation = artifact(standard_artifacts.ModelEvaluation, folder)
    classifies = isinstance(task, ClassifyingTask)
    kind, greatest = (ErrorEvaluator, "max_error") if classifies else (BoundEvaluator, "max_nll_bound")
    kind(BaseBeamExecutor.Context(beam_pipeline_args=[])).Do(
        {"model": [model], "examples": [examples], "baseline_model": []},
        {
            "evaluation": [evaluation],
            "blessing": [artifact(standard_artifacts.ModelBlessing, folder.parent / f"{folder.name}-blessing")],
        },
        {"split": task.data.test, greatest: limit, "tolerance": 0.5},
    )
    return evaluation


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyRun]:
    """A run of each of TASKS, with its model pushed."""
    limits = {"generative": 1000.0, "classifier": 1.0}
    return {name: finished_run(task, tmp_path_factory.mktemp(name), limit=limits[name]) for name, task in TASKS.items()}


@pytest.fixture(scope="session")
def reports(runs: dict[str, TinyRun]) -> dict[str, Path]:
    """The pages of `runs`, of which no section failed."""
    written = {name: run.report() for name, run in runs.items()}
    assert [failed for _, failed in written.values()] == [[] for _ in TASKS]
    return {name: path for name, (path, _) in written.items()}


@pytest.fixture(scope="session")
def broken_model(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    """A generative model whose weights are NaN."""
    task = TASKS["generative"]
    assert isinstance(task, GenerativeTask)
    weights = {
        name: np.full(value.shape, np.nan, np.float32) for name, value in tiny.make_case(task, rows=1).weights.items()
    }
    model = artifact(standard_artifacts.Model, tmp_path_factory.mktemp("broken"))
    exporter.export(task, weights, str(Path(model.uri) / "Format-Serving"))
    return model
