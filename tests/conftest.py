"""The environment of every test, set before anything imports TensorFlow; what tests of several folders share."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

# A shell starts what runs in its background deaf to Ctrl-C, and tests interrupt themselves and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Silence TensorFlow's own log, and stay off any accelerator.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: more threads each would only wait for one another. Processes that tests start inherit it.
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds up whatever a server in this process computes until it is set."""
    from serving.server.servable import Signature

    event = threading.Event()
    run = Signature.run
    monkeypatch.setattr(Signature, "run", lambda self, inputs: event.wait(60) and run(self, inputs))
    yield event
    event.set()
