"""An interrupt that a library swallowed ends the run all the same, and one that nobody sent does not."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from pipeline.local.interrupt import InterruptRepeater

LOG = logging.getLogger("swallowing.library")


@pytest.fixture
def repeater() -> Iterator[InterruptRepeater]:
    handler = InterruptRepeater()
    LOG.addHandler(handler)
    yield handler
    LOG.removeHandler(handler)


def interrupt() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass


def test_a_swallowed_interrupt_comes_again_at_the_next_record(repeater: InterruptRepeater) -> None:
    before = signal.getsignal(signal.SIGINT)
    with repeater.watching():
        LOG.warning("before it")
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            LOG.warning("after it")
    assert signal.getsignal(signal.SIGINT) is before
    LOG.warning("after the run")


def test_it_comes_in_the_main_thread_alone(repeater: InterruptRepeater) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            LOG.warning("from a worker")
        except KeyboardInterrupt as error:
            failed.append(error)

    with repeater.watching():
        interrupt()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert not failed
