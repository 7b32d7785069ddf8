"""`draw serve` as a user starts and stops it."""

from __future__ import annotations

import gc
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.server import server_process
from tests.pipeline import draw_command
from tests.serving import tiny_servable


def test_it_serves_until_a_signal_and_answers_what_is_under_way(tmp_path: Path) -> None:
    tiny_servable.save(tmp_path / "tiny", 4, offset=0.5)
    parameters = tmp_path / "batching"
    parameters.write_text("max_batch_size { value: 16 } num_batch_threads { value: 2 }")
    arguments = ["serve", "tiny", "--port=0", "--rest_api_port=0", "--enable_batching=true"]
    with draw_command.start("draw", *arguments, f"--batching_parameters_file={parameters}", folder=tmp_path) as process:
        try:
            lines: list[str] = []
            with tiny_servable.client(_port(process, lines)) as client:
                response = client.prediction.Predict(tiny_servable.request(tiny_servable.rows(1)), timeout=20)
                assert response.model_spec.version.value == 4
                np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), [[2.5, 4.5, 6.5]])

                # That it has arrived is known when one that was sent after it is answered, and it is not.
                turns = 100_000
                while True:
                    long = {"turns": np.array([turns]), "number": np.array([7])}
                    under_way = client.prediction.Predict.future(
                        tiny_servable.request(long, signature="spin"), timeout=60
                    )
                    client.predict(tiny_servable.request(tiny_servable.rows(1)))
                    if not under_way.done():
                        break
                    turns *= 2
                process.send_signal(signal.SIGTERM)
                assert tf.make_ndarray(under_way.result().outputs["number"]).tolist() == [7]
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, told
    lines += told.splitlines()
    assert len(lines) == 6 and lines[-1].endswith("Stopped"), lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There is no model to serve"),
        (["tiny", "--model_base_path=tiny"], "Name one of"),
        (["tiny", "--batching_parameters_file=wrong"], "needs --enable_batching"),
        (["--model_config_file=wrong"], "(?s)wrong is no ModelServerConfig.*1:1 "),
        (["tiny", "--enable_batching", "--batching_parameters_file=wrong"], "wrong is no BatchingParameters"),
        (["tiny", "--port=8600", "--rest_api_port=8600"], "must differ"),
        (["tiny", "--grpc_channel_arguments=x"], "grpc_channel_arguments has 'x'"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    from click.testing import CliRunner

    from pipeline.cli.main import main

    (tmp_path / "tiny").mkdir()
    (tmp_path / "wrong").write_text("colour: 5")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        # Another test may have started TensorFlow in this process.
        patch.setattr(server_process, "configure_threads", lambda *_: None)
        patch.setattr(server_process, "freeze_imports", lambda: None)
        # The log of this process is the other tests'.
        patch.setattr(server_process, "_log_to_stderr", lambda: None)
        result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit), result.exception
    assert re.search(message, result.output), result.output


def test_a_full_garbage_collection_does_not_stop_the_server() -> None:
    try:
        server_process.freeze_imports()
        waits = []
        for _ in range(5):
            began = time.perf_counter()
            gc.collect()
            waits.append(time.perf_counter() - began)
        # The others were somebody else's doing.
        assert min(waits) < 0.1
    finally:
        gc.unfreeze()


def _port(process: subprocess.Popen[str], lines: list[str]) -> int:
    """Reads until the server says where it is."""
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"Serving gRPC at 127\.0\.0\.1:(\d+)$", line):
            return int(found[1])
    raise AssertionError("".join(lines))
