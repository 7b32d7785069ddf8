"""Builds a Dockerfile's stages without docker: runs its own steps, each a layer over the last, in a Debian 13 root.

A layer is kept under a name that says what it was made from, so that a step is run again only where it, what it copies,
or one before it has changed, as docker does it. What runs, runs in namespaces of its own (tests/debian_root.sh).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.image import context, dockerfile

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_ROOT = str(ROOT / "tests" / "debian_root.sh")
DEBIAN = "debian:trixie-slim"

_MOUNTED = """
mkdir -p "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
shift 2
exec "$@"
"""

# From the root of the first argument into the folder of the second.
_COPY = """
from=$1 to=$2
shift 2
mkdir -p "$to"
for source; do
    if [ -d "$from/$source" ]; then source=$source/.; fi
    cp -a --no-preserve=ownership "$from/$source" "$to"
done
"""

# docker looks up the home of a user who is a number, too.
_STARTED = """
export HOME="$(getent passwd "$(id -u)" | cut -d : -f 6)"
mkdir -p "$1"
cd "$1"
shift
exec "$@"
"""


@dataclasses.dataclass(frozen=True)
class Image:
    """A stage that was built: its layers, the lowest first, and what a container of it begins with."""

    layers: tuple[Path, ...]
    variables: Mapping[str, str]
    user: str = "0:0"
    folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def run(self, *arguments: str, scratch: Path) -> subprocess.Popen[str]:
        """Starts a container, as `docker run` does; what it writes comes to lie in `scratch`/upper."""
        return self.start([*self.entrypoint, *(arguments or self.command)], scratch)

    def start(
        self, command: list[str], scratch: Path, variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """As `run`, of a command that takes the place of the entry point, with more variables."""
        given = [f"{name}={value}" for name, value in {**self.variables, **(variables or {})}.items()]
        user, group = self.user.split(":")
        inside = ["env", "-i", *given, "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        inside += ["sh", "-euc", _STARTED, "sh", self.folder, *command]
        # Not everywhere: a file that is mounted cannot be replaced, as ca-certificates does at its installation.
        enter = "enter-with-pip" if "bin/pip " in command[-1] else "enter"
        return self.mounted([DEBIAN_ROOT, enter, f"{scratch}/root", *inside], scratch)

    def mounted(self, command: list[str], scratch: Path) -> subprocess.Popen[str]:
        """Starts a command of this host that finds the image's files in `scratch`/root; its group ends with it."""
        layers = ":".join(map(str, reversed(self.layers)))
        return subprocess.Popen(
            ["unshare", "--mount", "bash", "-euc", _MOUNTED, "bash", layers, str(scratch), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


class Builder:
    """Builds the stages of one Dockerfile from the files of this checkout, and keeps their layers in a folder."""

    def __init__(self, text: str, cache: Path) -> None:
        self._stages = dockerfile.parse(text)
        self._cache = cache
        self._built: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        """The image of the stage of that name."""
        if name not in self._built:
            self._built[name] = self._stage(self._stages[name]) if name in self._stages else self._debian(name)
        return self._built[name]

    def prune(self) -> None:
        """Removes the layers that nothing built so far is made of."""
        used = {layer.parent for image in self._built.values() for layer in image.layers}
        for folder in set((self._cache / "layers").iterdir()) - used:
            shutil.rmtree(folder)

    def _debian(self, name: str) -> Image:
        if name != DEBIAN:
            raise ValueError(f"FROM {name}: there is no stage of that name, and no image but {DEBIAN} can be had here")
        root = self._cache / "debian13-slim"
        subprocess.run([DEBIAN_ROOT, "make", str(root)], check=True)
        return Image((root,), {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})

    def _stage(self, stage: dockerfile.Stage) -> Image:
        image = self.build(stage.base)
        arguments: dict[str, str] = {}
        for keyword, text in map(dataclasses.astuple, stage.instructions):
            value = dockerfile.substitute(text, {**arguments, **image.variables})
            if keyword == "RUN":
                image = self._run(image, text, arguments)
            elif keyword == "COPY":
                image = self._copy(image, value)
            elif keyword == "ENV":
                given = dict(pair.split("=", 1) for pair in shlex.split(value))
                image = dataclasses.replace(image, variables={**image.variables, **given})
            elif keyword == "ARG":
                # From the environment of who builds, as `docker build --build-arg NAME` takes it.
                arguments |= {text: os.environ[text]} if text in os.environ else {}
            elif keyword in ("ENTRYPOINT", "CMD"):
                field = "entrypoint" if keyword == "ENTRYPOINT" else "command"
                image = dataclasses.replace(image, **{field: tuple(json.loads(text))})
            else:
                image = dataclasses.replace(image, **{"user" if keyword == "USER" else "folder": value})
        return image

    def _run(self, image: Image, text: str, arguments: Mapping[str, str]) -> Image:
        def make(layer: Path) -> None:
            finish(image.start(["/bin/sh", "-c", text], layer, arguments))

        return self._layer(image, f"RUN {text}", make, str(image))

    def _copy(self, image: Image, text: str) -> Image:
        *sources, to = text.split()
        to = os.path.join(image.folder, to)
        if sources[0].startswith("--from="):
            origin = self.build(sources.pop(0)[len("--from=") :])

            def make(layer: Path) -> None:
                other = layer / "origin"
                copy = ["sh", "-euc", _COPY, "sh", f"{other}/root", f"{layer}/upper{to}", *sources]
                finish(origin.mounted(copy, other))

            return self._layer(image, f"COPY {text}", make, str(origin.layers))

        chosen = sorted(path for path in context.files(ROOT) if any(map(path.is_relative_to, sources)))
        for source in sources:
            if not any(path.is_relative_to(source) for path in chosen):
                raise ValueError(f"COPY {text}: the context has no {source}")

        def make_from_context(layer: Path) -> None:
            for path in chosen:
                (layer / "context" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, layer / "context" / path)
            subprocess.run(["sh", "-euc", _COPY, "sh", layer / "context", f"{layer}/upper{to}", *sources], check=True)

        contents = [f"{path} {hashlib.sha256((ROOT / path).read_bytes()).hexdigest()}" for path in chosen]
        return self._layer(image, f"COPY {text}", make_from_context, *contents)

    def _layer(self, image: Image, step: str, make: Callable[[Path], None], *inputs: str) -> Image:
        """The image with one layer more; `make` is given a folder, in whose `upper` it makes that."""
        key = hashlib.sha256("\n".join([*map(str, image.layers), step, *inputs]).encode()).hexdigest()[:16]
        folder = self._cache / "layers" / key
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            (unfinished / "upper").mkdir(parents=True)
            make(unfinished)
            for other in set(unfinished.iterdir()) - {unfinished / "upper"}:
                shutil.rmtree(other)
            unfinished.rename(folder)
        return dataclasses.replace(image, layers=(*image.layers, folder / "upper"))


def finish(process: subprocess.Popen[str]) -> str:
    """What a process that was started here has said. Raises RuntimeError where it has failed."""
    try:
        output, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode:
        raise RuntimeError(f"it ended with {process.returncode}:\n" + "\n".join(output.splitlines()[-25:]))
    return output
