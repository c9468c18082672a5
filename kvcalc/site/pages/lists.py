"""The lists: all models, all mechanisms, all engines."""

from collections.abc import Iterator, Sequence

from kvcalc.engines import ENGINES, engine_of
from kvcalc.memory.grid import kinds
from kvcalc.report.answers.mechanisms import Section
from kvcalc.site import accuracy
from kvcalc.site.frame import Page, link, text
from kvcalc.site.pages import engine, mechanism
from kvcalc.site.parts import Cell, table
from kvcalc.site.subject import Subject
from kvcalc.site.text import inline, markdown
from kvcalc.units import format_bytes, format_count, format_tokens


def models(subjects: Sequence[Subject]) -> Page:
    """One row for each, with a field that narrows them."""
    place = "models/index.html"
    rows: list[tuple[Cell, ...]] = [_model(place, one) for one in sorted(subjects, key=_order)]
    heads = (
        "model",
        "parameters",
        "active",
        "attention",
        "made for",
        "one more token",
        "cache",
        "weights",
    )
    body = (
        f'<h1>Models</h1>\n<p class="lead">{len(subjects):,} models. Cache and weights at the context '
        "that each page opens with, 8k tokens or what the model was made for.</p>\n"
        '<p class="narrow" hidden><label>Narrow to <input type="search" data-narrows="models" '
        'placeholder="qwen, mla, 70b" autocomplete="off" spellcheck="false"></label> '
        '<output aria-live="polite"></output></p>\n'
        f'<div id="models">{table(heads, rows, "-nn--nnn")}</div>\n'
    )
    return Page(place, "Models", f"{len(subjects)} models and what they take in memory.", body)


def _order(subject: Subject) -> tuple[str, str]:
    return subject.name.lower(), subject.slug


def _model(place: str, subject: Subject) -> tuple[Cell, ...]:
    found, longest = subject.estimate, subject.spec.max_position_embeddings
    total, active = found.parameters.total, found.parameters.active
    return (
        link(place, subject.page, subject.name), format_count(total),
        format_count(active) if active != total else "",
        text(kinds(subject.spec)), format_tokens(longest) if longest else "",
        format_bytes(found.cache.next_token_bytes), format_bytes(found.cache.bytes),
        format_bytes(found.weight_bytes),
    )  # fmt: skip


def mechanisms(sections: Sequence[Section], subjects: Sequence[Subject]) -> Page:
    """Each under its chapter, with its first sentence and how many models have it."""
    place, parts = "mechanisms/index.html", []
    chapters = dict.fromkeys(section.chapter for section in sections)
    # What a reader looks for first is not how a file begins.
    for chapter in sorted(chapters, key=lambda one: one in (mechanism.SPEC, mechanism.BESIDE)):
        parts.append(f"<h2>{text(chapter)}</h2>\n")
        rows: list[tuple[Cell, ...]] = [
            (link(place, mechanism.address(section), mechanism.name_of(section)),
             inline(mechanism.summary(section)), len(mechanism.users(section, subjects)))
            for section in sections if section.chapter == chapter
        ]  # fmt: skip
        counted = chapter != mechanism.SPEC
        heads = ("name", "what it is", "models") if counted else ("name", "what it is")
        parts.append(table(heads, [row[: len(heads)] for row in rows], "--n"[: len(heads)]))
    lead = "Every kind of layer that a spec can have, and what each keeps between two tokens."
    body = f'<h1>Mechanisms</h1>\n<p class="lead">{lead}</p>\n<div class="prose">{"".join(parts)}</div>'
    return Page(place, "Mechanisms", lead, body)


def engines(subjects: Sequence[Subject]) -> Page:
    """How each accounts, and how its logs agree."""
    place = "engines/index.html"
    lead = "What a model needs, and what libraries and serving engines make of it."
    rows = [_engine(place, name, subjects) for name in ENGINES]
    heads = ("engine", "how it accounts", "release", "models here", "figures of logs", "exact")
    held = markdown(accuracy.introduction(), 3)
    body = f'<h1>Engines</h1>\n<p class="lead">{lead}</p>\n'
    body += f'<div class="prose">{table(heads, rows, "---nnn")}</div>\n'
    body += f"<section><h2>How predictions are held to logs</h2>{held}</section>\n"
    return Page(place, "Engines", lead, body)


def _engine(place: str, name: str, subjects: Sequence[Subject]) -> tuple[Cell, ...]:
    record = engine_of(name)
    rows = [row for subject in subjects for row in subject.engines if row.engine == name]
    found = accuracy.figures(record.words)
    exact = sum(one.verdict == "exact" for one in found)
    return (
        link(place, engine.address(name), record.words), inline(engine.summary(name)),
        text(record.version or ""), sum(row.refusal is None for row in rows),
        len(found) or None, exact or None,
    )  # fmt: skip


def named(subjects: Sequence[Subject], names: Sequence[str]) -> Iterator[Subject]:
    """Those of the models that are called so, in the order of the names."""
    known = {subject.name: subject for subject in subjects}
    yield from (known[name] for name in names if name in known)
