"""Every command that a document shows is run as a reader pastes it, or says why it is not."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.cli.main import SUBCOMMANDS, main
from tests.documents import code_blocks
from tests.documents.code_blocks import DOCUMENTS, ROOT, Call

BIN = Path(sys.executable).parent
LANGUAGES = {"console", "python", "text", "yaml", "json", "bibtex"}


def _options(command: click.Command) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}


def _given(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}


def _fault(call: Call) -> str | None:
    """Returns what is wrong with a call; None for one that could be run."""
    if not call.words:
        return None
    name, *words = call.words
    if call.program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return None if name in targets or "=" in name or name.startswith(".venv") else f"make has no target {name}"
    if call.program == "python -m":
        if name.partition(".")[0] not in ("benchmarks", "serving", "pipeline", "trainer", "components", "tests"):
            return None
        path = ROOT / name.replace(".", "/")
        source = next((each for each in (path.with_suffix(".py"), path / "__main__.py") if each.is_file()), None)
        if source is None:
            return f"there is no module {name}"
        unknown = _given(words) - set(re.findall(r'"(--?[a-z][\w-]*)"', source.read_text(encoding="utf-8")))
        return f"{name} has no option {', '.join(sorted(unknown))}" if unknown else None
    if name.startswith("-"):
        return None if name in ("--help", "--version") else f"draw has no option {name}"
    command = main.get_command(click.Context(main), name)
    if command is None:
        return f"draw has no command {name}"
    unknown = _given(words) - _options(command)
    return f"draw {name} has no option {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_have_the_options_that_a_document_shows(document: str) -> None:
    """Of blocks that are not run too."""
    faults = [
        f"line {block.line}: {fault}"
        for block in code_blocks.blocks(document)
        if block.language == "console"
        for command in block.commands()
        for call in code_blocks.calls(command)
        if (fault := _fault(call))
    ]
    assert faults == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_block_says_what_it_is_and_a_reason_is_one(document: str) -> None:
    for block in code_blocks.blocks(document):
        assert block.language in LANGUAGES, f"line {block.line}"
        assert block.reason is None or len(block.reason.split()) >= 3, f"line {block.line}"
        assert block.language != "console" or block.commands(), f"line {block.line}: no line begins with `$ `"


def test_options_that_are_not_there_are_seen() -> None:
    faults = {
        "draw sample --modle mnist": "draw sample has no option --modle",
        ".venv/bin/draw smaple": "draw has no command smaple",
        "X=1 make runn": "make has no target runn",
        "draw serve mnist & draw status --srever a": "draw status has no option --srever",
        "python -m benchmarks.no_such": "there is no module benchmarks.no_such",
        "python -m benchmarks.soak --secnods 9": "benchmarks.soak has no option --secnods",
        "python -m benchmarks.recipes r.json --task mnist -o recipes": None,
        "draw serve mnist --enable_batching --nolive_page  # --in-a-comment": None,
    }
    for command, fault in faults.items():
        assert next(filter(None, map(_fault, code_blocks.calls(command))), None) == fault


def test_subcommands_are_all_in_the_documents() -> None:
    shown = {
        call.words[0]
        for document in DOCUMENTS
        for block in code_blocks.blocks(document)
        for command in block.commands()
        for call in code_blocks.calls(command)
        if call.program == "draw" and call.words
    }
    text = "\n".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [name for name in SUBCOMMANDS if name not in shown and f"`draw {name}" not in text] == []


# Slow: the sessions themselves.


def _home(folder: Path) -> Path:
    """A reader's home, with photographs, and digits of 0 and 1 in an array."""
    generator = np.random.default_rng(0)
    for name, count in (("parts", 300), ("new", 12)):
        pictures = folder / "photos" / name
        pictures.mkdir(parents=True)
        for number in range(count):
            picture = Image.new("L", (32, 32))
            x, y, size = generator.integers(4, 16, 3)
            draw = ImageDraw.Draw(picture)
            (draw.ellipse if number % 2 else draw.rectangle)((x, y, x + size, y + size), outline=255, width=2)
            picture.save(pictures / f"{number:03}.png")
    digits = np.kron(generator.random((5, 14, 14)) > 0.8, np.ones((2, 2))).astype(np.uint8)
    np.savez(folder / "digits.npz", image=digits)
    return folder


def _checkout(folder: Path) -> Path:
    """A copy of what git has, with this environment as its .venv."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    return folder


def _isolated(script: list[str]) -> list[str]:
    """Gives a command a network of its own, with nothing but loopback, where the host allows that."""
    own = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    is_possible = shutil.which("unshare") and subprocess.run([*own, "true"], capture_output=True).returncode == 0
    return [*own, *script] if is_possible else script


# The environment is there. A run that says nothing of its steps is short, and then passes any gate.
_PRELUDE = """
set -euo pipefail
trap 'echo "== the session ends with $?"' EXIT
curl() { command curl --fail "$@"; }
short="STEPS=30 MAX_NLL_BOUND=1000000"
make() { env $short make --old-file=.venv/.installed "$@"; }
tfx() { env $short tfx "$@"; }
draw() {
    if [[ $1 == run && "$*" != *steps* ]]; then env $short draw "$@"; else command draw "$@"; fi
}
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("document", [each for each in DOCUMENTS if code_blocks.session(each).strip()])
def test_a_document_is_a_session_that_works(document: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "checkout").mkdir()
    home, checkout = _home(tmp_path / "home"), _checkout(tmp_path / "checkout")
    kept = ("LANG", "TMPDIR", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "DRAW": str(checkout),
    }
    # The environment's editable install may be of another checkout.
    environment["PYTHONPATH"] = str(checkout)
    script = _PRELUDE + code_blocks.session(document)
    with subprocess.Popen(
        _isolated(["bash", "-c", script]),
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        output = []
        try:
            for line in shell.stdout or ():
                output.append(line)
                if line.startswith("== the session ends"):
                    break  # a server in its background may still hold the pipe
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    print("".join(output)[-6000:])
    assert output[-1] == "== the session ends with 0\n"
