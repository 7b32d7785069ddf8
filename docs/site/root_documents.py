"""Hook of mkdocs: puts the documents at the root into the site, and the paths of links as they are there."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = {
    "README.md": "index.md",
    **{name: name for name in ("BUILD.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")},
}
_PICTURES = (".github/drawing.webp",)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_MARK = re.compile(r"^<!-- (?:not run|first): .*? -->\n", re.MULTILINE)


def on_files(files: Files, *, config: Any) -> Files:
    """Adds them."""
    for source, target in _PAGES.items():
        text = (_ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=_moved(text, "")))
    for picture in _PICTURES:
        content = (_ROOT / picture).read_bytes()
        files.append(File.generated(config, posixpath.basename(picture), content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Turns links out of docs/ into links within the site."""
    if page.file.src_uri not in _PAGES.values():
        markdown = _moved(markdown, "docs")
    return _MARK.sub("", markdown)


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Takes the search's shim from the site itself, where the plugin `offline` would fetch it."""
    return output.replace("https://unpkg.com/iframe-worker/shim", "site/iframe-worker.js")


def on_post_template(output_content: str, *, template_name: str, config: Any) -> str:
    """Does the same for the page of a lost address."""
    return output_content.replace("https://unpkg.com/iframe-worker/shim", "site/iframe-worker.js")


def _moved(text: str, folder: str) -> str:
    """Rewrites the links of a document in `folder`; one to a file that is no page becomes its path."""

    def link(match: re.Match[str]) -> str:
        target = match["target"]
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if not os.path.exists(_ROOT / path):
            return match[0]  # for mkdocs to complain of
        if path in _PAGES:
            moved = _PAGES[path]
        elif path in _PICTURES:
            moved = posixpath.basename(path)
        elif path.startswith("docs/"):
            moved = path.removeprefix("docs/")
        else:
            return match["text"] if match["text"].strip("`") == path else f"{match['text']} (`{path}`)"
        return f"{match['image']}[{match['text']}]({moved}{match['anchor'] or ''})"

    return _LINK.sub(link, text)
