"""A mechanism's page: its equation, what is kept of how many positions, a worked number, who uses it."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, get_args, get_origin

from kvcalc.frozen import frozen
from kvcalc.memory.inventory import CacheGroup, groups_of, merged
from kvcalc.report.answers.layers import describe_layers
from kvcalc.report.answers.mechanisms import EXAMPLES, Section
from kvcalc.report.page.equations import equation
from kvcalc.site.drawings import kept
from kvcalc.site.drawings.svg import figure
from kvcalc.site.frame import Page, lines, link, text
from kvcalc.site.parts import Cell, table, tensors
from kvcalc.site.subject import Subject
from kvcalc.site.text import docstring, inline
from kvcalc.spec.fields import SpecField, spec_fields
from kvcalc.spec.schema import field_docs

# Whose numbers are shown, where several models have a mechanism: those that people know.
KNOWN = (
    "llama-3-8b", "gemma-3-27b", "deepseek-v3", "deepseek-v4-flash", "mamba2-2.7b", "mamba-2.8b",
    "qwen3-next-80b-a3b", "mixtral-8x7b", "gpt2", "t5-base", "llama-4-scout", "gpt-oss-120b",
)  # fmt: skip
_PICTURES = 4
# The chapters that are about no kind of layer.
SPEC, BESIDE = "The spec", "Beside the mechanisms"


@frozen
class Use:
    """Equal layers of a model that keep a mechanism's tensors. told: their numbers."""

    subject: Subject
    group: CacheGroup
    told: dict[str, Any]


def address(section: Section) -> str:
    return f"mechanisms/{section.names[0].replace(' ', '-')}.html"


def name_of(section: Section) -> str:
    """What a reader calls it."""
    return section.heading.removeprefix("kind: ").removesuffix(":")


def summary(section: Section) -> str:
    """The first sentence that is said of it."""
    loaded = import_module(section.module)
    of_spec = section.module == "kvcalc.spec.model"
    said = getattr(loaded, section.class_name).__doc__ if of_spec else loaded.__doc__
    return " ".join(inspect.cleandoc(said or "").partition("\n\n")[0].split())


def uses(section: Section, subjects: Iterable[Subject]) -> list[Use]:
    """Where the models keep it, those first that people know."""
    found = []
    for subject in subjects:
        groups = merged(groups_of(subject.spec))
        for group, told in zip(groups, subject.told["groups"], strict=True):
            if group.mechanism in section.names:
                found.append(Use(subject, group, told))
    order = {name: place for place, name in enumerate(KNOWN)}
    return sorted(found, key=lambda use: order.get(use.subject.name, len(order)))


def page(section: Section, subjects: Sequence[Subject], examples: Sequence[Subject]) -> Page:
    """subjects: the site's models. examples: made up, for what none of them has."""
    place, own = address(section), uses(section, subjects)
    having = users(section, subjects)
    shown = own or uses(section, examples)
    body = f'<p class="over">{text(section.chapter)}</p>\n<h1>{text(name_of(section))}</h1>\n'
    body += f'<p class="lead">{inline(summary(section))}</p>\n'
    if shown:
        body += _pictures(section, shown)
    body += _description(section)
    if shown:
        body += _worked(shown, place, made_up=not own)
    body += _fields(section)
    if section.names[0] in EXAMPLES:
        example = lines(EXAMPLES[section.names[0]])
        body += (
            f'<section><h2>Example</h2><pre class="yaml" tabindex="0">{example}</pre></section>\n'
        )
    if section.chapter != SPEC:
        body += _models(own, having, place) + _engines(having, place)
    return Page(place, name_of(section), summary(section), body)


def users(section: Section, subjects: Iterable[Subject]) -> list[Subject]:
    """The models whose specs say it, whether or not it keeps anything."""
    return [one for one in subjects if (section.module, section.class_name) in one.classes]


def _pictures(section: Section, shown: list[Use]) -> str:
    """One drawing for each way of keeping positions, of the first model that has it."""
    first: dict[tuple[type, ...], Use] = {}
    for use in shown:
        first.setdefault(tuple(type(tensor.extent) for tensor in use.group.tensors), use)
    parts = []
    for use in list(first.values())[:_PICTURES]:
        tokens = kept.groups_length([use.group])
        title = f"What one layer of {name_of(section)} keeps, {use.subject.name}"
        svg = kept.draw(title, use.group.tensors, tokens)
        caption = (
            f"{use.subject.name}, {use.group.block}, of {tokens:,} tokens. A band is as long as its "
            "positions and as high as their elements."
        )
        parts.append(figure(svg, caption))
    return f"<section><h2>What is kept</h2>{''.join(parts)}</section>\n"


