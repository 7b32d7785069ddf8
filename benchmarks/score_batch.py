"""Measures the batch job: its speed beside a bare loop over the model's signature, and its memory as the input grows.

`python -m benchmarks.score_batch MODEL_DIR` prints both. Start-up is left out of the job's speed: it is the slope
between a small input and a large one. The images are black, in a sparse .npy file.

`--reference IMAGES` measures instead what the comparison with the model's reference costs: jobs of that many images of
noise with it and without it by turns, in CPU time, their start included.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

BATCHES = (64, 128, 256, 512, 1024)
_WARM_UP = 2
_REPEATS = 3


def main() -> int:
    """Runs what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score_batch", description=__doc__)
    parser.add_argument("model", help="folder of the SavedModel")
    parser.add_argument("--images", type=int, default=60_000, help="of the larger input that the speed is measured on")
    parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 100_000], help="inputs to measure memory on")
    parser.add_argument("--reference", type=int, help="images of each job with the model's reference and without it")
    parser.add_argument("--worker", choices=("loop", "job", "reference"), help=argparse.SUPPRESS)
    parser.add_argument("--worker-images", type=int, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        measure = {"loop": _loop, "job": _job, "reference": _reference}[arguments.worker]
        print(json.dumps(measure(arguments.model, arguments.worker_images)))
        return 0

    if arguments.reference:
        cost = _in_a_process(arguments.model, "reference", [arguments.reference])
        print(f"with the reference: {cost['with']:.0f} microseconds of CPU an image; without: {cost['without']:.0f}")
        print(f"median of {_REPEATS} pairs: {cost['ratio'] - 1:+.1%}")
        return 0
    loop = _in_a_process(arguments.model, "loop", [arguments.images])
    for batch, rate in loop.items():
        print(f"bare loop, batch {batch:>5}: {rate:8,.0f} images/s")
    job = _in_a_process(arguments.model, "job", [arguments.images // 5, arguments.images])
    best = max(loop.values())
    print(f"job, without its start-up: {job['rate']:8,.0f} images/s, {job['rate'] / best:.2f} of the best loop")
    for images in arguments.memory:
        used = _in_a_process(arguments.model, "job", [images])
        print(f"job of {images:>9,} images: {used['seconds']:6.0f} s, peak memory {used['peak_mib']:,.0f} MiB")
    return 0


def _in_a_process(model: str, worker: str, images: list[int]) -> dict[str, float]:
    """A fresh one, whose memory and threads are its own."""
    command = [sys.executable, "-m", "benchmarks.score_batch", model, "--worker", worker, "--worker-images"]
    finished = subprocess.run([*command, *map(str, images)], stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return measured


def _loop(model: str, images: list[int]) -> dict[str, float]:
    """Images a second of calls of the signature itself, one after the other, by the size of a batch."""
    import tensorflow as tf

    loaded = tf.saved_model.load(model)
    score = loaded.signatures["score"]
    shape = score.structured_input_signature[1]["image"].shape[1:]
    rates = {}
    for batch in BATCHES:
        image = tf.zeros([batch, *shape])
        seed = tf.constant(np.random.default_rng(0).integers(0, 2**60, (batch, 2)))
        calls = max(1, images[0] // batch // len(BATCHES))
        best = 0.0
        for attempt in range(_WARM_UP + _REPEATS):
            started = time.perf_counter()
            for _ in range(calls if attempt >= _WARM_UP else 1):
                score(image=image, seed=seed)["nll_bound"].numpy()
            if attempt >= _WARM_UP:
                best = max(best, calls * batch / (time.perf_counter() - started))
        rates[str(batch)] = best
    return rates


def _job(model: str, images: list[int]) -> dict[str, float]:
    """Seconds of the last of the jobs, what an image costs beyond the first, and the peak of this process's memory."""
    from serving.batch.job import Job, score_batch
    from serving.batch.model_source import SavedModelSource

    source = SavedModelSource.from_directory(model)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for count in images:
            path = pathlib.Path(folder, f"{count}.npy")
            _write_black(path, (count, *source.images.shape))
            started = time.perf_counter()
            score_batch(Job(model=source, input=str(path), output=str(path.with_suffix(""))))
            seconds.append(time.perf_counter() - started)
    rate = (images[-1] - images[0]) / (seconds[-1] - seconds[0]) if len(images) > 1 else images[0] / seconds[0]
    return {"seconds": seconds[-1], "rate": rate, "peak_mib": _peak_mib()}


def _reference(model: str, images: list[int]) -> dict[str, float]:
    """Microseconds of CPU an image of jobs with the reference and without it, by turns, their start included."""
    from serving.batch.job import Job, score_batch
    from serving.batch.model_source import SavedModelSource

    compared = SavedModelSource.from_directory(model)
    if isinstance(compared.reference, str):
        raise SystemExit(compared.reference)
    sources = {"with": compared, "without": dataclasses.replace(compared, reference="not compared")}
    costs: dict[str, list[float]] = {name: [] for name in sources}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "noise.npy")
        np.save(path, np.random.default_rng(0).integers(0, 2, (images[0], *compared.images.shape), np.uint8))
        for turn in range(1 + _REPEATS):
            for name, source in sources.items():
                flag_rate = 0.01 if name == "with" else None
                started = time.process_time()
                score_batch(Job(model=source, input=str(path), output=f"{folder}/{name}-{turn}", flag_rate=flag_rate))
                costs[name].append(1e6 * (time.process_time() - started) / images[0])
    pairs = [one / other for one, other in zip(costs["with"][1:], costs["without"][1:], strict=True)]
    medians = {name: float(np.median(values[1:])) for name, values in costs.items()}
    return {**medians, "ratio": float(np.median(pairs))}


def _write_black(path: pathlib.Path, shape: tuple[int, ...]) -> None:
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)))


def _peak_mib() -> float:
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.exit(main())
