"""Where training starts, identified by its content, so that a cache and a checkpoint notice a change."""

from __future__ import annotations

import contextlib
from pathlib import Path


def identify(path: str) -> dict[str, str]:
    """Identifies a file, or a folder's files: its `path`, and its `sha256`.

    Of a SavedModel's numbered versions it is the newest. Logs and the like beside checkpoints do not count.
    """
    # They import TensorFlow and NumPy.
    from components.run_report import provenance
    from serving.saved_model import NotASavedModel, newest_version

    with contextlib.suppress(NotASavedModel):
        path = newest_version(path)
    files = [path]
    if Path(path).is_dir():
        checkpoints = [file for end in ("index", "data-*") for file in Path(path).glob(f"*-*.{end}")]
        files = sorted(map(str, checkpoints or (file for file in Path(path).rglob("*") if file.is_file())))
    return {"path": path, "sha256": provenance.sha256(files)}