def _description(section: Section) -> str:
    """The docstring of the module, without the sentence that is the page's first."""
    if section.module == "kvcalc.spec.model":
        return ""
    words = inspect.cleandoc(import_module(section.module).__doc__ or "")
    rest = words.partition("\n\n")[2]
    return f"<section><h2>Equation and source</h2>{docstring(rest)}</section>\n" if rest else ""


def _worked(shown: list[Use], place: str, made_up: bool) -> str:
    """One layer's numbers, from the fields to the bytes."""
    use = shown[0]
    subject = use.subject
    whose = (
        f"{text(subject.name)}, made up, as none of the models here has it"
        if made_up
        else link(place, subject.page, subject.name)
    )
    layers = describe_layers(use.group.layers)
    body = f"<p>{whose}: layers {text(layers)} ({text(use.group.block)}).</p>\n"
    if use.told["explanation"] is not None:
        body += "".join(equation(use.told["explanation"], inline))
    body += tensors(use.told, subject.told["peak_tokens"])
    return f"<section><h2>Worked number</h2>{body}</section>\n"


def _fields(section: Section) -> str:
    cls = getattr(import_module(section.module), section.class_name)
    return f"<section><h2>Fields</h2>{''.join(_fields_of(cls))}</section>\n"


def _fields_of(cls: Any) -> Iterator[str]:
    docs, known = field_docs(cls), spec_fields(cls)
    rows: list[tuple[Cell, ...]] = [
        (f'<code id="field-{text(name)}">{text(name)}</code>' , text(_takes(field)), _default(field),
         inline(docs.get(name, "")))
        for name, field in known.items()
    ]  # fmt: skip
    yield table(("field", "takes", "if absent", "what it is"), rows).replace(
        '<div class="scroll"', '<div class="scroll fields"', 1
    )
    for name, field in known.items():
        if is_dataclass(field.kind) and not field.meta.get("kinds"):
            yield f"<h3>{text(name)}</h3>\n" + "".join(_fields_of(field.kind)).replace(
                'id="field-', f'id="field-{text(name)}.'
            )


def _takes(field: SpecField) -> str:
    """A field's values in words."""
    kind, count = field.kind, field.meta.get("count")
    if count is not None:
        return f"{count.unit}, {count.least:,} to {count.most:,}"
    if "kinds" in field.meta:
        return "a mechanism, by its kind"
    if get_origin(kind) is tuple:
        choices = get_args(get_args(kind)[0])
        return f"a list{' of any of ' if choices else ''}{', '.join(map(str, choices))}"
    said = [choice for choice in get_args(kind) if isinstance(choice, str)]
    if said and get_origin(kind) is not dict:
        return ", ".join(said)
    words = {bool: "true or false", int: "a whole number", str: "words"}
    return words.get(kind, "a mapping")


def _default(field: SpecField) -> str:
    if field.required:
        return "<b>required</b>"
    default = field.default
    if default is None or default == () or is_dataclass(default):
        return ""
    plain = str(default).lower() if isinstance(default, bool) else str(default)
    return f"<code>{text(plain)}</code>" if isinstance(default, (bool, int, str)) else ""


def _models(own: list[Use], having: list[Subject], place: str) -> str:
    if not having:
        return "<section><h2>Models</h2><p>None of the models here has it.</p></section>\n"
    if not own:
        names = ", ".join(link(place, one.page, one.name) for one in having)
        return (
            f"<section><h2>Models</h2><p>{len(having)} have it.</p>"
            f'<p class="names">{names}</p></section>\n'
        )
    rows: list[tuple[Cell, ...]] = [
        (link(place, use.subject.page, use.subject.name), use.told["count"],
         text("; ".join(dict.fromkeys(one["extent"] for one in use.told["tensors"]))),
         sum(one["position_bytes"] for one in use.told["tensors"]), use.told["bytes"])
        for use in sorted(own, key=lambda use: use.subject.name)
    ]  # fmt: skip
    heads = (
        "model",
        "layers",
        "positions",
        "bytes a position, one layer",
        "bytes at the page's context",
    )
    return f"<section><h2>Models</h2><p>{len(having)} have it.</p>{table(heads, rows, '-n-nn')}</section>\n"


def _engines(having: list[Subject], place: str) -> str:
    """How many of the models that have it each engine takes."""
    taken: dict[str, int] = {}
    for subject in having:
        for row in subject.engines:
            taken[row.engine] = taken.get(row.engine, 0) + (row.refusal is None)
    if not taken:
        return ""
    rows = [
        (link(place, f"engines/{engine}.html", engine), f"{count:,} of {len(having):,}")
        for engine, count in taken.items()
    ]
    return (
        "<section><h2>Engines</h2><p>How many of these models each accounting takes.</p>"
        f"{table(('engine', 'models'), rows, '-n')}</section>\n"
    )
