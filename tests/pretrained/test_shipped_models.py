"""Each shipped model is the one that its card speaks of: its files, its numbers, and what it needs to be loaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import add_pretrained
from serving import pretrained
from serving.saved_model import DEFAULT_SIGNATURE, SavedModel, signature_definitions
from trainer.training import initial_weights

ROOT = Path(__file__).resolve().parents[2] / "pretrained"
NAMES = sorted(path.parent.name for path in ROOT.glob(f"*/{pretrained.METRICS_FILE}"))

MOST_BYTES_OF_ONE = 11_500_000
"""Weights are 10.8 MB in float32 at the sizes of two digits and without attention; all others are below 4 MB."""
MOST_BYTES = 40_000_000


@pytest.fixture(autouse=True)
def _this_checkouts_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAW_MODELS", str(ROOT))


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_there_are_some() -> None:
    assert "mnist" in NAMES


def test_they_are_small_enough_to_ship() -> None:
    sizes = {name: sum(path.stat().st_size for path in (ROOT / name).rglob("*") if path.is_file()) for name in NAMES}
    assert max(sizes.values()) <= MOST_BYTES_OF_ONE
    assert sum(sizes.values()) <= MOST_BYTES


def test_the_files_are_those_of_the_card(name: str) -> None:
    metrics = pretrained.metrics(name)
    assert add_pretrained.hashes(ROOT / name / "1") == metrics["sha256"]
    task = json.loads((ROOT / name / "1" / "assets" / "task.json").read_text(encoding="utf-8"))
    assert (ROOT / name / "README.md").read_text(encoding="utf-8") == add_pretrained.card(metrics, task)


def test_the_card_names_the_signatures(name: str) -> None:
    names = {*signature_definitions(ROOT / name / "1")} - {DEFAULT_SIGNATURE}
    assert names >= ({"classify"} if name.startswith("cluttered") else {"decode", "decode_sequence", "encode"})
    card = (ROOT / name / "README.md").read_text(encoding="utf-8")
    assert f"Signatures: {', '.join(f'`{each}`' for each in sorted(names))}." in card


def test_exported_again_a_model_keeps_its_weights_and_its_other_assets(tmp_path: Path) -> None:
    old, target = ROOT / "cluttered_mnist", tmp_path / "cluttered_mnist"
    shutil.copytree(old, target)
    (target / "1" / "assets" / "more.json").write_text("{}")
    add_pretrained.export_again(target)
    before, after = (json.loads((folder / pretrained.METRICS_FILE).read_text()) for folder in (old, target))
    assert after["sha256"] == add_pretrained.hashes(target / "1")
    assert {name for name in after["sha256"] if name.startswith("assets/")} >= {"assets/more.json", "assets/task.json"}
    assert (target / "1/assets/task.json").read_bytes() == (old / "1/assets/task.json").read_bytes()
    for key in ("value", "training", "check"):
        assert after[key] == before[key]
    weights = [initial_weights.read_weights(str(folder / "1")) for folder in (old, target)]
    for key, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][key])
    # A model that answers otherwise stays where it is.
    (target / pretrained.METRICS_FILE).write_text(json.dumps({**after, "check": after["check"] + 0.5}))
    with pytest.raises(ValueError, match="exported again it answers"):
        add_pretrained.export_again(target)
    assert add_pretrained.hashes(target / "1") == after["sha256"]


def test_an_importance_weighted_bound_is_added_to_numbers_and_card(tmp_path: Path) -> None:
    target = tmp_path / "mnist"
    shutil.copytree(ROOT / "mnist", target)
    summary = {"importance_weighted_bound": {"mean": 81.5, "standard_error": 0.25}, "samples": 1000}
    add_pretrained.add_bound(target, summary)
    assert (
        "| importance-weighted bound, 1000 samples | 81.50 ± 0.25 nats an image |" in (target / "README.md").read_text()
    )
    before, after = (json.loads((folder / pretrained.METRICS_FILE).read_text()) for folder in (ROOT / "mnist", target))
    assert {key for key in after if after[key] != before.get(key)} == {"importance_weighted"}


def test_the_weights_are_those_that_were_measured(name: str) -> None:
    """By 500 digits of a Python package: TensorFlow's versions agree on the bound to 1e-5."""
    metrics = pretrained.metrics(name)
    assert add_pretrained.check(SavedModel(ROOT / name)) == pytest.approx(metrics["check"], rel=1e-4)


@pytest.mark.skipif("DRAW_TEST_DATA_DIR" not in os.environ, reason="DRAW_TEST_DATA_DIR names no real data sets")
def test_the_stated_bound_holds_on_500_test_images() -> None:
    """Within four standard errors of 500 images, whose spread is that of the card's 10,000."""
    import tensorflow_datasets as tfds

    metrics = pretrained.metrics("mnist")
    split = tfds.load("binarized_mnist", split="test[:500]", data_dir=os.environ["DRAW_TEST_DATA_DIR"], download=False)
    images = np.stack([example["image"] for example in tfds.as_numpy(split)]).astype(np.float32)
    seeds = np.stack([np.full(500, 7), np.arange(500)], axis=1)
    bounds = SavedModel(ROOT / "mnist").signature("score").call({"image": images, "seed": seeds}, batch_rows=100)
    spread = metrics["standard_error"] * np.sqrt(metrics["count"] / 500)
    assert bounds["nll_bound"].mean() == pytest.approx(metrics["value"], abs=4 * spread)
