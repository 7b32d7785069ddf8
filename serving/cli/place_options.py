"""Options that take a place: what it may be, and the one line that refuses anything else."""

from __future__ import annotations

import os
import re
from typing import Any

import click

from serving.file_systems import check_scheme
from serving.staged_model import SERVERS

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+")
_MOUNTS = {"gs": "gcsfuse", "s3": "mount-s3 or rclone"}


def scheme(place: str) -> str | None:
    """Returns the scheme of an address, such as `s3`; None for a path. `s3:/x` is one that became a path."""
    match = _ADDRESS.match(place)
    return match[1].lower() if match else None


def local(place: str) -> str:
    """Returns a path of this machine as it is. Raises ValueError for an address, and for an empty name.

    The data of a run, its root, images, pictures and a model that is served are opened as files.
    """
    if not place:
        raise ValueError("The name of a place is empty, which would be the current folder. Is a variable not set?")
    if kind := scheme(place):
        remedy = (
            "Download what is there. A server of models is named HOST:PORT, by the port of its gRPC, usually 8500."
            if kind in ("http", "https")
            else f"Mount the bucket (with {_MOUNTS.get(kind, 'a FUSE file system')}) and give the mount's path, or "
            "copy what is there."
        )
        raise ValueError(f"{place} is an address at {kind}://, and a path on this machine was expected. {remedy}")
    return place


def readable_by_tensorflow(place: str) -> str:
    """Returns a path, or an address at gs://, as it is. Raises ValueError for any other address.

    Examples and a model are read by TensorFlow, which opens Google's store and no other.
    """
    return place if scheme(place) == "gs" and "://" in place else local(place)


def readable_by_beam(place: str) -> str:
    """Returns a path made absolute, or an address that Beam can open. Raises ValueError for any other, and for "".

    The batch job's workers need not be in this process, nor in its folder.
    """
    kind = scheme(place)
    if not place or (kind is not None and "://" not in place):
        return local(place)  # raises: it would be the current folder, or one of that name
    if kind is None:
        return os.path.abspath(os.path.expanduser(place)) + ("/" if place.endswith("/") else "")
    check_scheme(place)
    return place


def model_place(place: str) -> str:
    """Returns where a model is, as it is: a path, a name, gs://, or an address that Beam can open, to be copied here.

    Raises ValueError for any other address.
    """
    return place if scheme(place) in (None, *SERVERS) else readable_by_beam(place)


def images_of_a_task(place: str) -> str:
    """Returns where a task's images are, as it is. Raises ValueError for nothing, and what Beam cannot open.

    A path, with a pattern or without; an address; or a data set of TFDS, `tfds:NAME`.
    """
    if not place.strip():
        raise ValueError("It is empty, and a folder, a pattern of files, an archive, or tfds:NAME was expected.")
    if not place.startswith("tfds:") and scheme(place) is not None:
        readable_by_beam(place)
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


class _CheckedText(click.types.StringParamType):
    """Text that stands for a place."""

    def check(self, value: str) -> str:
        """Returns the text as it is taken. Raises ValueError for one that is not."""
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fails with what the check says."""
        try:
            return self.check(super().convert(value, param, ctx))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class LocalName(_CheckedText):
    """A name, or the path of a file or folder of this machine."""

    def check(self, value: str) -> str:
        """Raises ValueError for an address."""
        return local(value)


class TensorFlowPattern(_CheckedText):
    """A pattern of files that TensorFlow reads."""

    def check(self, value: str) -> str:
        """Raises ValueError for an address that TensorFlow does not open."""
        return readable_by_tensorflow(value)


class TaskImages(_CheckedText):
    """Where a task's images are."""

    def check(self, value: str) -> str:
        """Raises ValueError for an address that Beam does not open."""
        return images_of_a_task(value)
