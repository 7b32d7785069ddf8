"""How a classifier is scored: its `classify_examples` against the label of each example."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.evaluation.scoring import Score, Scores, Scoring, label_of
from components.evaluation.signature import ExampleSignature

SIGNATURE = "classify_examples"
ERROR = "error"
"""1 for an example whose most probable class is not its label, else 0."""
CROSS_ENTROPY = "cross_entropy"
"""-log of the label's probability, in nats."""


def load(model_dir: str) -> Score:
    """Scores: [n] each, NaN for an answer that holds one.

    Raises ValueError, when it scores, for an example without a label or with one that the model has no class for.
    """
    signature = ExampleSignature(model_dir, SIGNATURE, {"classes": "[n, classes]", "scores": "[n, classes]"})

    def score(examples: Sequence[bytes]) -> Scores:
        answer = signature(examples)
        classes, probabilities = answer["classes"].astype(str), answer["scores"].astype(np.float64)
        labels = np.array([str(label_of(example)) for example in examples])
        is_label = classes == labels[:, None]
        if not (is_label.sum(axis=1) == 1).all():
            unknown = np.unique(labels[is_label.sum(axis=1) != 1]).tolist()
            raise ValueError(
                f"Labels {unknown} are none of the classes of {model_dir}, {np.unique(classes).tolist()}. Evaluate on "
                "examples of the data set that the model was trained on."
            )
        finite = np.isfinite(probabilities).all(axis=1)
        wrong = ~is_label[np.arange(len(examples)), probabilities.argmax(axis=1)]
        with np.errstate(divide="ignore"):
            cross_entropy = -np.log(probabilities[is_label])
        return {
            ERROR: np.where(finite, wrong, np.nan),
            # A probability that is 0 in float32 is at most the smallest number that float32 has.
            CROSS_ENTROPY: np.minimum(cross_entropy, -np.log(np.finfo(np.float32).smallest_subnormal)),
        }

    return score


SCORING = Scoring(load=load, compared=ERROR)
