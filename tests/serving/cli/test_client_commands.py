"""`draw sample` and its like, as a user types them, on a real model over a socket."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli.main import main
from serving.client import Client, seed_rows, wire
from serving.client.tensor_codec import to_tensor
from tests import tiny
from tests.serving.model_server import MODEL, VERSION
from tests.serving.scripted_server import Script, available, echo, image_of, metadata, serve


@pytest.fixture
def draw(tiny_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `draw` in an empty folder; returns its exit status and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRAW_SERVER", tiny_server)
    monkeypatch.setenv("DRAW_MODEL", MODEL)

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.output

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """An .npz of three images of 0 and 1."""
    path = tmp_path / "images.npz"
    np.savez(path, image=np.random.default_rng(4).integers(0, 2, (3, 7, 5), np.uint8))
    return path


def test_the_same_seed_gives_the_same_file(draw, tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        status, said = draw("sample", "-n", 6, "--seed", seed, "-o", f"{name}.png")
        assert (status, said) == (0, f"{name}.png  6 images of 7 x 5, seed {seed}\n")
        assert draw("sequence", "--seed", seed, "-o", f"{name}.gif", "--window-size", 8)[0] == 0
    for kind in ("png", "gif"):
        a, b, c = ((tmp_path / f"{name}.{kind}").read_bytes() for name in "abc")
        assert a == b != c


def test_a_film_needs_two_images(draw, images: Path, tmp_path: Path) -> None:
    """tests/pretrained looks at a film, for this model's drawings are all alike."""
    for name, image in zip("ab", np.load(images)["image"], strict=False):
        Image.fromarray(image * np.uint8(255)).save(tmp_path / f"{name}.png")
    status, said = draw("interpolate", "a.png", "b.png", "-o", "film.webp", "--frames", 4)
    assert (status, said) == (0, "film.webp  2 images, 4 frames from each to the next, and back\n")
    status, said = draw("interpolate", images, "-o", "film.gif", "--frames", 1)
    assert (status, said) == (0, "film.gif  3 images, 1 frames from each to the next, and back\n")
    for arguments, reason in (
        (("a.png",), "a.png is one image; give two or more"),
        (("a.png", "b.png", "-o", "film.png"), "neither .gif nor .webp"),
        (("a.png", "images.npz", "--frames", 0), "0 is not in the range"),
        ((*["images.npz"] * 4, "--frames", 1000), "are 11,001 drawings, and a film has 10,000 at most"),
        (("a.png", "c.png"), "'c.png' does not exist"),
        ((), "Missing argument"),
    ):
        status, said = draw("interpolate", *arguments)
        assert status and reason in said, said


def test_ink_on_a_transparent_ground_needs_a_background(draw, tmp_path: Path) -> None:
    ink = np.random.default_rng(5).integers(0, 2, (7, 5), np.uint8) * np.uint8(255)
    Image.fromarray(np.dstack([255 + 0 * ink, ink])).save(tmp_path / "ink.png")  # white, as opaque as there is ink
    np.save(tmp_path / "ink.npy", ink)
    status, said = draw("score", "ink.png")
    assert (status, "transparent pixels" in said, "--background" in said) == (1, True, True)
    expected = draw("score", "ink.npy", "--csv")[1]
    assert draw("score", "ink.png", "--csv", "--background", "black")[1] == expected
    assert draw("score", "ink.png", "--csv", "--background", "#000000")[1] == expected
    white = draw("score", "ink.png", "--csv", "--background", "white")[1]
    np.save(tmp_path / "white.npy", 0 * ink + 255)
    assert white == draw("score", "white.npy", "--csv")[1] != expected


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--threshold", "nan", "nan is not in the range"),
        ("--threshold", "1.5", "1.5 is not in the range"),
        ("--background", "clear", "'clear' is no colour; expected black, white, grey, or #rrggbb"),
        ("--background", "#12345", "'#12345' is no colour"),
    ],
)
@pytest.mark.parametrize("command", [("score",), ("score-batch", "--model", "m", "--output", "o", "--input")])
def test_an_option_of_the_pixels_is_checked(
    draw, images: Path, command: tuple[str, ...], option: str, value: str, message: str
) -> None:
    status, said = draw(*command, images, option, value)
    assert (status, message in said) == (2, True), said


