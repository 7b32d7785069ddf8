"""The image, built and run without docker: its layers, its user, its process 1, and what runs in it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests import tiny
from tests.image import build
from tests.pipeline.kubeflow import replay
from trainer import tasks

pytestmark = pytest.mark.slow

DOCKERFILES = [build.ROOT / "requirements" / "image" / "Dockerfile", build.ROOT / "tests" / "image" / "Dockerfile"]


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    possible = subprocess.run([build.DEBIAN_ROOT, "possible"], stdout=subprocess.PIPE, text=True, check=False)
    if possible.returncode:
        pytest.skip(f"the image is not built: {possible.stdout.strip()}")
    named = os.environ.get("DRAW_SECOND_LINE")
    parent = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "draw-tfx"
    folder = parent / "image"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="module")
def builder(cache: Path) -> build.Builder:
    builder = build.Builder("\n".join(path.read_text(encoding="utf-8") for path in DOCKERFILES), cache)
    builder.build("tests")
    builder.prune()
    return builder


@pytest.fixture
def scratch(cache: Path) -> Iterator[Path]:
    """A folder on the layers' file system, for what a container writes."""
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        yield Path(folder)


def _call(image: build.Image, *arguments: str, scratch: Path) -> str:
    return build.finish(image.run(*arguments, scratch=scratch))


