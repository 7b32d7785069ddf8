"""A package is what Kubeflow Pipelines 2.x accepts, or its faults are named before it is uploaded."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from pipeline.kubeflow import pipeline_spec

SPEC = {
    "schemaVersion": "2.1.0",
    "pipelineInfo": {"name": "two-steps"},
    "defaultPipelineRoot": "gs://bucket/root",
    "components": {"Load": {"executorLabel": "Load_executor"}},
    "deploymentSpec": {"executors": {"Load_executor": {"container": {"image": "image:1"}}}},
    "root": {
        "dag": {"tasks": {"Load": {"componentRef": {"name": "Load"}}}},
        "inputDefinitions": {
            "parameters": {
                "steps": {"parameterType": "NUMBER_INTEGER"},
                "bound": {"parameterType": "NUMBER_DOUBLE"},
                "task": {"parameterType": "STRING"},
                "token": {"parameterType": "STRING"},
            }
        },
    },
}
PLATFORM = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"Load_executor": {"nodeSelector": {}}}}}}}


def test_defaults_come_back_with_their_types_and_make_parameters_optional() -> None:
    completed = pipeline_spec.complete(SPEC, pipeline_root=None, defaults={"steps": 7, "bound": 100, "task": "digits"})
    assert pipeline_spec.parameters(completed) == {
        "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 7, "isOptional": True},
        "bound": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 100.0, "isOptional": True},
        "task": {"parameterType": "STRING", "defaultValue": "digits", "isOptional": True},
        "token": {"parameterType": "STRING"},
    }
    assert pipeline_spec.complete(completed, pipeline_root="gs://other", defaults={"steps": 9}) == completed


@pytest.mark.parametrize("default", [True, 7.5, "7"])
def test_a_default_of_another_type_is_refused(default: object) -> None:
    with pytest.raises(pipeline_spec.InvalidPipelineSpec, match=r"parameter 'steps' is .* no NUMBER_INTEGER"):
        pipeline_spec.complete(SPEC, pipeline_root=None, defaults={"steps": default})


def test_a_job_becomes_its_specification_with_the_root() -> None:
    bare = {key: value for key, value in SPEC.items() if key != "defaultPipelineRoot"}
    job = {"pipelineSpec": bare, "runtimeConfig": {"gcsOutputDirectory": "gs://bucket/root"}, "labels": {}}
    assert pipeline_spec.from_job(job) == SPEC


def test_each_demand_that_a_package_breaks_is_named() -> None:
    broken = copy.deepcopy(SPEC)
    broken.update(schemaVersion="2.0.0", defaultPipelineRoot="/home/me/runs")
    broken["components"]["root"] = {"executorLabel": "Load_executor"}
    broken["root"]["dag"]["tasks"]["Train"] = {"componentRef": {"name": "Trainer"}}
    broken["root"]["inputDefinitions"]["parameters"]["odd"] = {}
    broken["deploymentSpec"]["executors"] |= {
        "Baseline_executor": {"resolver": {}},
        "Odd_executor": {"customJob": {}},
        "Gpu_executor": {"container": {"resources": {"accelerator": {"type": "NVIDIA_TESLA_V100", "count": "1"}}}},
    }
    platform = copy.deepcopy(PLATFORM)
    platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["Gone_executor"] = {}

    with pytest.raises(pipeline_spec.InvalidPipelineSpec) as error:
        pipeline_spec.validate([broken, platform, {"platform": {}}])
    demands = ["2.1.0", "root", "reserved", "Trainer", "odd", "Baseline", "customJob", "nvidia.com", "Gone", "neither"]
    for demand, violation in zip([*demands, "at most"], error.value.violations, strict=True):
        assert demand in violation


def test_a_package_has_one_pipeline() -> None:
    with pytest.raises(pipeline_spec.InvalidPipelineSpec, match="holds 2"):
        pipeline_spec.validate([SPEC, SPEC])
    with pytest.raises(pipeline_spec.InvalidPipelineSpec, match="holds 0"):
        pipeline_spec.validate([PLATFORM])


def test_a_package_is_read_as_it_was_written(tmp_path: Path) -> None:
    pipeline_spec.write(tmp_path / "draw.yaml", [SPEC, PLATFORM])
    documents = pipeline_spec.read(tmp_path / "draw.yaml")
    assert documents == [SPEC, PLATFORM]
    pipeline_spec.validate(documents)
