"""The package that Kubeflow Pipelines is given: parameters, resources, and what a cluster adds to a task's pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kfp.components
import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.kubeflow import compiler, pipeline_spec
from pipeline.kubeflow.pipeline_spec import Document
from serving.beam_options import LOCAL_BEAM_ARGUMENTS
from tests.pipeline.kubeflow.conftest import CLUSTER, settings
from trainer import tasks
from trainer.task import CLASSIFIER, Task

STAGES = {
    "ParameterCheck",
    "ImageExampleGen",
    "ImportSchemaGen",
    "StatisticsGen",
    "StrictExampleValidator",
    "Trainer",
    "BoundEvaluator",
    "ServingCheck",
    "Pusher",
    "RunReport",
}

ON_BEAM = {"ImageExampleGen", "StatisticsGen", "BoundEvaluator"}


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The PipelineSpec of the classifiers, with other defaults."""
    folder = tmp_path_factory.mktemp("classifier")
    changes = {"task_name": "cluttered_mnist_small", "steps": 7, "max_error": 0.5, "pipeline_root": "gs://bucket/draw/"}
    compiler.run(settings(folder, serving_dir=None, checkpoint_root=None, **changes), folder / "draw-classifier.yaml")
    return pipeline_spec.read(folder / "draw-classifier.yaml")[0]


def _container(spec: Document, stage: str) -> dict[str, Any]:
    label = spec["components"][stage]["executorLabel"]
    container: dict[str, Any] = spec["deploymentSpec"]["executors"][label]["container"]
    return container


def test_a_run_chooses_the_task_and_all_that_follows_from_it(documents: list[Document]) -> None:
    found = pipeline_spec.parameters(documents[0])
    assert all(definition["isOptional"] for definition in found.values())
    assert {name: (each["parameterType"], each["defaultValue"]) for name, each in found.items()} == {
        "task": ("STRING", "digits"),
        "steps": ("NUMBER_INTEGER", tasks.TASK_DEFAULT),
        "train_examples": ("NUMBER_INTEGER", tasks.TASK_DEFAULT),
        "max_nll_bound": ("NUMBER_DOUBLE", float(tasks.TASK_DEFAULT)),
        "tolerance": ("NUMBER_DOUBLE", float(tasks.TASK_DEFAULT)),
        "data_dir": ("STRING", ""),
        "serving_dir": ("STRING", "/mnt/draw/serving/{task}"),
        "checkpoint_root": ("STRING", "/mnt/draw/checkpoints"),
    }


def test_nothing_in_it_is_of_the_default_task_alone(package: Path) -> None:
    """Or a run of another task would be wrong there."""
    lines = [line for line in package.read_text().splitlines() if "digits" in line]
    assert [line.strip() for line in lines] == ["defaultValue: digits"]


def test_a_classifier_has_a_pipeline_of_its_own(classifier: Document) -> None:
    assert classifier["pipelineInfo"]["name"] == "draw-classifier"
    assert set(classifier["root"]["dag"]["tasks"]) == STAGES - {"BoundEvaluator"} | {"ErrorEvaluator"}
    defaults = {name: each["defaultValue"] for name, each in pipeline_spec.parameters(classifier).items()}
    assert (defaults["task"], defaults["steps"], defaults[CLASSIFIER.limit]) == ("cluttered_mnist_small", 7, 0.5)
    assert defaults["serving_dir"] == "gs://bucket/draw/serving/{task}"
    assert defaults["checkpoint_root"] == "gs://bucket/draw/checkpoints"


def test_a_task_of_a_file_travels_whole(tmp_path: Path) -> None:
    file = tmp_path / "parts.yaml"
    file.write_text("like: cifar10\ndata: {images: 'gs://bucket/photos'}\n")
    chosen = settings(tmp_path, task_name=str(file), task_values=("glimpses=7",))
    assert Task.from_json(chosen.task_parameters["task"]) == chosen.task
    assert chosen.task.glimpses == 7
    # A value that is set makes a built-in task one that its name does not say.
    digits = settings(tmp_path, task_values=("glimpses=7",))
    assert Task.from_json(digits.task_parameters["task"]).glimpses == 7
    assert settings(tmp_path).task_parameters["task"] == "digits"


