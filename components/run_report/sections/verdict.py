"""The number, the gate's answer, and where the model stands among others."""

from __future__ import annotations

import math
import re
from html import escape
from typing import Any, NamedTuple

import numpy as np

from components.evaluator.evaluation import NO_COMPRESSION_COST
from components.run_report import markup
from components.run_report.paper_results import BY_TASK
from components.run_report.run import Run
from trainer.task import ClassifyingTask


class _Place(NamedTuple):
    value: float
    name: str
    source: str
    text: str
    kind: str = ""


def body(run: Run) -> str:
    """Of either kind of task."""
    found = run.evaluation
    classifies = isinstance(run.task, ClassifyingTask)
    return _answer(run, found) + (_error(found) if classifies else _bound(run, found)) + _standing(run, found)


def _answer(run: Run, found: dict[str, Any]) -> str:
    if found["blessed"]:
        limit = (
            f"at most {found['max_error']:.2%} wrong"
            if "max_error" in found
            else f"at most {found['max_nll_bound']:,g} nats an image"
        )
        said, reasons = "The gate passed it", [f"asked for was {limit}"]
    else:
        said, reasons = "The gate refused it", found["reasons"]
    if run.unservable is not None:
        said += ", the serving check did not" if found["blessed"] else ", and so did the serving check"
        reasons = [*reasons, run.unservable]
    reasons = [*reasons, *_comparison(found)]
    passed = found["blessed"] and run.unservable is None
    where = f"Pushed to {run.pushed_to}" if run.pushed_to else f"Not pushed; the model is in {run.model_dir}"
    items = "".join(f"<li>{escape(reason[:1].upper() + reason[1:])}</li>" for reason in reasons)
    mark = "✓" if passed else "✕"
    return (
        f'<div class="verdict {"passed" if passed else "refused"}"><p><b aria-hidden="true">{mark}</b> {said}</p>'
        f"<ul>{items}<li>{escape(where)}</li></ul></div>"
    )


def _comparison(found: dict[str, Any]) -> list[str]:
    """With the last blessed model, in a sentence; none where there is none."""
    if found["baseline"] is None:
        return []
    if found["baseline_ignored"] is not None:
        return [f"it was not compared with the last blessed model: {found['baseline_ignored']}"]
    for name, scale, unit in (("nll_bound", 1, "nats"), ("error", 100, "percentage points")):
        if difference := found["overall"].get(f"{name}_minus_baseline"):
            mean, deviation = difference["mean"], difference["standard_error"]
            if mean is None or deviation is None:
                return ["the difference from the last blessed model is not finite"]
            than = "more" if mean > 0 else "less"
            size = f"{abs(scale * mean):.2f} {unit} {than} than the last blessed model"
            return [f"{size}, on the same images (standard error {scale * deviation:.2f})"]
    return []


def _bound(run: Run, found: dict[str, Any]) -> str:
    bound, count = found["overall"]["nll_bound"], found["overall"]["count"]
    lines = (
        f'<p class="headline"><b>{markup.number(bound["mean"])}</b> nats an image '
        f"<span>± {markup.number(bound['standard_error'])} standard error</span></p>"
    )
    if bound["mean"] is None:
        return lines + markup.paragraph("The bound is not finite: the model's numbers cannot be used.")
    bits = bound["mean"] / math.log(2) / math.prod(run.task.image_shape)
    of_which = f"one of the {count:,} images of split {found['split']!r}"
    if run.task.binary:
        text = f"What it costs, at most, to describe {of_which}: {bits:.3f} bits a pixel."
    else:
        text = f"The loss on {of_which}, the mean: {bits:.3f} bits a pixel and channel. {NO_COMPRESSION_COST}"
    return lines + markup.paragraph(text)


def _error(found: dict[str, Any]) -> str:
    error, count = found["overall"]["error"], found["overall"]["count"]
    if error["mean"] is None:
        return '<p class="headline"><b>not finite</b></p>'
    low, high = error["interval_95"]
    return (
        f'<p class="headline"><b>{error["mean"]:.2%}</b> wrong '
        f"<span>{low:.2%} to {high:.2%} is the 95% interval</span></p>"
    ) + markup.paragraph(f"The share of the {count:,} images of split {found['split']!r} whose class it does not name.")


def _standing(run: Run, found: dict[str, Any]) -> str:
    """A table that is a chart: each number has its dot on the one axis that all rows share."""
    others = [
        _Place(float(re.sub(r"[^\d.]", "", result.value)), result.model, result.source, result.value)
        for result in BY_TASK.get(run.task.name, ())
    ]
    ours = _error_places(run, found) if isinstance(run.task, ClassifyingTask) else _bound_places(run, found)
    places = sorted([*ours, *others], key=lambda place: place.value)
    if len(places) < 2:
        return ""
    low, high = places[0].value, places[-1].value
    span = (high - low) or 1.0
    rows = "".join(
        f'<tr class="{place.kind}"><th scope="row">{escape(place.name)}<small>{escape(place.source)}</small></th>'
        f'<td class="number">{escape(place.text)}</td>'
        f'<td class="track"><div><i style="left:{100 * (place.value - low) / span:.2f}%"></i></div></td></tr>'
        for place in places
    )
    unit = "Error, percent" if isinstance(run.task, ClassifyingTask) else "Nats an image"
    closing = "" if others else markup.paragraph("The paper gives no number for these data.", "note")
    return (
        f'<table class="standing"><caption>{unit}: less is better</caption><thead class="unseen"><tr><th>Model</th>'
        f"<th>{unit}</th><th>On one axis</th></tr></thead><tbody>{rows}</tbody></table>{closing}"
    )


def _bound_places(run: Run, found: dict[str, Any]) -> list[_Place]:
    mean = found["overall"]["nll_bound"]["mean"]
    places = [
        _Place(found["max_nll_bound"], "The gate's limit", "of this run", f"≤ {found['max_nll_bound']:,g}", "limit"),
        _naive(run),
    ]
    if mean is not None:
        places.append(
            _Place(mean, "This model", f"measured, {run.task.recipe.steps:,} steps", f"≤ {mean:,.2f}", "ours")
        )
    return places


def _error_places(run: Run, found: dict[str, Any]) -> list[_Place]:
    mean, limit = found["overall"]["error"]["mean"], found["max_error"]
    places = [_Place(100 * limit, "The gate's limit", "of this run", f"{limit:.2%}", "limit")]
    if mean is not None:
        steps = f"measured, {run.task.recipe.steps:,} steps"
        places.append(_Place(100 * mean, "This model", steps, f"{mean:.2%}", "ours"))
    return places


def _naive(run: Run) -> _Place:
    """What a model costs that knows nothing but how bright each pixel is on average: the scale's other end."""
    known = run.images(run.task.data.train).pixels
    # One image more, half of it ink: no pixel is certain.
    means = (known.mean(axis=0) / 255 * len(known) + 0.5) / (len(known) + 1)
    average = run.images(run.task.data.test).pixels.mean(axis=0) / 255
    cost = float(-(average * np.log(means) + (1 - average) * np.log(1 - means)).sum())
    return _Place(cost, "Knows the mean image only", "measured, for scale", f"{cost:,.2f}", "naive")
