"""Runs the pipeline on this machine and draws what the model does."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.initial_state import identify
from pipeline.local import log
from pipeline.local.console import RunConsole, full_paths
from pipeline.local.data_link import link_data, note_prepared, point
from pipeline.local.failure import RunFailed, reason
from pipeline.local.interrupt import InterruptRepeater
from pipeline.local.metadata_check import check_metadata
from serving import native_output
from serving.beam_options import LOCAL_BEAM_ARGUMENTS, with_local_runner
from serving.file_systems import connect
from trainer import folder_lock

if TYPE_CHECKING:
    from pipeline.local.outcome import RunOutcome
    from pipeline.local.run_settings import RunSettings

SHEET_ROWS, SHEET_COLUMNS, SHEET_SEED = 8, 12, 0
GLIMPSE_ROWS, GLIMPSE_COLUMNS = 4, 5


def run(settings: RunSettings, beam_arguments: Sequence[str] = ()) -> RunOutcome | None:
    """Runs the pipeline, shows its stages on standard output, and draws the model's sheet of samples.

    Args:
      settings: what to run.
      beam_arguments: Beam's own flags, of which the last of two alike holds.

    Returns None where nothing ran, because `tfx pipeline create` only wanted to see the pipeline.

    Raises RunFailed where a stage fails, folder_lock.FolderHeld where another run uses the folder, and ValueError for
    metadata that cannot be used. KeyboardInterrupt passes through.
    """
    native_output.silence_native_code()
    # A literal: create_pipeline.TRAINER would import TFX before the log is open.
    console = RunConsole(verbose_stages=("Trainer",), output=sys.stdout, folder=settings.folder)
    repeater = InterruptRepeater()
    with folder_lock.hold(str(settings.folder), "draw run", report=print):
        check_metadata(settings.metadata_path, report=print)
        with (
            log.recording(settings.log_dir, console, repeater) as log_path,
            repeater.watching(),
            _without_command_line(),
            _working_in(settings.folder),
        ):
            try:
                return _run(settings, console, [*LOCAL_BEAM_ARGUMENTS, *with_local_runner(beam_arguments)])
            except Exception as error:
                # Through TFX's logger, for the console shows the records of ours.
                logging.getLogger("tfx").error("The run failed.", exc_info=True)
                activity = f"Stage {console.stage}" if console.stage else "The run"
                reasons = "\n".join(filter(None, (reason(error), _damage(settings))))
                raise RunFailed(activity, full_paths(reasons, settings.folder), log_path) from error
            finally:
                console.finish()


def _run(settings: RunSettings, console: RunConsole, beam_arguments: Sequence[str]) -> RunOutcome | None:
    # These imports take 10 s and log warnings: the log has to be open, and the user to have seen a line.
    from tfx.orchestration import metadata

    from pipeline.create_pipeline import Locations, create_pipeline
    from pipeline.local.observed_runner import ObservedLocalDagRunner
    from pipeline.local.outcome import read_outcome
    from pipeline.task_arguments import TaskArguments
    from trainer.training import devices

    devices.configure_threads()
    connect([settings.task.data.address], beam_arguments)
    connection = metadata.sqlite_metadata_connection_config(str(settings.metadata_path))
    runner = ObservedLocalDagRunner(on_start=console.set_stages)
    builder = settings.task.data.address.removeprefix("tfds:")
    runner.run(
        create_pipeline(
            task=TaskArguments.for_task(settings.task, settings.gate),
            # Relative to the folder, so that it can be moved: to TFX's cache and metadata an address is identity.
            locations=Locations(
                data_dir=None if settings.data_dir is None else link_data(settings.folder, settings.data_dir, builder),
                serving_dir=_relative(settings.serving_dir, settings),
                checkpoint_root=_relative(settings.checkpoint_root, settings),
            ),
            pipeline_name=settings.pipeline_name,
            pipeline_root=".",
            metadata_connection_config=connection,
            enable_cache=settings.use_cache,
            beam_pipeline_args=beam_arguments,
            init_from=None if settings.initial_weights is None else _link_initial_weights(settings),
            score_samples=settings.score_samples,
        )
    )
    note_prepared(settings.folder, builder)
    if runner.run_id is None:
        return None
    outcome = read_outcome(connection, runner.run_id, settings.pipeline_name, evaluator=settings.task.kind.evaluator)
    update_sheet(settings, outcome)
    return outcome


def _damage(settings: RunSettings) -> str:
    """What is wrong with the files that the run took from earlier ones; empty where nothing is seen to be."""
    try:
        from pipeline.local.damage import describe_damage

        return describe_damage(settings.metadata_path, settings.folder)
    except Exception:
        # The run's own failure is what its user needs to read.
        logging.getLogger("tfx").warning("The artifacts could not be examined.", exc_info=True)
        return ""


def _relative(path: Path, settings: RunSettings) -> str:
    return f"./{path.relative_to(settings.folder)}"


def _link_initial_weights(settings: RunSettings) -> str:
    """Links the initial weights into the folder under the hash of their content, and returns the link's address."""
    start = identify(str(settings.initial_weights))
    link = settings.folder / "initial_weights" / start["sha256"][:16]
    link.parent.mkdir(exist_ok=True)
    point(link, Path(start["path"]))
    return _relative(link, settings)


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


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Makes the folder the current one: the addresses of artifacts begin in it."""
    previous = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(previous)
