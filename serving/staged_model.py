"""SavedModels at addresses that TensorFlow does not open, such as s3://: a copy on this machine, by its content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

SERVERS = ("http", "https", "grpc", "dns", "ipv4", "ipv6")
"""Schemes of a model server's address."""


class StagedModel(NamedTuple):
    """One version of a model."""

    address: str
    directory: str
    """Its copy here; the folder's name is the version's number, where it has one."""


def is_staged(place: str) -> bool:
    """Whether a model there is copied before it is opened: at any address but a server's, and Google's store's."""
    kind, is_address, _ = place.partition("://")
    return bool(is_address) and kind.lower() not in ("gs", *SERVERS)


def stage(address: str) -> StagedModel:
    """Copies the SavedModel at an address, or the newest whole version there, unless the copy is here already.

    A version is whole when its graph and its variables are there, whatever came first. Beam's file systems have their
    options already, see `file_systems.connect`.

    Raises:
      ValueError: if there is no whole model.
      OSError: if it cannot be read, or there is no room for it.
    """
    from apache_beam.io.filesystems import FileSystems

    from serving.file_systems import as_pattern
    from serving.saved_model import GRAPH_FILE, VARIABLES_FILE

    root = address.rstrip("/")
    found = {
        file.path.removeprefix(f"{root}/"): file
        for file in FileSystems.match([f"{as_pattern(root)}/**"])[0].metadata_list
        if file.path.startswith(f"{root}/") and not file.path.endswith("/")
    }
    version = _newest(found)
    if version is None:
        raise ValueError(
            f"There is no model at {address}: expected a SavedModel, or its numbered versions, each with {GRAPH_FILE} "
            f"and {VARIABLES_FILE}."
        )
    root = posixpath.join(root, version) if version else root
    prefix = f"{version}/" if version else ""
    files = {path.removeprefix(prefix): file for path, file in found.items() if path.startswith(prefix)}
    content = sorted((path, file.size_in_bytes, file.last_updated_in_seconds) for path, file in files.items())
    digest = hashlib.sha256(repr((root, content)).encode()).hexdigest()[:16]
    folder = os.path.join(_cache(), digest, version or posixpath.basename(root))
    if not os.path.isdir(folder):
        _copy(files, folder)
    return StagedModel(root, folder)


def _newest(files: Mapping[str, Any]) -> str | None:
    """Returns the greatest whole version; "" for a SavedModel without versions, and None for none."""
    from serving.saved_model import GRAPH_FILE, VARIABLES_FILE

    if GRAPH_FILE in files:
        return ""
    versions = [path.partition("/")[0] for path in files if path.endswith(f"/{GRAPH_FILE}") and path.count("/") == 1]
    numbers = {name for name in versions if name.isascii() and name.isdecimal() and f"{name}/{VARIABLES_FILE}" in files}
    data = f"/{VARIABLES_FILE.removesuffix('index')}data-"
    whole = numbers & {path.partition("/")[0] for path in files if data in path}
    return max(whole, key=int, default=None)


def _cache() -> str:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(home, "draw-tfx", "models")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:  # a container without a home
        folder = os.path.join(tempfile.gettempdir(), "draw-tfx", "models")
        os.makedirs(folder, exist_ok=True)
    return folder


def _copy(files: Mapping[str, Any], folder: str) -> None:
    """Copies to a folder that is whole or not there, also where several processes do so at once."""
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    os.makedirs(os.path.dirname(folder), exist_ok=True)
    partial = tempfile.mkdtemp(prefix=f"{os.path.basename(folder)}.", dir=os.path.dirname(folder))
    try:
        for path, file in files.items():
            place = os.path.join(partial, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            source = FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED)
            with source, open(place, "wb") as copy:
                shutil.copyfileobj(source, copy)
            if os.path.getsize(place) != file.size_in_bytes:
                raise OSError(f"{file.path} changed while it was read: try again.")
        with contextlib.suppress(OSError):  # another process was first
            os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
