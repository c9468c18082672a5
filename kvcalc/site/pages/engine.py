"""An engine's page: its rules as they were read, what they do to the models, what its logs said."""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from kvcalc.engines import ENGINES, engine_of
from kvcalc.engines.engine import AnyEngine
from kvcalc.engines.flags import flags_of, option_of
from kvcalc.site import accuracy
from kvcalc.site.drawings import scatter
from kvcalc.site.drawings.svg import figure
from kvcalc.site.frame import Page, link, text
from kvcalc.site.parts import Cell, facts, table
from kvcalc.site.subject import Subject
from kvcalc.site.text import docstring, inline, markdown

_MEMORY = {
    "left": ("a pool", "of what weights and activations leave"),
    "cells": ("cells", "as many as it is started with"),
    "none": ("as they come", "what the sequences need"),
}
# Docstrings of fewer lines name a file; longer ones are rules.
_RULES = 4
_MOST = 10
_CAPTION = (
    "Every figure of a public log above zero, each in its own unit (tokens, blocks, MiB), against what "
    "kvcalc says of that log's model, flags and memory. On the line they are equal."
)


def address(name: str) -> str:
    return f"engines/{name}.html"


def summary(name: str) -> str:
    """What its package says of it in a sentence."""
    said = " ".join(_docstring(name, "__init__").partition("\n\n")[0].split())
    # Where the code is says nothing here, and the name stands over it.
    who, _, what = re.sub(r" \([\w/]+\.py\)", "", said).partition(": ")
    said = what or who
    # A name is spelt as it is.
    return said if "." in said.partition(" ")[0] else f"{said[:1].upper()}{said[1:]}"


def page(name: str, subjects: Sequence[Subject]) -> Page:
    record, place = engine_of(name), address(name)
    body = f'<h1>{text(record.words)}</h1>\n<p class="lead">{_lead(name)}</p>\n'
    body += facts(_facts(record, name, subjects))
    body += _accuracy(record) + _page_of_its_own(name)
    rules = "".join(_rules(name))
    if rules:
        body += (
            "<section><h2>Its rules</h2><p>Each with the function of the engine's source that it "
            f"follows, as the code that applies it says.</p>{rules}</section>\n"
        )
    body += _models(name, place, subjects) + _flags(record)
    about = f"How {record.words} accounts for a KV cache: its rules, and what its logs printed."
    return Page(place, record.words, about, body)


def _lead(name: str) -> str:
    """Its sentence, with links to the engines that it names."""
    others = {text(engine_of(other).words): other for other in ENGINES if other != name}
    named = "|".join(map(re.escape, sorted(others, key=len, reverse=True)))
    return re.sub(
        rf"(?<![\w.])(?:{named})(?!\w)",
        lambda found: f'<a href="{address(others[found[0]]).rpartition("/")[2]}">{found[0]}</a>',
        inline(summary(name)),
    )


def _facts(
    record: AnyEngine, name: str, subjects: Sequence[Subject]
) -> Iterator[tuple[str, str, str]]:
    if record.version is not None:
        yield "newest release read", record.version, ""
    if record.hold is not None:
        yield "allocates", *_MEMORY[record.memory]
    asked = [row for subject in subjects for row in subject.engines if row.engine == name]
    taken = sum(row.refusal is None for row in asked)
    yield "models here that it takes", f"{taken:,}", f"of {len(asked):,}"
    found = accuracy.figures(record.words)
    if found:
        exact = sum(one.verdict == "exact" for one in found)
        yield "figures of its logs", f"{len(found):,}", f"{exact:,} exact"


def _accuracy(record: AnyEngine) -> str:
    said = accuracy.section(record.words)
    if not said:
        return ""
    body, found = "", accuracy.figures(record.words)
    if found:
        picture = scatter.draw(f"{record.words}: logged and predicted", found)
        body += figure(picture, _CAPTION)
        body += (
            f"<details><summary>All {len(found):,} figures, with their logs</summary>\n"
            f"{markdown(said, 3)}</details>\n"
        )
    else:
        body += markdown(said, 3)
    return f"<section><h2>Predicted against logged</h2>{body}</section>\n"


