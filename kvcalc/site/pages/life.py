"""The life of one number: from a line of YAML to an engine's pages, shown on the objects themselves."""

from collections.abc import Iterator, Sequence
from typing import Any

from kvcalc.counts import count_of
from kvcalc.engines.workload import EngineCache, workload_cache
from kvcalc.errors import KvcalcError
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import CacheGroup, groups_of, merged
from kvcalc.report.page.equations import equation
from kvcalc.site.drawings import kept
from kvcalc.site.drawings.svg import figure
from kvcalc.site.frame import Page, lines, link, text
from kvcalc.site.pages.lists import named
from kvcalc.site.parts import table, tensors
from kvcalc.site.subject import Subject
from kvcalc.site.text import inline
from kvcalc.spec.schema import field_docs
from kvcalc.units import format_bytes

_TITLE = "The life of one number"
_ABOUT = "Everything on this page is printed from the objects that compute it."
_ENGINE = "vllm"
# Windows beside full attention: an engine's pages make something of it.
_FIRST = ("gemma-3-27b",)


@frozen
class Life:
    """The number and where it is: a field of one layer's mechanism. letter: in the equation."""

    subject: Subject
    group: CacheGroup
    told: dict[str, Any]
    mechanism: Any
    field: str
    value: int
    letter: str


def page(subjects: Sequence[Subject], homes: dict[str, str]) -> Page:
    """Of the first model in which there is such a number."""
    first = (*named(subjects, _FIRST), *subjects)
    life = next((life for subject in first for life in _lives(subject)), None)
    if life is None:
        none = "None of these models has KV heads or a latent to follow."
        return Page("life.html", _TITLE, none, f"<h1>{_TITLE}</h1>\n<p>{none}</p>\n")
    subject = life.subject
    lead = (
        f"How {life.field}: {life.value} of {subject.name} becomes "
        f"{subject.estimate.cache.bytes:,} bytes."
    )
    steps = (
        ("A line of YAML", _yaml(life)),
        ("A field with bounds", _field(life)),
        ("A symbol of an equation", "".join(_equation(life, homes))),
        ("Tensors, not bytes", _tensors(life)),
        ("Bytes of one layer", tensors(life.told, subject.told["peak_tokens"])),
        ("Bytes of the model", _sum(subject)),
        ("An engine's pages", _pages(subject)),
        ("The same in every accounting", _engines(subject)),
    )
    body = f'<h1>{_TITLE}</h1>\n<p class="lead">{text(lead)} {_ABOUT}</p>\n<ol class="steps">'
    body += "".join(f"<li><h2>{title}</h2>{said}</li>\n" for title, said in steps)
    return Page("life.html", _TITLE, lead, body + "</ol>\n")


def _lives(subject: Subject) -> Iterator[Life]:
    """The numbers that both the YAML and an equation say, heads and latents first."""
    wanted = ("num_key_value_heads", "kv_lora_rank")
    for group, told in zip(merged(groups_of(subject.spec)), subject.told["groups"], strict=True):
        mechanism = getattr(subject.spec.blocks[group.blocks[0]], group.slot)
        symbols = told["explanation"]["symbols"] if told["explanation"] else ()
        for symbol in symbols:
            said = f"{symbol['field']}: {symbol['value']}"
            if symbol["field"] in wanted and said in subject.yaml:
                yield Life(
                    subject,
                    group,
                    told,
                    mechanism,
                    symbol["field"],
                    symbol["value"],
                    symbol["letter"],
                )


def _yaml(life: Life) -> str:
    """The file with the number marked, where it stands first."""
    said = f"{life.field}: {life.value}"
    rows = life.subject.yaml.rstrip("\n").splitlines()
    row = next(number for number, line in enumerate(rows) if said in line)
    before, _, after = rows[row].partition(said)
    marked = [text(line) for line in rows]
    marked[row] = f"{text(before)}<mark>{text(said)}</mark>{text(after)}"
    column = len(before) + 1
    return (
        f"<p>{text(life.subject.found.path.rpartition('/')[2])}, line {row + 1}, column {column}. The "
        "reader keeps the place, so that whatever is wrong later is said with it.</p>"
        f'<pre class="yaml" tabindex="0">{chr(10).join(marked)}</pre>'
    )


