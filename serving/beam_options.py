"""The runner of Beam jobs on this machine, and Beam's options as a user gives them. Imports Beam when it is needed."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.child_process import safe_command

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.runner import PipelineRunner

LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""Beam's runner in this process. DirectRunner is another name of it, and in newer Beam of Prism, a download."""
LOCAL_BEAM_ARGUMENTS = (f"--runner={LOCAL_RUNNER}", "--direct_running_mode=in_memory", "--direct_num_workers=1")
"""In one process: starting workers takes longer than scoring or ingesting thousands of images."""

_LOCAL_ENGINES = ("direct", "switchingdirect", "fnapi")
_WORKERS = {
    "DOCKER": "docker_container_image", "EXTERNAL": "external_service_address", "PROCESS": "process_command",
}  # fmt: skip
"""What says where the workers of a kind are, in --environment_option; --environment_config says it too."""

_JOB_SERVER_OPTIONS = (
    "checkpointing_interval", "execution_mode_for_batch", "execution_retry_delay", "files_to_stage", "max_bundle_size",
    "max_bundle_time_mills", "max_parallelism", "number_of_execution_retries", "object_reuse", "parallelism",
    "savepoint_path", "spark_master", "state_backend", "state_backend_storage_path",
)  # fmt: skip
"""Options that only the job servers of Flink and Spark know."""


def with_local_runner(arguments: Sequence[str]) -> list[str]:
    """Names the local runner where the arguments name DirectRunner, which could download Prism, or no runner."""
    named = []
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option, _, runner = argument.partition("=") if before != "--runner" else ("", "", argument)
        if option in ("", "--runner") and runner and is_local(runner):
            argument = argument.removesuffix(runner) + LOCAL_RUNNER
        named.append(argument)
    is_named = any(argument.partition("=")[0] == "--runner" for argument in named)
    return named if is_named else [f"--runner={LOCAL_RUNNER}", *named]


def is_local(runner: str | None) -> bool:
    """Whether the runner of this name works in this process and its children."""
    return not runner or _engine(runner) in _LOCAL_ENGINES


def _engine(runner: str) -> str:
    """Returns a runner's name as Beam compares it: in any case, and with `Runner` at its end or without."""
    return runner.rpartition(".")[2].lower().removesuffix("runner")


def remote_runner(arguments: Sequence[str]) -> str | None:
    """Returns the name of the runner if its workers are not in this process, its children or this pod."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner", default=None)
    parser.add_argument("--environment_type")
    options, _ = parser.parse_known_args(list(arguments))
    if is_local(options.runner) or options.environment_type == "LOOPBACK":
        return None
    from apache_beam.options.pipeline_options import PipelineOptions

    return None if _is_in_one_process(PipelineOptions(list(arguments))) else str(options.runner)


def _is_in_one_process(options: PipelineOptions) -> bool:
    """Whether an engine runs beside this process, and its workers in it, as Beam has it where nothing is said."""
    from apache_beam.options.pipeline_options import (
        FlinkRunnerOptions,
        PortableOptions,
        SparkRunnerOptions,
        StandardOptions,
    )

    is_alone = {
        "flink": options.view_as(FlinkRunnerOptions).flink_master.startswith("["),
        "spark": options.view_as(SparkRunnerOptions).spark_master_url.startswith("local"),
        "portable": options.view_as(PortableOptions).job_endpoint == "embed",
    }
    engine = _engine(str(options.view_as(StandardOptions).runner))
    return is_alone.get(engine, False) and not options.view_as(PortableOptions).environment_type


def check(arguments: Sequence[str]) -> None:
    """Raises ValueError for an argument that is none of Beam's options, with the nearest name, or a wrong value of one.

    Beam itself drops what it does not know. Raises ValueError too for an engine whose workers would be Beam's own
    container, which has not this package.
    """
    from apache_beam.options import pipeline_options

    class Parser(pipeline_options._BeamArgumentParser):  # argparse's, which `_add_argparse_args` needs
        def error(self, message: str) -> None:
            raise ValueError(f"Beam's options are wrong: {message}.")

    parser = Parser(add_help=False, allow_abbrev=False)
    for options in dict.fromkeys(pipeline_options.PipelineOptions.__subclasses__()):
        if options.__module__ == pipeline_options.__name__:
            options._add_argparse_args(parser)
    for name in _JOB_SERVER_OPTIONS:
        if f"--{name}" not in parser._option_string_actions:
            parser.add_argument(f"--{name}")
    _, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        name = unknown[0].partition("=")[0]
        near = difflib.get_close_matches(name, parser._option_string_actions, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"Beam has no option {name!r}.{hint} What comes after -- is Beam's.")
    _check_workers(pipeline_options.PipelineOptions(list(arguments)))


def _check_workers(options: PipelineOptions) -> None:
    from apache_beam.options.pipeline_options import PortableOptions, StandardOptions, WorkerOptions

    runner = str(options.view_as(StandardOptions).runner)
    engine, portable = _engine(runner), options.view_as(PortableOptions)
    if engine == "dataflow" and not options.view_as(WorkerOptions).sdk_container_image:
        raise ValueError(
            "DataflowRunner would start Beam's own container, which has not this package: name this package's image "
            "with --sdk_container_image, see docs/engines.md."
        )
    if engine not in ("flink", "spark", "portable") or _is_in_one_process(options):
        return
    kind = portable.environment_type or "DOCKER"
    option = _WORKERS.get(kind)
    if option is None or portable.environment_config or portable.lookup_environment_option(option):
        return
    if kind != "DOCKER":
        raise ValueError(
            f"--environment_type={kind} does not say where the workers are: add --environment_option={option}=..., see "
            "docs/engines.md."
        )
    raise ValueError(
        f"{runner} would start Beam's own container, which has not this package. Say where its workers are: "
        "--environment_type=EXTERNAL --environment_config=localhost:50000 for a worker pool beside each of them, "
        "or LOOPBACK for this process; see docs/engines.md."
    )


def make_runner(options: PipelineOptions) -> PipelineRunner | None:
    """Makes the local runner for these options; None where they name another, which Beam makes itself."""
    from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

    if not is_local(options.view_as(StandardOptions).runner):
        return None
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    environment = None
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing":
        # Beam's own command would take modules from the current folder first.
        command = safe_command("apache_beam.runners.worker.sdk_worker_main")
        environment = SubprocessSDKEnvironment.from_command_string(shlex.join(command))
        direct.direct_running_mode = "in_memory"  # the mode that leaves the environment as it is
    # As DirectRunner does it: a worker in a process of its own reads the options there.
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = fn_runner.ExtendedProvisionInfo(beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded))
    return fn_runner.FnApiRunner(default_environment=environment, provision_info=provision)
