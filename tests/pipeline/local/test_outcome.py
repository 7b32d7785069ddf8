"""The result of a run is not taken from one that did not finish."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline

from components.curated_schema import schema_text
from pipeline.local.observed_runner import ObservedLocalDagRunner
from pipeline.local.outcome import read_outcome
from trainer import tasks


def test_stages_that_did_not_finish_are_named(tmp_path: Path) -> None:
    schema = tmp_path / "digits.pbtxt"
    schema.write_text(schema_text(tasks.get("digits")))
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db"))
    runner = ObservedLocalDagRunner(on_start=lambda stages: None)
    assert runner.run_id is None
    runner.run(
        Pipeline(
            pipeline_name="no-training",
            pipeline_root=str(tmp_path),
            components=[ImportSchemaGen(schema_file=str(schema))],
            metadata_connection_config=connection,
        )
    )
    assert runner.run_id is not None
    with pytest.raises(
        RuntimeError,
        match=r"did not finish: ImageExampleGen, Trainer, ErrorEvaluator, ServingCheck, Pusher, RunReport\.",
    ):
        read_outcome(connection, runner.run_id, "no-training", evaluator="ErrorEvaluator")
