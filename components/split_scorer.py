"""SplitScorer, an optional stage: a model and examples in, the score of every image of a split out."""

from __future__ import annotations

import logging
import os

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components.declared_component import Artifacts, DeclaredBeamComponent, Properties
from components.model_artifact import SPLIT_KEY, model_and_split
from serving.beam_options import LOCAL_BEAM_ARGUMENTS

_LOG = logging.getLogger(__name__)


class Executor(BaseBeamExecutor):
    """Runs the batch job of `draw score-batch` on the runner that the pipeline's Beam arguments name."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Scores the split.

        Args:
          input_dict: `model` and `examples`.
          output_dict: `scores`.
          exec_properties: `samples`, and optionally `split`.

        Raises:
          ValueError: if the model cannot score.
          RuntimeError: if an image could not be scored; says why not.
        """
        # Beam's RunInference and pyarrow, which only this optional stage needs.
        from serving.batch.job import Job, score_batch
        from serving.batch.model_source import SavedModelSource

        self._log_startup(input_dict, output_dict, exec_properties)
        _, model_dir, split = model_and_split(input_dict, exec_properties)
        scores = artifact_utils.get_single_instance(output_dict["scores"])
        (split_uri,) = artifact_utils.get_split_uris(input_dict["examples"], split)
        job = Job(
            model=SavedModelSource.from_directory(model_dir),
            input=os.path.join(split_uri, "*"),
            output=os.path.join(scores.uri, "split"),
            samples=int(exec_properties["samples"]),
        )
        # Of a flag that stands twice Beam takes the last.
        beam_arguments = (*LOCAL_BEAM_ARGUMENTS, *(self._beam_pipeline_args or ()))
        summary = score_batch(job, beam_arguments, report=_LOG.info)
        if not summary["images"] and not summary["rejected"]:
            raise RuntimeError(f"The split {split!r} has no examples that can be scored.")
        if summary["rejected"] or summary["losses_of_unknown_size"]:
            raise RuntimeError(
                f"{summary['rejected'] or 'Some'} of the examples in split {split!r} could not be scored; the first of "
                f"them: {_first_rejected(job.output)}"
            )


def _first_rejected(output: str) -> str:
    """Reads the first line of a job's rejected rows, which TFX deletes with the outputs of a failed execution."""
    with fileio.open(min(fileio.glob(f"{output}-rejected-*"))) as file:
        return file.readline().strip()


class SplitScorer(
    DeclaredBeamComponent,
    executor=Executor,
    inputs={"examples": standard_artifacts.Examples, "model": standard_artifacts.Model},
    properties={SPLIT_KEY: str, "samples": int},
    outputs={"scores": standard_artifacts.InferenceResult},
    defaults={SPLIT_KEY: None},
):
    """Scores every image of a split with several samples of the noise.

    TFX's BulkInferrer calls a signature once an example: an importance-weighted bound takes many calls with a seed
    each, which together give one row of numbers.

    Args:
      examples: tf.Examples of our contract.
      model: a SavedModel with the signature `score`.
      samples: samples of the noise for each image.
      split: the split to score; None for the one that the model's task names.

    Outputs:
      scores: `standard_artifacts.InferenceResult` with split-scores-*.parquet and split-summary.json, as
        `draw score-batch` writes them.
    """