def _field(life: Life) -> str:
    cls = type(life.mechanism)
    about = field_docs(cls).get(life.field, "")
    kind = next(each.type for name, each in cls.__dataclass_fields__.items() if name == life.field)
    count = count_of(kind)
    bounds = f", {count.least:,} to {count.most:,}: {text(count.why)}" if count else ""
    place = f"{cls.__module__}.{cls.__name__}.{life.field}"
    return (
        f"<p><code>{text(place)}</code> = <strong>{life.value}</strong>. {text(about)}</p>"
        f"<p>It counts {text(count.unit if count else 'things')}{bounds}.</p>"
    )


def _equation(life: Life, homes: dict[str, str]) -> Iterator[str]:
    kind = life.group.mechanism
    where = link("life.html", homes[kind], kind) if kind in homes else text(kind)
    yield f"<p>In {where} it is <code>{text(life.letter)}</code>.</p>\n"
    yield from equation(life.told["explanation"], inline)


def _tensors(life: Life) -> str:
    """What the mechanism's ``cache()`` gives, and its drawing."""
    shown = "\n".join(map(_tensor, life.group.tensors))
    tokens = kept.groups_length(groups_of(life.subject.spec))
    title = f"What one {life.group.block} layer of {life.subject.name} keeps"
    svg = figure(kept.draw(title, life.group.tensors, tokens), f"Of {tokens:,} tokens.")
    return (
        "<p>The mechanism answers with tensors: a name, a shape without the tokens, and how many positions "
        f'are kept. No bytes yet.</p><pre tabindex="0">{lines(shown)}</pre>{svg}'
    )


def _tensor(tensor: Any) -> str:
    return (
        f"CacheTensor(name={tensor.name!r}, shape={tensor.shape}, extent={tensor.extent!r}, "
        f"role={tensor.role!r})"
    )


def _sum(subject: Subject) -> str:
    told = subject.told
    rows = [
        (text(f"{group['block']}: {group['mechanism']}"), group["count"],
         sum(one["bytes"] for one in group["tensors"]), group["bytes"])
        for group in told["groups"]
    ]  # fmt: skip
    words = " + ".join(f"{group['bytes']:,}" for group in told["groups"])
    return (
        table(("layers", "count", "bytes of one", "bytes"), rows, "-nnn")
        + f"<p>{words} = <strong>{told['bytes']:,}</strong> bytes ({format_bytes(told['bytes'])}).</p>"
    )


def _pages(subject: Subject) -> str:
    """The same sequence in an engine's pages, and every byte's reason."""
    try:
        cache = workload_cache(_ENGINE, subject.spec, subject.estimate.workload)
    except KvcalcError as error:
        return f"<p>{text(error.message)}</p>"
    slabs = [
        (text(f"{slab.block}: {slab.mechanism}"), len(slab.layers), slab.padding_layers or None,
         text(", ".join(f"{rows:,} {name} of {size:,} bytes" for name, rows, size in slab.tensors)),
         slab.bytes)
        for slab in cache.groups
    ]  # fmt: skip
    heads = ("group", "layers", "padding layers", "each layer holds", "bytes")
    return (
        f"<p>{link('life.html', f'engines/{_ENGINE}.html', _ENGINE)} {text(cache.version)} keeps blocks "
        f"of tokens. {text('. '.join(cache.rules))}.</p>"
        + table(heads, slabs, "-nn-n") + _reasons(cache)
    )  # fmt: skip


def _reasons(cache: EngineCache) -> str:
    rows: list[tuple[str, str, str]] = [("what the model needs", f"{cache.logical_bytes:,}", "")]
    rows += [(text(one.cause), f"{one.bytes:+,}", text(one.why)) for one in cache.waste]
    rows.append(("<b>held</b>", f"<b>{cache.bytes:,}</b>", text(format_bytes(cache.bytes))))
    return table(("from the need to what is held", "bytes", "why"), rows, "-n-")


def _engines(subject: Subject) -> str:
    rows = [
        (link("life.html", f"engines/{row.engine}.html", row.engine), text(row.version or ""),
         row.bytes, text(row.refusal or ""))
        for row in subject.engines
    ]  # fmt: skip
    more = link("life.html", subject.page, subject.name)
    return (
        table(("accounting", "release", "bytes", "why not"), rows, "--n-")
        + f"<p>More of {more}.</p>"
    )
