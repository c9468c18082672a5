"""What stands around every page, and how pages name each other: relative, so that a folder is a site."""

import re
from dataclasses import replace
from html import escape
from pathlib import Path

from kvcalc import __version__
from kvcalc.frozen import frozen
from kvcalc.report.cells import printable
from kvcalc.report.formats.html import fragment
from kvcalc.report.sheet import Sheet

ASSETS = Path(__file__).parent / "assets"
_MENU = (
    ("models/index.html", "Models"),
    ("mechanisms/index.html", "Mechanisms"),
    ("engines/index.html", "Engines"),
    ("life.html", "Life of a number"),
)


@frozen
class Page:
    """path: in the folder. body: HTML between header and footer. about: one sentence, for a search
    engine. script: whether it has the form that recomputes."""

    path: str
    title: str
    about: str
    body: str
    script: bool = False


def text(words: object) -> str:
    """Words as HTML, whatever characters a spec has put in them."""
    return escape(printable(str(words)))


def lines(words: str) -> str:
    """Text of several lines as HTML."""
    return "\n".join(map(text, words.splitlines()))


def link(page: str, target: str, words: str) -> str:
    """A link to another page of the site. words: plain."""
    return f'<a href="{up(page)}{escape(target)}">{text(words)}</a>'


def up(page: str) -> str:
    """The way from a page to the folder's top."""
    return "../" * page.count("/")


def sheet(answer: Sheet) -> str:
    """An answer's tables as every other format has them, under the page's own heading."""
    inner = fragment([replace(answer, title="", subtitle="", closing="")])
    # The page's section has the heading.
    inner = inner.replace("<section>", "<div>").replace("</section>", "</div>")
    # A page's policy lets no style stand in an element.
    inner = re.sub(r' style="padding-left:(\d+)em"', r' class="d\1"', inner)
    return f'<div class="sheet">{focusable(inner)}</div>'


def focusable(html: str) -> str:
    """What scrolls sideways can be reached, and so scrolled, with the keyboard."""
    return html.replace('<div class="scroll">', '<div class="scroll" tabindex="0">')


def filled(name: str, parts: dict[str, str]) -> str:
    """A file of ``assets/`` with its places filled."""
    frame = (ASSETS / name).read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], frame)


def render(page: Page) -> str:
    """The whole page."""
    top = up(page.path)
    menu = "".join(
        f'<li><a href="{top}{target}"{_current(page.path, target)}>{words}</a></li>'
        for target, words in _MENU
    )
    form = f'<script src="{top}assets/model.js" defer></script>\n' if page.script else ""
    return filled("frame.html", {
        "about": text(page.about.replace("`", "")), "version": text(__version__), "top": top,
        "script": form,
        "title": text(page.title if page.title == "kvcalc" else f"{page.title} · kvcalc"),
        "home": _current(page.path, "index.html"), "menu": menu, "body": page.body,
    })  # fmt: skip


def _current(page: str, target: str) -> str:
    """Where the reader is: this page, or the part of the site that it belongs to."""
    if page == target:
        return ' aria-current="page"'
    folder = target.rpartition("/")[0]
    return ' aria-current="true"' if folder and page.startswith(f"{folder}/") else ""
