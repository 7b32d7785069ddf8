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
from pipeline.local.interrupt import InterruptAgain
from serving import native_output

if TYPE_CHECKING:
    from pipeline.local.outcome import RunOutcome
    from pipeline.local.run_settings import RunSettings

# In one process: starting workers takes longer than 5,000 images do.
BEAM_ARGUMENTS = ("--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1")

SHEET_ROWS, SHEET_COLUMNS, SHEET_SEED = 8, 12, 0
GLIMPSE_ROWS, GLIMPSE_COLUMNS = 4, 5


def run(settings: RunSettings) -> RunOutcome | None:
    """Runs the pipeline, showing its stages on standard output, and draws the model's sheet of samples.

    None where nothing ran, because `tfx pipeline create` only wanted to see the pipeline.

    Raises RunFailed where a stage fails. KeyboardInterrupt passes through.
    """
    native_output.silence_native_code()
    # By name, for create_pipeline.TRAINER would import TFX before the log is open.
    console = RunConsole(talkative=("Trainer",), output=sys.stdout)
    again = InterruptAgain()
    with log.recording(settings.log_dir, console, again) as log_path, again.watching(), _without_arguments():
        try:
            return _run(settings, console)
        except Exception as error:
            # Not a logger of ours: the console shows the reason alone.
            logging.getLogger("tfx").error("The run failed.", exc_info=True)
            doing = f"Stage {console.stage}" if console.stage else "The run"
            raise RunFailed(doing, reason(error), log_path) from error
        finally:
            console.leave_off()


def _run(settings: RunSettings, console: RunConsole) -> RunOutcome | None:
    # These imports take 10 s and warn of this and that: the log has to be open, and the user to have seen a line.
    from tfx.orchestration import metadata

    from pipeline import create_pipeline
    from pipeline.local.observed_runner import ObservedLocalDagRunner
    from pipeline.local.outcome import read_outcome
    from pipeline.task_arguments import TaskArguments
    from serving.pictures.glimpse_sheet import write_glimpse_sheet
    from serving.pictures.sample_sheet import write_sample_sheet
    from trainer.task import ClassifyingTask
    from trainer.training import devices

    devices.configure_threads()
    connection = metadata.sqlite_metadata_connection_config(str(settings.metadata_path))
    runner = ObservedLocalDagRunner(announce=console.expect)
    runner.run(
        create_pipeline.create_pipeline(
            task=TaskArguments.of(settings.task, settings.gate),
            pipeline_name=settings.pipeline_name,
            pipeline_root=str(settings.folder),
            data_dir=None if settings.data_dir is None else str(settings.data_dir),
            serving_dir=str(settings.serving_dir),
            checkpoint_root=str(settings.checkpoint_root),
            metadata_connection_config=connection,
            enable_cache=settings.use_cache,
            beam_pipeline_args=BEAM_ARGUMENTS,
            initial_state=None if settings.initial_state is None else str(settings.initial_state),
            score_samples=settings.score_samples,
        )
    )
    if runner.run_id is None:
        return None
    outcome = read_outcome(
        connection, runner.run_id, settings.pipeline_name, evaluator=create_pipeline.evaluator_of(settings.gate)
    )
    sheet = settings.sample_sheet(outcome.model_number)
    # A model is drawn once. An older sheet is of a model that had the same number before the metadata were deleted.
    if not sheet.exists() or sheet.stat().st_mtime < (outcome.model_dir / "saved_model.pb").stat().st_mtime:
        if isinstance(settings.task, ClassifyingTask):
            test = outcome.examples_dir / f"Split-{settings.task.data.test}"
            files = sorted(str(path) for path in test.iterdir())
            write_glimpse_sheet(
                outcome.model_dir, files, sheet, rows=GLIMPSE_ROWS, columns=GLIMPSE_COLUMNS, size=settings.task.read
            )
        else:
            write_sample_sheet(outcome.model_dir, sheet, rows=SHEET_ROWS, columns=SHEET_COLUMNS, seed=SHEET_SEED)
    return outcome


@contextlib.contextmanager
def _without_arguments() -> Iterator[None]:
    """Hides the command line, which TFX's executors read: absl, and Beam, would take our options for theirs."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments
