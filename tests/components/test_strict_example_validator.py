"""StrictExampleValidator: silent on data that fits the schema, and an error that tells each anomaly on any other."""

from __future__ import annotations

import pathlib

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx import types
from tfx.orchestration.portable import outputs_utils
from tfx.types import artifact_utils, standard_artifacts

from components.strict_example_validator import Executor, StrictExampleValidator

SCHEMA = """
feature { name: "image" type: BYTES presence { min_fraction: 1 } }
feature { name: "label" type: INT presence { min_fraction: 1 } shape {} int_domain { min: 0 max: 9 } }
"""


def _statistics(
    *, missing_images: int = 0, max_label: int = 9, extra: str = ""
) -> statistics_pb2.DatasetFeatureStatistics:
    """Of ten examples."""
    present = 10 - missing_images

    def common(count: int) -> str:
        return (
            f"common_stats {{ num_non_missing: {count} num_missing: {10 - count} min_num_values: 1 max_num_values: 1 "
            f"avg_num_values: 1 tot_num_values: {count} }}"
        )

    return text_format.Parse(
        f"""
        num_examples: 10
        features {{ path {{ step: "image" }} type: STRING string_stats {{ {common(present)} unique: {present} }} }}
        features {{ path {{ step: "label" }} type: INT num_stats {{ {common(10)} min: 0 max: {max_label} }} }}
        {extra}
        """,
        statistics_pb2.DatasetFeatureStatistics(),
    )


@pytest.fixture
def artifacts(tmp_path: pathlib.Path) -> dict[str, types.Artifact]:
    """Statistics without splits so far, the schema, and the anomalies to be written."""
    found = {
        "statistics": standard_artifacts.ExampleStatistics(),
        "schema": standard_artifacts.Schema(),
        "anomalies": standard_artifacts.ExampleAnomalies(),
    }
    for key, artifact in found.items():
        artifact.uri = str(tmp_path / "StrictExampleValidator" / key / "5")
        pathlib.Path(artifact.uri).mkdir(parents=True)
    (pathlib.Path(found["schema"].uri) / "schema.pbtxt").write_text(SCHEMA)
    return found


def _validate(
    artifacts: dict[str, types.Artifact], splits: dict[str, statistics_pb2.DatasetFeatureStatistics]
) -> types.Artifact:
    statistics = artifacts["statistics"]
    statistics.split_names = artifact_utils.encode_split_names(list(splits))
    for split, values in splits.items():
        folder = pathlib.Path(artifact_utils.get_split_uri([statistics], split))
        folder.mkdir()
        content = statistics_pb2.DatasetFeatureStatisticsList(datasets=[values]).SerializeToString()
        (folder / "FeatureStats.pb").write_bytes(content)
    output = Executor().Do(
        {"statistics": [statistics], "schema": [artifacts["schema"]]},
        {"anomalies": [artifacts["anomalies"]]},
        {"exclude_splits": "[]"},
    )
    (artifact,) = output.output_artifacts["anomalies"].artifacts
    return artifact


def test_data_that_fits_passes_as_with_tfx(artifacts: dict[str, types.Artifact], tmp_path: pathlib.Path) -> None:
    artifact = _validate(artifacts, {"train": _statistics(), "test": _statistics()})
    assert artifact.uri == artifacts["anomalies"].uri
    assert artifacts["anomalies"].get_json_value_custom_property("blessed") == {"train": 1, "test": 1}
    assert not list(tmp_path.rglob("*-refused"))


def test_every_anomaly_is_told_with_split_feature_and_reason(artifacts: dict[str, types.Artifact]) -> None:
    unknown = 'features { path { step: "colour" } type: STRING string_stats { common_stats { num_non_missing: 10 } } }'
    with pytest.raises(ValueError, match="do not fit the schema") as raised:
        _validate(
            artifacts,
            {
                "train": _statistics(max_label=12),
                "validation": _statistics(),
                "test": _statistics(missing_images=3, extra=unknown),
            },
        )
    lines = str(raised.value).splitlines()
    expected = [
        ("train", "label", "INT_TYPE_BIG_INT", "12"),
        ("test", "colour", "SCHEMA_NEW_COLUMN", "New column"),
        ("test", "image", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "0.7"),
    ]
    for line, (split, feature, kind, detail) in zip(lines[1:-1], expected, strict=True):
        assert line.startswith(f"  split {split!r}, feature {feature!r}: ")
        assert kind in line
        assert detail in line


def test_an_anomaly_of_the_whole_split_is_told(artifacts: dict[str, types.Artifact]) -> None:
    schema = "dataset_constraints { min_examples_count: 11 }"
    (pathlib.Path(artifacts["schema"].uri) / "schema.pbtxt").write_text(SCHEMA + schema)
    with pytest.raises(ValueError, match=r"split 'test', all features: .*DATASET_LOW_NUM_EXAMPLES"):
        _validate(artifacts, {"test": _statistics()})


def test_what_was_found_outlives_tfxs_cleaning_up(artifacts: dict[str, types.Artifact]) -> None:
    with pytest.raises(ValueError, match="Kept in ") as raised:
        _validate(artifacts, {"test": _statistics(max_label=12)})
    outputs_utils.remove_output_dirs({"anomalies": [artifacts["anomalies"]]})
    assert not pathlib.Path(artifacts["anomalies"].uri).exists()
    kept = pathlib.Path(str(raised.value).rpartition("Kept in ")[2])
    anomalies = anomalies_pb2.Anomalies.FromString((kept / "Split-test" / "SchemaDiff.pb").read_bytes())
    assert list(anomalies.anomaly_info) == ["label"]
    assert anomalies.baseline == text_format.Parse(SCHEMA, schema_pb2.Schema())


def test_the_component_runs_this_executor() -> None:
    component = StrictExampleValidator(
        statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
        schema=types.Channel(type=standard_artifacts.Schema),
    )
    assert component.executor_spec.executor_class is Executor
    assert component.outputs["anomalies"].type is standard_artifacts.ExampleAnomalies
