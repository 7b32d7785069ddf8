"""Beam's options as a user gives them, and the runner on this machine."""

from __future__ import annotations

import socket
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from serving import beam_options
from serving.beam_options import LOCAL_BEAM_ARGUMENTS, LOCAL_RUNNER


@pytest.mark.parametrize(
    "arguments",
    [
        LOCAL_BEAM_ARGUMENTS,
        ("--runner=flink", "--flink_master=h:1", "--environment_type=EXTERNAL", "--environment_config=localhost:50000"),
        ("--runner=FlinkRunner", "--flink_master=host:8081", "--parallelism=2", "--environment_type=LOOPBACK"),
        ("--runner", "SparkRunner", "--spark_version", "3"),
        ("--runner=SparkRunner", "--spark_master_url=spark://h:7077", "--environment_type=LOOPBACK"),
        ("--runner=FlinkRunner", "--flink_job_server_jar=x.jar"),
        ("--runner=FlinkRunner", "--flink_master=h:1", "--environment_option=docker_container_image=draw-tfx:1"),
        ("--runner=DataflowRunner", "--sdk_container_image=gcr.io/x/draw-tfx:1"),
        ("--experiments=a", "--experiments=b", "--no_use_public_ips"),
    ],
)
def test_beams_own_options_pass(arguments: tuple[str, ...]) -> None:
    beam_options.check(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runer=FlinkRunner",), r"no option '--runer'. Did you mean --runner\?"),
        (("--direct_num_worker", "2"), r"Did you mean --direct_num_workers\?"),
        (("stray",), "Beam has no option 'stray'"),
        (("--runner=FlinkRunner", "in/b.npz"), "Beam has no option 'in/b.npz'"),
        (("--direct_num_workers=many",), "Beam's options are wrong: argument --direct_num_workers: invalid int"),
        (("--direct_running_mode=fast",), "invalid choice: 'fast'"),
        (("--runner=FlinkRunner", "--flink_master=h:8081"), "FlinkRunner would start Beam's own container"),
        (("--runner=SparkRunner", "--spark_master_url=spark://h:1"), "SparkRunner would start Beam's own container"),
        (("--runner=PortableRunner", "--job_endpoint=h:8099"), "PortableRunner would start Beam's own container"),
        (("--runner=DataflowRunner",), "image with --sdk_container_image"),
        (("--runner=flink", "--flink_master=h:1"), "flink would start Beam's own container"),
        (("--runner=DATAFLOW",), "image with --sdk_container_image"),
        (("--runner=FlinkRunner", "--environment_type=DOCKER"), "FlinkRunner would start Beam's own container"),
        (("--runner=spark", "--environment_type=EXTERNAL"), "add --environment_option=external_service_address="),
        (("--runner=FlinkRunner", "--environment_type=PROCESS"), "add --environment_option=process_command="),
        (
            ("--runner=FlinkRunner", "--flink_master=h:1", "--environment_option=process_command=boot"),
            "FlinkRunner would start Beam's own container",
        ),
    ],
)
def test_anything_else_is_an_error_with_the_nearest_name(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        beam_options.check(arguments)


@pytest.mark.parametrize(
    "runner",
    [
        *("DirectRunner", "direct", "Direct", "directrunner", "SwitchingDirectRunner", "FnApiRunner", LOCAL_RUNNER),
        "apache_beam.runners.direct.direct_runner.DirectRunner",
    ],
)
def test_the_local_runner_is_named_whatever_the_user_calls_it(runner: str) -> None:
    """DirectRunner of newer Beam would download Prism."""
    for arguments in ([f"--runner={runner}"], ["--runner", runner]):
        options = PipelineOptions(beam_options.with_local_runner(arguments))
        assert options.view_as(StandardOptions).runner == LOCAL_RUNNER
        assert isinstance(beam_options.make_runner(PipelineOptions(arguments)), FnApiRunner)
    assert beam_options.with_local_runner(["--runner=FlinkRunner"]) == ["--runner=FlinkRunner"]
    unnamed = PipelineOptions(beam_options.with_local_runner(["--direct_num_workers=2"]))
    assert unnamed.view_as(StandardOptions).runner == LOCAL_RUNNER
    assert beam_options.make_runner(PipelineOptions(["--runner=FlinkRunner"])) is None


@pytest.mark.parametrize(
    ("arguments", "runner"),
    [
        ((), None),
        (("--runner", "direct"), None),
        (("--runner=directrunner",), None),
        (("--runner=flink", "--flink_job_server_jar=x.jar"), None),
        (("--runner=FlinkRunner", "--flink_job_server_jar=x.jar"), None),
        (("--runner=FlinkRunner", "--flink_master=h:1", "--environment_type=LOOPBACK"), None),
        (("--runner=FlinkRunner", "--flink_master=h:1", "--environment_type=EXTERNAL"), "FlinkRunner"),
        (("--runner=FlinkRunner", "--environment_type=PROCESS"), "FlinkRunner"),
        (("--runner=DataflowRunner",), "DataflowRunner"),
    ],
)
def test_a_runner_is_elsewhere_where_its_workers_are(arguments: tuple[str, ...], runner: str | None) -> None:
    assert beam_options.remote_runner(arguments) == runner


def test_a_local_pipeline_asks_nothing_outside_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for options in (PipelineOptions(list(LOCAL_BEAM_ARGUMENTS)), PipelineOptions(["--runner=DirectRunner"])):
        with beam.Pipeline(runner=beam_options.make_runner(options), options=options) as pipeline:
            _ = pipeline | beam.Create([1, 2]) | beam.Reshuffle() | beam.Map(lambda number: 1 / number)
    assert asked == []
