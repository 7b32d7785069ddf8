"""The image, built and run without docker: its layers, its user, its process 1, and what runs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image import build

pytestmark = pytest.mark.slow

DOCKERFILES = [build.ROOT / "requirements" / "image" / "Dockerfile", build.ROOT / "tests" / "image" / "Dockerfile"]


@pytest.fixture(scope="module")
def cache() -> Path:
    possible = subprocess.run([build.DEBIAN_ROOT, "possible"], stdout=subprocess.PIPE, text=True, check=False)
    if possible.returncode:
        pytest.skip(f"the image is not built: {possible.stdout.strip()}")
    named = os.environ.get("DRAW_SECOND_LINE")
    parent = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "draw-tfx"
    folder = parent / "image"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
    container = image.run(*arguments, scratch=scratch)
    output, _ = container.communicate()
    assert container.returncode == 0, output
    return output


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


def test_the_command_is_told_of_where_none_is_given(builder: build.Builder, scratch: Path) -> None:
    assert _call(builder.build("cpu"), scratch=scratch).startswith("Usage: draw ")


def test_signals_reach_the_command(builder: build.Builder, scratch: Path) -> None:
    """The alarm by which a worker ends whom nobody joins, and the request to end: the kernel would ignore them."""
    alarm = ["python", "-c", "import signal, time; signal.alarm(1); time.sleep(5)"]
    image = builder.build("cpu")
    container = image.run(*alarm, scratch=scratch / "alarm")
    assert container.wait(timeout=60) == 128 + signal.SIGALRM
    assert image.start(alarm, scratch / "without", {}).wait(timeout=60) == 0
    container = image.run("sleep", "60", scratch=scratch / "sleep")
    os.kill(_first_process(container.pid), signal.SIGTERM)
    assert container.wait(timeout=20) == 128 + signal.SIGTERM


def _first_process(pid: int) -> int:
    """The process 1 of the container that the process of that number has started."""
    while True:
        numbers = _status(pid, "NSpid")
        if numbers[-1] == "1" and _status(pid, "Name") == ["tini"]:
            return int(numbers[0])
        children = subprocess.run(["pgrep", "--parent", str(pid)], stdout=subprocess.PIPE, text=True, check=False)
        pid = max(map(int, children.stdout.split()), default=pid)
        time.sleep(0.05)


def _status(pid: int, field: str) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


@pytest.mark.timeout(3600)
def test_the_tests_of_what_the_image_is_for_pass(builder: build.Builder, scratch: Path) -> None:
    print(_call(builder.build("tests"), scratch=scratch))
