"""`draw compile`: what a user asks for is checked at once, and told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.kubeflow import compiler

GOOGLE = ("--image", "draw:1", "--pipeline-root", "gs://bucket/draw")
MINIO = ("--image", "draw:1", "--pipeline-root", "minio://bucket/draw")
PLACES = ("--serving-dir", "gs://bucket/serving", "--checkpoint-root", "gs://bucket/checkpoints")


def _compile(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["compile", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*GOOGLE, "--task", "minst"), "There is no task 'minst'. Did you mean mnist? The tasks are: digits, mnist"),
        ((*GOOGLE, "--steps", "0"), "recipe.steps is 0: it must be positive"),
        ((*GOOGLE, "--max-error", "0.1"), "digits is a generative task, which has no error"),
        ((*GOOGLE, "--train-examples", "100"), "digits: the data set digits:1.0.0 has a fixed number"),
        (("--image", "draw:1", "--pipeline-root", "/data"), "The pipeline root is /data: Kubeflow Pipelines keeps"),
        (("--image", "draw:1", "--pipeline-root", "gs://"), "The pipeline root is gs://: Kubeflow Pipelines keeps"),
        (("--image", "draw:1", "--pipeline-root", "gs:///draw"), "The pipeline root is gs:///draw: Kubeflow Pipelines"),
        (("--pipeline-root", "gs://bucket"), "The cluster: image is missing"),
        ((*GOOGLE, "--data-dir", "gs:///tfds"), "data_dir is gs:///tfds, which names no bucket: give gs://BUCKET/"),
        ((*GOOGLE, "--cluster", "/none.yaml"), "Cannot read the cluster's file /none.yaml: No such file"),
        (("--image", "draw:1"), "SERVING_DIR is needed, for TensorFlow cannot open the default root of the cluster"),
        (MINIO, "SERVING_DIR is needed, for TensorFlow cannot open minio://bucket/draw: give a path on a volume"),
        ((*MINIO, *PLACES, "--data-dir", "s3://bucket/tfds"), "data_dir is s3://bucket/tfds, and TensorFlow cannot"),
        ((*MINIO, *PLACES, "--data-dir", "tfds"), "data_dir is tfds: give an absolute path on a volume"),
        ((*MINIO, *PLACES, "--data-dir", "/tfds"), "data_dir is /tfds, which is on no volume of the cluster's file"),
        ((*GOOGLE, "-o", "draw.json"), "The package is to be draw.json: Kubeflow Pipelines takes a .yaml"),
    ],
)
def test_a_mistake_is_one_message_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown = _compile(*arguments)
    assert status == 1
    assert shown.startswith(f"Error: {message}")
    assert shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("root", "noted"), [("s3://bucket/draw", True), ("minio://bucket/draw", False)])
def test_a_root_at_s3_comes_with_what_the_cluster_needs_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, noted: bool
) -> None:
    """Or its first stage would fail after its work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compiler, "run", lambda settings, output: output)
    status, shown = _compile("--image", "draw:1", "--pipeline-root", root, *PLACES)
    assert status == 0 and shown.endswith("package  draw.yaml\n")
    assert ("providers.s3 in the configmap kfp-launcher" in shown) is noted


@pytest.mark.parametrize(
    ("beam", "message"),
    [
        (
            "[--runner=FlinkRunner, '--flink_master=h:8081']",
            "ImageExampleGen.beam in the cluster's file: FlinkRunner would start Beam's own container",
        ),
        ("[--runer=x]", "ImageExampleGen.beam in the cluster's file: Beam has no option '--runer'. Did you mean"),
        (
            "[--runner=FlinkRunner, '--flink_master=h:8081', --environment_type=EXTERNAL, --environment_config=h:1]",
            "ImageExampleGen.beam in the cluster's file: FlinkRunner's workers would see neither the pod's files nor "
            "minio://bucket/draw. Take a pipeline root at gs://",
        ),
    ],
)
def test_what_a_stages_entry_point_would_refuse_is_not_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beam: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cluster.yaml").write_text(f"image: draw:1\nstages: {{ImageExampleGen: {{beam: {beam}}}}}\n")
    status, shown = _compile("--cluster", "cluster.yaml", "--pipeline-root", "minio://bucket/draw", *PLACES)
    assert (status, list(tmp_path.iterdir())) == (1, [tmp_path / "cluster.yaml"])
    assert shown.startswith(f"Error: {message}") and shown.count("\n") == 1
