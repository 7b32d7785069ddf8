"""The model's reference: how its scores of the validation split are spread."""

from __future__ import annotations

from typing import Any

from components.run_report import page_figures
from components.run_report.run import Run
from serving.reference.distribution import Distribution
from serving.saved_model import read_reference

_TITLES = {
    "nll_bound": "Usual bounds",
    "reconstruction": "Usual reconstructions",
    "kl": "Usual KL",
    "complexity_corrected": "Usual bounds less complexity",
    "mahalanobis": "Usual Mahalanobis distances",
}


def gather(run: Run) -> dict[str, Any]:
    """Gathers a histogram of each score; None where the model has no reference."""
    reference = read_reference(run.model_dir)
    if reference is None:
        return {"reference": None}
    bound = reference.scores["nll_bound"]
    return {
        "reference": reference,
        "middle": [bound.quantile(share) for share in (0.025, 0.975)],
        "histograms": [(_TITLES[name], _histogram(name, each)) for name, each in reference.scores.items()],
    }


def _histogram(name: str, distribution: Distribution) -> dict[str, Any]:
    """Makes bars of the bins, each named by its middle; what lies beyond is in the first and the last."""
    counts = distribution.histogram[1:-1].copy()
    counts[0] += distribution.histogram[0]
    counts[-1] += distribution.histogram[-1]
    middles = (distribution.edges[1:] + distribution.edges[:-1]) / 2
    digits = 0 if distribution.edges[-1] - distribution.edges[0] >= len(counts) else 1
    names = [f"{middle:.{digits}f}" for middle in middles]
    unit = "standard deviations" if name == "mahalanobis" else "nats an image"
    return page_figures.chart("bars", unit, "images", names=names, values=counts.tolist())
