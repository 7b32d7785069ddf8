"""How a generative model is scored: its `score_examples`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.evaluation.scoring import Score, Scores, Scoring
from components.evaluation.signature import ExampleSignature

SIGNATURE = "score_examples"
METRICS = ("nll_bound", "reconstruction", "kl")
"""Outputs of the signature with one number an example, in nats."""
KL_PER_STEP = "kl_per_step"
LOG_WEIGHT = "log_weight"


def load(model_dir: str) -> Score:
    """Scores in nats: [n], and [n, T] for `kl_per_step`."""
    outputs = {**dict.fromkeys((*METRICS, LOG_WEIGHT), "[n]"), KL_PER_STEP: "[n, T]"}
    signature = ExampleSignature(model_dir, SIGNATURE, outputs)

    def score(examples: Sequence[bytes]) -> Scores:
        return {name: values.astype(np.float64) for name, values in signature(examples).items()}

    return score


SCORING = Scoring(load=load, compared="nll_bound")
