"""Executor of SplitScorer: runs the batch job, which is `serving.batch`, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from components import exported_task
from components.serving_module import environment

SPLIT_KEY = "split"
SAMPLES_KEY = "samples"
SCORES_KEY = "scores"

_MODULE = "serving.batch"


class Executor(BaseBeamExecutor):
    """On the runner that the pipeline's Beam arguments name."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Scores the split.

        Args:
          input_dict: `model` and `examples`.
          output_dict: `scores`.
          exec_properties: `samples`, and maybe `split`.

        Raises:
          RuntimeError: where the job failed, or an example could not be scored; it says what the job said.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        scores = artifact_utils.get_single_instance(output_dict[SCORES_KEY])
        model_dir = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        split = exec_properties.get(SPLIT_KEY) or exported_task.judging_split(model_dir)
        (split_uri,) = artifact_utils.get_split_uris(input_dict[standard_component_specs.EXAMPLES_KEY], split)
        options = {
            "--model": model_dir,
            "--input": os.path.join(split_uri, "*"),
            "--output": os.path.join(scores.uri, "split"),
            "--samples": str(exec_properties[SAMPLES_KEY]),
        }
        words = [word for option in options.items() for word in option]
        job = subprocess.run(
            [sys.executable, "-m", _MODULE, *words, *(self._beam_pipeline_args or ())],
            env=environment(_MODULE),
            capture_output=True,
            text=True,
            errors="replace",
        )
        if job.returncode:
            said = (job.stderr.strip() or job.stdout.strip() or "nothing").splitlines()[-1]
            raise RuntimeError(f"Scoring the split {split!r} failed with {job.returncode}: {said}")
