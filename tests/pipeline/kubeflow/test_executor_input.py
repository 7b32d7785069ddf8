"""Between KFP's launcher and TFX: types, addresses and metadata, in the JSON that the back end sends."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipeline.kubeflow.executor_input import NO_MIRROR, Mirror, addresses, for_launcher, for_tfx

ROOT = "minio://mlpipeline/v2/artifacts/draw-digits/a6d5"
EXAMPLES_TYPE = {"instanceSchema": "title: tfx.Examples\ntype: object\n"}
BLESSING_TYPE = {"instanceSchema": "title: tfx.ModelBlessing\ntype: object\n"}

EXECUTOR_INPUT = {
    "inputs": {
        "parameterValues": {"split": "test", "tolerance": 0.5},
        "artifacts": {
            "examples": {
                "artifacts": [
                    {
                        "name": "4",
                        "type": {"instanceSchema": ""},
                        "uri": f"{ROOT}/ImageExampleGen/0b9c/examples",
                        "metadata": {
                            "display_name": "examples",
                            "split_names": '["test","train"]',
                            "store_session_info": '{"Provider":"minio","Params":{"fromEnv":"false"}}',
                        },
                    }
                ]
            }
        },
    },
    "outputs": {
        "artifacts": {
            "blessing": {"artifacts": [{"type": BLESSING_TYPE, "uri": f"{ROOT}/BoundEvaluator/77e0/blessing"}]},
            "executor-logs": {
                "artifacts": [
                    {
                        "type": {"schemaTitle": "system.Artifact"},
                        "uri": f"{ROOT}/BoundEvaluator/77e0/executor-logs",
                    }
                ]
            },
        },
        "outputFile": "/tmp/kfp_outputs/output_metadata.json",
    },
}
INPUTS_SPEC = {"artifacts": {"examples": {"artifactType": EXAMPLES_TYPE}}}


def _only(side: dict[str, Any], key: str) -> dict[str, Any]:
    (artifact,) = side["artifacts"][key]["artifacts"]
    return dict(artifact)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("gs://bucket/root/a", "/gcs/bucket/root/a"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("minio://mlpipeline/a/b", "/minio/mlpipeline/a/b"),
    ],
)
def test_an_address_has_the_launchers_path_and_comes_back(address: str, path: str) -> None:
    assert Mirror().path(address) == path
    assert Mirror().address(path) == address
    assert Mirror("/pod").path(address) == f"/pod{path}"
    assert Mirror("/pod").address(f"/pod{path}") == address


@pytest.mark.parametrize("text", ["/data/models", "/minions/a", "hdfs://name/a", "15.2 nats"])
def test_what_is_no_address_stays(text: str) -> None:
    assert Mirror().path(text) == Mirror().address(text) == text


def test_an_input_gets_its_type_and_path() -> None:
    before = copy.deepcopy(EXECUTOR_INPUT)
    adapted = for_tfx(EXECUTOR_INPUT, INPUTS_SPEC, Mirror())
    assert before == EXECUTOR_INPUT
    examples = _only(adapted["inputs"], "examples")
    assert examples["type"] == EXAMPLES_TYPE
    assert examples["uri"] == "/minio/mlpipeline/v2/artifacts/draw-digits/a6d5/ImageExampleGen/0b9c/examples"
    assert examples["metadata"]["split_names"] == '["test","train"]'
    assert adapted["inputs"]["parameterValues"] == {"split": "test", "tolerance": 0.5}


def test_a_generic_type_gives_way_to_the_one_of_the_component() -> None:
    """Of which newer back ends know a few only."""
    generic = copy.deepcopy(EXECUTOR_INPUT)
    generic["inputs"]["artifacts"]["examples"]["artifacts"][0]["type"] = {"schemaTitle": "system.Dataset"}
    assert _only(for_tfx(generic, INPUTS_SPEC, Mirror())["inputs"], "examples")["type"] == EXAMPLES_TYPE


def test_an_output_gets_its_path_and_keeps_its_type() -> None:
    outputs = for_tfx(EXECUTOR_INPUT, INPUTS_SPEC, Mirror())["outputs"]
    # The log is the launcher's own.
    assert set(outputs["artifacts"]) == {"blessing"}
    blessing = _only(outputs, "blessing")
    assert blessing["type"] == BLESSING_TYPE
    assert blessing["uri"].startswith("/minio/mlpipeline/v2/")


def test_the_answer_has_addresses_and_no_nulls() -> None:
    model = f"{ROOT}/Trainer/12ab/model"
    answer = {
        "artifacts": {
            "blessing": {
                "artifacts": [
                    {
                        "uri": Mirror().path(f"{ROOT}/BoundEvaluator/77e0/blessing"),
                        "metadata": {"blessed": 1.0, "current_model": Mirror().path(model), "is_external": None},
                    }
                ]
            }
        }
    }
    blessing = _only(for_launcher(answer, Mirror()), "blessing")
    assert blessing["uri"] == f"{ROOT}/BoundEvaluator/77e0/blessing"
    assert blessing["metadata"] == {"blessed": 1.0, "current_model": model}


def test_without_a_mirror_addresses_stay() -> None:
    adapted = for_tfx(EXECUTOR_INPUT, INPUTS_SPEC, NO_MIRROR)
    assert addresses(adapted) == [f"{ROOT}/ImageExampleGen/0b9c/examples", f"{ROOT}/BoundEvaluator/77e0/blessing"]
    assert _only(adapted["inputs"], "examples")["type"] == EXAMPLES_TYPE


def test_a_task_without_artifacts_is_one_too() -> None:
    first = {"inputs": {}, "outputs": {"outputFile": "/tmp/kfp_outputs/output_metadata.json"}}
    assert for_tfx(first, {}, NO_MIRROR) == first
