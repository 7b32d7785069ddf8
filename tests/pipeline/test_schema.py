"""The curated schemas agree with the tasks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.curated_schema import curated_schema
from pipeline import create_pipeline
from trainer import tasks


@pytest.fixture(params=tasks.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def features(name: str) -> dict[str, schema_pb2.Feature]:
    schema = text_format.Parse(curated_schema("pipeline", name).read_text(encoding="utf-8"), schema_pb2.Schema())
    return {feature.name: feature for feature in schema.feature}


def test_names_the_features_of_the_contract(name: str, features: dict[str, schema_pb2.Feature]) -> None:
    expected = {"image", "id", "label"} if tasks.get(name).data.has_labels else {"image", "id"}
    assert set(features) == expected


def test_each_feature_is_there_once_in_every_example(features: dict[str, schema_pb2.Feature]) -> None:
    for feature in features.values():
        assert feature.presence.min_fraction == 1
        assert (feature.value_count.min, feature.value_count.max) == (1, 1)


def test_an_image_has_the_tasks_size(name: str, features: dict[str, schema_pb2.Feature]) -> None:
    assert features["image"].image_domain.max_image_byte_size == math.prod(tasks.get(name).stored_shape)


def test_a_label_is_one_of_ten(name: str, features: dict[str, schema_pb2.Feature]) -> None:
    if tasks.get(name).data.has_labels:
        domain = features["label"].int_domain
        assert (domain.min, domain.max, domain.is_categorical) == (0, 9, True)


def test_no_schema_is_left_over() -> None:
    folder = Path(create_pipeline.__file__).parent / "schema"
    # Cluttered MNIST is the classifier's data.
    expected = {*tasks.NAMES, "cluttered_mnist", "cluttered_mnist_small"}
    assert {path.name for path in folder.iterdir()} == expected
