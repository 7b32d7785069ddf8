"""YAML of a user's: plain data come out; everything else is a short line that names the file and the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import strict_yaml


def _read(tmp_path: Path, text: str | bytes) -> object:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return strict_yaml.read(path, "the test's file")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("a: 1\nb: [x, 2.5, true, null]\n", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("a: &x {k: 1}\nb: *x\n", {"a": {"k": 1}, "b": {"k": 1}}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n", {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}),
        ("\ufeffa: ö\n", {"a": "ö"}),
        ("a: ö\n".encode("utf-16"), {"a": "ö"}),
        ("---\na: 1\n...\n", {"a": 1}),
    ],
)
def test_plain_data_come_out(tmp_path: Path, text: str | bytes, expected: object) -> None:
    assert _read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is there twice, first in line 1"),
        ("{1: a, 0x1: b}", "the key 1 is there twice"),
        ("a: [{b: 1, b: 1}]", "the key 'b' is there twice"),
        ("? {a: 1}\n: b\n", "unhashable key"),
        (40 * "[" + 40 * "]", "nested more than 32 deep"),
        (3000 * "[", "nested more than 32 deep"),
        (3000 * "{a: ", "nested more than 32 deep"),
        (3000 * "- ", "nested more than 32 deep"),
        ("&a [*a]", r"line 1, column 5: the alias \*a stands for a value that holds it"),
        ("a: *b", "undefined alias"),
        (f"[{20_000 * 'x, '}]", "more than 10,000 values"),
        ("a: 2001-99-99", "'2001-99-99' is no timestamp"),
        ("a: !!bool x", "'x' is no bool"),
        ("a: !!timestamp x", "'x' is no timestamp"),
        ("a: !!int []", "expected a scalar node"),
        (f"a: {5000 * '9'}", "is no int"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: [", "line 1, column 5"),
        ("a: b\n\t- c", "line 2, column 1: .*cannot start any token"),
        ("a: '\x07'", "is no YAML: .*special characters are not allowed"),
        (b"a: \xff", "is no YAML"),
        (b"\xff\xfea", "is no YAML"),
        (strict_yaml.MAX_BYTES * "a" + "a", "longer than 1,000,000 bytes, so it is not the test's file"),
    ],
)
def test_everything_else_is_a_short_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        _read(tmp_path, text)
    assert str(tmp_path / "file.yaml") in str(error.value)
    assert len(str(error.value)) < len(str(tmp_path)) + 300 and "\n" not in str(error.value)


def test_many_aliases_of_aliases_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join(9 * [f'*a{n}'])}]" for n in range(9)]
    with pytest.raises(ValueError, match="more than 10,000 values"):
        _read(tmp_path, "\n".join(lines))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Cannot read the test's file .*: No such file"):
        strict_yaml.read(tmp_path / "none.yaml", "the test's file")
    with pytest.raises(ValueError, match="Is a directory"):
        strict_yaml.read(tmp_path, "the test's file")


def test_a_value_in_a_message_is_short() -> None:
    for value in (10**5, "x" * 10**6, list(range(10**6)), dict.fromkeys(range(10**4), "y" * 1000), 10**4000):
        assert len(strict_yaml.shown(value)) <= 100
    assert strict_yaml.shown(["image"]) == "['image']"