def test_images_that_no_stage_could_read_are_told(tmp_path: Path) -> None:
    file = tmp_path / "parts.yaml"
    file.write_text("like: cifar10\ndata: {images: photos}\n")
    with pytest.raises(ValueError, match=rf"data.images is {tmp_path}/photos, which is on no volume of the cluster's"):
        settings(tmp_path, task_name=str(file))
    on_volume = settings(tmp_path, task_name=str(file), task_values=("data.images=/mnt/draw/photos",))
    assert on_volume.task.data.address == "/mnt/draw/photos"


def test_no_stage_is_one_that_kubeflow_does_not_run(documents: list[Document]) -> None:
    assert set(documents[0]["root"]["dag"]["tasks"]) == STAGES
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        assert list(executor) == ["container"]
        assert executor["container"]["command"] == list(compiler.ENTRY_POINT)
    # Where models were pushed to is where the baseline is.
    inputs = documents[0]["root"]["dag"]["tasks"]["BoundEvaluator"]["inputs"]["parameters"]
    assert inputs["pushed_models"] == {"componentInputParameter": "serving_dir"}


def test_nothing_starts_before_the_parameters_are_checked(documents: list[Document]) -> None:
    dependents = {name: task.get("dependentTasks", []) for name, task in documents[0]["root"]["dag"]["tasks"].items()}
    assert [name for name, before in dependents.items() if not before] == ["ParameterCheck"]
    checked = documents[0]["root"]["dag"]["tasks"]["ParameterCheck"]["inputs"]["parameters"].values()
    assert {each["componentInputParameter"] for each in checked if "componentInputParameter" in each} == set(
        pipeline_spec.parameters(documents[0])
    )


def test_resources_are_the_stages_own_or_the_default(documents: list[Document]) -> None:
    assert _container(documents[0], "Trainer")["resources"] == {
        "cpuLimit": 8.0,
        "memoryLimit": 32.0,
        "accelerator": {"type": "nvidia.com/gpu", "count": "2"},
    }
    for stage in STAGES - {"Trainer"}:
        assert _container(documents[0], stage)["resources"] == {"cpuLimit": 2.0, "memoryLimit": 8.0}


def test_a_stage_is_tried_again_after_a_growing_time(documents: list[Document]) -> None:
    of_all = documents[0]["root"]["dag"]["tasks"]
    assert of_all["Trainer"]["retryPolicy"] == {
        "maxRetryCount": 5,
        "backoffDuration": "60s",
        "backoffFactor": 3.0,
        "backoffMaxDuration": "259200s",
    }
    # Argo counts from the first attempt's start: a training of a week may be lost on its last day.
    assert of_all["Pusher"]["retryPolicy"]["backoffMaxDuration"] == "31536000s"
    assert of_all["Pusher"]["retryPolicy"]["maxRetryCount"] == 2
    assert "retryPolicy" not in of_all["ParameterCheck"], "what it refuses no repetition mends"


def test_what_looks_into_folders_is_never_taken_from_the_cache(documents: list[Document], classifier: Document) -> None:
    for spec, judge in ((documents[0], "BoundEvaluator"), (classifier, "ErrorEvaluator")):
        cached = {name for name, task in spec["root"]["dag"]["tasks"].items() if task["cachingOptions"]["enableCache"]}
        assert set(spec["root"]["dag"]["tasks"]) - cached == {"ParameterCheck", judge, "Pusher"}


def test_what_is_pushed_is_an_input_of_what_looks_at_it(documents: list[Document], classifier: Document) -> None:
    for spec, judge in ((documents[0], "BoundEvaluator"), (classifier, "ErrorEvaluator")):
        for stage in (judge, "Pusher"):
            source = spec["root"]["dag"]["tasks"][stage]["inputs"]["artifacts"]["pushed_versions"]
            output = {"producerTask": "ParameterCheck", "outputArtifactKey": "pushed_versions"}
            assert source == {"taskOutputArtifact": output}, stage


