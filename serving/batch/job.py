"""The batch job: a Beam pipeline that reads images, scores them with RunInference, and writes the scores."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.combiners import ToListCombineFn

from serving import beam_job, beam_options
from serving.batch.account import CombineByKind, CountRejected, TheOne
from serving.batch.blocks import SAMPLES_TOGETHER, blocks, blocks_together
from serving.batch.calibration import Calibration
from serving.batch.elements import Scored
from serving.batch.estimate import NO_COMPRESSION_COST
from serving.batch.model_handler import PROGRESS, Part, ScoreHandler, Work, merge_parts
from serving.batch.model_source import ModelSource
from serving.batch.output_claim import Places, claimed
from serving.batch.publish import Publish
from serving.batch.sinks import FORMATS, ScoreTables, WriteFiles
from serving.batch.summary import LEAST_LIKELY, Summarise
from serving.beam_options import LOCAL_BEAM_ARGUMENTS
from serving.file_systems import connect
from serving.images.image_elements import Image, Place, Rejected
from serving.images.input_files import PASSED_OVER, Inputs, find_inputs
from serving.images.reading import REJECTED, ReadImages
from serving.reference.image_scores import FLAG_BY
from serving.reference.model_reference import MAHALANOBIS

_PROGRESS_SECONDS = 2.0
_TOGETHER = 512
"""Images to write together if they come one by one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What to score, with which model, and where the results go."""

    model: ModelSource
    input: str | Sequence[str]
    """Folders, files or patterns of files: TFRecords of tf.Examples, .npz, .npy, .parquet, or pictures."""
    output: str
    """What the names of the outputs begin with."""
    samples: int = 1
    """K, the samples of each image."""
    rows: int = 512
    """About how many samples one call of the model has."""
    file_format: str = "parquet"
    threshold: float | None = None
    """Pixels above it become 1 and the others 0; None leaves them as they are."""
    background: tuple[int, int, int] | None = None
    """RGB under the transparent pixels of pictures; None refuses them."""
    resize: str | None = None
    """One of RESIZES for images of other sizes; None for what the model's task says."""
    pictures: int = 0
    """How many of the most and of the least likely images to show."""
    flag_rate: float | None = None
    """The share of usual images that may be flagged as unusual; None flags none."""
    flag_by: str = MAHALANOBIS
    """The score that decides, one of FLAG_BY."""
    overwrite: bool = False
    """Whether to take the place of an earlier job's outputs, when all of the new ones are written."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.rows < 1:
            raise ValueError(f"Got {self.samples} samples and {self.rows} rows; expected at least 1 of each.")
        if self.file_format not in FORMATS:
            raise ValueError(f"There is no format {self.file_format!r}; expected one of {', '.join(FORMATS)}.")
        if self.flag_by not in FLAG_BY:
            raise ValueError(f"There is no score {self.flag_by!r} to flag by; expected one of {', '.join(FLAG_BY)}.")

    def calibration(self) -> Calibration | None:
        """Makes what compares the images with the model's reference; None where the model has none.

        Raises ValueError if images are to be flagged and the reference is missing, or too small for the rate.
        """
        return Calibration.for_job(self.model.reference, flag_rate=self.flag_rate, flag_by=self.flag_by)


def score_batch(
    job: Job, beam_arguments: Sequence[str] = LOCAL_BEAM_ARGUMENTS, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Runs the job and waits for its end; returns what it has written to OUTPUT-summary.json.

    OUTPUT-scores-*, OUTPUT-rejected-* and the pictures are moved to their places when all of them are written, and the
    summary after them: a job that failed leaves none. The numbers follow from the images, their ids and the samples'
    indices alone, to float32's last places, whatever the runner, its workers and the size of a batch.

    Every row of the input is scored or rejected; how many rows are lost in a broken file is in the summary too, or
    that nobody can tell.

    Args:
      job: what to do.
      beam_arguments: Beam's own flags.
      report: called with each line of text about the progress.

    Raises:
      ValueError: if there is no input, there are outputs already, or another job is writing them; or if an argument
        is none of Beam's.
      Exception: whatever ended the job.
    """
    beam_options.check(beam_arguments)
    calibration = job.calibration()
    options = PipelineOptions(list(beam_arguments))
    names = [job.input] if isinstance(job.input, str) else job.input
    connect([*names, job.output], options)
    inputs = find_inputs(names)
    with claimed(job.output if "://" in job.output else os.path.abspath(job.output), overwrite=job.overwrite) as places:
        beam_job.name_job(options, "draw-score-batch")
        runner = beam_options.make_runner(options)
        pipeline = beam.Pipeline(runner=runner, options=options)
        _build(pipeline, job, calibration, inputs._replace(is_ours=places.owns), places)
        with _watched(job.samples, report):
            beam_job.run(pipeline, options, report, is_local=runner is not None)
        with FileSystems.open(places.summary) as file:
            summary: dict[str, Any] = json.load(file)
    return summary


