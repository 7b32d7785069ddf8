"""Measures the ingestion of a folder of pictures beside a bare Pillow loop over the same files on as many cores.

    python -m benchmarks.ingest FOLDER --make 10000
    python -m benchmarks.ingest FOLDER

The first writes pictures of 256 x 256 to ingest, parts of the photographs that scikit-learn carries. The second prints
images a second of both, by the clock and by the processors' time, which a busy host does not change much, and the
greatest memory of the process that ingests: with more pictures it should grow by some hundred bytes for each.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from serving.cores import cores

_SIDE = 256
_FORMATS = ("jpg", "png")


class Cost(NamedTuple):
    """What reading all pictures took."""

    seconds: float
    processor: float
    """Seconds of all cores."""


def main() -> None:
    """Runs `python -m benchmarks.ingest`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", type=int, metavar="COUNT", help="write so many pictures into the folder, and end")
    parser.add_argument("--format", choices=_FORMATS, default="jpg", help="of the pictures that are made")
    parser.add_argument("--side", type=int, default=32, help="pixels along a side of what is stored")
    parser.add_argument("--ingest-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make is not None:
        make_pictures(options.folder, options.make, options.format)
    elif options.ingest_only:
        print(json.dumps(_ingest(options.folder, options.side)))
    else:
        _compare(options.folder, options.side)


def make_pictures(folder: Path, count: int, file_format: str) -> None:
    """Writes parts of photographs, no two alike, a thousand in each folder below `folder`."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    chance = random.Random(0)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        left, top = (chance.uniform(0, size - _SIDE) for size in photograph.size)
        box = (left, top, left + _SIDE, top + _SIDE)
        picture = photograph.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=box)
        path = folder / f"{number // 1000:03}" / f"{number:06}.{file_format}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)


def _compare(folder: Path, side: int) -> None:
    files = sorted(str(path) for path in folder.rglob("*.*"))
    bare = _bare_loop(files, side)
    command = [sys.executable, "-m", "benchmarks.ingest", str(folder), "--side", str(side), "--ingest-only"]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    result = json.loads(run.stdout.splitlines()[-1])
    ours = Cost(result["seconds"], result["processor"])
    print(f"{len(files):,} files, {cores()} cores")
    for name, cost in (("bare Pillow loop", bare), ("ingestion", ours)):
        rate, each = len(files) / cost.seconds, 1e3 * cost.processor / len(files)
        print(f"{name:18}{rate:8,.0f} images/s  {cost.seconds:8.1f} s  {each:.2f} ms of a core each")
    print(f"{'memory':18}{result['mebibytes']:8,.0f} MiB at most, {result['started_mebibytes']:,.0f} after the imports")


def _decode(path: str, side: int) -> int:
    with Image.open(path) as picture:
        return len(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR).tobytes())


def _bare_loop(files: list[str], side: int) -> Cost:
    """Decodes and scales all files, which are in the page cache by then."""
    for path in files:
        Path(path).read_bytes()
    with multiprocessing.Pool(cores()) as pool:
        started = time.perf_counter()
        pool.starmap(_decode, [(path, side) for path in files], chunksize=64)
        seconds = time.perf_counter() - started
        pool.close()
        pool.join()
    return Cost(seconds, _processor_seconds(resource.RUSAGE_CHILDREN))


def _processor_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _ingest(folder: Path, side: int) -> dict[str, float]:
    import apache_beam as beam

    from components.image_example_gen.image_ingestion import ingest_images
    from components.image_example_gen.ingestion_settings import IngestionSettings
    from serving.beam_options import LOCAL_BEAM_ARGUMENTS
    from trainer.task import Binarisation, ImageFiles, Resize

    settings = IngestionSettings(
        data=ImageFiles(images=os.path.abspath(folder), resize=Resize.STRETCH),
        data_dir=None,
        image_shape=(side, side, 3),
        classes=None,
        binarisation=dict.fromkeys(("train", "validation", "test"), Binarisation.NONE),
    )
    options = beam.options.pipeline_options.PipelineOptions(list(LOCAL_BEAM_ARGUMENTS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as output:
        started, processor = time.perf_counter(), _processor_seconds(resource.RUSAGE_SELF)
        ingest_images(settings, lambda: beam.Pipeline(options=options), (), output)
        cost = Cost(time.perf_counter() - started, _processor_seconds(resource.RUSAGE_SELF) - processor)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**cost._asdict(), "mebibytes": peak / 1024, "started_mebibytes": before / 1024}


if __name__ == "__main__":
    main()