@pytest.mark.parametrize("samples", [None, 3])
def test_a_last_stage_fails_for_a_refused_model_where_the_file_says_so(tmp_path: Path, samples: int | None) -> None:
    cluster = f"{CLUSTER}\nfail_refused: true\n"
    compiler.run(settings(tmp_path, cluster=cluster, score_samples=samples), tmp_path / "draw.yaml")
    tasks_of_run = pipeline_spec.read(tmp_path / "draw.yaml")[0]["root"]["dag"]["tasks"]
    assert set(tasks_of_run) == STAGES | {"Verdict"} | ({"SplitScorer"} if samples else set())
    verdict = tasks_of_run["Verdict"]
    assert set(verdict["dependentTasks"]) >= {"RunReport", "SplitScorer"} & set(tasks_of_run)
    assert not any("Verdict" in task.get("dependentTasks", ()) for task in tasks_of_run.values())
    assert "retryPolicy" not in verdict, "what it refuses no repetition mends"


def test_beams_options_go_to_the_stages_that_run_on_it(documents: list[Document]) -> None:
    runners = {
        stage: [word for word in _container(documents[0], stage)["args"] if word.startswith("--runner")]
        for stage in STAGES
    }
    assert runners.pop("ImageExampleGen") == ["--runner=FlinkRunner"]
    assert runners == {stage: [LOCAL_BEAM_ARGUMENTS[0]] if stage in ON_BEAM else [] for stage in runners}


def test_the_platform_document_has_what_a_pipeline_spec_cannot_say(documents: list[Document]) -> None:
    message = json_format.ParseDict(documents[1], pipeline_spec_pb2.PlatformSpec())
    executors = json_format.MessageToDict(message.platforms["kubernetes"].deployment_spec)["executors"]
    assert set(executors) == set(documents[0]["deploymentSpec"]["executors"])
    shared = {
        "secretAsEnv": [
            {
                "secretName": "minio-keys",
                "keyToEnv": [
                    {"secretKey": "accesskey", "envVar": "AWS_ACCESS_KEY_ID"},
                    {"secretKey": "secretkey", "envVar": "AWS_SECRET_ACCESS_KEY"},
                ],
            }
        ],
        "secretAsVolume": [{"secretName": "gcs-key", "mountPath": "/var/secrets/gcs"}],
        "pvcMount": [{"constant": "draw", "mountPath": "/mnt/draw"}],
        "imagePullSecret": [{"secretName": "registry-login"}],
    }
    trainer = executors.pop("Trainer_executor")
    assert trainer == shared | {
        "nodeSelector": {"labels": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    assert all(executor == shared for executor in executors.values())
    credentials = {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/var/secrets/gcs/key.json"}
    assert _container(documents[0], "Pusher")["env"] == [credentials]


def test_kfp_reads_it(package: Path, documents: list[Document]) -> None:
    json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    loaded = kfp.components.load_component_from_file(str(package))
    assert loaded.name == "draw"
    assert set(loaded.component_spec.inputs) == set(pipeline_spec.parameters(documents[0]))
    assert list(loaded.platform_spec.platforms) == ["kubernetes"]


def test_the_same_settings_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    compiler.run(settings(tmp_path), tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_bytes() == package.read_bytes()


def test_a_small_cluster_needs_no_file(tmp_path: Path) -> None:
    changes = {"cluster_file": None, "image": "draw:1", "pipeline_root": "gs://bucket"}
    compiled = settings(tmp_path, serving_dir=None, checkpoint_root=None, score_samples=3, **changes)
    compiler.run(compiled, tmp_path / "draw.yaml")
    (spec,) = pipeline_spec.read(tmp_path / "draw.yaml")
    assert spec["defaultPipelineRoot"] == "gs://bucket"
    assert _container(spec, "SplitScorer")["image"] == "draw:1"
    assert pipeline_spec.parameters(spec)["score_samples"]["defaultValue"] == 3


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("{Trainner: {cpu: 1}}", "stages.Trainner: the pipeline has no such stage. It has ParameterCheck"),
        ("{ParameterCheck: {retries: {count: 1}}}", "stages.ParameterCheck.retries: what it refuses no"),
        ("{Trainer: {beam: [--runner=FlinkRunner]}}", "stages.Trainer.beam: only ImageExampleGen"),
    ],
)
def test_a_stage_that_there_is_not_is_told(tmp_path: Path, stages: str, message: str) -> None:
    compiled = settings(tmp_path, cluster=f"image: draw:1\nvolumes: [{{claim: draw, path: /mnt}}]\nstages: {stages}")
    with pytest.raises(ValueError, match=message):
        compiler.run(compiled, tmp_path / "draw.yaml")
