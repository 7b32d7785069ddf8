"""Writes parts of SVHN as they are distributed: PNG files and a digitStruct.mat, in a folder or in a .tar.gz of it."""

from __future__ import annotations

import dataclasses
import io
import pathlib
import tarfile
from collections.abc import Sequence

import h5py
import numpy as np
from PIL import Image

Box = tuple[float, float, float, float, float]
"""Label, left, top, width and height as the file has them: (1, 1) is the top left corner, and 10 the digit 0."""


@dataclasses.dataclass(frozen=True)
class Photo:
    name: str
    png: bytes | None
    """None: listed in the .mat alone."""
    boxes: Sequence[Box] | None
    """None: not listed in the .mat."""


def png(pixels: np.ndarray, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(directory: pathlib.Path, part: str, photos: Sequence[Photo]) -> pathlib.Path:
    folder = directory / part
    folder.mkdir(parents=True)
    for photo in photos:
        if photo.png is not None:
            (folder / photo.name).write_bytes(photo.png)
    _write_struct(folder / "digitStruct.mat", photos)
    return folder


def write_archive(directory: pathlib.Path, scratch: pathlib.Path, part: str, photos: Sequence[Photo]) -> pathlib.Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{part}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(write_folder(scratch, part, photos), arcname=part)
    return path


def _write_struct(path: pathlib.Path, photos: Sequence[Photo]) -> None:
    """HDF5 below a header of 512 bytes; a struct's fields refer to `#refs#`, but for those of a single digit."""
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")

        def refer(values: np.ndarray) -> h5py.Reference:
            return refs.create_dataset(f"r{len(refs)}", data=values).ref

        names, boxes = [], []
        for photo in photos:
            if photo.boxes is None:
                continue
            names.append(refer(np.array([[ord(letter)] for letter in photo.name], np.uint16)))
            if not photo.boxes:
                # How MATLAB stores an empty struct: its sizes, and an attribute.
                empty = refs.create_dataset(f"r{len(refs)}", data=np.array([0, 0], np.uint64))
                empty.attrs["MATLAB_empty"] = np.uint8(1)
                boxes.append(empty.ref)
                continue
            group = refs.create_group(f"r{len(refs)}")
            columns = zip(*photo.boxes, strict=True)
            for field, values in zip(("label", "left", "top", "width", "height"), columns, strict=True):
                if len(values) == 1:
                    group.create_dataset(field, data=np.array([values], np.float64))
                else:
                    stored = np.array([[refer(np.array([[value]], np.float64))] for value in values], h5py.ref_dtype)
                    group.create_dataset(field, data=stored, dtype=h5py.ref_dtype)
            boxes.append(group.ref)
        struct = file.create_group("digitStruct")
        for field, references in (("name", names), ("bbox", boxes)):
            data = np.array(references, h5py.ref_dtype).reshape(-1, 1)
            struct.create_dataset(field, data=data, dtype=h5py.ref_dtype)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
