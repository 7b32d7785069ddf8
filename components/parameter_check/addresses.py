"""Addresses that our code opens itself, and not KFP's launcher for it."""

from __future__ import annotations

_REMOTE = ("gs",)
"""What TensorFlow's own filesystems reach. Those for S3 are in tensorflow-io, which no TensorFlow of ours can load."""


def check_address(name: str, address: str) -> None:
    """Raises ValueError where TensorFlow cannot open what lies at an address; "" stands for a default."""
    scheme, found, _ = address.partition("://")
    if found and scheme not in _REMOTE:
        raise ValueError(
            f"{name} is {address}, and TensorFlow cannot open {scheme}://. Give a path on a volume that is mounted "
            "into the stages, or an address at gs://. (Artifacts are copied by KFP: the pipeline root may be any.)"
        )
    if address and not found and not address.startswith("/"):
        raise ValueError(f"{name} is {address}: give an absolute path on a volume, or an address at gs://.")
