"""Starts Beam's Python worker where an engine asks for one: the boot program of Beam's container contract.

The engine calls it with a worker's id and the address of its provision service, in a container of our image (as
/opt/apache/beam/boot), beside a worker pool, or by --environment_type=PROCESS. The job's own packages are not fetched:
this package, which is here already, is all that its workers import.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from google.protobuf import json_format, text_format

from serving.child_process import child_environment, safe_command

_WAIT_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the workers until one of them ends; returns its exit status."""
    options, _ = _parser().parse_known_args(arguments)
    info = _provision_info(options.provision_endpoint, options.id)
    variables = {
        "PIPELINE_OPTIONS": json.dumps(json_format.MessageToDict(info.pipeline_options)),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(info.control_endpoint, options.control_endpoint),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(info.logging_endpoint, options.logging_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "SEMI_PERSISTENT_DIRECTORY": options.semi_persist_dir,
    }
    if info.HasField("status_endpoint"):
        variables["STATUS_API_SERVICE_DESCRIPTOR"] = _descriptor(info.status_endpoint)
    workers: list[subprocess.Popen[bytes]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        for worker in workers:
            worker.terminate()

    signal.signal(signal.SIGTERM, stop)
    for worker in (options.id, *info.sibling_worker_ids):
        command = safe_command("apache_beam.runners.worker.sdk_worker_main")
        workers.append(subprocess.Popen(command, env=child_environment({**variables, "WORKER_ID": worker})))
    while True:
        # As a container's first process this one is the parent of what workers leave behind too.
        ended, status = os.wait()
        if ended in {worker.pid for worker in workers}:
            stop(0, None)
            return os.waitstatus_to_exitcode(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.beam_worker", allow_abbrev=False)
    parser.add_argument("--id", required=True, help="the worker's id")
    parser.add_argument("--provision_endpoint", required=True, help="HOST:PORT of the engine's provision service")
    parser.add_argument("--control_endpoint", default="", help="HOST:PORT, where the provision service has none")
    parser.add_argument("--logging_endpoint", default="", help="the same")
    parser.add_argument("--semi_persist_dir", default="/tmp", help="a folder that outlives the worker")
    return parser


def _provision_info(endpoint: str, worker: str) -> beam_provision_api_pb2.ProvisionInfo:
    with grpc.insecure_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        return service.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            timeout=_WAIT_SECONDS,
            wait_for_ready=True,
            metadata=[("worker_id", worker)],
        ).info


def _descriptor(endpoint: endpoints_pb2.ApiServiceDescriptor, otherwise: str = "") -> str:
    return str(
        text_format.MessageToString(endpoint if endpoint.url else endpoints_pb2.ApiServiceDescriptor(url=otherwise))
    )


if __name__ == "__main__":
    sys.exit(main())
