"""Keeps the output of TFX, Beam and TensorFlow off the console, and in a file."""

from __future__ import annotations

import contextlib
import datetime
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pipeline.local.console import OUR_PACKAGES
from serving.native_output import native_output_to

_ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def recording(directory: Path, *handlers: logging.Handler) -> Iterator[Path]:
    """Writes all logs, warnings and prints to a new file in `directory` while it is open; yields the file's path.

    Records go to `handlers` too, and only they write to the terminal.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}.log"
    with (
        path.open("a", encoding="utf-8", buffering=1) as file,
        _log_records_to(file, handlers),
        _warnings_to_log_records(),
        native_output_to(file),
        contextlib.redirect_stdout(file),
    ):
        yield path


@contextlib.contextmanager
def _log_records_to(file: TextIO, others: Sequence[logging.Handler]) -> Iterator[None]:
    # Imported before getLogger("absl"): absl makes that logger, of a class of its own.
    from absl import logging as absl_logging  # type: ignore[import-untyped]

    to_file = logging.StreamHandler(file)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    handlers, level, verbosity = root.handlers[:], root.level, absl_logging.get_verbosity()
    root.handlers[:] = [to_file, *others]
    root.setLevel(logging.INFO)
    absl_logging.set_verbosity(absl_logging.INFO)
    try:
        yield
    finally:
        absl_logging.set_verbosity(verbosity)
        root.setLevel(level)
        root.handlers[:] = handlers


@contextlib.contextmanager
def _warnings_to_log_records() -> Iterator[None]:
    """Logs a UserWarning of our own files under its package, so that the console shows it; others as `py.warnings`.

    logging.captureWarnings has one name for all.
    """

    def log(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        package = _package(Path(filename))
        if package in OUR_PACKAGES and issubclass(category, UserWarning):
            logging.getLogger(package).warning("%s", message)
        else:
            text = warnings.formatwarning(message, category, filename, lineno, line)
            logging.getLogger("py.warnings").warning("%s", text)

    previous = warnings.showwarning
    warnings.showwarning = log
    try:
        yield
    finally:
        warnings.showwarning = previous


def _package(file: Path) -> str | None:
    """Returns the top folder of the repository that holds the file."""
    return file.relative_to(_ROOT).parts[0] if file.is_relative_to(_ROOT) else None
