"""What a run can be reproduced and compared by: versions, hashes and the machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterator

import tensorflow as tf

DISTRIBUTIONS = ("draw-tfx", "tensorflow", "tfx", "apache-beam", "tensorflow-datasets", "numpy", "protobuf")


def versions() -> dict[str, str]:
    """Of Python, ours and what we stand on; and the revision of the source where this is a checkout."""
    found = {"Python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    if revision := _revision():
        found["git revision"] = revision
    return found


def machine() -> dict[str, str]:
    """On which this process runs; the whole of a local run does."""
    return {
        "processor": _processor(),
        "cores in use": str(cores()),
        "accelerators": str(accelerators() or "none"),
        "system": platform.platform(),
    }


def cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0))


def accelerators() -> int:
    """GPUs and TPUs that this process sees."""
    return sum(device.device_type in ("GPU", "TPU") for device in tf.config.list_physical_devices())


def model_hashes(model_dir: str) -> dict[str, str]:
    """TensorFlow's fingerprint of the SavedModel and the SHA-256 of its weights."""
    found = {}
    try:
        fingerprint = tf.saved_model.experimental.read_fingerprint(model_dir)
        found["SavedModel fingerprint"] = fingerprint.singleprint()
    except (FileNotFoundError, RuntimeError, ValueError):
        found["SavedModel fingerprint"] = "none was written"
    weights = sorted(tf.io.gfile.glob(os.path.join(model_dir, "variables", "variables.data-*")))
    found["weights, SHA-256"] = sha256(weights)
    return found


def sha256(paths: list[str]) -> str:
    """Of the contents of files one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        for piece in _pieces(path):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(path: str) -> Iterator[bytes]:
    with tf.io.gfile.GFile(path, "rb") as file:
        while piece := file.read(1 << 24):
            yield piece


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _revision() -> str | None:
    """Of the checkout that this file is in, with a word where it is not what was committed; None outside of one."""
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty= with changes"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
