"""The search: an index as a script, so that it loads from a file, and a page for its answers."""

import json
from collections.abc import Iterator, Sequence

from kvcalc.engines import ENGINES, engine_of
from kvcalc.memory.grid import kinds
from kvcalc.report.answers.mechanisms import Section
from kvcalc.site.frame import Page
from kvcalc.site.pages import engine, mechanism
from kvcalc.site.subject import Subject
from kvcalc.spec.fields import spec_fields
from kvcalc.spec.schema import field_docs
from kvcalc.units import format_count

# Kind, name, what is said of it, the page, and words that find it and are not shown.
Entry = tuple[str, str, str, str, str]

_PAGE = (
    '<h1>Search</h1>\n<p class="lead">Models and their hub ids, mechanisms, engines, fields of a '
    "spec.</p>\n"
    '<p id="answer-count" aria-live="polite"></p>\n<ul id="answers-found" class="answers"></ul>\n'
    "<noscript><p>The search needs JavaScript: the lists of models, mechanisms and engines do not.</p>"
    "</noscript>\n"
)


def page() -> Page:
    return Page("search.html", "Search", "Search models, mechanisms, engines and fields.", _PAGE)


def index(subjects: Sequence[Subject], sections: Sequence[Section]) -> str:
    """The script that holds everything that is found."""
    entries = [*_models(subjects), *_mechanisms(sections), *_engines(), *_fields(sections)]
    return f"window.kvcalcIndex={json.dumps(entries, separators=(',', ':'), ensure_ascii=True)};\n"


def _models(subjects: Sequence[Subject]) -> Iterator[Entry]:
    for one in subjects:
        said = f"{format_count(one.estimate.parameters.total)} parameters, {kinds(one.spec)}"
        ids = () if one.hub_ids else one.spec.hub_id
        yield "model", one.name, said, one.page, " ".join((*ids, one.spec.model_type or ""))
        for entry in one.hub_ids:
            yield "hub id", entry.id, f"the shape of {one.name}", f"{one.page}#ids", ""


def _mechanisms(sections: Sequence[Section]) -> Iterator[Entry]:
    for one in sections:
        kind = (
            "mechanism"
            if one.chapter not in (mechanism.SPEC, mechanism.BESIDE)
            else "part of a spec"
        )
        yield (
            kind,
            mechanism.name_of(one),
            mechanism.summary(one),
            mechanism.address(one),
            " ".join(one.names),
        )


def _engines() -> Iterator[Entry]:
    for name in ENGINES:
        yield "engine", engine_of(name).words, engine.summary(name), engine.address(name), name


def _fields(sections: Sequence[Section]) -> Iterator[Entry]:
    from importlib import import_module

    for one in sections:
        cls = getattr(import_module(one.module), one.class_name)
        docs, place = field_docs(cls), mechanism.address(one)
        for field in spec_fields(cls):
            said = f"{mechanism.name_of(one)}: {docs.get(field, '')}"
            yield "field", field, said, f"{place}#field-{field}", ""
