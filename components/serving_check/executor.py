"""Executor of ServingCheck: runs `serving.model_check` as a child process and turns its exit into a blessing."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import tempfile
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils

from components import exported_task
from components.serving_module import environment

SPLIT_KEY = "split"
TIMEOUT_SECONDS_KEY = "timeout_seconds"

LOG_FILE = "check.log"

# As in tfx.components.infra_validator.executor, where these names are private.
_BLESSED_KEY = "blessed"
_BLESSED_FILE = "INFRA_BLESSED"
_NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"
_HAS_MODEL_KEY = "has_model"

_CHECK_MODULE = "serving.model_check"
_EXAMPLES = 5
"""Requests enough to see rows apart; the check takes one more request for each."""

_LOG = logging.getLogger(__name__)


class Executor(BaseExecutor):
    """A model that cannot be served is a finding, not an accident: the execution succeeds without a blessing."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the model.

        Args:
          input_dict: `model` and `examples`.
          output_dict: `blessing`, which of a model that passed holds a copy with requests to warm it up.
          exec_properties: `timeout_seconds`, and maybe `split`.

        Raises:
          ValueError: where the split is missing or empty, or the time is not positive.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        timeout_seconds = int(exec_properties[TIMEOUT_SECONDS_KEY])
        if timeout_seconds <= 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; expected at least 1.")
        model_dir = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        split = exec_properties.get(SPLIT_KEY) or exported_task.judging_split(model_dir)
        requests = _first_examples(input_dict[standard_component_specs.EXAMPLES_KEY], split)

        with tempfile.TemporaryDirectory() as scratch:
            warmup_file = os.path.join(scratch, "warmup")
            result = _check(model_dir, requests, timeout_seconds, warmup_file)
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
    """Copies the model into the blessing with the requests that warm it up, where Pusher finds it.

    As TFX's InfraValidator does with `make_warmup`, so that what is pushed is what was asked.
    """
    warm_dir = path_utils.stamped_model_path(blessing.uri)
    io_utils.copy_dir(model_dir, warm_dir)
    io_utils.copy_file(warmup_file, path_utils.warmup_file_path(warm_dir))
    blessing.set_int_custom_property(_HAS_MODEL_KEY, 1)


def _check(model_dir: str, examples: list[bytes], timeout_seconds: int, warmup_file: str) -> _Result:
    with tempfile.TemporaryDirectory() as scratch:
        examples_file = os.path.join(scratch, "examples.tfrecord")
        with tf.io.TFRecordWriter(examples_file) as writer:
            for example in examples:
                writer.write(example)
        try:
            # On a timeout, as on any exception here, `run` kills this child and waits for it.
            child = subprocess.run(
                [sys.executable, "-m", _CHECK_MODULE, model_dir, examples_file, "--warmup", warmup_file],
                env=environment(_CHECK_MODULE),
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
    # A process that a signal ended, as by a crash in C++, has said nothing.
    reason = lines[-1] if lines else f"The process ended with status {child.returncode} and no result; see {LOG_FILE}."
    return _Result(passed=child.returncode == 0 and bool(lines), reason=reason, log=child.stderr)


def _first_examples(examples: list[types.Artifact], split: str) -> list[bytes]:
    patterns = [io_utils.all_files_pattern(uri) for uri in artifact_utils.get_split_uris(examples, split)]
    files = [name for pattern in patterns for name in sorted(tf.io.gfile.glob(pattern))]
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(_EXAMPLES)
    found = [record.numpy() for record in records]
    if not found:
        raise ValueError(f"The split {split!r} is empty: {patterns}. There is nothing to ask the model.")
    return found
