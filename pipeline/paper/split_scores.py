"""Scores of the split on which a model was judged, by the batch job; kept, so that they are computed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.paper.last_evaluation import LastEvaluation
from serving.batch.job import Job, score_batch
from serving.batch.model_source import SavedModelSource
from serving.batch.summary import is_complete


def score_split(
    evaluation: LastEvaluation, samples: int, folder: Path, report: Callable[[str], None]
) -> Mapping[str, Any]:
    """Scores every image of the split with `samples` samples, or reads the summary of having done so.

    Args:
      evaluation: names the model and the examples.
      samples: K, at least 1.
      folder: where scores are kept, under a name that follows from the content of the model and the examples. What a
        killed job has left there counts for nothing, for a job writes its summary last.
      report: is called with lines of progress.

    Returns:
      The batch job's summary: means and standard errors over the images, in nats.

    Raises ValueError where an image cannot be scored.
    """
    content = _digest(evaluation.model_dir, evaluation.examples)
    kept = folder / f"model-{evaluation.model_number}-{evaluation.split}-{samples}-samples-{content[:16]}"
    summary_file = kept / "split-summary.json"
    if not summary_file.exists():
        model = SavedModelSource.from_directory(str(evaluation.model_dir))
        job = Job(
            model=model, input=str(evaluation.examples), output=str(kept / "split"), samples=samples, overwrite=True
        )
        score_batch(job, report=report)
    summary: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
    if not is_complete(summary, max_bad=0):
        raise ValueError(
            f"{summary['rejected'] or 'Some'} images have no finite score: {kept}/split-rejected-* say why."
        )
    return summary


def _digest(*folders: Path) -> str:
    """Hashes the names and contents of all files."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
