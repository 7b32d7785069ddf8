"""Every link within the documents leads somewhere, on a forge and in the site that `make site` builds."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.code_blocks import DOCUMENTS, ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def _anchors(markdown: str) -> set[str]:
    """The anchors that a forge makes of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    lost = []
    for link in _LINK.findall(_CODE.sub("", text)):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (ROOT / document).parent / target if target else ROOT / document
        if not path.exists() or (anchor and anchor not in _anchors(path.read_text(encoding="utf-8"))):
            lost.append(link)
    assert lost == []


class _Page(html.parser.HTMLParser):
    """The links of a page, what it loads, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag in ("a", "area") and "href" in given:
            self.links.append(given["href"])
        loads = tag in ("script", "img", "iframe", "source", "video") or (
            tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "modulepreload")
        )
        if loads:
            self.loaded += [given[name] for name in ("src", "href") if name in given]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [str(Path(sys.executable).with_name("mkdocs")), "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


def _lost(site: Path) -> Iterator[str]:
    """Yields the links that lead nowhere, and what a page would fetch from elsewhere."""
    pages = {path: _Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        if path.name == "404.html":  # which a server sends for any path, and so has absolute links
            continue
        for link in (*page.links, *page.loaded):
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                if link in page.loaded:
                    yield f"{path.name} loads {link}"
                continue
            target = path if not address.path else (path.parent / urllib.parse.unquote(address.path)).resolve()
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{path.name}: {link}"
            elif target in pages and urllib.parse.unquote(address.fragment) not in {"", *pages[target].anchors}:
                yield f"{path.name}: {link}, no such anchor"


@pytest.mark.slow
def test_the_site_opens_from_the_disk_and_every_link_of_it_leads_somewhere(site: Path) -> None:
    pages = {path.name for path in site.glob("*.html")}
    assert {"index.html", "reference.html", "signatures.html", "serving.html", "CHANGELOG.html"} <= pages
    assert [*_lost(site)] == []
    reference = (site / "reference.html").read_text(encoding="utf-8")
    assert "serving.client.Client.sample" in reference and "Raises" in reference


def test_a_lost_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html">b</a><a href="a.html#no">c</a><a id="yes" href="#yes">d</a><script src="https://x.test/y.js">'
    )
    assert [*_lost(tmp_path)] == [
        "a.html: b.html",
        "a.html: a.html#no, no such anchor",
        "a.html loads https://x.test/y.js",
    ]
