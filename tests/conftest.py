"""The environment of every test, set before anything imports TensorFlow."""

import os
import signal

# A shell starts what runs in its background deaf to Ctrl-C, and tests interrupt themselves and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Silence TensorFlow's own log, and stay off any accelerator.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: more threads each would only wait for one another. Processes that tests start inherit it.
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
