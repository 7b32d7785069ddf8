"""Seeds, estimates and blocks: the same numbers whatever an image's samples travel with."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.batch.blocks import SAMPLES_TOGETHER, Refused, blocks, blocks_together, score_blocks
from serving.batch.estimate import Estimate, estimate_runs, merge_estimates
from serving.batch.saved_model_scorer import SavedModelScorer, image_format
from serving.batch.seeds import seeds_for_ids, seeds_for_samples
from serving.client.answers import Scores
from tests import tiny
from tests.serving.model_server import export_model
from trainer.training import randomness

TASK = tiny.MODELS["attention"]
IDS = (b"test-3", b"\xff\x00not text", b"", b"test-4")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(export_model(TASK, tmp_path_factory.mktemp("model")) / "3")


@pytest.fixture(scope="module")
def scorer(model_dir: str) -> SavedModelScorer:
    return SavedModelScorer(model_dir)


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 2, (count, *TASK.image_shape)).astype(np.float32)


def test_sample_0_has_the_seed_of_the_trainer() -> None:
    np.testing.assert_array_equal(seeds_for_ids(IDS), randomness.seeds_for_ids(tf.constant(IDS)).numpy())


def test_samples_of_an_id_have_seeds_and_noise_of_their_own() -> None:
    seeds = seeds_for_samples(np.repeat(seeds_for_ids(IDS), 5, axis=0), np.tile(np.arange(5), len(IDS)))
    assert len(np.unique(seeds, axis=0)) == 5 * len(IDS)
    np.testing.assert_array_equal(seeds[::5], seeds_for_ids(IDS))
    noise = randomness.row_noise(TASK, tf.constant(seeds)).numpy().transpose(1, 0, 2).reshape(len(seeds), -1)
    correlation = np.corrcoef(noise) - np.eye(len(seeds))
    # Of 12 independent numbers; the noise of the same seed would give 1.
    assert abs(correlation).max() < 0.95


def test_sample_0_is_what_score_examples_measures(scorer: SavedModelScorer, model_dir: str) -> None:
    images = _images(4)
    names = ["a", "b", "c", "d"]
    serialised = [tiny.serialize(image.astype(np.uint8), name) for image, name in zip(images, names, strict=True)]
    expected = tf.saved_model.load(model_dir).signatures["score_examples"](examples=tf.constant(serialised))
    work = [next(blocks(name.encode(), image, 1)) for image, name in zip(images, names, strict=True)]
    found = score_blocks(scorer, work)
    np.testing.assert_allclose([part.nll_bound for part in found], expected["nll_bound"], rtol=1e-6)
    np.testing.assert_allclose([part.importance_weighted_bound for part in found], -expected["log_weight"], rtol=1e-6)
    assert all(part.standard_error is None for part in found)


def test_an_estimate_is_made_of_its_own_rows() -> None:
    rng = np.random.default_rng(1)
    scores = Scores(*rng.normal(900, 30, (3, 9)).astype(np.float32), np.zeros((9, 2)), rng.normal(-900, 30, 9))
    for rows, found in zip((slice(0, 2), slice(2, 3), slice(3, 9)), estimate_runs(scores, [2, 1, 6]), strict=True):
        bound = scores.nll_bound[rows].astype(np.float64)
        assert found.samples == len(bound)
        assert found.nll_bound == pytest.approx(bound.mean(), rel=1e-12)
        assert found.kl == pytest.approx(scores.kl[rows].astype(np.float64).mean(), rel=1e-12)
        if len(bound) > 1:
            assert found.standard_error == pytest.approx(bound.std(ddof=1) / math.sqrt(len(bound)), rel=1e-12)
        # The weights themselves, about e^-900, are below the smallest float64.
        weights = np.exp(scores.log_weight[rows] + 900)
        assert found.importance_weighted_bound == pytest.approx(900 - math.log(weights.mean()), rel=1e-12)


def test_parts_merge_into_the_whole_in_any_order() -> None:
    rng = np.random.default_rng(2)
    scores = Scores(*rng.normal(90, 3, (3, 10)), np.zeros((10, 2)), rng.normal(-90, 5, 10))
    (whole,) = estimate_runs(scores, [10])
    parts = estimate_runs(scores, [1, 4, 3, 2])
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        np.testing.assert_allclose(merge_estimates(parts[place] for place in order), whole, rtol=1e-13)


def test_a_score_that_is_not_finite_spoils_its_image_alone() -> None:
    values = np.array([1.0, np.nan, 2.0, np.inf, 3.0])
    spoilt = estimate_runs(Scores(values, values, values, values[:, None], -values), [1, 1, 1, 1, 1])
    assert [estimate.is_finite for estimate in spoilt] == [True, False, True, False, True]


def test_blocks_cover_the_samples_and_give_the_same_numbers_in_any_batch(scorer: SavedModelScorer) -> None:
    samples = SAMPLES_TOGETHER + 6
    work = [
        block for identity, image in zip(IDS, _images(4), strict=True) for block in blocks(identity, image, samples)
    ]
    assert [(block.first, block.samples) for block in work[:2]] == [(0, SAMPLES_TOGETHER), (SAMPLES_TOGETHER, 6)]
    together = score_blocks(scorer, work)
    alone = [score_blocks(scorer, [block])[0] for block in reversed(work)][::-1]
    # A bound's last place in float32 is 4e-6, and a small sum of squares differs by as much: how a batch is divided,
    # and so what is rounded, depends on the machine's cores.
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    wholes = [merge_estimates(together[place : place + 2]) for place in range(0, len(together), 2)]
    assert {whole.samples for whole in wholes} == {samples}
    # The bound falls with more samples, on average.
    assert sum(whole.importance_weighted_bound for whole in wholes) < sum(whole.nll_bound for whole in wholes)


@pytest.mark.parametrize(("samples", "rows", "expected"), [(1, 256, 256), (10, 256, 25), (2000, 256, 1), (64, 1, 1)])
def test_a_call_has_about_so_many_rows(samples: int, rows: int, expected: int) -> None:
    assert blocks_together(samples, rows) == expected


def test_a_refusal_is_the_models_own_sentence(scorer: SavedModelScorer) -> None:
    grey = np.full(TASK.image_shape, 0.5, np.float32)
    with pytest.raises(
        Refused, match=r"^Every pixel of `image` must be 0 or 1: this model was trained on binarised images\.$"
    ):
        score_blocks(scorer, list(blocks(b"grey", grey, 1)))


def test_the_images_of_a_model_are_those_of_its_task(model_dir: str, tmp_path: Path) -> None:
    images = image_format(model_dir)
    assert (images.shape, images.margin, images.binary) == (TASK.image_shape, (0, 0), True)
    bare = tmp_path / "bare"
    shutil.copytree(model_dir, bare)
    shutil.rmtree(bare / "assets")
    with pytest.raises(FileNotFoundError, match=r"has no assets/task.json"):
        image_format(str(bare))


def test_a_model_that_cannot_score_is_named(tmp_path: Path) -> None:
    class Mute(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int64, name="seed")])
        def sample(self, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"image": tf.zeros([tf.shape(seed)[0], 7, 5, 1])}

    mute = Mute()
    tf.saved_model.save(mute, str(tmp_path), signatures={"sample": mute.sample})
    with pytest.raises(ValueError, match=r"no signature 'score', only \['sample'\]"):
        image_format(str(tmp_path))


def test_a_mean_of_one_is_itself() -> None:
    one = Estimate(1, 3.0, 2.0, 1.0, 0.0, -3.0)
    assert merge_estimates([one]) == one and one.importance_weighted_bound == 3.0


def test_workers_that_do_not_score_import_no_tensorflow() -> None:
    """An engine such as Flink starts workers anew for each stage, and TensorFlow is seconds of each start."""
    code = """
import sys
from apache_beam.internal import pickler
from serving.batch import job, publish, sinks
from serving.batch.model_handler import ScoreHandler
from serving.batch.model_source import SavedModelSource
from serving.images import input_files, reading
from serving.images.image_format import ImageFormat
images = ImageFormat(shape=(7, 5, 1), binary=True)
model = SavedModelSource(directory="/model", images=images)
handler = ScoreHandler(model, blocks_together=1, keep_pixels=False)
pickler.loads(pickler.dumps([handler, reading.CutFiles(images), sinks.WriteFiles("/x", "csv")]))
print("tensorflow" in sys.modules)
"""
    assert tiny.run_python(code).split() == ["False"]
