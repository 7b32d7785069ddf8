"""What a user reads of an exception: its own message, whatever it travelled through."""

from __future__ import annotations

import math
from pathlib import Path

import apache_beam as beam
import pytest

from pipeline.local.failure import RunFailed, is_user_error, reason
from serving.beam_options import LOCAL_RUNNER
from trainer.task import Gate


def _raise(_: int, error: type[Exception]) -> None:
    raise error("The label is 11.\n  It must be below 10; look into the data set.")


def _of_beam(error: type[Exception]) -> Exception:
    """That of a pipeline on Beam's DirectRunner one of whose functions raises `error`."""
    with pytest.raises(Exception, match="The label is 11") as caught, beam.Pipeline(LOCAL_RUNNER) as pipeline:
        _ = pipeline | beam.Create([1]) | "Check the label" >> beam.Map(_raise, error)
    return caught.value


def _refused(_: int) -> Gate:
    return Gate(max_nll_bound=math.nan, tolerance=0.5)


def test_a_users_mistake_is_told_in_its_own_words() -> None:
    assert reason(ValueError("Give at least 1 step.")) == "Give at least 1 step."


def test_other_errors_name_their_kind() -> None:
    assert reason(KeyError("image")) == "KeyError: 'image'"
    assert reason(MemoryError()) == "MemoryError"


def test_beam_hands_on_the_whole_message_and_no_frames() -> None:
    message = "The label is 11.\n  It must be below 10; look into the data set."
    assert reason(_of_beam(ValueError)) == message
    assert reason(_of_beam(LookupError)) == f"LookupError: {message}"


def test_a_user_error_is_what_our_own_code_refuses() -> None:
    with pytest.raises(ValueError, match="max_nll_bound is nan") as ours:
        _refused(1)
    assert is_user_error(ours.value)
    with pytest.raises(Exception, match="max_nll_bound is nan") as in_beam, beam.Pipeline(LOCAL_RUNNER) as pipeline:
        _ = pipeline | beam.Create([1]) | beam.Map(_refused)
    assert is_user_error(in_beam.value)
    # Raised by a file that is not ours, be it in words that speak.
    assert not is_user_error(_of_beam(ValueError))
    # Raised by one of ours, but nobody meant to.
    with pytest.raises(TypeError) as defect:
        Gate(max_nll_bound="low", tolerance=0.5)
    assert not is_user_error(defect.value)


def test_a_failed_run_says_where_the_log_is() -> None:
    error = RunFailed("Stage Trainer", "Out of memory.", Path("/runs/digits/logs/1.log"))
    assert str(error) == "Stage Trainer failed.\nOut of memory.\nThe full log is /runs/digits/logs/1.log"
