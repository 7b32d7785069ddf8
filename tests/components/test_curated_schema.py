"""The schema of a run is that of its task: what follows from the task, or what somebody wrote."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components.curated_schema import CuratedSchema, Executor, schema_text
from tests import tiny
from trainer import tasks
from trainer.task import DataSource, Task

NO_DOMAIN = 'feature { name: "image" type: BYTES }\nfeature { name: "id" type: BYTES }'
OWN = f'# Ours.\n{NO_DOMAIN.replace("BYTES }", "BYTES image_domain {} }", 1)}\nfeature {{ name: "label" type: INT }}'


@pytest.fixture(params=tasks.NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return tasks.get(request.param)


def _features(task: Task) -> dict[str, schema_pb2.Feature]:
    schema = text_format.Parse(schema_text(task), schema_pb2.Schema())
    return {feature.name: feature for feature in schema.feature}


def test_it_has_the_features_of_the_contract_once_in_every_example(task: Task) -> None:
    features = _features(task)
    assert set(features) == ({"image", "id", "label"} if task.data.has_labels else {"image", "id"})
    for feature in features.values():
        assert (feature.presence.min_fraction, feature.presence.min_count) == (1, 1)
        assert (feature.value_count.min, feature.value_count.max) == (1, 1)
    assert features["image"].image_domain.max_image_byte_size == math.prod(task.stored_shape)


def test_a_label_is_one_of_ten(task: Task) -> None:
    if task.data.has_labels:
        domain = _features(task)["label"].int_domain
        assert (domain.min, domain.max, domain.is_categorical) == (0, 9, True)


def test_a_label_is_one_of_the_tasks_classes() -> None:
    assert _features(tiny.CLASSIFIER)["label"].int_domain.max == tiny.CLASSES - 1
    data = dataclasses.replace(tiny.tiny_task().data, class_names=("a", "b", "c"))
    assert _features(tiny.tiny_task(data=data))["label"].int_domain.max == 2
    # Nobody knows the number of classes of an unnamed kind.
    assert not _features(tiny.tiny_task())["label"].int_domain.HasField("max")


def _write(component: CuratedSchema, folder: Path) -> str:
    schema = standard_artifacts.Schema()
    schema.uri = str(folder)
    properties = {name: value for name, value in component.exec_properties.items() if value is not None}
    Executor().Do({}, {"schema": [schema]}, properties)
    return (folder / "schema.pbtxt").read_text()


def test_it_is_written_for_a_task_that_is_known(task: Task, tmp_path: Path) -> None:
    component = CuratedSchema(task=task)
    assert _write(component, tmp_path) == schema_text(task)
    # A cache finds it again, whatever else has changed in the task.
    assert CuratedSchema(task=task.with_steps(7)).exec_properties == component.exec_properties


def test_it_is_written_for_a_task_that_a_run_names(tmp_path: Path) -> None:
    component = CuratedSchema(task=RuntimeParameter("task", str))
    for text in ("svhn", tasks.get("svhn").with_steps(7).to_json()):
        component.exec_properties["task"] = text
        assert _write(component, tmp_path) == schema_text(tasks.get("svhn"))
    component.exec_properties["task"] = "minst"
    with pytest.raises(ValueError, match="There is no task 'minst'"):
        _write(component, tmp_path)


def test_one_that_somebody_wrote_is_taken_as_it_is(tmp_path: Path) -> None:
    task = tiny.tiny_task(schema=OWN)
    assert _write(CuratedSchema(task=task), tmp_path) == OWN
    assert schema_text(Task.from_json(task.to_json())) == OWN


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("features: [image]", "given in tiny.schema.pbtxt, is no text of TensorFlow Metadata's Schema: 1:1"),
        ('feature { name: "image" type: BYTES }', "does not mark 'image' as an image"),
        (NO_DOMAIN.replace("BYTES }", "INT }", 1), "has no feature 'image' of type BYTES"),
        (OWN.replace('"label"', '"lable"'), "has no feature 'label' of type INT"),
    ],
)
def test_one_that_cannot_be_used_is_refused_when_the_pipeline_is_made(schema: str, message: str) -> None:
    data = DataSource(builder="tiny:1.0.0", train="fit", validation="watch", test="judge", has_labels=True)
    task = tiny.tiny_task(data=data, schema=schema, sources={"schema": "given in tiny.schema.pbtxt"})
    with pytest.raises(ValueError, match=message):
        CuratedSchema(task=task)
