"""Installation by purpose: what each extra brings, and that the client runs where nothing else does."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from pipeline.cli import main

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {"3.10": "requirements/tfx1.16-py310.txt"}
NEWER_LOCK = "requirements/tfx1.21.txt"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
CLIENT_COMMANDS = ("sample", "sequence", "score", "reconstruct", "interpolate", "classify", "status", "check-server")


@functools.cache
def _declared() -> dict[str, Any]:
    """What setup.py declares."""
    declared: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("setuptools.setup", declared.update)
        runpy.run_path(str(ROOT / "setup.py"))
    return declared


def test_the_environment_has_what_every_extra_asks_for() -> None:
    """`pip check` looks at no extra."""
    asked = [*_declared()["install_requires"]]
    for extra in ("server", "batch", "aws", "pipeline", "kubeflow", "onnx", "all", "dev"):
        asked += _declared()["extras_require"][extra]
    unfit = []
    for requirement in map(Requirement, {*asked}):
        if requirement.marker is None or requirement.marker.evaluate():
            version = metadata.version(requirement.name)
            if not requirement.specifier.contains(version, prereleases=True):
                unfit.append(f"{requirement} is {version}")
    assert unfit == []


def test_larger_purposes_contain_the_smaller() -> None:
    extras = {name: {*requirements} for name, requirements in _declared()["extras_require"].items()}
    assert extras["server"] | extras["batch"] < extras["pipeline"] < extras["kubeflow"] < extras["all"]
    assert extras["all"] == extras["kubeflow"] | extras["onnx"]
    assert {*main.EXTRAS.values(), *main.EXTRAS_OF_PACKAGES.values(), main.CLIENT_EXTRA} <= extras.keys()
    assert {Requirement(each).name for each in _declared()["install_requires"]} == {
        "click",
        "google-crc32c",
        "grpcio",
        "numpy",
        "pillow",
        "protobuf",
    }


# Stands before the programs below: our modules may import the client's packages alone, and nothing that POSIX adds.
_ELSEWHERE = """
import builtins, os, sys
OURS = {'components', 'pipeline', 'serving', 'trainer'}
ALLOWED = {'click', 'google', 'google_crc32c', 'grpc', 'numpy', 'PIL'} | OURS | set(sys.stdlib_module_names)
ALLOWED -= {'fcntl', 'grp', 'pty', 'pwd', 'resource', 'termios', 'tty'}
real = builtins.__import__
def elsewhere(name, globals=None, locals=None, fromlist=(), level=0):
    asker = (globals or {}).get('__name__', '').partition('.')[0]
    if asker in OURS and not level and name.partition('.')[0] not in ALLOWED:
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = elsewhere
for name in ('sched_getaffinity', 'fork', 'getuid', 'geteuid', 'mkfifo'):
    delattr(os, name)
"""


def _elsewhere(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _ELSEWHERE + program], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", ["serving.client", *(main.SUBCOMMANDS[name][0] for name in CLIENT_COMMANDS)])
def test_the_client_imports_nothing_that_macos_and_windows_lack(module: str) -> None:
    result = _elsewhere(f"import {module}\n")
    assert result.returncode == 0, result.stderr
    assert _elsewhere("import serving.batch.output_claim\n").returncode == 1, "the test itself can fail"


def test_doctor_works_where_there_is_no_tensorflow() -> None:
    program = (
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'tensorflow' else find(name, *rest)\n"
        "from pipeline.cli.main import main; main(['doctor'])\n"
    )
    result = _elsewhere(program)
    assert result.returncode == 0, result.stderr
    assert "devices" in result.stdout and "pip install 'draw-tfx[server]'" in result.stdout


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["sample", "--model", "mnist"], "tensorflow", "server"),
        (["serve", "mnist"], "anyio", "server"),
        (["score-batch", "--model", "mnist", "--input", "a.npz", "--output", "b"], "apache_beam", "batch"),
        (["run"], "yaml", "pipeline"),
        (["compile", "--help"], "pydantic", "kubeflow"),
        (["export", "mnist", "-o", "build/none"], "onnx", "onnx"),
        (["export", "mnist", "-o", "build/none"], "onnxruntime", "onnx"),
    ],
)
def test_a_command_without_its_extra_names_it(words: list[str], package: str, extra: str) -> None:
    """As if that package alone were not installed: it is sought, and not there."""
    program = f"""
