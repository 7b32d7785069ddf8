"""Ids as the outputs show them."""

from __future__ import annotations

import csv
import io

import pytest

from serving.images.image_elements import printable_id


@pytest.mark.parametrize(
    ("identity", "shown"), [(b"a-1", "a-1"), ("\u2603".encode(), "\u2603"), (b"\xff", "\\xff"), (b"a\0b", "a\\x00b")]
)
def test_an_id_of_any_bytes_can_be_written_as_csv(identity: bytes, shown: str) -> None:
    assert printable_id(identity) == shown
    csv.writer(io.StringIO()).writerow([printable_id(identity)])
