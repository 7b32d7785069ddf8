"""The baseline of a new model: the latest blessed model other than itself."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx.components.evaluator import constants
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.io import fileio
from tfx.types import Artifact


class LatestOtherBlessedModel(ResolverStrategy):
    """Resolves `model` to the latest blessed model that is not `candidate` and still exists, with its blessing.

    TFX's LatestBlessedModelStrategy does not know the candidate. On a second run, where the Trainer's model comes from
    the cache, it would return that very model. The evaluator's inputs would then have changed: it would run again,
    compare the model with itself, and have it pushed a second time.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """Picks from all models and blessings of the pipeline, given the run's `candidate`; there may be none."""
        candidates = {model.id for model in input_dict["candidate"]}
        blessings = {
            blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == constants.BLESSED_VALUE
        }
        resolved: dict[str, list[Artifact]] = {**input_dict, "model": [], "model_blessing": []}
        for model in sorted(input_dict["model"], key=lambda model: model.id, reverse=True):
            if model.id in blessings and model.id not in candidates and fileio.exists(model.uri):
                resolved["model"], resolved["model_blessing"] = [model], [blessings[model.id]]
                break
        return resolved
