"""Chromium, in which the tests of pages open them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

required = pytest.mark.skipif(not _CHROMIUM.exists(), reason=f"there is no {_CHROMIUM}")


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """Starts a browser. Its event loop runs in this thread, so it must be closed after the file's tests."""
    from playwright.sync_api import expect, sync_playwright

    # Its own five seconds are short for a machine that is busy; who finds what is expected waits no longer.
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()
