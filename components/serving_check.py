"""ServingCheck: a model and examples in, an InfraBlessing out if a fresh process can serve the model."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import tempfile

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils, path_utils

from components.declared_component import Artifacts, DeclaredComponent, Properties
from components.model_artifact import SPLIT_KEY, model_and_split
from serving.child_process import child_environment, safe_command
from serving.examples import match_files, read_records

LOG_FILE = "check.log"

# As in tfx.components.infra_validator.executor, where these names are private.
_BLESSED_KEY = "blessed"
_BLESSED_FILE = "INFRA_BLESSED"
_NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"
_HAS_MODEL_KEY = "has_model"

_EXAMPLES = 5
"""Enough to tell rows apart; the check makes one more request for each."""

_LOG = logging.getLogger(__name__)


class Executor(BaseExecutor):
    """Runs `serving.model_check` as a child process and turns its result into a blessing.

    A model that cannot be served is a result, not an error: the execution succeeds without a blessing.
    """

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Checks the model.

        Args:
          input_dict: `model` and `examples`.
          output_dict: `blessing`, which holds a copy of a model that passed, with warm-up requests.
          exec_properties: `timeout_seconds`, and optionally `split`.

        Raises:
          ValueError: if the split is missing or empty, or the time is not positive.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model, model_dir, split = model_and_split(input_dict, exec_properties)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        timeout_seconds = int(exec_properties["timeout_seconds"])
        if timeout_seconds <= 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; expected at least 1.")
        examples = _first_examples(input_dict["examples"], split)

        with tempfile.TemporaryDirectory() as scratch:
            warmup_file = os.path.join(scratch, "warmup")
            result = _check(model_dir, examples, timeout_seconds, warmup_file)
            if result.passed:
                _keep_warm_model(blessing, model_dir, warmup_file)
        io_utils.write_string_file(os.path.join(blessing.uri, LOG_FILE), f"{result.log.rstrip()}\n{result.reason}\n")
        blessing.set_int_custom_property(_BLESSED_KEY, int(result.passed))
        io_utils.write_string_file(
            os.path.join(blessing.uri, _BLESSED_FILE if result.passed else _NOT_BLESSED_FILE),
            "" if result.passed else f"{result.reason}\n",
        )
        if not result.passed:
            _LOG.warning("The model %s cannot be served: %s", model.uri, result.reason)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Result:
    passed: bool
    reason: str
    """One line."""
    log: str


def _keep_warm_model(blessing: types.Artifact, model_dir: str, warmup_file: str) -> None:
    """Copies the model with its warm-up requests into the blessing, where Pusher finds it.

    As TFX's InfraValidator does with `make_warmup`, so that exactly the model that was checked is pushed.
    """
    warm_dir = path_utils.stamped_model_path(blessing.uri)
    io_utils.copy_dir(model_dir, warm_dir)
    io_utils.copy_file(warmup_file, path_utils.warmup_file_path(warm_dir))
    blessing.set_int_custom_property(_HAS_MODEL_KEY, 1)


def _check(model_dir: str, examples: list[bytes], timeout_seconds: int, warmup_file: str) -> _Result:
    """Checks the model in a process that has TensorFlow alone, as a server has, and that may crash."""
    # The stages of a local run share one process, so after the Trainer an accelerator's memory is not free.
    environment = child_environment({"CUDA_VISIBLE_DEVICES": "-1"})
    with tempfile.TemporaryDirectory() as scratch:
        examples_file = os.path.join(scratch, "examples.tfrecord")
        with tf.io.TFRecordWriter(examples_file) as writer:
            for example in examples:
                writer.write(example)
        try:
            # On a timeout, as on any exception here, `run` kills this child and waits for it.
            child = subprocess.run(
                safe_command("serving.model_check", model_dir, examples_file, "--warmup", warmup_file),
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired as timeout:
            # Bytes in spite of text=True: https://github.com/python/cpython/issues/87597
            log = (timeout.stderr or b"").decode(errors="replace")
            reason = f"There was no result within {timeout_seconds} s; the process was killed."
            return _Result(passed=False, reason=reason, log=log)
    lines = child.stdout.strip().splitlines()
    # A process that a signal ended, as after a crash in C++, has printed no result.
    reason = lines[-1] if lines else f"The process ended with status {child.returncode} and no result; see {LOG_FILE}."
    return _Result(passed=child.returncode == 0 and bool(lines), reason=reason, log=child.stderr)


def refusal(blessing: types.Artifact) -> str | None:
    """Reads the reason for a refusal from an InfraBlessing; None if it blesses the model."""
    if blessing.get_int_custom_property(_BLESSED_KEY):
        return None
    with fileio.open(os.path.join(blessing.uri, _NOT_BLESSED_FILE)) as file:
        return str(file.read()).strip()


def _first_examples(examples: list[types.Artifact], split: str) -> list[bytes]:
    """Reads the first serialised tf.Examples of a split; raises ValueError if it is empty."""
    uris = artifact_utils.get_split_uris(examples, split)
    files = [name for uri in uris for name in match_files(io_utils.all_files_pattern(uri))]
    records = list(read_records(files, rows=_EXAMPLES))
    if not records:
        raise ValueError(f"The split {split!r} is empty: {uris}. There is nothing to ask the model.")
    return records


class ServingCheck(
    DeclaredComponent,
    executor=Executor,
    inputs={"model": standard_artifacts.Model, "examples": standard_artifacts.Examples},
    properties={SPLIT_KEY: str, "timeout_seconds": int},
    outputs={"blessing": standard_artifacts.InfraBlessing},
    defaults={SPLIT_KEY: None, "timeout_seconds": 600},
):
    """Blesses a model that a fresh process with TensorFlow alone can load, and that answers real requests.

    A model that fails is not blessed, so Pusher leaves it; the execution itself succeeds. TFX's InfraValidator starts
    its server in docker or Kubernetes only, and KubeflowV2DagRunner refuses it together with any subclass.

    Args:
      model: a SavedModel with the signatures of its kind.
      examples: tf.Examples of our contract; a few of them are the requests.
      split: the split to take them from; None for the one that the model's task names.
      timeout_seconds: limit for loading the model and all of its answers.

    Outputs:
      blessing: `standard_artifacts.InfraBlessing` as Pusher reads it, with check.log and, if the model passed, a copy
        of it with warm-up requests. A Pusher without a `model` pushes that copy.
    """