def test_a_sheet_shows_the_images_in_rows(draw, tmp_path: Path, tiny_server: str) -> None:
    assert draw("sample", "-n", 5, "--seed", 3, "-o", "sheet.png", "--columns", 2)[0] == 0
    assert draw("sample", "-n", 5, "--seed", 3, "-o", "numbers.npy")[0] == 0
    numbers = np.load(tmp_path / "numbers.npy")
    with Client(tiny_server, model=MODEL) as client:
        np.testing.assert_array_equal(numbers, client.sample(5, seed=3))
    with Image.open(tmp_path / "sheet.png") as picture:
        sheet = np.asarray(picture)
    # 7 x 5 images at 12 times their size, three rows of two, gaps of 2.
    assert sheet.shape == (3 * 86 + 2, 2 * 62 + 2)
    for place, image in enumerate(numbers[..., 0]):
        row, column = divmod(place, 2)
        block = sheet[2 + 86 * row :, 2 + 62 * column :][:84:12, :60:12]
        np.testing.assert_array_equal(block, np.rint(255 * image))
    assert (sheet[-84:, -60:] == sheet[0, 0]).all()


def test_a_sequence_ends_with_the_image_of_the_same_seed(draw, tmp_path: Path) -> None:
    status, said = draw("sequence", "-n", 2, "--seed", 5, "-o", "drawing.gif", "--window-size", 8)
    assert (status, said) == (0, "drawing.gif  2 drawings of 6 steps, seed 5\n")
    draw("sample", "-n", 2, "--seed", 5, "-o", "numbers.npy")
    first = np.load(tmp_path / "numbers.npy")[0, ..., 0]
    with Image.open(tmp_path / "drawing.gif") as animation:
        animation.seek(animation.n_frames - 1)
        frame = np.asarray(animation.convert("RGB"))[:238:34, :170:34, 0]
    np.testing.assert_allclose(frame, 255 * first, atol=1)


def test_the_server_tells_the_size_of_the_window(draw, tmp_path: Path, tiny_server: str) -> None:
    attention = tiny.MODELS["attention"].attention
    with Client(tiny_server, model=MODEL) as client:
        assert client.window_size("write") == attention.write != attention.read == client.window_size("read")
    assert draw("sequence", "-o", "told.gif")[0] == 0
    assert draw("sequence", "-o", "given.gif", "--window-size", attention.write)[0] == 0
    assert (tmp_path / "told.gif").read_bytes() == (tmp_path / "given.gif").read_bytes()


@pytest.mark.parametrize("tells", ["nothing", "no such field"])
def test_the_window_of_a_model_of_no_task_has_to_be_given(draw, tells: str) -> None:
    def sequence(request: Any, context: grpc.ServicerContext) -> Any:
        answer = echo(request, context)
        answer.outputs["write_window"].CopyFrom(to_tensor(np.ones((1, 4, 5), np.float32)))
        return answer

    def signatures_only(request: Any, context: grpc.ServicerContext) -> Any:
        if "task" in request.metadata_field:
            if tells == "no such field":  # as TF Serving answers
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Metadata field task is not supported")
            return wire.GetModelMetadataResponse()
        return metadata(request, context)

    with serve(Script(sequence, metadata=signatures_only)) as server:
        status, said = draw("sequence", "--server", server, "--model", "other")
        assert status == 1
        assert said == (
            "Error: The write window's size N is not known, for the server does not tell it and no task is called "
            "'other': give it with --window-size.\n"
        )
        assert draw("sequence", "--server", server, "--model", "other", "--window-size", 2)[0] == 0
        assert draw("sequence", "--server", server, "--model", "mnist")[0] == 0  # the task of that name


