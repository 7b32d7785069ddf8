"""Figure 11: training and validation cost against minibatches."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from components.run_report.event_curves import Curve
from pipeline.paper.figure_page import BLUE, BODY, VERMILION, Caption, Page, style

_HEIGHT = 950
_LEFT, _RIGHT, _BELOW = 150, 290, 110
_BEGINNING = 0.05
"""Share of the training whose cost may lie above the plot."""


@style
def costs(caption: Caption, training: Curve, validation: Curve, *, unit: str, remark: str) -> Page:
    """Plots both curves in nats, from where the training has left its beginning behind; `remark` ends the caption."""
    settled = training.values[training.steps > _BEGINNING * training.steps[-1]]
    low, high = (f(np.concatenate([settled, validation.values])) for f in (np.min, np.max))
    room = 0.05 * (high - low) or 1.0
    description = (
        "The cost of a minibatch of training images, and of the validation images by the weights to be exported. "
    )
    if training.values.max() > high + room:
        description += f"The training began at {training.values.max():,.4g} {unit}, above the plot. "
    page = Page(caption, description + remark, width=BODY, height=_HEIGHT)
    axes = page.axes(_LEFT, 0, BODY - _LEFT - _RIGHT, _HEIGHT - _BELOW)
    axes.plot(training.steps, training.values, color=BLUE, lw=0.7)
    axes.plot(validation.steps, validation.values, color=VERMILION, lw=1.2, marker="o", ms=2.5, clip_on=False)
    axes.set_xlim(0, training.steps[-1])
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel("minibatches")
    axes.set_ylabel(f"cost, {unit}")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    # Names at the curves' ends instead of a legend, apart where the curves meet.
    last = np.array([training.values[-1], validation.values[-1]])
    upper = int(last.argmax())
    places = last.clip(low, high)
    least = 0.06 * (high - low + 2 * room)
    if abs(places[0] - places[1]) < least:
        places = np.full(2, places.mean()) + np.where(np.arange(2) == upper, least / 2, -least / 2)
    for name, colour, value, place in zip(("training", "validation"), (BLUE, VERMILION), last, places, strict=True):
        axes.annotate(
            f"{name}  {value:,.4g}",
            (training.steps[-1], place),
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
    return page
