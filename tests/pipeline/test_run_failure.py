"""What a user reads of an exception: its own message, whatever it travelled through."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest

from pipeline.run_failure import RunFailed, reason


def _raise(_: int, error: type[Exception]) -> None:
    raise error("The label is 11.\n  It must be below 10; look into the data set.")


def _of_beam(error: type[Exception]) -> str:
    """The reason of a pipeline on Beam's DirectRunner one of whose functions raises `error`."""
    with pytest.raises(Exception, match="The label is 11") as caught, beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create([1]) | "Check the label" >> beam.Map(_raise, error)
    return reason(caught.value)


def test_a_users_mistake_is_told_in_its_own_words() -> None:
    assert reason(ValueError("Give at least 1 step.")) == "Give at least 1 step."


def test_other_errors_name_their_kind() -> None:
    assert reason(KeyError("image")) == "KeyError: 'image'"
    assert reason(MemoryError()) == "MemoryError"


def test_beam_hands_on_the_whole_message_and_no_frames() -> None:
    message = "The label is 11.\n  It must be below 10; look into the data set."
    assert _of_beam(ValueError) == message
    assert _of_beam(LookupError) == f"LookupError: {message}"


def test_a_failed_run_says_where_the_log_is() -> None:
    error = RunFailed("Stage Trainer", "Out of memory.", Path("/runs/digits/logs/1.log"))
    assert str(error) == "Stage Trainer failed.\nOut of memory.\nThe full log is /runs/digits/logs/1.log"
