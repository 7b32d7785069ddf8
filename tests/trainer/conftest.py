"""Keeps TensorFlow's own log out of the tests' output, and the tests off any accelerator."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
