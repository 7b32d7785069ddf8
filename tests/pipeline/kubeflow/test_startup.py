"""An installed package makes TFX's own, untouched executable work on Kubeflow, and leaves nothing behind.

In an environment of its own, for an install changes what all processes of an environment do: its packages are links to
those of the environment that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import pipeline
from tests.pipeline.kubeflow.fake_api import FakeApi, serving

ROOT = Path(pipeline.__file__).parents[1]
PLAIN = Path(__file__).with_name("plain_pipeline.py")
# The new environment has its own pip, and gets our package by an install.
NOT_LINKED = ("pip", "draw_tfx", "__editable__")

pytestmark = pytest.mark.slow


class Environment:
    """A virtual environment in `folder`."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        self.bin = folder / "bin"
        self.packages = next((folder / "lib").glob("python3.*")) / "site-packages"
        self.run("pip", "uninstall", "--yes", "--quiet", "setuptools", folder=folder)  # Python 3.10 brings an old one.
        for package in Path(sysconfig.get_path("purelib")).iterdir():
            if not package.name.startswith(NOT_LINKED) and package.name != "__pycache__":
                (self.packages / package.name).symlink_to(package)
        script = Path(sys.executable).with_name("tfx").read_text(encoding="utf-8").partition("\n")[2]
        (self.bin / "tfx").write_text(f"#!{self.bin / 'python'}\n{script}", encoding="utf-8")
        (self.bin / "tfx").chmod(0o755)

    def run(self, program: str, *arguments: str, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"PATH": f"{self.bin}{os.pathsep}{environment['PATH']}", "HOME": str(folder)}
        # The user's own packages come before all that is installed.
        environment["PYTHONPATH"] = str(folder)
        result = subprocess.run(
            [str(self.bin / program), *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
        print(result.stdout, result.stderr)
        assert result.returncode == 0 or not check
        return result

    def installed(self) -> set[str]:
        return {path.name for path in self.packages.iterdir() if path.name != "__pycache__"}


def checkout(folder: Path) -> Path:
    """A copy of the sources, for a build leaves things in its folder."""
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.egg-info", "__pycache__", "tests", "benchmarks")
    shutil.copytree(ROOT, folder, ignore=unwanted)
    return folder


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_tfx_works_on_kubeflow_from_install_to_uninstall(tmp_path: Path, editable: bool) -> None:
    environment = Environment(tmp_path / "environment")
    before = environment.installed()
    folder = tmp_path / "home"
    (folder / "pipeline").mkdir(parents=True)
    (folder / "pipeline" / "__init__.py").write_text('"""The user\'s own."""\n')
    source = str(checkout(tmp_path / "checkout"))
    install = ["install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    environment.run("pip", *install, *(["--editable", source] if editable else [source]), folder=folder)
    assert "draw_tfx_startup.pth" in environment.installed()

    with serving(FakeApi()) as api:
        where = ("--engine=kubeflow", f"--endpoint={api.url}")
        created = environment.run("tfx", "pipeline", "create", f"--pipeline_path={PLAIN}", *where, folder=folder)
        assert 'Pipeline "plain" created successfully.' in created.stdout
        assert "Traceback" not in created.stderr
        ran = environment.run(
            "tfx", "run", "create", "--pipeline_name=plain", "--runtime_parameter=name=a", *where, folder=folder
        )
        assert api.rows("runs")[0]["run_id"] in ran.stdout
        unknown = environment.run("tfx", "run", "delete", "--run_id=17", *where, folder=folder, check=False)
        assert unknown.returncode == 1 and "has no such thing" in unknown.stderr.splitlines()[-1]

    if editable:
        shutil.rmtree(source)
        assert environment.run("python", "-c", "", folder=folder).stderr == "", "a checkout that is gone is not told"
    environment.run("pip", "uninstall", "--yes", "--quiet", "draw-tfx", folder=folder)
    assert environment.installed() == before
    assert environment.run("python", "-c", "", folder=folder).stderr == ""
