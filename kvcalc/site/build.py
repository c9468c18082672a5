"""The whole site: every file's place and bytes, the same for the same models and release."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from kvcalc.engines import ENGINES
from kvcalc.report import page as report_page
from kvcalc.report.answers.mechanisms import Section, sections
from kvcalc.site.examples import examples
from kvcalc.site.frame import ASSETS, Page, render
from kvcalc.site.pages import engine, front, life, lists, mechanism, model, search
from kvcalc.site.subject import Subject
from kvcalc.site.subject import subjects as subjects_of
from kvcalc.spec.catalog import Found

_REPORT = Path(report_page.__file__).parent


def build(
    named: Iterable[tuple[str, Found]], track: Callable[[Sequence[str]], Iterable[str]] = tuple
) -> Iterator[tuple[str, bytes]]:
    """(path in the folder, bytes) of every file.

    named: the models, as they were asked for. track: passes on the names of pages one by one, to show
    how far it has come. Raises UnsupportedError naming a model that has no answer.
    """
    subjects, parts = tuple(subjects_of(named)), tuple(sections())
    pages = dict(_pages(subjects, parts))
    for path in track(tuple(pages)):
        yield path, render(pages[path]()).encode()
    yield "assets/index.js", search.index(subjects, parts).encode()
    yield from _assets()


def _pages(
    subjects: tuple[Subject, ...], parts: tuple[Section, ...]
) -> Iterator[tuple[str, Callable[[], Page]]]:
    """Each page's place and how it is made: they are many, and none needs another."""
    homes = {name: mechanism.address(part) for part in parts for name in part.names}
    made_up = tuple(examples(parts))
    yield "index.html", partial(front.page, subjects, parts)
    yield "life.html", partial(life.page, subjects, homes)
    yield "search.html", search.page
    yield "models/index.html", partial(lists.models, subjects)
    yield "mechanisms/index.html", partial(lists.mechanisms, parts, subjects)
    yield "engines/index.html", partial(lists.engines, subjects)
    for part in parts:
        yield mechanism.address(part), partial(mechanism.page, part, subjects, made_up)
    for name in ENGINES:
        yield engine.address(name), partial(engine.page, name, subjects)
    for one in subjects:
        yield one.page, partial(model.page, one, homes)


def _assets() -> Iterator[tuple[str, bytes]]:
    """Styles and scripts; the form and its plots are the report's."""
    report = {name: (_REPORT / name).read_text("utf-8") for name in (
        "page.css", "recompute.js", "charts.js", "page.js",
    )}  # fmt: skip
    style = report.pop("page.css") + (ASSETS / "site.css").read_text("utf-8")
    yield "assets/site.css", style.encode()
    yield "assets/model.js", "\n".join(report.values()).encode()
    yield "assets/search.js", (ASSETS / "search.js").read_bytes()
