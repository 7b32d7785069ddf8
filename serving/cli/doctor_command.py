"""`draw doctor`: what this installation can do, in a form fit for a report of a fault."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from importlib import metadata

import click

from serving import pretrained
from serving.cli.command_line import draw_command
from serving.cores import cores
from serving.native_output import quiet_native_code

DISTRIBUTION = "draw-tfx"
_PACKAGES = ("tfx", "tensorflow", "apache-beam", "kfp", "tensorflow-datasets", "grpcio", "protobuf", "numpy")
_EXTRAS = ("server", "batch", "pipeline", "kubeflow", "onnx")
_ABSENT = "not installed"


@draw_command()
def doctor() -> None:
    """Show what this installation can do: versions, devices, models, disk. Made for reports of a fault.

    Exits with 1 where TensorFlow is installed and does not start.
    """
    _line("draw", _version(DISTRIBUTION))
    _line("python", f"{platform.python_version()}, {sys.executable}")
    _line("system", f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver()) or 'no glibc'}")
    _line("processor", f"{cores()} of {os.cpu_count()} cores")
    usage = shutil.disk_usage(".")
    _line("disk here", f"{usage.free / 1e9:,.0f} of {usage.total / 1e9:,.0f} GB free")
    for name in _PACKAGES:
        _line(name, _version(name))
    for extra, lacking in _extras().items():
        _line(f"extra {extra}", f"lacks {', '.join(lacking)}" if lacking else "complete")
    _line("models", ", ".join(pretrained.names()) or f"none: `pip install {pretrained.DISTRIBUTION}` brings them")
    if importlib.util.find_spec("tensorflow") is None:
        _line("devices", "not known without TensorFlow: pip install 'draw-tfx[server]'")
        return
    try:
        with quiet_native_code():
            devices = _devices()
    except Exception as error:  # whatever keeps it from starting is the finding
        _line("devices", f"TensorFlow does not start: {type(error).__name__}: {error}")
        raise SystemExit(1) from None
    _line("devices", ", ".join(devices))


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return _ABSENT


def _extras() -> dict[str, list[str]]:
    """Returns what is not installed of each extra; nothing where the distribution itself is not."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    lacking: dict[str, list[str]] = {}
    for requirement in requirements:
        name, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if name and extra and extra[1] in _EXTRAS:
            absent = lacking.setdefault(extra[1], [])
            if _version(name[0]) == _ABSENT and name[0] not in absent:
                absent.append(name[0])
    return lacking


def _devices() -> list[str]:
    """Names of the devices that TensorFlow has, such as CPU:0 and GPU:0."""
    import tensorflow as tf

    return [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices()]


def _line(name: str, value: str) -> None:
    click.echo(f"{name:<21}{value}")