def _page_of_its_own(name: str) -> str:
    """What stands beside the engine of other memory than its cache's."""
    file = _folder(name) / "ACCURACY.md"
    if not file.is_file():
        return ""
    title, _, said = file.read_text("utf-8").removeprefix("# ").partition("\n")
    summary, heading, rest = said.partition("\n## ")
    return (
        f"<section><h2>{inline(title)}</h2>{markdown(summary, 3)}<details><summary>Every figure</summary>\n"
        f"{markdown(heading.strip() + ' ' + rest, 3)}</details></section>\n"
    )


def _folder(name: str) -> Path:
    found = find_spec(ENGINES[name])
    assert found is not None
    assert found.origin is not None, f"{name} is registered and is no module"
    return Path(found.origin).parent


def _docstring(name: str, module: str) -> str:
    tree = ast.parse((_folder(name) / f"{module}.py").read_text("utf-8"))
    return inspect.cleandoc(ast.get_docstring(tree) or "")


def _rules(name: str) -> Iterator[str]:
    """What the modules of an engine say of it, the pool's first."""
    names = sorted(file.stem for file in _folder(name).glob("*.py"))
    first = ("pool", "caches", "holding", "stack", "groups", "pages", "blocks")
    for module in sorted(names, key=lambda one: first.index(one) if one in first else len(first)):
        said = _docstring(name, module)
        if module != "__init__" and len(said.splitlines()) >= _RULES:
            lead, _, rest = said.partition("\n\n")
            title = " ".join(lead.split()).partition(". ")[0].rstrip(".")
            more = " ".join(lead.split()).partition(". ")[2]
            yield f"<h3>{inline(title)}</h3>\n{docstring(more)}{docstring(rest)}"


def _models(name: str, place: str, subjects: Sequence[Subject]) -> str:
    """Where it takes most beyond the need, and what it refuses, by the reason."""
    ratios, refused = [], dict[str, list[Subject]]()
    for subject in subjects:
        need = subject.estimate.cache.bytes
        for row in (row for row in subject.engines if row.engine == name):
            if row.refusal is not None:
                refused.setdefault(row.refusal, []).append(subject)
            elif row.bytes is not None and need:
                causes = ", ".join(waste.cause for waste in row.waste)
                ratios.append((row.bytes / need, subject, row.bytes, causes))
    parts = []
    more = sorted((one for one in ratios if one[0] > 1), key=lambda one: (-one[0], one[1].name))
    if more and name != "logical":
        rows: list[tuple[Cell, ...]] = [
            (link(place, one.page, one.name), one.estimate.cache.bytes, held,
             f"{held * 100 // one.estimate.cache.bytes / 100:.2f}×", text(causes))
            for _, one, held, causes in more[:_MOST]
        ]  # fmt: skip
        heads = ("model", "need, bytes", "held, bytes", "ratio", "for")
        parts.append(
            f"<h3>Most beyond the need</h3><p>{len(more):,} of {len(ratios):,} models that keep anything "
            f"take more than they need at the context of their page.</p>{table(heads, rows, '-nnn-')}"
        )
    if refused:
        items = "".join(
            f"<li>{text(reason)}: {', '.join(link(place, one.page, one.name) for one in models)}</li>"
            for reason, models in sorted(refused.items(), key=lambda item: -len(item[1]))
        )
        parts.append(f"<h3>What it does not take, and why</h3><ul>{items}</ul>")
    return f"<section><h2>On the models here</h2>{''.join(parts)}</section>\n" if parts else ""


def _flags(record: AnyEngine) -> str:
    rows: list[tuple[Cell, ...]] = [
        (f"<code>{text(option_of(name))}</code>", text(flag.help), text(flag.default))
        for name, flag in flags_of(record.flags).items()
    ]
    if not rows or record.capacity is None:
        return ""
    return (
        f"<section><h2>Flags</h2><p>Of <code>kvcalc capacity MODEL --engine {text(record.name)}</code>.</p>"
        f"{table(('flag', 'what it is', 'if absent'), rows)}</section>\n"
    )
