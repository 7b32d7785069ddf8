"""Versions, hashes and the machine: what a run is reproduced and compared by."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess

import tensorflow as tf

from serving.cores import cores

_DISTRIBUTIONS = ("draw-tfx", "tensorflow", "tfx", "apache-beam", "tensorflow-datasets", "numpy", "protobuf")


def versions() -> dict[str, str]:
    """Returns the versions of Python, this project and what it builds on; in a checkout also the git revision."""
    versions = {"Python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    if revision := _revision():
        versions["git revision"] = revision
    return versions


def machine() -> dict[str, str]:
    """Describes the machine of this process, on which a local run is as a whole."""
    accelerators = sum(device.device_type in ("GPU", "TPU") for device in tf.config.list_physical_devices())
    return {
        "processor": _processor(),
        "cores in use": str(cores()),
        "accelerators": str(accelerators or "none"),
        "system": platform.platform(),
    }


def model_hashes(model_dir: str) -> dict[str, str]:
    """Returns TensorFlow's fingerprint of the SavedModel and the SHA-256 of its weights."""
    try:
        fingerprint = tf.saved_model.experimental.read_fingerprint(model_dir).singleprint()
    except (FileNotFoundError, RuntimeError, ValueError):
        fingerprint = "none was written"
    weights = sorted(tf.io.gfile.glob(os.path.join(model_dir, "variables", "variables.data-*")))
    return {"SavedModel fingerprint": fingerprint, "weights, SHA-256": sha256(weights)}


def sha256(paths: list[str]) -> str:
    """Hashes the contents of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with tf.io.gfile.GFile(path, "rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _revision() -> str | None:
    """Returns the revision of this file's checkout, marked if there are changes; None outside a checkout."""
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
