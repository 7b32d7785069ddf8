"""Opens the TFDS data set on disk, prepares it first if it is missing, and refuses it if it is incomplete."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from serving.beam_options import LOCAL_RUNNER
from trainer import folder_lock

_LOG = logging.getLogger(__name__)


def open_dataset(
    name: str,
    splits: Iterable[str],
    data_dir: str | None,
    beam_pipeline_args: Sequence[str] = (),
    *,
    module: str | None = None,
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a complete data set; prepares the data set first if its folder is missing.

    Args:
      name: TFDS's `name` or `name/config`, with or without `:version`.
      splits: those that it must have, complete.
      data_dir: TFDS's directory; None for TFDS's own default.
      beam_pipeline_args: Beam's flags for the preparation, if the builder uses Beam.
      module: is imported first, so that it registers the builder.

    Raises:
      RuntimeError: if the data set is unknown, cannot be prepared, or is incomplete.
      ValueError: if it lacks a split that the task asks for, or the directory is a data set's own.
    """
    builder = _builder(name, module, data_dir)
    if not builder.data_path.exists():
        if data_dir is not None:
            _check_is_no_data_set(data_dir, builder.name)
        with _preparing_alone(builder):
            # It reads what another process has prepared meanwhile.
            builder = _builder(name, module, data_dir)
            if not builder.data_path.exists():
                _prepare(builder, name, beam_pipeline_args, downloads=module is None)
    _check_complete(builder, splits)
    return builder


def _builder(name: str, module: str | None, data_dir: str | None) -> tfds.core.DatasetBuilder:
    try:
        if module:
            importlib.import_module(module)
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:
        # TFDS goes on with the names of all its data sets, some hundred lines.
        reason = str(error).split("\n", maxsplit=1)[0]
        plain = re.split("[/:]", name, maxsplit=1)[0]
        known = tfds.list_builders(with_community_datasets=False)
        near = [] if plain in known else difflib.get_close_matches(plain, known)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise RuntimeError(
            f"TFDS cannot open the data set {name!r} (module: {module}, directory: "
            f"{data_dir or 'the default of TFDS'}). Check data.builder, with its version, and data.module in "
            "the task. Where the data set's folder is damaged, delete it, and the next run prepares it anew. "
            f"{type(error).__name__}: {reason}{hint}"
        ) from error


def _check_is_no_data_set(data_dir: str, name: str) -> None:
    """Raises ValueError where the directory is the folder of the data set, or of a version, in TFDS's directory."""
    place = Path(os.path.abspath(data_dir))
    for root in place.parents[:3]:  # Above name, configuration and version.
        levels = ("dataset_info.json", "*/dataset_info.json", "*/*/dataset_info.json")
        if place.relative_to(root).parts[0] == name and any(any(place.glob(level)) for level in levels):
            raise ValueError(
                f"{data_dir} is the folder of the data set {name} itself. Name the directory in which it lies: "
                f"make run DATA_DIR={root}"
            )


@contextlib.contextmanager
def _preparing_alone(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Waits, with a line, while another process prepares the data set: TFDS would have both fail at the end."""
    lock = f"{os.fspath(builder.data_path)}.lock"
    with folder_lock.hold(
        lock, f"preparing {builder.info.full_name}", wait=True, report=lambda line: _LOG.warning("%s", line)
    ):
        yield
    with contextlib.suppress(OSError):
        os.rmdir(lock)


def _prepare(
    builder: tfds.core.DatasetBuilder, name: str, beam_pipeline_args: Sequence[str], *, downloads: bool
) -> None:
    if downloads:
        _LOG.warning(
            "The data set %s is not in %s; preparing it there. A download without a network fails after some minutes.",
            name,
            builder.data_path,
        )
    options = PipelineOptions(list(beam_pipeline_args))
    config = tfds.download.DownloadConfig(
        beam_options=options, beam_runner=options.view_as(StandardOptions).runner or LOCAL_RUNNER
    )
    tfds.disable_progress_bar()
    try:
        # TFDS writes to a folder of another name, which it renames at the end: a run that is killed here leaves nothing
        # that the next one could take for the data set.
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        raise RuntimeError(
            f"The data set {name!r} is not in {builder.data_path} and could not be prepared there: "
            f"{type(error).__name__}: {error}. Prepare it where its source can be reached "
            f"(tfds build {builder.name}, or tfds.builder(...).download_and_prepare()) and name its directory: "
            "make run DATA_DIR=..."
        ) from error


def _check_complete(builder: tfds.core.DatasetBuilder, splits: Iterable[str]) -> None:
    remedy = "Delete this folder, and the next run prepares it anew; or name another directory: make run DATA_DIR=..."
    for split in splits:
        if split not in builder.info.splits:
            raise ValueError(
                f"The data set {builder.info.full_name} has no split {split!r}; it has "
                f"{sorted(builder.info.splits)}. Correct data.train, data.validation or data.test in the task."
            )
        missing = [path.name for path in builder.info.splits[split].filepaths if not path.exists()]
        if missing:
            raise RuntimeError(f"{builder.data_path} lacks files of split {split!r}: {missing}. {remedy}")
