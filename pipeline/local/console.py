"""What a user sees of a run: a line a stage, the lines of a talkative stage, and our own warnings."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Sequence
from typing import TextIO

OUR_PACKAGES = ("components", "pipeline", "serving", "trainer")

# The formats of the records by which LocalDagRunner and its launcher tell what they do, the same in TFX 1.16 and 1.21.
# They only serve the display: the result of a run is read from its metadata.
_STAGE_STARTS = "Component %s is running."
_STAGE_WORKS = "Going to run a new execution %d"
_STAGE_IS_CACHED = "A cached execution %d is used."
_STAGE_ENDS = "Component %s is finished."


class RunConsole(logging.Handler):
    """Writes ` 3/9 StatisticsGen ...  4 s` as a stage starts and ends, and warnings of our own packages between.

    `stage` is the one that runs; one that has failed stays. What a stage in `talkative` prints is shown: its line is
    closed before, and another one ends it.
    """

    def __init__(self, *, talkative: Collection[str], output: TextIO) -> None:
        super().__init__(logging.INFO)
        self._stages: list[str] = []
        self._talkative = talkative
        self._output = output
        self._while_talking = contextlib.ExitStack()
        self._line_is_open = False
        self._started = 0.0
        self._cached = False
        self.stage: str | None = None

    def expect(self, stages: Sequence[str]) -> None:
        """Takes the names of the stages that will run, in their order."""
        self._stages = list(stages)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows the record if it is one of those that a user wants to see."""
        if record.name == "absl":
            if record.msg == _STAGE_STARTS and isinstance(record.args, tuple):
                self._start(str(record.args[0]))
            elif record.msg == _STAGE_WORKS and self.stage in self._talkative:
                self._break_line()
                self._while_talking.enter_context(contextlib.redirect_stdout(self._output))
            elif record.msg == _STAGE_IS_CACHED:
                self._cached = True
            elif record.msg == _STAGE_ENDS:
                self._end()
        elif record.levelno >= logging.WARNING and record.name.partition(".")[0] in OUR_PACKAGES:
            self._break_line()
            self._write(f"      {record.levelname.lower()}: {record.getMessage()}\n")

    def leave_off(self) -> None:
        """After the run, however it went: what is written next stands on a line of its own."""
        self._while_talking.close()
        self._break_line()

    def _start(self, stage: str) -> None:
        self.stage, self._started, self._cached = stage, time.monotonic(), False
        self._write(self._label(stage))
        self._line_is_open = True

    def _end(self) -> None:
        self._while_talking.close()
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
