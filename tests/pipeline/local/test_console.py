"""The console of a run, fed by the real LocalDagRunner on a pipeline of two quick stages."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.schema_gen.import_schema_gen.executor import Executor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline

from components.curated_schema import schema_text
from components.declared_component import Artifacts, Properties
from pipeline import create_pipeline
from pipeline.local import log
from pipeline.local.console import RunConsole
from pipeline.local.observed_runner import ObservedLocalDagRunner
from trainer import tasks


class _SpeakingExecutor(Executor):
    """Imports the schema, and says so in every way that there is."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        print("printed")
        logging.getLogger("elsewhere").error("logged")
        warnings.warn("warned", UserWarning, stacklevel=1)
        os.write(2, b"written by native code\n")


class _SpeakingSchemaGen(ImportSchemaGen):
    EXECUTOR_SPEC = ExecutorClassSpec(_SpeakingExecutor)


class _Shown:
    """A console and what it has shown."""

    def __init__(self, *verbose_stages: str) -> None:
        self._output = io.StringIO()
        self.console = RunConsole(verbose_stages=verbose_stages, output=self._output)

    @property
    def text(self) -> str:
        return self._output.getvalue()


def _schema(folder: Path, name: str) -> Path:
    path = folder / f"{name}.pbtxt"
    path.write_text(schema_text(tasks.get(name)))
    return path


def _run(root: Path, console: RunConsole, schema_path: Path) -> str:
    """Runs a pipeline whose stages are First, which speaks, and Second; returns its log."""
    first = _SpeakingSchemaGen(schema_file=str(schema_path)).with_id("First")
    second = ImportSchemaGen(schema_file=str(_schema(root, "mnist"))).with_id("Second")
    second.add_upstream_node(first)
    pipeline = Pipeline(
        pipeline_name="two-stages",
        pipeline_root=str(root),
        components=[first, second],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.db")),
    )
    with log.recording(root / "logs", console) as log_path:
        try:
            ObservedLocalDagRunner(on_start=console.set_stages).run(pipeline)
        finally:
            console.finish()
    return log_path.read_text(encoding="utf-8")


def test_a_line_a_stage_and_the_rest_in_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = _Shown()
    log = _run(tmp_path, shown.console, _schema(tmp_path, "digits"))
    assert re.fullmatch(r" 1/2 First .... +\d+ s\n 2/2 Second \.\.\. +\d+ s\n", shown.text)
    for text in ("printed", "logged", "warned", "written by native code", "Component Second is finished."):
        assert text in log
    assert capfd.readouterr() == ("", "")
    assert shown.console.stage is None


def test_cached_stages_are_said_to_be(tmp_path: Path) -> None:
    _run(tmp_path, _Shown().console, _schema(tmp_path, "digits"))
    shown = _Shown("First")
    _run(tmp_path, shown.console, _schema(tmp_path, "digits"))
    assert shown.text == " 1/2 First .... (cached)\n 2/2 Second ... (cached)\n"


def test_the_output_of_a_verbose_stage_is_shown(tmp_path: Path) -> None:
    shown = _Shown("First")
    _run(tmp_path, shown.console, _schema(tmp_path, "digits"))
    assert re.fullmatch(r" 1/2 First ....\nprinted\n 1/2 First .... +\d+ s\n 2/2 Second \.\.\. +\d+ s\n", shown.text)


@pytest.mark.parametrize("verbose_stages", [(), ("First",)])
def test_a_failed_stage_stays_and_its_line_is_closed(tmp_path: Path, verbose_stages: tuple[str, ...]) -> None:
    stdout, shown = sys.stdout, _Shown(*verbose_stages)
    with pytest.raises(tf.errors.NotFoundError):
        _run(tmp_path, shown.console, tmp_path / "missing.pbtxt")
    assert shown.text == " 1/2 First ....\n"
    assert shown.console.stage == "First"
    assert sys.stdout is stdout


def test_warnings_are_shown_if_they_are_ours(tmp_path: Path) -> None:
    shown, package = _Shown(), Path(create_pipeline.__file__).parents[1] / "trainer"
    with log.recording(tmp_path, shown.console) as log_path:
        logging.getLogger("trainer.training.loop").warning("the posterior of %d steps has collapsed", 3)
        logging.getLogger("trainer.training.loop").info("a detail")
        logging.getLogger("trainers").error("another package's")
        warnings.warn_explicit("the KL is 0", UserWarning, str(package / "loop.py"), 1)
        warnings.warn_explicit("it overflows", RuntimeWarning, str(package / "loop.py"), 1)
    assert shown.text == "      warning: the posterior of 3 steps has collapsed\n      warning: the KL is 0\n"
    logged = log_path.read_text(encoding="utf-8")
    for text in ("collapsed", "a detail", "another package's", "the KL is 0", "it overflows"):
        assert text in logged


def test_logging_is_as_before_afterwards(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, warnings.showwarning, sys.stdout
    with log.recording(tmp_path, RunConsole(verbose_stages=(), output=io.StringIO())):
        assert (root.handlers, root.level, warnings.showwarning, sys.stdout) != before
    assert (root.handlers, root.level, warnings.showwarning, sys.stdout) == before
