"""What a reference says of single images: percentiles and p-values of their scores."""

from __future__ import annotations

import numpy as np

from serving.reference.model_reference import BOUND, COMPLEXITY_CORRECTED, MAHALANOBIS, Reference, Statistics

CALIBRATED = (
    "percentile",
    "typicality",
    COMPLEXITY_CORRECTED,
    f"{COMPLEXITY_CORRECTED}_percentile",
    MAHALANOBIS,
    f"{MAHALANOBIS}_percentile",
)
"""What is told of each image beside its scores."""
FLAG_BY = {
    MAHALANOBIS: MAHALANOBIS,
    "typicality": BOUND,
    "bound": BOUND,
    COMPLEXITY_CORRECTED: COMPLEXITY_CORRECTED,
}
"""What images may be flagged by, the best first (docs/scores.md), and the score of the reference that each is of."""
TWO_SIDED = ("typicality",)


def calibrated_scores(reference: Reference, statistics: Statistics) -> dict[str, np.ndarray | None]:
    """Returns CALIBRATED by name, [n] float64 each; None for one that the reference does not have.

    `percentile` is how many images of the reference have a lower bound, in percent: a high one is an unlikely image.
    `typicality` is a two-sided p-value of the bound: an image that is much likelier than those that the model has
    learned from is none of them either (Nalisnick et al., 2019, arXiv:1906.02994). The percentiles of the others say
    how many images of the reference are less unusual by them.
    """
    scores = reference.scores_from(statistics)
    bound = reference.scores[BOUND]
    calibrated: dict[str, np.ndarray | None] = dict.fromkeys(CALIBRATED)
    calibrated["percentile"] = bound.percentile(scores[BOUND])
    calibrated["typicality"] = bound.two_sided_p(scores[BOUND])
    for name in (COMPLEXITY_CORRECTED, MAHALANOBIS):
        if name in scores:
            calibrated[name] = scores[name]
            calibrated[f"{name}_percentile"] = reference.scores[name].percentile(scores[name])
    return calibrated


def unusualness(reference: Reference, by: str, statistics: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """Returns how unusual images are by what FLAG_BY names, [n] each.

    Their p-values, the smaller the more unusual; and how far from the reference's middle they are, which ranks images
    that are beyond all of it.
    """
    name = FLAG_BY[by]
    values, distribution = reference.scores_from(statistics)[name], reference.scores[name]
    away = (values - distribution.mean) / (distribution.standard_deviation or 1.0)
    if by in TWO_SIDED:
        return distribution.two_sided_p(values), np.abs(away)
    return distribution.upper_p(values), away