def _build(pipeline: beam.Pipeline, job: Job, calibration: Calibration | None, inputs: Inputs, places: Places) -> None:
    images = job.model.images.with_options(threshold=job.threshold, background=job.background, resize=job.resize)
    read = pipeline | "Images" >> ReadImages(inputs, images)
    scored = read["images"] | "Score" >> ScoreImages(job, calibration)
    rejected = (read[REJECTED], scored[REJECTED]) | "AllRejected" >> beam.Flatten()

    tables = ScoreTables(images.dimensions, job.model.version, calibration)
    written_scores = (
        scored["scores"]
        | "Rows" >> beam.Map(tables.table)
        | "WriteScores" >> beam.ParDo(WriteFiles(places.folder, job.file_format))
    )
    written_rejected = rejected | "WriteRejected" >> beam.ParDo(WriteFiles(places.folder, "rejected"))
    ends = max(job.pictures, LEAST_LIKELY)
    counted: dict[str, tuple[beam.PCollection, beam.CombineFn]] = {
        "scored": (scored["scores"], Summarise(job.pictures, ends, calibration)),
        "rejected": (rejected, CountRejected()),
        # Never empty, so that a job without images has an outcome too.
        PASSED_OVER: (read[PASSED_OVER], TheOne()),
        "score_files": (written_scores, ToListCombineFn()),
        "rejected_files": (written_rejected, ToListCombineFn()),
    }
    if calibration is not None and calibration.rule is not None:
        written_flagged = (
            scored["scores"]
            | "Flagged" >> beam.FlatMap(_flagged)
            | "FlaggedRows" >> beam.Map(tables.table)
            | "WriteFlagged" >> beam.ParDo(WriteFiles(places.folder, job.file_format))
        )
        counted["flagged_files"] = (written_flagged, ToListCombineFn())
    publish = Publish(places, _facts(job), images.dimensions, overwrite=job.overwrite, calibration=calibration)
    _ = (
        [elements | f"Kind[{kind}]" >> beam.Map(_of_kind, kind) for kind, (elements, _) in counted.items()]
        | "All" >> beam.Flatten()
        | "Combine"
        >> beam.CombineGlobally(
            CombineByKind({kind: combine for kind, (_, combine) in counted.items()})
        ).without_defaults()
        | "Publish" >> beam.ParDo(publish)
    )


def _of_kind(element: Any, kind: str) -> tuple[str, Any]:
    return kind, element


def _facts(job: Job) -> dict[str, Any]:
    """Returns what the summary says beside the numbers."""
    return {
        "unit": "nats an image",
        "model_version": job.model.version,
        "samples": job.samples,
        "reference_note": job.model.reference if isinstance(job.model.reference, str) else None,
        "note": None if job.model.images.binary else NO_COMPRESSION_COST,
    }


