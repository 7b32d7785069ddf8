"""Runs the pipeline on this machine and draws what the model does."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.local import log
from pipeline.local.console import RunConsole
from pipeline.local.failure import RunFailed, reason
from pipeline.local.interrupt import InterruptRepeater
from serving import native_output
from serving.beam_options import LOCAL_BEAM_ARGUMENTS

if TYPE_CHECKING:
    from pipeline.local.outcome import RunOutcome
    from pipeline.local.run_settings import RunSettings

SHEET_ROWS, SHEET_COLUMNS, SHEET_SEED = 8, 12, 0
GLIMPSE_ROWS, GLIMPSE_COLUMNS = 4, 5


def run(settings: RunSettings) -> RunOutcome | None:
    """Runs the pipeline, shows its stages on standard output, and draws the model's sheet of samples.

    Returns None where nothing ran, because `tfx pipeline create` only wanted to see the pipeline.

    Raises RunFailed where a stage fails. KeyboardInterrupt passes through.
    """
    native_output.silence_native_code()
    # A literal: create_pipeline.TRAINER would import TFX before the log is open.
    console = RunConsole(verbose_stages=("Trainer",), output=sys.stdout)
    repeater = InterruptRepeater()
    with (
        log.recording(settings.log_dir, console, repeater) as log_path,
        repeater.watching(),
        _without_command_line(),
    ):
        try:
            return _run(settings, console)
        except Exception as error:
            # Through TFX's logger, for the console shows the records of ours.
            logging.getLogger("tfx").error("The run failed.", exc_info=True)
            activity = f"Stage {console.stage}" if console.stage else "The run"
            raise RunFailed(activity, reason(error), log_path) from error
        finally:
            console.finish()


def _run(settings: RunSettings, console: RunConsole) -> RunOutcome | None:
    # These imports take 10 s and log warnings: the log has to be open, and the user to have seen a line.
    from tfx.orchestration import metadata

    from pipeline.create_pipeline import Locations, create_pipeline
    from pipeline.local.observed_runner import ObservedLocalDagRunner
    from pipeline.local.outcome import read_outcome
    from pipeline.task_arguments import TaskArguments
    from trainer.training import devices

    devices.configure_threads()
    connection = metadata.sqlite_metadata_connection_config(str(settings.metadata_path))
    runner = ObservedLocalDagRunner(on_start=console.set_stages)
    runner.run(
        create_pipeline(
            task=TaskArguments.for_task(settings.task, settings.gate),
            locations=Locations(
                data_dir=None if settings.data_dir is None else str(settings.data_dir),
                serving_dir=str(settings.serving_dir),
                checkpoint_root=str(settings.checkpoint_root),
            ),
            pipeline_name=settings.pipeline_name,
            pipeline_root=str(settings.folder),
            metadata_connection_config=connection,
            enable_cache=settings.use_cache,
            beam_pipeline_args=LOCAL_BEAM_ARGUMENTS,
            init_from=None if settings.initial_weights is None else str(settings.initial_weights),
            score_samples=settings.score_samples,
        )
    )
    if runner.run_id is None:
        return None
    outcome = read_outcome(connection, runner.run_id, settings.pipeline_name, evaluator=settings.task.kind.evaluator)
    update_sheet(settings, outcome)
    return outcome


def update_sheet(settings: RunSettings, outcome: RunOutcome) -> None:
    """Draws the model's samples, or a classifier's glimpses, unless the sheet is newer than the model.

    An older sheet shows a model that had the same number before the metadata were deleted.
    """
    from serving.pictures.glimpse_sheet import write_glimpse_sheet
    from serving.pictures.sample_sheet import write_sample_sheet
    from trainer.task import CLASSIFIER

    sheet, task = settings.sample_sheet(outcome.model_number), settings.task
    if sheet.exists() and sheet.stat().st_mtime >= (outcome.model_dir / "saved_model.pb").stat().st_mtime:
        return
    if task.kind is CLASSIFIER:
        files = sorted(str(path) for path in (outcome.examples_dir / f"Split-{task.data.test}").iterdir())
        write_glimpse_sheet(
            outcome.model_dir,
            files,
            sheet,
            rows=GLIMPSE_ROWS,
            columns=GLIMPSE_COLUMNS,
            size=task.window_sizes["glimpse"],
        )
    else:
        write_sample_sheet(outcome.model_dir, sheet, rows=SHEET_ROWS, columns=SHEET_COLUMNS, seed=SHEET_SEED)


@contextlib.contextmanager
def _without_command_line() -> Iterator[None]:
    """Hides the command line from TFX's executors: absl and Beam would take our options for theirs."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments
