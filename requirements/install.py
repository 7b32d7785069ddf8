"""Makes .venv at the repository root: picks the TFX line that this host can run and installs its lock.

Needs nothing but the standard library of a python3 from 3.8 on. It may be interrupted and repeated at any time: the
stamp that declares the environment complete is written last, and an environment without a stamp is made anew.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Mapping, NamedTuple, NoReturn

import run_uv

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".installed"
START = time.monotonic()


class Line(NamedTuple):
    """A supported line: its lock, and what a host must have to run it."""

    name: str
    lock: Path
    glibc: tuple[int, int]
    pythons: tuple[str, ...]


class Python(NamedTuple):
    """An interpreter found on this host."""

    path: str
    version: str  # 3.10
    release: str  # 3.10.13
    lacks: list[str]


LINES = (
    Line("TFX 1.21", ROOT / "requirements/tfx1.21.txt", (2, 38), ("3.13", "3.12", "3.11")),
    Line("TFX 1.16", ROOT / "requirements/tfx1.16-py310.txt", (2, 28), ("3.10",)),
)

PROBE = """
import importlib.util, json, os, platform, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
lacks = []
if importlib.util.find_spec("ensurepip") is None:
    lacks.append("without ensurepip (package python%s-venv)" % version)
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    lacks.append("without Python.h (package python%s-dev)" % version)
print(json.dumps([sys.executable, version, platform.python_version(), lacks]))
"""


def main() -> None:
    """Makes the environment, or confirms that it is complete."""
    glibc = find_glibc()
    line, python, why = choose(glibc)
    interpreter = f"{line.name}\n{python.path} {python.release}\n"
    inputs = [line.lock, ROOT / "setup.py", Path(__file__), Path(run_uv.__file__)]
    stamp = interpreter + hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest() + "\n"
    installed = STAMP.read_text() if STAMP.exists() else ""
    if installed == stamp:
        STAMP.touch()
        return

    if not any(map(shutil.which, ("g++", "c++", "clang++"))):
        fail("A C++ compiler is needed: pyfarmhash, which TFX depends on, has no wheels. Install the package g++.")
    say(f"{line.name} on Python {python.release} ({python.path}): {why}")
    fresh = not installed.startswith(interpreter)
    if not fresh:
        STAMP.unlink()
    say(f"installing {line.lock.relative_to(ROOT)}, in seconds where uv has the packages in its cache")
    try:
        install_with_uv(python.path, line.lock, fresh)
    except CommandFailed as error:
        say(f"uv cannot do it, so pip does, in one to two minutes. {error}")
        try:
            install_with_pip(python.path, line.lock, fresh)
        except CommandFailed as error:
            fail(str(error))

    unfinished = STAMP.with_suffix(".unfinished")
    unfinished.write_text(stamp)
    unfinished.replace(STAMP)
    say(".venv is ready")


def install_with_uv(python: str, lock: Path, fresh: bool) -> None:
    """Makes .venv hold what `lock` lists, pip and draw-tfx. Raises CommandFailed."""
    try:
        uv = run_uv.find_uv(python)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommandFailed(f"It could not be installed: {getattr(error, 'stderr', error)}") from error
    environment = run_uv.uv_variables(run_uv.read_pip_options(python))
    if fresh:
        # With pip, by which TFX's command lists what is installed.
        run([uv, "venv", "--quiet", "--clear", "--seed", "--python", python, str(VENV)], environment)
    there = ["--python", str(VENV / "bin/python")]
    run([uv, "pip", "sync", *there, str(lock)], environment, show=("Resolved ", "Prepared ", "Installed "))
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run([uv, "pip", "install", "--quiet", *there, *editable], environment)


def install_with_pip(python: str, lock: Path, fresh: bool) -> None:
    """Does the same without uv, but leaves what `lock` no longer lists. Raises CommandFailed."""
    if fresh:
        run([python, "-m", "venv", "--clear", str(VENV)], os.environ)
    pip = [str(VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
    # Compiling every module takes as long as all the rest; Python compiles those that are used.
    run([*pip, "--no-compile", "--requirement", str(lock)], os.environ)
    run([*pip, "--no-build-isolation", "--editable", str(ROOT)], os.environ)


def find_glibc() -> tuple[int, int]:
    """Returns the version of the host's C library."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        fail(f"TFX has wheels for Linux on x86_64 only; this is {platform.system()} on {platform.machine()}.")
    try:
        major, minor = os.confstr("CS_GNU_LIBC_VERSION").split()[1].split(".")[:2]
    except (AttributeError, IndexError, OSError, ValueError):
        fail(f"TFX needs glibc {dotted(LINES[-1].glibc)} or later; the C library of this host is another one.")
    return int(major), int(minor)


def choose(glibc: tuple[int, int]) -> tuple[Line, Python, str]:
    """Returns the newest line that this host can run, the interpreter for it, and the reason in words."""
    forced = os.environ.get("PYTHON")
    pythons = probe([forced] if forced else candidates())
    reasons = [f"glibc is {dotted(glibc)}"]
    for line in LINES:
        if glibc < line.glibc:
            reasons.append(f"{line.name} needs glibc {dotted(line.glibc)}")
            continue
        for version in line.pythons:
            for python in pythons:
                if python.version == version and not python.lacks:
                    return line, python, "; ".join(reasons)
        reasons.append(f"{line.name} needs Python {' or '.join(line.pythons)}")

    found = [f"{each.path} ({', '.join([each.release, *each.lacks])})" for each in pythons]
    fitting = [line for line in LINES if glibc >= line.glibc]
    version = fitting[0].pythons[-1] if fitting else ""
    fail(
        f"This host runs no supported line of TFX: {'; '.join(reasons)}.",
        f"Python found{f' by PYTHON={forced}' if forced else ''}: {', '.join(found) or 'none'}.",
        f"Get one with `pyenv install {version}`, with `uv python install {version}`, or as the distribution's packages"
        f" python{version}, python{version}-venv and python{version}-dev; PYTHON=/path/to/python names one elsewhere."
        if fitting
        else f"Use a distribution with glibc {dotted(LINES[-1].glibc)} or later, or a container of one.",
    )


def candidates() -> Iterator[str]:
    """Yields the interpreters to consider: pyenv's, uv's, those on PATH, and the one that runs this."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in (version for line in LINES for version in line.pythons):
        releases = [path for path in pyenv.glob(f"versions/{version}.*") if path.name.replace(".", "").isdigit()]
        for path in sorted(releases, key=lambda path: (len(path.name), path.name), reverse=True):
            yield str(path / "bin/python")
        if shutil.which("uv"):
            uv = ["uv", "python", "find", "--system", "--no-python-downloads", version]
            yield subprocess.run(uv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
        yield f"python{version}"
    yield sys.executable


def probe(paths: Iterator[str] | list[str]) -> list[Python]:
    """Returns those of `paths` that run, once each, of the versions that some line supports."""
    found = {}
    for path in filter(shutil.which, paths):
        result = subprocess.run([path, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if result.returncode == 0:
            python = Python(*json.loads(result.stdout))
            found.setdefault(os.path.realpath(python.path), python)
    return list(found.values())


class CommandFailed(Exception):
    """The message holds the command and the last lines of its output."""


def run(command: list[str], environment: Mapping[str, str], show: tuple[str, ...] = ()) -> None:
    """Runs `command`, printing the lines of its output that begin with one of `show`. Raises CommandFailed."""
    tail: collections.deque[str] = collections.deque(maxlen=25)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env={**environment}, **output) as process:
        for line in process.stdout or ():
            tail.append(line.rstrip())
            if show and line.startswith(show):
                say(f"  {line.rstrip()}")
    if process.returncode:
        raise CommandFailed("\n".join([f"`{' '.join(command)}` failed. Its last lines:", *tail]))


def dotted(version: tuple[int, int]) -> str:
    """Returns `version` as it is written."""
    return ".".join(map(str, version))


def say(message: str) -> None:
    """Prints `message` with the time since the start."""
    print(f"[{time.monotonic() - START:4.0f} s] {message}", flush=True)


def fail(*lines: str) -> NoReturn:
    """Prints `lines` and ends the program with status 1."""
    sys.exit("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("Interrupted; run it again to complete the environment.")
