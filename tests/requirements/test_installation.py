"""Which line of TFX a host gets, and that uv installs from where the host's pip does."""

from __future__ import annotations

import functools
import http.server
import importlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Takes away what pip and uv are configured with on this host."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.syspath_prepend(REQUIREMENTS)


@pytest.fixture
def install(_no_configuration: None) -> ModuleType:
    return importlib.import_module("install")


@pytest.fixture
def run_uv(_no_configuration: None) -> ModuleType:
    return importlib.import_module("run_uv")


@pytest.mark.parametrize(
    ("glibc", "versions", "name", "version"),
    [
        ((2, 38), ["3.10", "3.12", "3.13"], "TFX 1.21", "3.13"),
        ((2, 38), ["3.10"], "TFX 1.16", "3.10"),
        ((2, 36), ["3.13", "3.10"], "TFX 1.16", "3.10"),
    ],
)
def test_the_newest_line_that_the_host_can_run_is_chosen(
    install: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    glibc: tuple[int, int],
    versions: list[str],
    name: str,
    version: str,
) -> None:
    pythons = [install.Python(f"/bin/python{each}", each, f"{each}.1", []) for each in versions]
    monkeypatch.setattr(install, "probe", lambda paths: pythons)
    line, python, reason = install.choose(glibc)
    assert (line.name, python.version) == (name, version)
    assert reason.startswith(f"glibc is 2.{glibc[1]}")
    assert "TFX 1.21 needs" in reason if name == "TFX 1.16" else "needs" not in reason


def test_a_host_without_headers_is_told_the_package(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = install.Python("/bin/python3.10", "3.10", "3.10.1", ["without Python.h (package python3.10-dev)"])
    monkeypatch.setattr(install, "probe", lambda paths: [lacking])
    with pytest.raises(SystemExit, match=r"TFX 1\.16 needs Python 3\.10") as caught:
        install.choose((2, 36))
    assert "without Python.h (package python3.10-dev)" in str(caught.value)
    with pytest.raises(SystemExit, match=r"a distribution with glibc 2\.28 or later"):
        install.choose((2, 17))


def test_uv_is_given_the_options_of_pip(run_uv: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://first.test/simple\ncert = /global.pem\ntimeout = 7\n"
        f"find-links =\n    {tmp_path}\n    {tmp_path}/absent\n    http://links.test\n"
        "[install]\ncert = /install.pem\nextra-index-url = http://a.test http://b.test\n[list]\ntimeout = 9\n"
    )
    monkeypatch.setenv("PIP_TRUSTED_HOST", "first.test")
    monkeypatch.setenv("PIP_TIMEOUT", "8")
    variables = run_uv.uv_variables(run_uv.read_pip_options(sys.executable))
    assert variables["UV_DEFAULT_INDEX"] == "http://first.test/simple"
    assert variables["UV_INDEX"] == "http://a.test http://b.test"
    assert variables["UV_FIND_LINKS"] == f"{tmp_path},http://links.test", "uv fails on a folder that is not there"
    assert variables["SSL_CERT_FILE"] == "/install.pem", "a command's section stands over the global one"
    assert variables["UV_HTTP_TIMEOUT"] == "8", "the environment stands over the file"
    assert variables["UV_INSECURE_HOST"] == "first.test"
    assert "UV_OFFLINE" not in variables
    assert variables["PATH"] == os.environ["PATH"]


def test_what_uv_is_configured_with_stands_over_pip(run_uv: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://mine.test")
    assert run_uv.uv_variables({"index-url": "http://theirs.test"})["UV_DEFAULT_INDEX"] == "http://mine.test"
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    monkeypatch.setenv("UV_INDEX_URL", "http://mine.test")
    assert "UV_DEFAULT_INDEX" not in run_uv.uv_variables({"index-url": "http://theirs.test"})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of a package index that has version 1.0 of `draw-trial`."""
    folder = tmp_path / "index" / "draw-trial"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "draw_trial-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("draw_trial.py", "")
        wheel.writestr("draw_trial-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: draw-trial\nVersion: 1.0\n")
        wheel.writestr(
            "draw_trial-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("draw_trial-1.0.dist-info/RECORD", "")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_uv_installs_from_the_index_of_pip(run_uv: ModuleType, tmp_path: Path, index: str) -> None:
    if not (shutil.which("uv") or (run_uv.PRIVATE / "bin/uv").exists()):
        pytest.skip("uv is neither on PATH nor in build/uv")
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index}\n")
    command = [sys.executable, str(REQUIREMENTS / "run_uv.py"), "pip", "install", "--target", str(tmp_path / "target")]
    result = subprocess.run([*command, "draw-trial==1.0"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "target" / "draw_trial.py").exists()
