"""What is known of a file by its name: whether it is data, and its format."""

from __future__ import annotations

import posixpath
import re

from serving.images import picture_decoder

PICTURE, NPY, NPZ, IDX, PARQUET, CSV, EXAMPLES = "picture", "npy", "npz", "idx", "parquet", "csv", "examples"
ZIP, TAR = ARCHIVES = ("zip", "tar")

_FORMATS = {
    ".npy": NPY,
    ".npz": NPZ,
    ".parquet": PARQUET,
    ".csv": CSV,
    ".tar": TAR,
    ".tfrecord": EXAMPLES,
    ".tfrecords": EXAMPLES,
    ".tgz": TAR,
    ".zip": ZIP,
    **dict.fromkeys(picture_decoder.SUFFIXES, PICTURE),
}
_NO_DATA = {
    ".bib", ".cfg", ".db", ".htm", ".html", ".ini", ".ipynb", ".json", ".log", ".md", ".pdf", ".py", ".rst", ".sh",
    ".toml", ".txt", ".xml", ".yaml", ".yml",
}  # fmt: skip
_LABELS = re.compile(r"[-.]idx1-ubyte(\.gz)?$")
"""MNIST's labels lie beside its images."""
_NO_DATA_STEMS = {"citation", "license", "makefile", "notice", "readme"}


def no_data(path: str) -> str | None:
    """Returns why a file holds no images by its path below a folder: it is hidden, or a text; None if it may."""
    # Cameras call their pictures _DSC1234.JPG and _MG_1234.JPG; what systems lay aside so is no picture.
    hidden = (".",) if format_by_name(path) == PICTURE else (".", "_")
    if any(part.startswith(hidden) for part in path.split("/")):
        return "its name begins with a dot or an underscore"
    name = posixpath.basename(path).lower()
    stem, suffix = posixpath.splitext(name)
    if name[-1:] == "~" or suffix in _NO_DATA or (not suffix and stem in _NO_DATA_STEMS):
        return "its name is that of a text, not of images"
    return "its name is that of labels" if _LABELS.search(name) else None


def format_by_name(path: str) -> str | None:
    """Returns the format of a file whose name's ending says it; an ending .gz does not count."""
    return _FORMATS.get(posixpath.splitext(path.lower().removesuffix(".gz"))[1])
