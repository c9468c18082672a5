"""Reads a built site as a browser and a screen reader would, and names what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_VOID = {"meta", "link", "input", "br", "path", "rect", "circle"}


@dataclass
class Outline(HTMLParser):
    """What one page opens, names, links and draws."""

    open: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    title: str = ""
    labels: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        # The drawing whose name has not come yet.
        self.drawing = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if self.drawing and tag != "title":
            self.problems.append("a drawing without a title")
        self.drawing = tag == "svg" and named.get("role") == "img"
        if tag == "svg" and "role" not in named and named.get("aria-hidden") != "true":
            self.problems.append("a drawing that is neither shown nor hidden")
        self.links += [
            str(named[key]) for key in ("href", "src", "action", "data-index") if key in named
        ]
        self.ids += [str(named["id"])] if "id" in named else []
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append(int(tag[1]))
        # The policy forbids both.
        if "style" in named or any(name.startswith("on") for name in named):
            self.problems.append(f"<{tag}> with a style or a script of its own")
        if tag == "script" and "src" not in named and named.get("type") != "application/json":
            self.problems.append("a script in the page")
        if tag == "html" and named.get("lang") != "en":
            self.problems.append("no language")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes another element")

    def handle_data(self, data: str) -> None:
        if self.open[-2:] == ["head", "title"]:
            self.title += data


def outline(file: Path) -> Outline:
    found = Outline()
    found.feed(file.read_text("utf-8"))
    return found


def problems(folder: Path) -> Iterator[str]:
    """Each as ``page: what``; none of a site that is right."""
    pages = {file: outline(file) for file in sorted(folder.rglob("*.html"))}
    titles: dict[str, Path] = {}
    for file, page in pages.items():
        name = file.relative_to(folder).as_posix()
        yield from (f"{name}: {problem}" for problem in page.problems)
        if page.open:
            yield f"{name}: never closed: {page.open}"
        if len(page.ids) != len(set(page.ids)):
            yield f"{name}: an id stands twice"
        if page.headings[:1] != [1] or page.headings.count(1) != 1:
            yield f"{name}: does not begin with its one first heading"
        steps = zip(page.headings, page.headings[1:], strict=False)
        if any(after > before + 1 for before, after in steps):
            yield f"{name}: a level of headings is left out: {page.headings}"
        if titles.setdefault(page.title, file) is not file or not page.title:
            yield f"{name}: its title is another's: {page.title!r}"
        yield from (f"{name}: {broken}" for broken in _broken(file, page, folder, pages))


def _broken(file: Path, page: Outline, folder: Path, pages: dict[Path, Outline]) -> Iterator[str]:
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme in ("https", "data"):
            continue
        target = file if not parts.path else (file.parent / unquote(parts.path)).resolve()
        if parts.scheme or not target.is_file() or not target.is_relative_to(folder.resolve()):
            yield f"leads nowhere: {link}"
        elif parts.fragment and unquote(parts.fragment) not in pages[target].ids:
            yield f"leads to no place of the page: {link}"
