"""Every `draw` command's words and numbers: none is dropped, none is without a range, and no place is misread."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline import option_fields
from pipeline.cli.main import SUBCOMMANDS, main
from serving.cli.command_line import StrictCommand
from serving.cli.number_options import Real
from serving.cli.place_options import (
    LocalName,
    LocalPath,
    TaskImages,
    TensorFlowPattern,
    local,
    readable_by_beam,
    readable_by_tensorflow,
    scheme,
)

COMMANDS = {name: main.get_command(click.Context(main), name) for name in SUBCOMMANDS}


def _options(kind: type[click.Parameter] = click.Option) -> Iterator[tuple[str, click.Parameter]]:
    for name, command in COMMANDS.items():
        assert command is not None
        yield from ((name, option) for option in command.params if isinstance(option, kind))


def _draw(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_command_refuses_what_it_does_not_know(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, StrictCommand)
    needed = [
        word
        for option in command.params
        if option.required and isinstance(option, click.Option)
        for word in (option.opts[0], "x")
    ]
    status, shown = _draw(name, *needed, "--no-such-option=3")
    assert (status, "No such option '--no-such-option'" in shown) == (2, True), shown
    # More than an argument takes.
    words = ["/dev/null"] * sum(isinstance(option, click.Argument) for option in command.params)
    # Before the options, for one that takes several words would take these too.
    status, shown = _draw(name, *words, "stray", "words", *needed)
    assert status == 2
    assert "stray" in shown or "/dev/null" in shown


def test_a_stray_word_is_answered_with_the_nearest_option() -> None:
    assert (
        "There is no place for 'seeds', '3': expected an option here. Did you mean --seed?"
        in _draw("sample", "seeds", "3")[1]
    )
    assert "There is no place for 'a', 'b', 'c' and 2 more" in _draw("models", *"abcde")[1]
    assert "No such option '--sample'. Did you mean '--samples'?" in _draw("score-batch", "--sample", "100")[1]
    assert "There is no command 'smaple'. Did you mean sample?" in _draw("smaple")[1]


NUMBERS = [(name, option) for name, option in _options() if isinstance(option.type, (click.types.IntParamType, Real))]


@pytest.mark.parametrize(("name", "option"), NUMBERS, ids=[f"{name}{option.opts[0]}" for name, option in NUMBERS])
def test_every_number_is_refused_at_once_outside_of_its_range(name: str, option: click.Option) -> None:
    assert isinstance(option.type, (click.IntRange, Real))
    least, greatest = option.type.min, option.type.max
    assert least is not None and greatest is not None
    wrong = ["nan", "inf", "1e400", "" if math.isinf(greatest) else str(int(greatest) + 1), str(int(least) - 1)]
    for value in (*wrong, str(10**20), "-inf"):
        status, shown = _draw(name, f"{option.opts[0]}={value}")
        assert status == 2
        assert f"Invalid value for '{option.opts[0]}'" in shown
        assert "not in the range" in shown or "is not a valid integer" in shown


def test_no_number_is_of_a_type_without_a_range() -> None:
    assert len(NUMBERS) > 40
    bare = (click.types.IntParamType, click.types.FloatParamType)
    assert [
        (name, option.opts[0])
        for name, option in _options(click.Parameter)
        if isinstance(option.type, bare) and not isinstance(option.type, (click.IntRange, Real))
    ] == []


_NO_PLACES = {
    "--set", "--image", "--model_name", "--host", "--allowed_hosts", "--grpc_channel_arguments", "--server", "--label",
    "--header", "--model-name", "--background", "--split",
}  # fmt: skip
"""Texts that are neither files nor folders."""
_OWN_CHECKS = {
    **{("compile", name): "takes an address" for name in ("--pipeline-root", "--data-dir", "--serving-dir")},
    ("compile", "--checkpoint-root"): "takes an address",
    **{("score-batch", name): "takes an address" for name in ("--input", "--output")},
    ("score-batch", "--model"): "a server's too",
    **{(name, "--model"): "a name on a server too" for name in ("sample", "sequence", "score", "reconstruct")},
    **{(name, "--model"): "a name on a server too" for name in ("classify", "status", "check-server", "interpolate")},
    ("reference", "--input"): "takes an address",
}
"""Places that their command looks at, in the tests below or in its own."""


def test_every_text_is_a_place_with_a_check_or_no_place() -> None:
    checked = (LocalPath, LocalName, TaskImages, TensorFlowPattern, option_fields._AbsolutePath)
    texts = [
        (name, option.opts[0])
        for name, option in _options(click.Parameter)
        if not isinstance(option.type, (click.IntRange, Real, click.types.BoolParamType, click.Choice, *checked))
    ]
    assert len(texts) > 30
    assert [text for text in texts if text[1] not in _NO_PLACES and text not in _OWN_CHECKS] == []


PLACES = [
    (("run", "--task"), "s3://bucket/task.yaml"),
    (("tasks",), "s3://bucket/task.yaml"),
    (("compile", "--cluster"), "s3://bucket/cluster.yaml"),
    (("init", "--images=in"), "s3://bucket/mine"),
    (("init", "mine", "--images=in", "--data-dir"), "s3://bucket/tfds"),
    (("serve", "--model_root"), "s3://bucket/models"),
    (("figures", "--out=x", "--model"), "gs://bucket/model"),
    (("export", "-o", "x"), "s3://bucket/model"),
    (("reference", "--input", "x", "--split=y"), "s3://bucket/model"),
    (("score-batch", "--model=digits", "--input=x", "--output"), "s3:/bucket/model"),
    (("score-batch", "--model=digits", "--output=x", "--input"), "s3:/bucket/model"),
    (("train", "--examples=x", "--validation=x", "--checkpoints=x", "-o=x", "--init-from"), "s3://bucket/model"),
    (("run", "--pipeline-root"), "gs://bucket/draw"),
    (("run", "--data-dir"), "s3://bucket/data"),
    (("run", "--steps=0", "--init-from"), "s3://bucket/model"),
    (("report", "--pipeline-root"), "gs://bucket/draw"),
    (("serve",), "s3://bucket/model"),
    (("serve", "--model_base_path"), "gs://bucket/model"),
    (("serve", "--model_config_file"), "hdfs://host/models.config"),
    (("score",), "s3://bucket/x.npz"),
    (("sample", "-o"), "s3://bucket/x.png"),
    (("figures", "--out"), "s3://bucket/figures"),
    (("train", "--examples"), "s3://bucket/*"),
    (("train", "--checkpoints"), "gs://bucket/checkpoints"),
    (("train", "-o"), "gs://bucket/model"),
]


@pytest.mark.parametrize(("words", "place"), PLACES, ids=lambda value: "".join(value))
def test_an_address_is_refused_where_a_path_is_expected(
    words: tuple[str, ...], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown = _draw(*words, place)
    assert status in (1, 2)
    kind = place.partition(":")[0]
    assert f"{place} is an address at {kind}://, and a path on this machine was expected. Mount the bucket" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", dict.fromkeys(words for words, _ in PLACES), ids="".join)
def test_a_variable_that_is_not_set_does_not_become_the_current_folder(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown = _draw(*words, "")
    assert status in (1, 2) and "The name of a place is empty" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("score",), ("serve",)], ids=lambda words: words[0])
def test_the_url_of_a_server_is_told_what_names_one(words: tuple[str, ...]) -> None:
    status, shown = _draw(*words, "http://127.0.0.1:8501")
    assert status in (1, 2) and "HOST:PORT, by the port of its gRPC" in shown and "bucket" not in shown


def test_a_variable_for_kubeflow_does_not_become_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_ROOT", "gs://bucket/draw")
    for command in ("run", "report"):
        status, shown = _draw(command)
        assert (status, "gs://bucket/draw is an address" in shown) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_each_kind_of_place_takes_what_it_can_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [scheme(place) for place in ("S3://b", "gs:/b", "a/b", "C:b", "/x://y", "host:8500")] == [
        "s3", "gs", None, None, None, None,
    ]  # fmt: skip
    assert local("a:b") == "a:b"
    assert readable_by_tensorflow("gs://bucket/*") == "gs://bucket/*"
    with pytest.raises(ValueError, match=r"hdfs://h/x is an address at hdfs://"):
        readable_by_tensorflow("hdfs://h/x")
    assert readable_by_beam("in/") == f"{tmp_path}/in/"
    assert readable_by_beam("in/*.npz") == f"{tmp_path}/in/*.npz"
    with pytest.raises(ValueError, match=r"nothing that is installed opens nosuch://"):
        readable_by_beam("nosuch://bucket/x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"opens s3://; install it with `pip install 'draw-tfx\[aws\]'`"):
        readable_by_beam("s3://bucket/x")


@pytest.mark.parametrize(
    "words",
    [
        ("init", "mine", "--images", "nosuch://bucket/photos"),
        ("run", "--set", "data.images=nosuch://bucket/photos"),
        ("compile", "--set", "data.images=nosuch://bucket/photos"),
        ("score-batch", "--input=x", "--output=x", "--model", "nosuch://bucket/photos"),
        ("sample", "-o", "x.png", "--model", "nosuch://bucket/photos"),
    ],
    ids=lambda words: words[0],
)
def test_images_and_models_may_be_where_beam_can_open_them(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown = _draw(*words)
    assert status in (1, 2)
    assert "nosuch://bucket/photos: nothing that is installed opens nosuch://; give a path or a mount of it." in shown
    assert list(tmp_path.iterdir()) == []