import importlib.util, sys
class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition('.')[0] == {package!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Absent)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else find(name, *rest)
from pipeline.cli.main import main
main({words!r})
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (
        1,
        f"Error: `draw {words[0]}` needs the package {package}, which is not installed. "
        f"The extra {extra} brings it: pip install 'draw-tfx[{extra}]'\n",
    )


def test_any_other_fault_of_an_import_is_shown() -> None:
    error = ModuleNotFoundError("No module named 'click.nothing'", name="click.nothing")
    assert main._advice("run", error) is None
    assert main._advice("run", ModuleNotFoundError("made by hand")) is None


# Slow: environments that hold nothing but the wheel with one extra.


@functools.cache
def _interpreters() -> dict[str, str]:
    """Interpreters of this host by version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "requirements")
        install = importlib.import_module("install")
    return {python.version: python.path for python in install.probe(_candidates())}


def _candidates() -> list[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [
        *(str(path / "bin/python") for each in VERSIONS for path in sorted(pyenv.glob(f"versions/{each}.*"))),
        *(f"python{each}" for each in VERSIONS),
        sys.executable,
    ]


def _uv(*arguments: str, given: str = "") -> str:
    program = [sys.executable, str(ROOT / "requirements/run_uv.py"), *arguments]
    result = subprocess.run(program, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of a release, by distribution."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    names = ("setup.py", "pyproject.toml", "LICENSE", "README.md", "draw_tfx_startup.py", "pretrained", *_PACKAGES)
    for name in names:  # A build leaves things in its folder.
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(built), str(source), str(source / "pretrained")], check=True)
    return {path.name.partition("-")[0]: path for path in built.glob("*.whl")}


_PACKAGES = ("components", "pipeline", "serving", "trainer")


class Environment:
    """A virtual environment with draw-tfx for one purpose, and its models."""

    def __init__(self, folder: Path, wheels: dict[str, Path], version: str, extra: str) -> None:
        self.folder = folder
        self.python = folder / "venv/bin/python"
        _uv("venv", "--quiet", "--python", _interpreters()[version], str(folder / "venv"))
        wanted = f"draw-tfx{f'[{extra}]' if extra else ''} @ {wheels['draw_tfx'].as_uri()}"
        lock = LOCKS.get(version, NEWER_LOCK)
        there = ["--quiet", "--python", str(self.python), "--constraint", lock]
        # Those without wheels are built by what the lock names, not by what came out yesterday.
        _uv("pip", "install", *there, wanted, str(wheels["draw_tfx_models"]))

    def start(self, *words: str) -> subprocess.Popen[str]:
        kept = ("HOME", "LANG", "PATH", "TMPDIR", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        return subprocess.Popen(
            [str(self.python.with_name("draw")), *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def draw(self, *words: str) -> str:
        """Runs `draw`; returns what it says."""
        with self.start(*words) as running:
            output, errors = running.communicate(timeout=500)
        assert running.returncode == 0, output + errors
        return output

    def refused(self, *words: str) -> str:
        with self.start(*words) as running:
            _, errors = running.communicate(timeout=100)
        assert running.returncode == 1
        return errors


def _found(version: str) -> str:
    if version not in _interpreters():
        pytest.skip(f"no Python {version} on this host")
    return version


@contextlib.contextmanager
def _server(environment: Environment) -> Iterator[str]:
    """HOST:PORT of `draw serve mnist`."""
    with environment.start("serve", "mnist", "--port", "0", "--rest_api_port", "0") as running:
        log = []
        try:
            for line in running.stderr or ():  # its log
                log.append(line)
                if match := re.search(r"127\.0\.0\.1:(\d+)", line):
                    yield match[0]
                    break
            else:
                pytest.fail("".join(log))
        finally:
            running.terminate()
            running.communicate(timeout=60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]) -> Iterator[str]:
    """A server in an environment of the extra `server`."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with _server(Environment(tmp_path_factory.mktemp("served"), wheels, version, "server")) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_client_draws_from_a_server(tmp_path: Path, wheels: dict[str, Path], served: str, version: str) -> None:
    environment = Environment(tmp_path, wheels, _found(version), "")
    assert environment.draw("--version").startswith("draw ")
    assert "4 images of 28 x 28" in environment.draw("sample", "--server", served, "--model", "mnist", "-n", "4")
    assert "1 drawings of 64" in environment.draw(
        "sequence", "--server", served, "--model", "mnist", "-o", "d.webp", "--window-size", "5"
    )
    np.save(tmp_path / "images.npy", (np.random.default_rng(0).random((3, 28, 28, 1)) > 0.8).astype(np.float32))
    assert "nll_bound" in environment.draw("score", "images.npy", "--server", served, "--model", "mnist")
    assert (tmp_path / "samples.png").stat().st_size > 100 and (tmp_path / "d.webp").stat().st_size > 100
    facts = environment.draw("doctor")
    assert re.search(r"extra server +lacks tensorflow, ", facts) and "cluttered_mnist" in facts
    assert "'draw-tfx[server]'" in environment.refused("serve", "mnist")
    assert "'draw-tfx[server]'" in environment.refused("sample", "--model", "mnist")
    assert "'draw-tfx[batch]'" in environment.refused(
        "score-batch", "--model", "mnist", "--input", "images.npy", "--output", "b"
    )
    assert "'draw-tfx[pipeline]'" in environment.refused("run")
    assert "'draw-tfx[kubeflow]'" in environment.refused("compile")


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_extra_server_serves_and_draws_without_a_server(
    tmp_path: Path, wheels: dict[str, Path], version: str
) -> None:
    environment = Environment(tmp_path, wheels, _found(version), "server")
    assert "2 images of 28 x 28" in environment.draw("sample", "--model", "mnist_no_attention", "-n", "2")
    with _server(environment) as address:
        assert "AVAILABLE" in environment.draw("status", "--server", address, "--model", "mnist")
    assert re.search(r"extra server +complete", environment.draw("doctor"))


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_extra_batch_scores(tmp_path: Path, wheels: dict[str, Path], version: str) -> None:
    environment = Environment(tmp_path, wheels, _found(version), "batch")
    np.savez(tmp_path / "images.npz", image=(np.random.default_rng(0).random((3, 28, 28, 1)) > 0.8).astype(np.uint8))
    environment.draw("score-batch", "--model", "mnist_no_attention", "--input", "images.npz", "--output", "scores")
    assert list(tmp_path.glob("scores*.parquet"))
    assert re.search(r"extra batch +complete", environment.draw("doctor"))


