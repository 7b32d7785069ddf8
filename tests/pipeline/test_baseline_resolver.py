"""The model that a new one is compared with, chosen among artifacts as MLMD gives them."""

from __future__ import annotations

from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.types import Artifact
from tfx.types.standard_artifacts import Model, ModelBlessing

from pipeline.baseline_resolver import LatestOtherBlessedModel


@pytest.fixture
def models(tmp_path: Path) -> dict[int, Model]:
    """Models 1 to 4, each exported to a folder of its own."""
    models = {}
    for number in range(1, 5):
        models[number] = Model()
        models[number].id = number
        models[number].uri = str(tmp_path / str(number))
        Path(models[number].uri).mkdir()
    return models


def _blessing(model_id: int, *, blessed: bool) -> ModelBlessing:
    blessing = ModelBlessing()
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_int_custom_property("current_model_id", model_id)
    return blessing


def _baseline(models: dict[int, Model], candidate: int, *blessings: ModelBlessing) -> list[Artifact]:
    store = mlmd.MetadataStore(metadata_store_pb2.ConnectionConfig(fake_database={}))
    resolved = LatestOtherBlessedModel().resolve_artifacts(
        store,
        # In no order, as a query gives them.
        {
            "candidate": [models[candidate]],
            "model": [models[number] for number in (2, 4, 1, 3)],
            "model_blessing": list(blessings),
        },
    )
    assert resolved["candidate"] == [models[candidate]]
    assert [blessing.get_int_custom_property("current_model_id") for blessing in resolved["model_blessing"]] == [
        model.id for model in resolved["model"]
    ]
    return resolved["model"]


def test_there_is_none_at_first(models: dict[int, Model]) -> None:
    assert _baseline(models, 4) == []
    assert _baseline(models, 4, _blessing(3, blessed=False)) == []


def test_it_is_the_latest_that_was_blessed(models: dict[int, Model]) -> None:
    blessings = _blessing(1, blessed=True), _blessing(2, blessed=True), _blessing(3, blessed=False)
    assert _baseline(models, 4, *blessings) == [models[2]]


def test_it_is_never_the_candidate_itself(models: dict[int, Model]) -> None:
    """A model from the cache was blessed in an earlier run: what it is compared with must not change by that."""
    assert _baseline(models, 4, _blessing(2, blessed=True)) == [models[2]]
    assert _baseline(models, 4, _blessing(2, blessed=True), _blessing(4, blessed=True)) == [models[2]]


def test_a_later_model_can_be_the_baseline_of_one_from_the_cache(models: dict[int, Model]) -> None:
    assert _baseline(models, 2, _blessing(2, blessed=True), _blessing(4, blessed=True)) == [models[4]]


def test_it_has_to_be_there_still(models: dict[int, Model]) -> None:
    Path(models[3].uri).rmdir()
    assert _baseline(models, 4, _blessing(1, blessed=True), _blessing(3, blessed=True)) == [models[1]]
