"""What docker makes of a Dockerfile and of .dockerignore, and what ours are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.image import build, context, dockerfile

OURS = (build.ROOT / "requirements" / "image" / "Dockerfile").read_text(encoding="utf-8")


def test_lines_are_joined_comments_dropped_and_names_replaced() -> None:
    text = "ARG DEBIAN=a:1\n# word\nFROM ${DEBIAN} AS one\nRUN first \\\n    # why\n    && $second\n\nFROM one AS two\n"
    stages = dockerfile.parse(text, {"DEBIAN": "b:2"})
    run = dockerfile.Instruction("RUN", "first && $second")
    assert stages == {"one": dockerfile.Stage("one", "b:2", (run,)), "two": dockerfile.Stage("two", "one", ())}
    assert dockerfile.substitute("$a/${b}/$c", {"a": "1", "b": "2"}) == "1/2/"


@pytest.mark.parametrize("text", ["FROM a", "FROM a AS b\nADD c /", "FROM a AS b\nRUN <<E\nE"])
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.splitlines()[-1].split()[0] if "<<" not in text else "here-documents"):
        dockerfile.parse(text)


def test_the_last_rule_of_dockerignore_decides(tmp_path: Path) -> None:
    paths = ["a", "b/c", "b/d.txt", "b/e/f.txt", "g/__pycache__/h", "g/i/__pycache__/j", "g/i/k", "bb"]
    for path in map(tmp_path.joinpath, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / ".dockerignore").write_text("# all but\n*\n!a\n!b/*.txt\n!g\n**/__pycache__\n")
    assert set(map(str, context.files(tmp_path))) == {"a", "b/d.txt", "g/i/k"}
    (tmp_path / ".dockerignore").write_text("b/?\n")
    assert set(map(str, context.files(tmp_path))) == {*paths, ".dockerignore"} - {"b/c", "b/e/f.txt"}


def test_the_source_is_copied_last_and_root_runs_nothing() -> None:
    stages = dockerfile.parse(OURS)
    assert list(stages)[-1] == "cpu", "docker builds the last stage where none is named"
    for name in ("cpu", "gpu"):
        last = stages[name].instructions[-1]
        assert last == dockerfile.Instruction("COPY", "--from=draw /installed /")
        assert "USER" in {instruction.keyword for instruction in stages[stages[name].base].instructions}
    for name in set(stages) - {"draw"}:
        copied = [each.text for each in stages[name].instructions if each.keyword == "COPY"]
        assert all(text.startswith(("--from=", "requirements/image/")) for text in copied)


def test_the_locks_of_the_image_are_those_that_are_tested() -> None:
    def read(name: str) -> set[str]:
        lines = (build.ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
        return {line.partition(" ;")[0] for line in lines if not line.startswith("#")}

    tested, cpu, gpu = read("tfx1.21.txt"), read("image/cpu.txt"), read("image/gpu.txt")
    assert cpu < tested and cpu < gpu
    assert {line.partition("-")[0] for line in gpu - cpu} == {"nvidia"}
    assert not {"pytest", "mypy", "ruff", "playwright"} & {line.partition("==")[0] for line in cpu}