@pytest.mark.slow
def test_the_extra_pipeline_trains_and_the_extra_kubeflow_compiles(tmp_path: Path, wheels: dict[str, Path]) -> None:
    """On the line of the environment that runs the tests, for each line has its hosts."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("pipeline", "kubeflow"):
        (tmp_path / name).mkdir()
    environment = Environment(tmp_path / "pipeline", wheels, version, "pipeline")
    output = environment.draw("run", "--task", "digits", "--steps", "30", "--max-nll-bound", "1000")
    assert "passed: at most 1000 nats" in output
    facts = environment.draw("doctor")
    assert re.search(r"extra pipeline +complete", facts) and re.search(r"extra kubeflow +lacks kfp\n", facts)
    environment = Environment(tmp_path / "kubeflow", wheels, version, "kubeflow")
    (environment.folder / "cluster.yaml").write_text("image: registry.example/draw-tfx:0\n")
    environment.draw(
        "compile", "--cluster", "cluster.yaml", "--pipeline-root", "gs://bucket/draw", "--output", "draw.yaml"
    )
    assert (environment.folder / "draw.yaml").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize(
    "platform",
    [
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
        "aarch64-unknown-linux-gnu",
        "x86_64-unknown-linux-gnu",
    ],
)
def test_all_that_the_client_needs_has_wheels(platform: str, version: str) -> None:
    resolved = _uv(
        *("pip", "compile", "--quiet", "--no-annotate", "--no-header", "--only-binary", ":all:"),
        *("--python-platform", platform, "--python-version", version, "-"),
        given="\n".join(_declared()["install_requires"]),
    )
    assert {"click", "grpcio", "numpy", "pillow", "protobuf"} <= {
        line.partition("==")[0] for line in resolved.splitlines()
    }
