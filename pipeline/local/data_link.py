"""A link to TFDS's directory in a run's folder, named by what the data set holds and not by where it lies.

To TFX's cache an address is identity: without the link, a directory that was moved would be ingested, and trained on,
anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_LINKS = "data_sets"
_END_BYTES = 2**16
"""Hashed at either end of a file; a data set may have gigabytes."""


def link_data(folder: Path, data_dir: Path, builder: str) -> str:
    """Links the directory, and returns the link's address relative to the run's folder.

    Args:
      folder: the run's.
      data_dir: TFDS's directory.
      builder: TFDS's name of the data set, perhaps with a configuration and a version.
    """
    links = folder / _LINKS
    links.mkdir(exist_ok=True)
    note_prepared(folder, builder)
    content = _content(data_dir, builder)
    noted = {note: link for link, note in _links(links)}
    link = noted.get(content) or links / str(len(noted) + 1)
    _note(link).write_text(content)
    point(link, data_dir)
    return f"./{link.relative_to(folder)}"


def point(link: Path, target: Path) -> None:
    """Points a link to its target, which may have been moved, or makes it.

    In its place may be a folder, where the run's was copied by what follows links, as `scp -r` does: it has the same
    content, and stays.
    """
    if link.is_symlink() or not link.is_dir():
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def note_prepared(folder: Path, builder: str) -> None:
    """Notes what the data sets hold that were prepared after they were linked."""
    for link, noted in _links(folder / _LINKS):
        if noted == _content(Path(), ""):
            _note(link).write_text(_content(link, builder))


def _links(links: Path) -> Iterator[tuple[Path, str]]:
    for note in sorted(links.glob("*.sha256")):
        yield note.with_suffix(""), note.read_text()


def _note(link: Path) -> Path:
    return link.with_name(f"{link.name}.sha256")


def _content(data_dir: Path, builder: str) -> str:
    """Hashes the names, the sizes and the ends of the data set's files, if it is prepared."""
    digest = hashlib.sha256()
    name = builder.partition(":")[0].partition("/")[0]
    described = sorted((data_dir / name).rglob("dataset_info.json")) if name else []
    for file in (file for info in described for file in sorted(info.parent.iterdir()) if file.is_file()):
        digest.update(f"{os.fspath(file.relative_to(data_dir))} {file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            digest.update(content.read(_END_BYTES))
            content.seek(max(0, file.stat().st_size - _END_BYTES))
            digest.update(content.read())
    return digest.hexdigest()
