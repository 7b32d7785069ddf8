"""The report's page: gathers what each section shows and renders its template."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from components.run_report import data_cards
from components.run_report.run import Run
from components.run_report.sections import (
    attention_maps,
    class_metrics,
    data_summary,
    drawings,
    glimpses,
    model_standing,
    reconstructions,
    reproduction,
    task_values,
    training_curves,
    usual_scores,
)

_LOG = logging.getLogger(__name__)


class Page(NamedTuple):
    """A rendered report."""

    html: str
    failed_sections: list[str]


class _Section(NamedTuple):
    title: str
    gather: Callable[[Run], Mapping[str, Any]]
    """Returns the variables of the section's template, beside `run` and `task`."""

    @property
    def anchor(self) -> str:
        """Id of the section, and name of its template."""
        return self.title.lower().replace(" ", "-")


def _model_card(run: Run) -> dict[str, Any]:
    return {"data_card": data_cards.for_data(run.task.data)}


_VERDICT = _Section("Verdict", model_standing.gather)
_TRAINING = _Section("Training", training_curves.gather)
_CLASSES = _Section("Classes", class_metrics.gather)
_LAST = (
    _Section("Data", data_summary.gather),
    _Section("Configuration", task_values.gather),
    _Section("Model card", _model_card),
    _Section("Reproduction", reproduction.gather),
)
_GENERATIVE = (
    _VERDICT,
    _Section("Drawings", drawings.gather),
    _TRAINING,
    _Section("Reconstructions", reconstructions.gather),
    _Section("Attention", attention_maps.gather),
    _CLASSES,
    _Section("Usual scores", usual_scores.gather),
    *_LAST,
)
_CLASSIFIER = (
    _VERDICT,
    _Section("Glimpses", glimpses.gather),
    _TRAINING,
    _CLASSES,
    _Section("Mistakes", glimpses.gather_mistakes),
    *_LAST,
)


def render(run: Run) -> Page:
    """Renders the page. A section that raises is replaced by the error, which is logged as a warning.

    Raises whatever opening the task raises: without it there is nothing to report.
    """
    task = run.task
    templates = _environment()
    sections, failed = [], []
    for section in _CLASSIFIER if run.classifies else _GENERATIVE:
        body, error = None, None
        try:
            template = templates.get_template(f"sections/{section.anchor}.html.j2")
            body = Markup(template.render(run=run, task=task, **section.gather(run)))
        except Exception as exception:  # A failing picture must cost the run neither its other pictures nor its model.
            _LOG.warning("The report's section %s could not be made: %s", section.title, exception, exc_info=True)
            failed.append(section.title)
            error = str(exception)
        sections.append({"title": section.title, "anchor": section.anchor, "body": body, "error": error})
    return Page(templates.get_template("page.html.j2").render(run=run, task=task, sections=sections), failed)


def _environment() -> jinja2.Environment:
    """Loads the templates, with what they need beside Jinja's own filters."""
    directory = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["number"] = _number
    # Style and script are no templates: their braces are their own.
    environment.globals["file"] = lambda name: Markup((directory / name).read_text(encoding="utf-8"))
    return environment


def _number(value: float | None, spec: str) -> str:
    """Formats a number by Python's format specification."""
    return "not finite" if value is None or not math.isfinite(value) else format(value, spec)
