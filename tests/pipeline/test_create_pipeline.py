"""The pipeline's stages and what flows between them, in the IR that every orchestrator is given."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from tfx.orchestration import metadata
from tfx.orchestration.portable.tfx_runner import IrBasedRunner
from tfx.proto.orchestration import pipeline_pb2

from components.task_trainer import trainer_properties
from pipeline.create_pipeline import Locations, create_pipeline
from pipeline.task_arguments import TaskArguments
from trainer import tasks
from trainer.task import ClassifyingTask, ErrorGate, Gate, Task

ROOT = Path(__file__).resolve().parents[2]

STAGES = {  # beside the evaluator, which follows from the task's kind
    "ImageExampleGen",
    "ImportSchemaGen",
    "StatisticsGen",
    "StrictExampleValidator",
    "Trainer",
    "Baseline",
    "ServingCheck",
    "Pusher",
    "RunReport",
}


class _Compiler(IrBasedRunner):
    """A runner that keeps the IR instead of running it."""

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        self.pipeline = pipeline


def _compile(
    task: Task,
    *,
    enable_cache: bool = True,
    init_from: str | None = None,
    score_samples: int | None = None,
    resolve_baseline: bool = True,
) -> dict[str, pipeline_pb2.PipelineNode]:
    """The pipeline's nodes by name."""
    compiler = _Compiler()
    compiler.run(
        create_pipeline(
            task=TaskArguments.for_task(
                task,
                ErrorGate(max_error=0.125, tolerance=0.25)
                if isinstance(task, ClassifyingTask)
                else Gate(max_nll_bound=123.5, tolerance=0.25),
            ),
            locations=Locations(
                data_dir="/data", serving_dir="/root/serving/model", checkpoint_root="/root/checkpoints"
            ),
            pipeline_name="some-name",
            pipeline_root="/root",
            metadata_connection_config=metadata.sqlite_metadata_connection_config("/root/metadata.db"),
            enable_cache=enable_cache,
            beam_pipeline_args=["--runner=DirectRunner"],
            init_from=init_from,
            score_samples=score_samples,
            resolve_baseline=resolve_baseline,
        )
    )
    return {node.pipeline_node.node_info.id: node.pipeline_node for node in compiler.pipeline.nodes}


