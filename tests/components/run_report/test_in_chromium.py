"""The report in a real browser: narrow and wide, light and dark, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import chromium
from tests.components.run_report.conftest import TASKS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = chromium.required


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.launched() as browser:
        yield browser


def _open(browser: Browser, path: Path, messages: list[str], **options: Any) -> Page:
    """Opens the page; its console messages, errors and requests are added to `messages`."""
    page = browser.new_page(**options)
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: messages.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(path.as_uri())
    assert messages == [path.as_uri()]
    return page


def _contrast(page: Page, selector: str) -> float:
    """Returns the contrast of an element's text with the page's background, as WCAG defines it."""
    colours = page.eval_on_selector(
        selector, "node => [getComputedStyle(node).color, getComputedStyle(document.body).backgroundColor]"
    )

    def luminance(colour: str) -> float:
        parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("kind", TASKS)
def test_it_fits_and_can_be_read(
    browser: Browser, reports: dict[str, Path], kind: str, width: int, scheme: str
) -> None:
    messages: list[str] = []
    page = _open(browser, reports[kind], messages, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.locator(".chart")
    assert charts.count() == page.locator(".frame svg").count() > 5
    for selector in ("h1", "figcaption", ".chart .unit", "nav a", ".verdict li"):
        assert _contrast(page, selector) >= 4.5
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, canvas, [role=img], [role=group]')].filter(node =>"
        " !(node.ariaLabel || node.textContent || node.labels && node.labels.length)).length"
    )
    assert unnamed == 0
    assert len(messages) == 1
    page.close()


@pytest.mark.parametrize("kind", TASKS)
def test_the_drawings_play_pause_and_are_scrubbed(browser: Browser, reports: dict[str, Path], kind: str) -> None:
    messages: list[str] = []
    page = _open(browser, reports[kind], messages, reduced_motion="reduce")
    player = page.locator(".player").first
    player.scroll_into_view_if_needed()
    steps, step = TASKS[kind].glimpses, player.locator("output")
    # With reduced motion nothing moves by itself.
    page.wait_for_timeout(600)
    assert step.inner_text() == f"step {steps} of {steps}"
    picture = "canvas => canvas.toDataURL()"
    last = player.locator("canvas").evaluate(picture)
    player.get_by_role("button", name="Play").click()
    page.wait_for_function("![...document.querySelectorAll('.player output')][0].textContent.startsWith('step 6')")
    player.get_by_role("button", name="Pause").click()
    player.get_by_role("slider").fill("2")
    assert step.inner_text() == f"step 2 of {steps}"
    second = player.locator("canvas").evaluate(picture)
    player.get_by_role("checkbox").first.uncheck()
    assert len({last, second, player.locator("canvas").evaluate(picture)}) == 3
    assert len(messages) == 1
    page.close()


def test_the_drawings_play_by_themselves_when_they_are_seen(browser: Browser, reports: dict[str, Path]) -> None:
    page = _open(browser, reports["generative"], [], reduced_motion="no-preference")
    player = page.locator(".player").first
    player.scroll_into_view_if_needed()
    player.get_by_role("button", name="Pause").wait_for()
    page.close()


def test_a_curve_tells_its_values_by_mouse_and_keyboard_and_zooms(browser: Browser, reports: dict[str, Path]) -> None:
    messages: list[str] = []
    page = _open(browser, reports["generative"], messages)
    chart = page.locator(".chart", has=page.get_by_role("heading", name="Bound", exact=True))
    frame, output, whole = chart.locator(".frame"), chart.locator("output"), chart.locator(".whole")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    across, middle = (lambda share: box["x"] + 50 + share * (box["width"] - 60)), box["y"] + box["height"] / 2
    assert "training step 12" in output.inner_text()
    page.mouse.move(across(0.02), middle)
    assert re.search(r"training step [12] training [\d.]+ validation \(at 4\) [\d.]+", output.inner_text())
    assert whole.is_hidden()
    labels = frame.locator("text").all_inner_texts()
    page.mouse.move(across(0.5), middle)
    page.mouse.down()
    page.mouse.move(across(0.9), middle)
    page.mouse.up()
    assert frame.locator("text").all_inner_texts() != labels
    whole.click()
    assert frame.locator("text").all_inner_texts() == labels and whole.is_hidden()
    frame.press("Home")
    assert "training step 1" in output.inner_text()
    frame.press("ArrowRight")
    frame.press("+")
    assert whole.is_visible()
    frame.press("0")
    assert whole.is_hidden()
    assert len(messages) == 1
    page.close()