class ScoreImages(beam.PTransform):
    """Scores Images; gives two collections: `scores`, of lists of Scored, and `REJECTED`, of Rejected."""

    def __init__(self, job: Job, calibration: Calibration | None = None) -> None:
        super().__init__()
        self._job = job
        self._calibration = calibration

    def expand(self, images: beam.PCollection) -> dict[str, beam.PCollection]:
        """Spreads the blocks of one image over the workers if it has more than one."""
        job = self._job
        spread = job.samples > SAMPLES_TOGETHER
        work = images | "Blocks" >> beam.FlatMap(_work, job.samples)
        if spread:
            work |= "Spread" >> beam.Reshuffle()
        handler = ScoreHandler(
            job.model,
            blocks_together=blocks_together(job.samples, job.rows),
            keep_pixels=job.pictures > 0 or job.flag_rate is not None,
            measure_complexity=self._calibration is not None and self._calibration.reference.needs_complexity,
        )
        parts = work | "Infer" >> RunInference(handler)
        if spread:
            parts = (
                parts
                | "Key" >> beam.FlatMap(lambda batch: [(_key(part.place), part) for part in batch])
                | "Merge" >> beam.CombinePerKey(merge_parts)
                | "Whole" >> beam.Values()
                | "Batch" >> beam.BatchElements(min_batch_size=_TOGETHER, max_batch_size=_TOGETHER)
            )
        sort = _Sort(self._calibration, keep_pixels=job.pictures > 0)
        sorted_parts = parts | "Sort" >> beam.ParDo(sort).with_outputs(REJECTED, main="scores")
        return {"scores": sorted_parts.scores, REJECTED: sorted_parts[REJECTED]}


def _key(place: Place) -> tuple[bytes, int | None]:
    """A key that every runner computes alike; Beam's coder takes no text that is not UTF-8."""
    return os.fsencode(place.path), place.row


def _work(image: Image, samples: int) -> Iterator[Work]:
    for block in blocks(image.id, image.pixels, samples):
        yield Work(block, image.place)


class _Sort(beam.DoFn):
    """Sorts parts of all of an image's samples: a list of Scored out, and apart from it what was rejected."""

    _images = Metrics.counter("score_batch", "images")

    def __init__(self, calibration: Calibration | None, *, keep_pixels: bool) -> None:
        self._calibration = calibration
        self._keep_pixels = keep_pixels

    def process(self, batch: Sequence[Part]) -> Iterator[list[Scored] | TaggedOutput]:
        scores = []
        for part in batch:
            if isinstance(part.result, str):
                yield TaggedOutput(REJECTED, Rejected(part.id, part.place, part.result))
            elif not part.result.is_finite:
                yield TaggedOutput(REJECTED, Rejected(part.id, part.place, "the model's score is not finite"))
            else:
                scores.append(Scored(part.id, part.place, part.result, part.pixels, part.complexity))
        self._images.inc(len(scores))
        yield self._judged(scores)

    def _judged(self, scores: list[Scored]) -> list[Scored]:
        """Marks the images to flag; the others lose their pixels, unless pictures were asked for."""
        if self._calibration is None or self._calibration.rule is None:
            return scores
        surprises = self._calibration.surprises(scores)
        return [
            scored._replace(
                surprise=surprise, pixels=scored.pixels if self._keep_pixels or surprise is not None else None
            )
            for scored, surprise in zip(scores, surprises, strict=True)
        ]


def _flagged(batch: Sequence[Scored]) -> Iterator[list[Scored]]:
    if flagged := [scored for scored in batch if scored.surprise is not None]:
        yield flagged


@contextlib.contextmanager
def _watched(samples: int, report: Callable[[str], None]) -> Iterator[None]:
    """Reports every few seconds how many images the workers in this process have scored."""
    done, before, started = threading.Event(), PROGRESS.samples, time.monotonic()

    def watch() -> None:
        while not done.wait(_PROGRESS_SECONDS):
            scored = (PROGRESS.samples - before) / samples
            if scored:
                report(f"{scored:,.0f} images, {scored / (time.monotonic() - started):,.0f} images/s")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
