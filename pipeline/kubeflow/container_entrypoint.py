"""Entry point of every task's container on Kubeflow Pipelines 2.x: TFX's own, adapted to KFP's launcher.

The exit status is 0 if the stage succeeded and 1 if it failed; the launcher knows no others, and retries follow from
it. A model that a gate refuses is a result: the stage and the run succeed, as TFX's users expect, nothing is pushed,
and log and metadata (`blessed`, `pushed`) say so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.run_parameters import RUN_ID_VARIABLE
from pipeline.kubeflow import folder_markers
from pipeline.kubeflow.executor_input import NO_MIRROR, Mirror, addresses, for_launcher, for_tfx, run_id
from pipeline.local.failure import is_user_error, reason
from serving import beam_options
from serving.cores import cores
from serving.native_output import quiet_native_code

MIRROR_ROOT_VARIABLE = "KFP_MIRROR_ROOT"
"""Variable with the folder of the launcher's mirrors, for tests; in a pod it is `/`."""

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")

_LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
"""A user who sets it wants to read all that TFX, Beam and TensorFlow log."""

_VERDICTS = ("blessed", "pushed")
"""Properties of TFX's artifacts that hold the answer of a gate or of the pusher."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one stage. Its output file, where the launcher looks for it, is complete or missing."""
    options, beam_arguments = _parser().parse_known_args(arguments)
    # Read when TensorFlow starts, here and in children; it would count the cores of the node itself.
    for variable in _THREADS:
        os.environ.setdefault(variable, str(cores()))
    is_quiet = _LEVEL_VARIABLE not in os.environ
    try:
        executor_input = _json(options.json_serialized_invocation_args)
        inputs_spec = _json(options.json_serialized_inputs_spec_args)
        mirror = _mirror(executor_input, beam_arguments)
        if run := run_id(executor_input):
            os.environ[RUN_ID_VARIABLE] = run
        adapted = for_tfx(executor_input, inputs_spec, mirror)
        with _without_information() if is_quiet else contextlib.nullcontext():
            output = for_launcher(_run(options.executor_class_path, adapted, inputs_spec, beam_arguments), mirror)
        if mirror is NO_MIRROR:
            folder_markers.remove(addresses({"outputs": executor_input["outputs"]}))
        _write(output, Path(executor_input["outputs"]["outputFile"]))
    except Exception as error:
        if not is_user_error(error):
            traceback.print_exc()
        print(f"Error: {reason(error)}", file=sys.stderr)
        return 1
    for verdict in _verdicts(output):
        print(verdict)
    return 0


def _parser() -> argparse.ArgumentParser:
    # TFX compiles these names into a task; the rest of the command line is for Beam.
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.container_entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True, help="where to import the stage's executor from")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="the launcher's ExecutorInput")
    parser.add_argument("--json_serialized_inputs_spec_args", required=True, help="the component's inputs")
    return parser


def _json(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise ValueError(
            f"An argument is no JSON: {text[:80]!r}. TFX's compiler writes one, and KFP's launcher the other, in place "
            "of {{$}}: run the task in a pipeline."
        ) from error


def _mirror(executor_input: Mapping[str, Any], beam_arguments: Sequence[str]) -> Mirror:
    """Chooses the mirror. Raises ValueError where Beam's workers run elsewhere and cannot open the artifacts."""
    runner = beam_options.remote_runner(beam_arguments)
    if runner is None:
        return Mirror(os.environ.get(MIRROR_ROOT_VARIABLE, "/"))
    unreadable = [address for address in addresses(executor_input) if not address.startswith("gs://")]
    if unreadable:
        raise ValueError(
            f"{runner}'s workers see neither this pod's files nor {unreadable[0]}. Take a pipeline root at gs://, or "
            "--runner=DirectRunner."
        )
    return NO_MIRROR


def _run(
    executor: str, executor_input: Mapping[str, Any], inputs_spec: Mapping[str, Any], beam_arguments: list[str]
) -> dict[str, Any]:
    """Runs the executor and returns TFX's ExecutorOutput."""
    # Imported here: it takes 20 s, and a wrong argument should be told at once.
    with quiet_native_code():
        from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    with tempfile.TemporaryDirectory() as scratch:
        # TFX takes an existing file for the output of a driver, of which KFP has none.
        output_file = Path(scratch) / "output_metadata.json"
        outputs = {**executor_input["outputs"], "outputFile": str(output_file)}
        arguments = argparse.Namespace(
            executor_class_path=executor,
            json_serialized_invocation_args=json.dumps({**executor_input, "outputs": outputs}),
            json_serialized_inputs_spec_args=json.dumps(inputs_spec),
        )
        kubeflow_v2_run_executor.main((arguments, beam_options.with_local_runner(beam_arguments)))
        return dict(json.loads(output_file.read_text(encoding="utf-8")))


@contextlib.contextmanager
def _without_information() -> Iterator[None]:
    """Keeps what is no warning out of the log, and warnings of TFX, which would print 150 lines around ours."""
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    # TFX, by absl, warns of each output that it lacks Vertex AI's name of it; TensorFlow of what TFDS should not call.
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    for logger in loggers:
        logger.addFilter(_is_error)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_error)
        logging.disable(level)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _write(output: Mapping[str, Any], output_file: Path) -> None:
    """Writes the file whole or not at all: the launcher may look for it at any time."""
    output_file.parent.mkdir(parents=True, exist_ok=True)
    partial = output_file.with_name(f"{output_file.name}.partial")
    partial.write_text(json.dumps(output), encoding="utf-8")
    partial.replace(output_file)


def _verdicts(output: Mapping[str, Any]) -> Iterator[str]:
    """Yields lines such as `blessing: not blessed`."""
    for key, several in output.get("artifacts", {}).items():
        for artifact in several["artifacts"]:
            metadata = artifact.get("metadata", {})
            yield from (f"{key}: {'' if metadata[name] else 'not '}{name}" for name in _VERDICTS if name in metadata)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    # absl and Beam, in TFX's executors, would take our arguments for theirs.
    del sys.argv[1:]
    sys.exit(main(arguments))