@pytest.fixture(scope="module", params=tasks.NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return tasks.get(request.param)


@pytest.fixture(scope="module")
def nodes(task: Task) -> dict[str, pipeline_pb2.PipelineNode]:
    return _compile(task)


@pytest.fixture(scope="module")
def evaluator(task: Task) -> str:
    return "ErrorEvaluator" if isinstance(task, ClassifyingTask) else "BoundEvaluator"


def _parameter(node: pipeline_pb2.PipelineNode, name: str) -> object:
    value = node.parameters.parameters[name].field_value
    return getattr(value, value.WhichOneof("value"))


def _producers(node: pipeline_pb2.PipelineNode, key: str) -> set[str]:
    return {channel.producer_node_query.id for channel in node.inputs.inputs[key].channels}


def test_ten_stages(evaluator: str, nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    assert set(nodes) == STAGES | {evaluator}


def test_documents_and_manifests_tell_the_stages_in_the_order_in_which_they_run() -> None:
    """TFX numbers an output's folder by the execution that made it, so in a fresh root by its place in that order."""
    order = list(_compile(tasks.get("mnist")))
    page = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
    (paragraph,) = (each for each in page.split("\n\n") if each.startswith("Ten stages"))
    assert [name for name in re.findall(r"`(\w+)`", paragraph) if name in order] == order
    texts = [path.read_text(encoding="utf-8") for path in (*ROOT.glob("docs/*.md"), *ROOT.glob("trainer/config/*/*"))]
    numbers = re.findall(r"ImageExampleGen/examples/(\d+)/", "\n".join(texts))
    assert len(numbers) > 6 and {int(number) for number in numbers} == {order.index("ImageExampleGen") + 1}


def test_an_eleventh_scores_the_test_split_where_asked_for() -> None:
    nodes = _compile(tasks.get("digits"), score_samples=7)
    assert set(nodes) == STAGES | {"BoundEvaluator", "SplitScorer"}
    assert _parameter(nodes["SplitScorer"], "samples") == 7
    assert _producers(nodes["SplitScorer"], "model") == {"Trainer"}
    assert "Pusher" in nodes["SplitScorer"].upstream_nodes


def test_statistics_know_the_schema_so_that_an_image_is_no_word(nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    assert _producers(nodes["StatisticsGen"], "schema") == {"ImportSchemaGen"}


def test_nothing_is_trained_before_the_data_are_valid(nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    assert "StrictExampleValidator" in nodes["Trainer"].upstream_nodes


def test_trainer_is_given_the_task_and_its_splits(task: Task, nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    given = {name: _parameter(nodes["Trainer"], name) for name in nodes["Trainer"].parameters.parameters}
    assert given["task"] == task.to_json()  # whole, in the cache's key
    taken = trainer_properties(given)
    assert taken["run_fn"] == "trainer.run_fn.run_fn"
    assert json.loads(taken["train_args"]) == {"num_steps": task.recipe.steps, "splits": [task.data.train]}
    assert json.loads(taken["eval_args"]) == {"splits": [task.data.validation]}
    assert json.loads(taken["custom_config"]) == {"task": task.to_json(), "checkpoint_root": "/root/checkpoints"}


def test_other_initial_weights_are_another_training_wherever_they_lie(tmp_path: Path) -> None:
    def config(path: Path) -> dict[str, str]:
        trainer = _compile(tasks.get("digits"), init_from=str(path))["Trainer"]
        state: dict[str, str] = json.loads(str(_parameter(trainer, "initial_state")))
        assert state["path"] == str(path)
        return state

    def file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    one, two = file("one.npz", b"first"), file("two.npz", b"first")
    assert config(one)["sha256"] == config(two)["sha256"] != config(file("one.npz", b"second"))["sha256"]
    one, two = file("a/index", b"first").parent, file("b/index", b"first").parent
    assert config(one)["sha256"] == config(two)["sha256"] != config(file("a/index", b"second").parent)["sha256"]


def test_training_starts_from_the_newest_version_of_a_model(tmp_path: Path) -> None:
    for version, content in (("9", b"old"), ("10", b"new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_bytes(content)
    for path in (tmp_path, tmp_path / "10"):
        trainer = _compile(tasks.get("digits"), init_from=str(path))["Trainer"]
        state = json.loads(str(_parameter(trainer, "initial_state")))
        assert state == {"path": str(tmp_path / "10"), "sha256": hashlib.sha256(b"new").hexdigest()}


def test_the_report_says_where_training_started(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    path.write_bytes(b"weights")
    nodes = _compile(tasks.get("digits"), init_from=str(path))
    assert str(_parameter(nodes["RunReport"], "init_from")) == str(path)


def test_gate_judges_against_the_baseline(evaluator: str, nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    judge = nodes[evaluator]
    # The split is the one on which the model's own task decides.
    assert "split" not in judge.parameters.parameters
    greatest = {"BoundEvaluator": ("max_nll_bound", 123.5), "ErrorEvaluator": ("max_error", 0.125)}[evaluator]
    assert (greatest[0], _parameter(judge, greatest[0])) == greatest
    assert _parameter(judge, "tolerance") == 0.25
    assert _producers(judge, "baseline_model") == {"Baseline"}
    assert judge.inputs.inputs["baseline_model"].min_count == 0
    assert list(nodes["Baseline"].upstream_nodes) == ["Trainer"]


def test_without_a_resolver_the_baseline_is_what_was_pushed(task: Task, evaluator: str) -> None:
    nodes = _compile(task, resolve_baseline=False)
    assert set(nodes) == (STAGES | {evaluator}) - {"Baseline"}
    assert "baseline_model" not in nodes[evaluator].inputs.inputs
    assert _parameter(nodes[evaluator], "pushed_models") == _parameter(nodes["Pusher"], "serving_dir")


def test_a_refused_model_has_its_report_too(evaluator: str, nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    report = nodes["RunReport"]
    # All that it takes is there whatever the gates say: Pusher gives a PushedModel that says it is none.
    assert {key: _producers(report, key) for key in report.inputs.inputs} == {
        "examples": {"ImageExampleGen"},
        "statistics": {"StatisticsGen"},
        "model": {"Trainer"},
        "model_run": {"Trainer"},
        "evaluation": {evaluator},
        "infra_blessing": {"ServingCheck"},
        "pushed_model": {"Pusher"},
    }


def test_a_model_needs_both_blessings_to_be_pushed(evaluator: str, nodes: dict[str, pipeline_pb2.PipelineNode]) -> None:
    pusher = nodes["Pusher"]
    # What the serving check keeps, with its warm-up requests, is pushed, and not the Trainer's.
    assert "model" not in pusher.inputs.inputs
    assert _producers(pusher, "model_blessing") == {evaluator}
    assert _producers(pusher, "infra_blessing") == {"ServingCheck"}
    assert _parameter(pusher, "serving_dir") == "/root/serving/model"


@pytest.mark.parametrize("enable_cache", [True, False])
def test_cache_is_the_runners_choice(enable_cache: bool) -> None:
    nodes = _compile(tasks.get("digits"), enable_cache=enable_cache)
    # The resolver is no component: it looks up the baseline anew in every run.
    cached = {name for name, node in nodes.items() if node.execution_options.caching_options.enable_cache}
    assert cached - {"Baseline"} == ((STAGES | {"BoundEvaluator"}) - {"Baseline"} if enable_cache else set())