def test_scores_are_those_of_the_client(draw, images: Path, tmp_path: Path, tiny_server: str) -> None:
    status, said = draw("score", images, "--seed", 9, "--csv", "-o", "scores.csv")
    assert status == 0
    assert (tmp_path / "scores.csv").read_text() == said
    with Client(tiny_server, model=MODEL) as client:
        scores = client.score(np.load(images)["image"][..., None].astype(np.float32), seed=9)
    bounds = [np.float32(line.split(",")[1]) for line in said.splitlines()[1:]]
    np.testing.assert_allclose(bounds, scores.nll_bound, rtol=1e-6)
    status, table = draw("score", images, "--seed", 9)
    assert status == 0
    assert f"{scores.nll_bound[2]:.2f}" in table.splitlines()[3]


def test_grey_pixels_are_refused_with_the_reason_unless_a_threshold_is_given(draw, tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.linspace(0, 1, 35).reshape(7, 5))
    status, said = draw("score", "grey.npy")
    assert status == 1
    assert "grey.npy: its pixels are not 0 or 1 alone" in said and "--threshold" in said
    np.save(tmp_path / "binary.npy", np.linspace(0, 1, 35).reshape(7, 5) > 0.25)
    assert draw("score", "grey.npy", "--threshold", 0.25, "--csv")[1] == draw("score", "binary.npy", "--csv")[1]


