"""The last evaluation is found in the metadata among several, with what it judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.paper.last_evaluation import NoEvaluation, last_evaluation

Event = metadata_store_pb2.Event
Artifacts = tuple[Mapping[str, int], Mapping[str, int]]
"""Inputs and outputs of an execution, by key."""


class Store:
    """MLMD's store of a pipeline, as TFX fills it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "metadata.db"
        self._root = root
        self._store = MetadataStore(metadata.sqlite_metadata_connection_config(str(self.path)))

    def artifact(self, kind: str, folder: str, files: dict[str, str]) -> int:
        for name, content in files.items():
            path = self._root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        type_id = self._store.put_artifact_type(metadata_store_pb2.ArtifactType(name=kind))
        artifact = metadata_store_pb2.Artifact(type_id=type_id, uri=str(self._root / folder))
        (artifact_id,) = self._store.put_artifacts([artifact])
        return artifact_id

    def evaluation(self, number: int, split: str, bound: float, *, blessed: bool) -> Artifacts:
        """Records that model `number` was judged; returns what `execution` takes."""
        task = {"assets/task.json": json.dumps({"name": f"task-{number}"})}
        inputs = {
            "examples": self.artifact("Examples", f"examples/{number}", {}),
            "model": self.artifact("Model", f"Trainer/model/{number}/Format-Serving", task),
        }
        # The model's address is the folder above.
        (model,) = self._store.get_artifacts_by_id([inputs["model"]])
        model.uri = str(Path(model.uri).parent)
        self._store.put_artifacts([model])
        values = {"split": split, "blessed": blessed, "overall": {"count": 9, "nll_bound": {"mean": bound}}}
        output = self.artifact("ModelEvaluation", f"evaluation/{number}", {"evaluation.json": json.dumps(values)})
        self.execution(inputs, {"evaluation": output})
        return inputs, {"evaluation": output}

    def execution(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Records an execution, which of outputs that were there before is one from the cache."""
        type_id = self._store.put_execution_type(metadata_store_pb2.ExecutionType(name="Evaluator"))
        (execution,) = self._store.put_executions([metadata_store_pb2.Execution(type_id=type_id)])
        events = []
        for kind, artifacts in ((Event.INPUT, inputs), (Event.OUTPUT, outputs)):
            for key, artifact_id in artifacts.items():
                event = Event(type=kind, artifact_id=artifact_id, execution_id=execution)
                event.path.steps.add().key = key
                events.append(event)
        self._store.put_events(events)


def test_it_is_the_last_of_two(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.evaluation(5, "test", 90.5, blessed=True)
    store.evaluation(7, "judge", 80.25, blessed=False)
    last = last_evaluation(store.path)
    assert (last.metrics["nll_bound"]["mean"], last.split, last.blessed) == (80.25, "judge", False)
    assert (last.model_number, last.task) == ("7", {"name": "task-7"})
    assert last.model_dir == tmp_path / "Trainer" / "model" / "7" / "Format-Serving"
    assert last.model_run == tmp_path / "Trainer" / "model_run" / "7"
    assert last.examples == tmp_path / "examples" / "7" / "Split-judge"


def test_it_is_that_of_the_last_run_which_may_come_from_the_cache(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.evaluation(5, "test", 90.5, blessed=False)
    store.evaluation(7, "test", 80.25, blessed=False)
    store.execution(*first)
    last = last_evaluation(store.path)
    assert (last.model_number, last.metrics["nll_bound"]["mean"]) == ("5", 90.5)


def test_where_there_is_none_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoEvaluation, match="Train a model with `draw run`"):
        last_evaluation(tmp_path / "metadata.db")
    store = Store(tmp_path)
    store.artifact("Examples", "examples/1", {})
    with pytest.raises(NoEvaluation, match="No model was evaluated here yet"):
        last_evaluation(store.path)
    store.evaluation(5, "test", 90.5, blessed=True)
    file = tmp_path / "evaluation" / "5" / "evaluation.json"
    file.write_text(file.read_text()[:20])
    with pytest.raises(NoEvaluation, match=r"evaluation.json is damaged \(.*\)\. `draw run` says what to remove"):
        last_evaluation(store.path)
    file.unlink()
    with pytest.raises(NoEvaluation, match=r"evaluation.json is no longer there. Run `draw run` again"):
        last_evaluation(store.path)


@pytest.mark.parametrize("damage", ["garbage", "zeroed behind its head"])
def test_damaged_metadata_are_told_in_a_line(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    store.evaluation(5, "test", 90.5, blessed=True)
    content = store.path.read_bytes()
    store.path.write_bytes(b"no database" * 99 if damage == "garbage" else content[:100] + bytes(len(content) - 100))
    with pytest.raises(NoEvaluation, match=r"metadata\.db cannot be used: .*\. Bring back a copy of it") as told:
        last_evaluation(store.path)
    assert len(str(told.value).removeprefix(str(store.path))) < 200
