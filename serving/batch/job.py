"""The batch job: a Beam pipeline that reads images, scores them with RunInference, and writes the scores."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io import Write
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsList, AsSingleton, TaggedOutput

from serving.batch.account import CountPassedOver, CountRejected
from serving.batch.blocks import SAMPLES_TOGETHER, blocks, blocks_together
from serving.batch.elements import Scored
from serving.batch.estimate import NO_COMPRESSION_COST
from serving.batch.model_handler import PROGRESS, Part, ScoreHandler, Work, merge_parts
from serving.batch.model_source import ModelSource
from serving.batch.publish import Places, Publish
from serving.batch.sinks import FORMATS, ScoreTables, rejected_sink, score_sink
from serving.batch.summary import LEAST_LIKELY, Summarise
from serving.images.image_elements import Image, Rejected
from serving.images.input_files import PASSED_OVER, Inputs, find_inputs
from serving.images.reading import REJECTED, ReadImages

# One thread is enough to feed the model, whose call uses all cores; every process more would load it again.
LOCAL_BEAM_ARGUMENTS = ("--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1")
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
    pictures: int = 0
    """How many of the most and of the least likely images to show."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.rows < 1:
            raise ValueError(f"Got {self.samples} samples and {self.rows} rows; expected at least 1 of each.")
        if self.file_format not in FORMATS:
            raise ValueError(f"There is no format {self.file_format!r}; expected one of {', '.join(FORMATS)}.")


def score_batch(
    job: Job, beam_arguments: Sequence[str] = LOCAL_BEAM_ARGUMENTS, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Runs the job and waits for its end; returns what it has written to OUTPUT-summary.json.

    OUTPUT-scores-*, OUTPUT-rejected-* and the pictures are moved to their places when all of them are written, and the
    summary after them: a job that failed leaves none. The numbers follow from the images, their ids and the samples'
    indices alone, to float32's last places, whatever the runner, its workers and the size of a batch.

    Args:
      job: what to do.
      beam_arguments: Beam's own flags.
      report: called with each line of text about the progress.

    Raises:
      ValueError: if there is no input, or there are outputs already.
      Exception: whatever ended the job.
    """
    inputs = find_inputs([job.input] if isinstance(job.input, str) else job.input)
    if FileSystems.match([f"{job.output}-*"])[0].metadata_list:
        raise ValueError(f"There are files {job.output}-* already: choose another output, or take them away first.")
    places = Places(job.output, f"{job.output}-unfinished-{uuid.uuid4().hex[:8]}")
    options = PipelineOptions(list(beam_arguments))
    unknown = options.get_all_options(retain_unknown_options=True).keys() - options.get_all_options().keys()
    if unknown:
        # Not an error: a cluster's job server may know more options than the Beam that is installed here.
        report(f"Beam does not know {', '.join(f'--{name}' for name in sorted(unknown))}")
    pipeline = beam.Pipeline(options=options)
    _build(pipeline, job, inputs, places)
    try:
        with _watched(job.samples, report):
            pipeline.run().wait_until_finish()
    finally:
        with contextlib.suppress(Exception):
            FileSystems.delete([places.folder])
    with FileSystems.open(places.summary) as file:
        summary: dict[str, Any] = json.load(file)
    return summary


def _build(pipeline: beam.Pipeline, job: Job, inputs: Inputs, places: Places) -> None:
    images = dataclasses.replace(job.model.images, threshold=job.threshold, background=job.background)
    read = pipeline | "Images" >> ReadImages(inputs, images)
    scored = read["images"] | "Score" >> ScoreImages(job)
    rejected = (read[REJECTED], scored[REJECTED]) | "AllRejected" >> beam.Flatten()

    written = (
        scored["scores"]
        | "Rows" >> beam.Map(ScoreTables(images.dimensions, job.model.version).table)
        | "WriteScores" >> Write(score_sink(places.unfinished("scores"), job.file_format))
    )
    written_rejected = rejected | "WriteRejected" >> Write(rejected_sink(places.unfinished("rejected")))
    ends = max(job.pictures, LEAST_LIKELY)
    _ = (
        scored["scores"]
        | "Summarise" >> beam.CombineGlobally(Summarise(most_likely=job.pictures, least_likely=ends))
        | "Publish"
        >> beam.ParDo(
            Publish(places, _facts(job), images.dimensions),
            AsSingleton(rejected | "CountRejected" >> beam.CombineGlobally(CountRejected())),
            AsSingleton(read[PASSED_OVER] | "CountPassedOver" >> beam.CombineGlobally(CountPassedOver())),
            AsList(written),
            AsList(written_rejected),
        )
    )


def _facts(job: Job) -> dict[str, Any]:
    """Returns what the summary says beside the numbers."""
    return {
        "unit": "nats an image",
        "model_version": job.model.version,
        "samples": job.samples,
        "note": None if job.model.images.binary else NO_COMPRESSION_COST,
    }


class ScoreImages(beam.PTransform):
    """Scores Images; gives two collections: `scores`, of lists of Scored, and `REJECTED`, of Rejected."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def expand(self, images: beam.PCollection) -> dict[str, beam.PCollection]:
        """Spreads the blocks of one image over the workers if it has more than one."""
        job = self._job
        spread = job.samples > SAMPLES_TOGETHER
        work = images | "Blocks" >> beam.FlatMap(_work, job.samples)
        if spread:
            work |= "Spread" >> beam.Reshuffle()
        handler = ScoreHandler(
            job.model, blocks_together=blocks_together(job.samples, job.rows), keep_pixels=job.pictures > 0
        )
        parts = work | "Infer" >> RunInference(handler)
        if spread:
            parts = (
                parts
                | "Key" >> beam.FlatMap(lambda batch: [((part.id, part.occurrence), part) for part in batch])
                | "Merge" >> beam.CombinePerKey(merge_parts)
                | "Whole" >> beam.Values()
                | "Batch" >> beam.BatchElements(min_batch_size=_TOGETHER, max_batch_size=_TOGETHER)
            )
        sorted_parts = parts | "Sort" >> beam.ParDo(_Sort()).with_outputs(REJECTED, main="scores")
        return {"scores": sorted_parts.scores, REJECTED: sorted_parts[REJECTED]}


def _work(image: Image, samples: int) -> Iterator[Work]:
    occurrence = secrets.randbits(63) if samples > SAMPLES_TOGETHER else 0
    for block in blocks(image.id, image.pixels, samples):
        yield Work(block, image.place, occurrence)


class _Sort(beam.DoFn):
    """Sorts parts of all of an image's samples: a list of Scored out, and apart from it what was rejected."""

    _images = Metrics.counter("score_batch", "images")

    def process(self, batch: Sequence[Part]) -> Iterator[list[Scored] | TaggedOutput]:
        scores = []
        for part in batch:
            if isinstance(part.result, str):
                yield TaggedOutput(REJECTED, Rejected(part.id, part.place, part.result))
            elif not part.result.is_finite:
                yield TaggedOutput(REJECTED, Rejected(part.id, part.place, "the model's score is not finite"))
            else:
                scores.append(Scored(part.id, part.place, part.result, part.pixels))
        self._images.inc(len(scores))
        yield scores


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
