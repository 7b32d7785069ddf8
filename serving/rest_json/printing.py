"""Answers of TF Serving's REST API, printed piece by piece, so that none is in memory as a whole."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

_PIECE_VALUES = 16_384
"""Printed in a millisecond."""
_DTYPES = "?bhilqBHILQfd"
"""Characters of the dtypes that orjson prints."""


def print_predict(outputs: Mapping[str, np.ndarray], *, by_rows: bool) -> Iterator[bytes]:
    """Prints the answer to a predict request, by row or by column, as the request was.

    Raises:
      ValueError: before the first piece, where the outputs do not have one row each and should be by row.
    """
    columns = dict(sorted(outputs.items()))
    if by_rows and (not all(value.ndim for value in columns.values()) or len(set(map(len, columns.values()))) > 1):
        raise ValueError("The outputs do not have one row each: ask in the column format, with 'inputs'.")
    return _print_members(columns, by_rows=by_rows)


def print_classifications(classes: np.ndarray | None, scores: np.ndarray | None) -> Iterator[bytes]:
    """Prints a list of [label, score] for each row of `classes`, strings [n, k], and `scores`, floats [n, k]."""
    rows = len(scores if classes is None else classes)  # type: ignore[arg-type]
    yield b'{"results":['
    for row in range(rows):
        values = None if scores is None else scores[row].astype(float).tolist()
        labels = [""] * len(values or ()) if classes is None else [as_text(label) for label in classes[row]]
        pairs = list(zip(labels, values or [0.0] * len(labels), strict=True))
        yield (b"," if row else b"") + json.dumps(pairs).encode()
    yield b"]}"


def as_text(label: bytes) -> str:
    """Decodes a class's label; bytes that are no UTF-8 become question marks."""
    return label.decode("utf-8", "replace")


def _print_members(columns: Mapping[str, np.ndarray], *, by_rows: bool) -> Iterator[bytes]:
    yield b'{"predictions":' if by_rows else b'{"outputs":'
    if len(columns) == 1:
        ((alias, value),) = columns.items()
        yield from _print_array(alias, value)
    elif by_rows:
        for row in range(len(next(iter(columns.values())))):
            yield b"," if row else b"["
            yield from _print_object({alias: np.asarray(value[row]) for alias, value in columns.items()})
        yield b"]"
    else:
        yield from _print_object(columns)
    yield b"}"


def _print_object(columns: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    for index, (alias, value) in enumerate(columns.items()):
        yield (b"," if index else b"{") + orjson.dumps(alias) + b":"
        yield from _print_array(alias, value)
    yield b"}"


def _print_array(alias: str, value: np.ndarray) -> Iterator[bytes]:
    if not value.ndim:
        yield _print_piece(alias, value.reshape(1))[1:-1]
    elif value.size <= _PIECE_VALUES:
        yield _print_piece(alias, value)
    else:
        step = max(1, _PIECE_VALUES * len(value) // value.size)
        for start in range(0, len(value), step):
            yield b"," if start else b"["
            piece = value[start : start + step]
            if piece.size <= _PIECE_VALUES:
                yield _print_piece(alias, piece)[1:-1]
            else:
                yield from _print_array(alias, piece[0])
        yield b"]"


def _print_piece(alias: str, value: np.ndarray) -> bytes:
    if value.dtype.kind in "OSU":
        texts = np.empty(value.size, object)
        texts[:] = [_text_or_base64(alias, item) for item in value.flat]
        return json.dumps(texts.reshape(value.shape).tolist()).encode()
    if value.dtype.char in _DTYPES and (value.dtype.kind != "f" or np.isfinite(value).all()):
        return orjson.dumps(np.ascontiguousarray(value), option=orjson.OPT_SERIALIZE_NUMPY)
    # JSON has no NaN; TF Serving writes it all the same.
    return json.dumps(value.astype(float).tolist() if value.dtype.kind == "V" else value.tolist()).encode()


def _text_or_base64(alias: str, item: Any) -> str | dict[str, str]:
    """Text; bytes in base64 where the output's name asks for it, or they are no text."""
    if not alias.endswith("_bytes"):
        try:
            return item.decode()  # type: ignore[no-any-return]
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(item).decode()}
