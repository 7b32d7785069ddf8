"""Options that take a place: what it may be, and the one line that refuses anything else."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any

import click

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+")
_MOUNTS = {"gs": "gcsfuse", "s3": "mount-s3 or rclone"}
_EXTRAS = {"s3": "aws", "gs": "gcp", "azfs": "azure"}
"""Extras of apache-beam that bring the file systems of these schemes."""


def scheme(place: str) -> str | None:
    """Returns the scheme of an address, such as `s3`; None for a path. `s3:/x` is one that became a path."""
    match = _ADDRESS.match(place)
    return match[1].lower() if match else None


def local(place: str) -> str:
    """Returns a path of this machine as it is. Raises ValueError for an address.

    The data of a run, its root, images, pictures and a model that is served are opened as files.
    """
    if kind := scheme(place):
        raise ValueError(
            f"{place} is an address at {kind}://, and a path on this machine was expected. Mount the bucket (with "
            f"{_MOUNTS.get(kind, 'a FUSE file system')}) and give the mount's path, or copy what is there."
        )
    return place


def readable_by_tensorflow(place: str) -> str:
    """Returns a path, or an address at gs://, as it is. Raises ValueError for any other address.

    Examples and a model are read by TensorFlow, which opens Google's store and no other.
    """
    return place if scheme(place) == "gs" and "://" in place else local(place)


def readable_by_beam(place: str) -> str:
    """Returns a path made absolute, or an address that Beam can open. Raises ValueError for any other address.

    The batch job's workers need not be in this process, nor in its folder.
    """
    kind = scheme(place)
    if kind is None:
        return os.path.abspath(os.path.expanduser(place)) + ("/" if place.endswith("/") else "")
    # The second registers what is installed of them. None is made here: most need Beam's options first.
    from apache_beam.io import filesystem, filesystems  # noqa: F401

    is_known = any(each.scheme() == kind for each in filesystem.FileSystem.get_all_subclasses())
    if not is_known or (kind == "s3" and importlib.util.find_spec("boto3") is None):
        known = f"install it with `pip install 'apache-beam[{_EXTRAS[kind]}]'`" if kind in _EXTRAS else ""
        raise ValueError(
            f"{place}: nothing that is installed opens {kind}://; {known or 'give a path or a mount of it'}."
        )
    return place


class LocalPath(click.Path):
    """click's Path for files and folders of this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fails for an address."""
        try:
            local(os.fspath(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


class TensorFlowPattern(click.types.StringParamType):
    """A pattern of files that TensorFlow reads."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fails for an address that TensorFlow does not open."""
        try:
            return readable_by_tensorflow(super().convert(value, param, ctx))
        except ValueError as error:
            self.fail(str(error), param, ctx)
