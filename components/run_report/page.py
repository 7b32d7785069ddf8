"""The page: its sections in order, each made by itself, with the style and the script that it needs."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable, Iterator
from html import escape
from typing import NamedTuple

from components.run_report.run import Run
from components.run_report.sections import (
    attention,
    classes,
    configuration,
    data,
    drawings,
    glimpses,
    model_card,
    reconstructions,
    reproduction,
    training,
    verdict,
)
from trainer.task import ClassifyingTask

_HERE = pathlib.Path(__file__).parent
_LOG = logging.getLogger(__name__)


class Page(NamedTuple):
    """What was written."""

    html: str
    failed_sections: list[str]


class _Section(NamedTuple):
    title: str
    body: Callable[[Run], str]


_VERDICT = _Section("Verdict", verdict.body)
_TRAINING = _Section("Training", training.body)
_CLASSES = _Section("Classes", classes.body)
_LAST = (
    _Section("Data", data.body),
    _Section("Configuration", configuration.body),
    _Section("Model card", model_card.body),
    _Section("Reproduction", reproduction.body),
)
_GENERATIVE = (
    _VERDICT,
    _Section("Drawings", drawings.body),
    _TRAINING,
    _Section("Reconstructions", reconstructions.body),
    _Section("Attention", attention.body),
    _CLASSES,
    *_LAST,
)
_CLASSIFIER = (
    _VERDICT,
    _Section("Glimpses", glimpses.body),
    _TRAINING,
    _CLASSES,
    _Section("Mistakes", glimpses.mistakes),
    *_LAST,
)


def write(run: Run) -> Page:
    """The whole page. A section that raises says so in its place; what raises is logged as a warning.

    Raises what opening the task raises: without it there is nothing to report of.
    """
    task = run.task
    sections = _CLASSIFIER if isinstance(task, ClassifyingTask) else _GENERATIVE
    failed: list[str] = []
    parts = list(_parts(run, sections, failed))
    links = "".join(f'<li><a href="#{_anchor(section.title)}">{section.title}</a></li>' for section in sections)
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # Nothing is asked for, not even an icon.
        '<link rel="icon" href="data:,">'
        f"<title>{escape(task.name)}, model {escape(run.model_number)}: report</title>"
        f"<style>{_file('page.css')}</style></head><body>"
        f'<header class="top"><p>DRAW · run report</p><h1>{escape(task.title)}</h1>'
        f"<p>Task <b>{escape(task.name)}</b>, model {escape(run.model_number)}</p>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main>{"".join(parts)}</main>'
        '<noscript><p class="failed">The curves and the drawings are drawn by a script, which is turned off here.</p>'
        f"</noscript><script>{_file('page.js')}</script></body></html>\n"
    )
    return Page(html, failed)


def _parts(run: Run, sections: tuple[_Section, ...], failed: list[str]) -> Iterator[str]:
    for section in sections:
        try:
            body = section.body(run)
        except Exception as error:  # A picture that fails must not cost the run its other pictures, nor its model.
            _LOG.warning("The report's section %s could not be made: %s", section.title, error, exc_info=True)
            failed.append(section.title)
            body = f'<p class="failed" role="note">This section could not be made. {escape(str(error))}</p>'
        anchor = _anchor(section.title)
        yield f'<section id="{anchor}" aria-labelledby="{anchor}-title"><h2 id="{anchor}-title">{section.title}</h2>'
        yield f"<div>{body}</div></section>"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
