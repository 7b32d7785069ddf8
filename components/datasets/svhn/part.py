"""Opens one part of SVHN (train, extra or test) on disk: its folder, or its archive."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

SITE = "http://ufldl.stanford.edu/housenumbers/"

_STRUCT = "digitStruct.mat"
_COPY_BYTES = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Location of a file's bytes: all of `path`, or `size` of them from `offset` on."""

    path: str
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """Reads the bytes."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The images of a part by their names, and the file with their boxes."""

    images: Mapping[str, Place]
    struct_path: Path


def open_part(name: str, *, directory: Path, scratch: Path) -> Part:
    """Opens the part `name` from its folder in `directory`, or else from its archive there.

    An archive is read from its first byte to its last and never held in memory: it is unpacked into one file in
    `scratch`, in which each image has its offset.

    Raises:
      FileNotFoundError: if neither the folder nor the archive is there.
      ValueError: if the archive is truncated or damaged.
    """
    folder, archive = directory / name, directory / f"{name}.tar.gz"
    if (folder / _STRUCT).is_file():
        images = {path.name: Place(path=str(path)) for path in folder.glob("*.png")}
        return Part(images=images, struct_path=folder / _STRUCT)
    if not archive.is_file():
        raise FileNotFoundError(
            f"{archive.name} is not in {directory}, and neither is its unpacked folder {name} with a {_STRUCT}. Get it "
            f"with: {fetch_command(name, directory)}"
        )
    try:
        return _unpack(archive, scratch)
    except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise ValueError(
            f"{archive} is truncated or damaged ({type(error).__name__}: {error}); it has {archive.stat().st_size:,} "
            f"bytes. Get it again with: {fetch_command(name, directory)}"
        ) from error


def fetch_command(name: str, directory: Path) -> str:
    """Returns the command that downloads a part's archive to `directory`."""
    return f"curl --fail --create-dirs --output {directory / f'{name}.tar.gz'} {SITE}{name}.tar.gz"


def _unpack(archive: Path, scratch: Path) -> Part:
    unpacked = scratch / archive.name.removesuffix(".gz")
    # To the end, where gzip's checksum is: reading the members alone would miss it.
    with gzip.open(archive) as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target, _COPY_BYTES)
    struct_path, images = None, {}
    with tarfile.open(unpacked, "r:") as tar:
        while (member := tar.next()) is not None:
            # TarFile remembers every member, to find them by name.
            tar.members.clear()  # type: ignore[attr-defined]
            name = PurePosixPath(member.name).name
            place = Place(path=str(unpacked), offset=member.offset_data, size=member.size)
            if place.offset + place.size > unpacked.stat().st_size:
                raise tarfile.ReadError(f"{member.name} reaches beyond the end")
            if name == _STRUCT:
                struct_path = unpacked.with_suffix(".mat")
                struct_path.write_bytes(place.read())
            elif member.isfile() and name.endswith(".png"):
                images[name] = place
    if struct_path is None:
        raise tarfile.ReadError(f"it holds no {_STRUCT}")
    return Part(images=images, struct_path=struct_path)
