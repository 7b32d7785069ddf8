"""Beam's file systems for addresses such as s3://: what is installed, their options, and whether a store answers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import threading
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

_EXTRAS = {"s3": "draw-tfx[aws]", "gs": "apache-beam[gcp]", "azfs": "apache-beam[azure]"}
"""What brings the file systems of these schemes."""
_BUCKET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
"""For an object's metadata. Beam and boto3 would try again, in silence, for minutes."""


def check_scheme(address: str) -> None:
    """Raises ValueError for an address that nothing that is installed opens, or without a bucket."""
    # The second registers what is installed. None is made here: most need Beam's options first.
    from apache_beam.io import filesystem, filesystems  # noqa: F401

    kind = address.partition(":")[0]
    if kind != kind.lower():
        raise ValueError(f"{address}: write {kind.lower()}:// in small letters.")
    if kind in ("s3", "gs") and not address.removeprefix(f"{kind}://").partition("/")[0]:
        raise ValueError(f"{address} names no bucket: give {kind}://BUCKET/NAME.")
    is_known = any(each.scheme() == kind for each in filesystem.FileSystem.get_all_subclasses())
    if not is_known or (kind == "s3" and importlib.util.find_spec("boto3") is None):
        known = f"install it with `pip install '{_EXTRAS[kind]}'`" if kind in _EXTRAS else ""
        raise ValueError(
            f"{address}: nothing that is installed opens {kind}://; {known or 'give a path or a mount of it'}."
        )


def as_pattern(path: str) -> str:
    """Returns a pattern of Beam's that matches a path, and maybe others: for `*`, `?` and `[` it knows no quoting."""
    return re.sub(r"[*?\[]", "?", path)


def connect(places: Iterable[str], options: PipelineOptions | Sequence[str] | None = None) -> None:
    """Gives the file systems their options, which S3's needs before its first use, and asks each store once.

    Args:
      places: paths, which are passed over, and addresses.
      options: Beam's options, with those of the stores, such as --s3_endpoint_url; None keeps what is set.

    Raises:
      ValueError: for an address that nothing opens.
      OSError: if a store does not answer.
    """
    buckets = dict.fromkeys(match[0] for match in map(_BUCKET.match, places) if match)
    if not buckets:
        return
    for bucket in buckets:
        check_scheme(bucket)
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    if options is None:
        options = FileSystems._pipeline_options or ()
    if not isinstance(options, PipelineOptions):
        options = PipelineOptions(list(options))
    FileSystems.set_options(options)
    for bucket in buckets:
        _check_answer(bucket, _endpoint(bucket, options))


def _endpoint(bucket: str, options: PipelineOptions) -> str | None:
    """Returns the URL of an S3 store that is not Amazon's; None where the libraries find it themselves."""
    if not bucket.startswith("s3://"):
        return None
    from apache_beam.options.pipeline_options import S3Options

    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    named = options.view_as(S3Options).s3_endpoint_url
    return named or next((os.environ[name] for name in variables if os.environ.get(name)), None)


def _check_answer(bucket: str, endpoint: str | None) -> None:
    where = endpoint or "its default endpoint"
    if endpoint is not None:
        url = urllib.parse.urlsplit(endpoint)
        if url.scheme not in ("http", "https") or url.hostname is None:
            raise ValueError(f"The S3 endpoint is {endpoint!r}; expected a URL such as http://minio:9000.")
        try:
            socket.create_connection(
                (url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]), _CONNECT_SECONDS
            ).close()
        except OSError as error:
            raise OSError(
                f"{bucket} cannot be reached: nothing answers at {where} ({error.strerror or error}). Start the store, "
                "or correct --s3_endpoint_url."
            ) from error
    from apache_beam.io.filesystems import FileSystems

    def ask() -> None:
        # An error is an answer too: what is wrong, the first look at a real object says.
        with contextlib.suppress(Exception):
            FileSystems.exists(f"{bucket}/draw")

    # A thread that hangs does not keep the process.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWER_SECONDS)
    if asking.is_alive():
        raise OSError(
            f"{bucket} has not answered for {_ANSWER_SECONDS:.0f} seconds at {where}: check the network and the store."
        )
