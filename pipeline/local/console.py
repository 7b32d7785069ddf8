"""What a user sees of a run: a line for each stage, the output of verbose stages, and our own warnings."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TextIO

OUR_PACKAGES = ("components", "pipeline", "serving", "trainer")

# Formats of the records in which LocalDagRunner and its launcher log their progress, the same in TFX 1.16 and 1.21.
# They only serve the display: the result of a run is read from its metadata.
_STAGE_STARTS = "Component %s is running."
_STAGE_EXECUTES = "Going to run a new execution %d"
_STAGE_IS_CACHED = "A cached execution %d is used."
_STAGE_ENDS = "Component %s is finished."


class RunConsole(logging.Handler):
    """Writes ` 3/9 StatisticsGen ...  4 s` as a stage starts and ends, and warnings of our own packages between.

    `stage` is the running stage; after a failure, the one that failed. The output of `verbose_stages` is shown too: it
    follows an unfinished line of the stage, and a second line completes it.
    """

    def __init__(self, *, verbose_stages: Collection[str], output: TextIO, folder: Path = Path()) -> None:
        """`folder` is that of the task's runs, in which the addresses in a warning begin."""
        super().__init__(logging.INFO)
        self._folder = folder
        self._stages: list[str] = []
        self._verbose_stages = verbose_stages
        self._output = output
        self._redirection = contextlib.ExitStack()
        self._line_is_open = False
        self._started = 0.0
        self._cached = False
        self.stage: str | None = None

    def set_stages(self, stages: Sequence[str]) -> None:
        """Takes the names of the stages that will run, in their order."""
        self._stages = list(stages)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows the record if a user wants to see it."""
        if record.name == "absl":
            if record.msg == _STAGE_STARTS and isinstance(record.args, tuple):
                self._start(str(record.args[0]))
            elif record.msg == _STAGE_EXECUTES and self.stage in self._verbose_stages:
                self._break_line()
                self._redirection.enter_context(contextlib.redirect_stdout(self._output))
            elif record.msg == _STAGE_IS_CACHED:
                self._cached = True
            elif record.msg == _STAGE_ENDS:
                self._end()
        elif record.levelno >= logging.WARNING and record.name.partition(".")[0] in OUR_PACKAGES:
            self._break_line()
            message = full_paths(record.getMessage(), self._folder)
            self._write(f"      {record.levelname.lower()}: {message}\n")

    def finish(self) -> None:
        """Ends the display, after success and failure alike: what is written next starts a new line."""
        self._redirection.close()
        self._break_line()

    def _start(self, stage: str) -> None:
        self.stage, self._started, self._cached = stage, time.monotonic(), False
        self._write(self._label(stage))
        self._line_is_open = True

    def _end(self) -> None:
        self._redirection.close()
        if not self._line_is_open and self.stage is not None:
            self._write(self._label(self.stage))
        self._write(" (cached)\n" if self._cached else f" {time.monotonic() - self._started:3.0f} s\n")
        self._line_is_open = False
        self.stage = None

    def _break_line(self) -> None:
        if self._line_is_open:
            self._write("\n")
            self._line_is_open = False

    def _label(self, stage: str) -> str:
        dots = "." * (max(map(len, self._stages)) - len(stage) + 3)
        return f"{self._stages.index(stage) + 1:2}/{len(self._stages)} {stage} {dots}"

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def full_paths(text: str, folder: Path) -> str:
    """Writes out the addresses in a message that begin in the folder of the task's runs."""
    return re.sub(r"(?<![\w./])\./(?=\w)", lambda match: f"{folder}/", text)