@pytest.mark.timeout(3600)
def test_a_change_of_source_makes_the_last_layer_anew(builder: build.Builder) -> None:
    """Of the image that is pushed; the stage before it, which is not, is made anew too."""
    stage = builder.build("cpu")
    parents, last = stage.layers[:-1], stage.layers[-1]
    assert parents == builder.build("runtime").layers
    files = [path for path in last.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5e6
    assert all(str(path.relative_to(last)).startswith("opt/draw/") for path in files)


def test_the_user_is_nobody_special_and_finds_no_compiler(builder: build.Builder, scratch: Path) -> None:
    script = """
id -u
echo $HOME
touch ~/mine /minio/mine /tmp/mine
if touch /opt/draw/theirs 2>/dev/null; then echo writes to the environment; fi
for name in c++ g++ gcc cc make pytest; do command -v $name || true; done
python -m pip check
"""
    output = _call(builder.build("cpu"), "sh", "-euc", script, scratch=scratch)
    assert output.splitlines() == ["1000", "/home/draw", "No broken requirements found."]


def test_all_that_setup_installs_is_there(builder: build.Builder, scratch: Path) -> None:
    """A module that the Dockerfile does not copy would be left out with a warning."""
    script = """
import importlib.metadata, importlib.util
for name in importlib.metadata.distribution("draw-tfx").read_text("top_level.txt").split():
    print(name, importlib.util.find_spec(name) is not None)
"""
    found = dict(
        line.split() for line in _call(builder.build("cpu"), "python", "-c", script, scratch=scratch).splitlines()
    )
    assert len(found) > 4 and set(found.values()) == {"True"}, found


def test_the_command_is_told_of_where_none_is_given(builder: build.Builder, scratch: Path) -> None:
    assert _call(builder.build("cpu"), scratch=scratch).startswith("Usage: draw ")


def test_signals_reach_the_command(builder: build.Builder, scratch: Path) -> None:
    """The alarm by which a worker ends whom nobody joins, and the request to end: the kernel would ignore them."""
    alarm = ["python", "-c", "import signal, time; signal.alarm(1); time.sleep(5)"]
    image = builder.build("cpu")
    container = image.run(*alarm, scratch=scratch / "alarm")
    assert container.wait(timeout=60) == 128 + signal.SIGALRM
    assert image.start(alarm, scratch / "without").wait(timeout=60) == 0
    container = image.run("sleep", "60", scratch=scratch / "sleep")
    os.kill(_first_process(container), signal.SIGTERM)
    assert container.wait(timeout=20) == 128 + signal.SIGTERM


def _first_process(container: subprocess.Popen[str]) -> int:
    """The number on this host of the container's process 1, once it is there."""
    while container.poll() is None:
        found = subprocess.run(["pgrep", "--session", str(container.pid), "--exact", "tini"], stdout=subprocess.PIPE)
        if found.stdout:
            return int(found.stdout)
        time.sleep(0.1)
    raise AssertionError(container.communicate()[0])


def test_a_worker_needs_no_more_than_its_volume_and_tmp_to_write_to(builder: build.Builder, scratch: Path) -> None:
    """All the rest is read-only by the manifests of trainer/config; here its home is not its own."""
    job = yaml.safe_load((build.ROOT / "trainer/config/kubernetes/job.yaml").read_text(encoding="utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    task = tasks.get("digits")
    upper, examples = scratch / "upper", scratch / "upper/runs/mnist/ImageExampleGen/examples/1"
    images = tiny.make_images(task, 130, binary=False)
    tiny.write_examples(examples / "Split-train", images[:110])
    tiny.write_examples(examples / "Split-validation", (images[110:] > 127).astype(np.uint8))
    subprocess.run(["chown", "--recursive", "1000:1000", upper / "runs"], check=True)
    (upper / "home" / "draw").mkdir(parents=True)
    image = builder.build("cpu")
    output = _call(image, *container["args"], "--task=digits", "--steps=3", scratch=scratch)
    assert output.splitlines()[-1] == "model /runs/mnist/trained/1"
    written = {path.relative_to(upper).parts[0] for path in upper.rglob("*") if path.is_file()}
    # In /etc are the files of the network, which docker mounts too.
    assert written - {"etc"} <= {"runs", "tmp"}


def test_a_stage_of_the_compiled_pipeline_runs_by_its_own_command(builder: build.Builder, scratch: Path) -> None:
    """With the input that KFP's driver would give it, below the folder in which its launcher mirrors a bucket."""
    image, name = builder.build("cpu"), "ImageExampleGen"
    root = ["--image=draw-tfx", "--pipeline-root=gs://bucket/draw"]
    _call(image, "draw", "compile", *root, "--output=/tmp/draw.yaml", scratch=scratch / "compile")
    package = (scratch / "compile/upper/tmp/draw.yaml").read_text(encoding="utf-8")
    pipeline, *_ = yaml.safe_load_all(package)
    task = pipeline["root"]["dag"]["tasks"][name]
    component = pipeline["components"][task["componentRef"]["name"]]
    executor = pipeline["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    parameters = replay.root_parameters(pipeline["root"]["inputDefinitions"]["parameters"], {})
    given = replay.input_of_task(task, component, parameters, {}, f"gs://bucket/draw/{name}")
    given["outputs"]["outputFile"] = "/gcs/answer.json"
    (artifact,) = given["outputs"]["artifacts"]["examples"]["artifacts"]
    examples = scratch / "stage/upper" / artifact["uri"].replace("gs://", "gcs/")
    examples.parent.mkdir(parents=True)
    subprocess.run(["chown", "--recursive", "1000:1000", scratch / "stage/upper/gcs"], check=True)
    words = [word.replace("{{$}}", json.dumps(given)) for word in (*executor["command"], *executor.get("args", ()))]
    # KFP's launcher takes the place of the image's entry point.
    build.finish(image.start(words, scratch / "stage"))
    assert {path.parent.name for path in examples.rglob("*.gz")} == {"Split-train", "Split-test"}
    answer = json.loads((scratch / "stage/upper/gcs/answer.json").read_text(encoding="utf-8"))
    assert answer["artifacts"]["examples"]["artifacts"][0]["uri"] == artifact["uri"]


@pytest.mark.timeout(3600)
def test_the_tests_of_what_the_image_is_for_pass(builder: build.Builder, scratch: Path) -> None:
    print(_call(builder.build("tests"), scratch=scratch))