def test_reconstructions_stand_beside_their_images(draw, images: Path, tmp_path: Path, tiny_server: str) -> None:
    assert draw("reconstruct", images, "--seed", 2)[0] == 0
    originals = np.load(images)["image"]
    with Client(tiny_server, model=MODEL) as client:
        drawings = client.reconstruct(originals[..., None].astype(np.float32), seed=2).image
    with Image.open(tmp_path / "reconstructions.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (86 + 2, 6 * 62 + 2)
    for place in range(3):
        left = 2 + 2 * 62 * place
        np.testing.assert_array_equal(sheet[2:86:12, left : left + 60 : 12], 255 * originals[place])
        np.testing.assert_allclose(
            sheet[2:86:12, left + 62 : left + 122 : 12], 255 * drawings[place, ..., 0], atol=0.51
        )


def test_status_tells_versions_and_signatures(draw) -> None:
    status, said = draw("status")
    lines = said.splitlines()
    assert status == 0
    assert lines[0] == f"{MODEL}  version {VERSION}  AVAILABLE"
    assert "  sample: seed int64 [n, 2] -> image float32 [n, 7, 5, 1]" in lines
    assert any(line.startswith("  score_examples: examples bytes [n] -> ") for line in lines)


def test_check_server_says_what_it_checked(draw) -> None:
    status, said = draw("check-server")
    *findings, end = said.splitlines()
    assert "ok      a row does not depend on its batch" in findings
    failed = [line for line in findings if line.startswith("FAILED")]
    assert status == (3 if failed else 0)
    assert end.endswith(f"{len(failed)} checks failed." if failed else "all checks passed.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "--model", "other"), "does not serve model 'other'"),
        (("sample", "--model-version", 99), "does not serve model 'tiny' of version 99"),
        (("status", "--model", "other"), "does not serve model 'other'"),
        (("sample", "--server", "127.0.0.1:1", "--timeout", 0.2, "--wait", 0), "No answer from 127.0.0.1:1"),
        (("sample", "--server", "http://127.0.0.1:8501"), "is a URL, as REST has them; expected HOST:PORT"),
        (("sample", "--server", "localhost"), "has no port"),
        (("status", "--server", "::1"), "such as [::1]:8500"),
        (("sample", "-o", "samples.jpg"), "samples.jpg is neither .png nor .npy"),
        (("sequence", "-o", "drawing.mp4"), "drawing.mp4 is neither .gif nor .webp"),
        (("sample", "--header", "nothing"), "'nothing' is not NAME=VALUE"),
        (("classify", "image.npy"), "cannot do this with model 'tiny'"),
        (("score", "wide.npy"), "wide.npy: its array has the shape [5, 7]; expected [n, 7, 5, 1] or [n, 7, 5]"),
        (("sample", "--model-version", 3, "--label", "stable"), "give one of them"),
    ],
)
def test_a_mistake_is_one_message_and_status_1(
    draw, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    np.save(tmp_path / "image.npy", np.zeros((7, 5)))
    np.save(tmp_path / "wide.npy", np.zeros((5, 7)))
    status, said = draw(*arguments)
    assert status == 1
    assert said.startswith("Error: ") and message in said and len(said.splitlines()) == 1


def test_a_command_waits_for_a_server_that_starts_and_says_so(draw, tmp_path: Path) -> None:
    states = iter([20, 20])  # LOADING, and then AVAILABLE

    def status(request: Any, context: grpc.ServicerContext) -> Any:
        answer = available(request, context)
        answer.model_version_status[0].state = next(states, 30)
        return answer

    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    with contextlib.ExitStack() as stack:
        start = threading.Timer(4, lambda: stack.enter_context(serve(Script(status=status), port=port)))
        start.start()
        stack.callback(start.join)
        code, said = draw("sample", "-n", 3, "-o", "numbers.npy", "--server", f"127.0.0.1:{port}", "--timeout", 2)
    lines = said.splitlines()
    assert code == 0 and len(lines) == 2
    assert lines[0].startswith(f"Waiting up to 60 s for the server at 127.0.0.1:{port} (")
    assert "Connection refused" in lines[0]
    np.testing.assert_array_equal(np.load(tmp_path / "numbers.npy"), image_of(seed_rows(0, 3)))
    assert next(states, None) is None


def test_a_command_waits_no_longer_than_it_is_told_and_not_for_what_is_no_server_of_models(draw) -> None:
    began = time.monotonic()
    code, said = draw("status", "--server", "127.0.0.1:1", "--wait", 1)
    assert code == 1 and "No answer from 127.0.0.1:1" in said
    assert 0.7 < time.monotonic() - began < 20  # and not the 60 that it waits by default
    with socket.create_server(("127.0.0.1", 0)) as rest:
        threading.Thread(target=_answer_as_rest, args=(rest,), daemon=True).start()
        code, said = draw("status", "--server", f"127.0.0.1:{rest.getsockname()[1]}", "--timeout", 20)
        rest.shutdown(socket.SHUT_RDWR)
    assert code == 1 and "does not speak gRPC" in said and "Waiting" not in said
    assert time.monotonic() - began < 40


def _answer_as_rest(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(24)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")


@pytest.mark.slow
def test_the_two_lines_of_the_readme_work_pasted(tiny_folder: Path, tmp_path: Path) -> None:
    """`draw serve FOLDER &` and, at once, `draw sample`, in a shell of a company with a proxy."""
    draw = f"{shlex.quote(sys.executable)} -P" if sys.version_info >= (3, 11) else shlex.quote(sys.executable)
    draw += " -c 'from pipeline.cli.main import main; main()'"
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    script = f"""
        {draw} serve {tiny_folder} --model_name {MODEL} --enable_batching --port {port} --rest_api_port 0 2>log &
        {draw} sample --server 127.0.0.1:{port} --model {MODEL} -n 64 --seed 7 -o samples.png
        status=$?; kill $!; wait; exit $status
    """
    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            **dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://proxy.invalid:3128"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "samples.png  64 images of 7 x 5, seed 7\n"
    assert "Waiting up to 60 s for the server" in finished.stderr


def test_the_commands_start_without_tensorflow(tiny_server: str, tmp_path: Path) -> None:
    program = (
        "import sys; from click.testing import CliRunner; from pipeline.cli.main import main\n"
        f"server = ['--server', {tiny_server!r}, '--model', {MODEL!r}]\n"
        "for words in (['sample', '-n', '2'], ['sequence', '--window-size', '3'], ['status']):\n"
        "    result = CliRunner().invoke(main, [*words, *server])\n"
        "    assert result.exit_code == 0, result.output\n"
        "sys.exit(' '.join(sorted({'tensorflow', 'tfx', 'apache_beam'} & set(sys.modules))) or 0)"
    )
    root = Path(__file__).parents[3]
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
