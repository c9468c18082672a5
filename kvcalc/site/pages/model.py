"""A model's page: what it takes, a form that recomputes, its layers, engines and GPUs, its spec."""

from collections.abc import Callable, Iterator

from kvcalc.checks.expect import expect_findings
from kvcalc.deployment.estimation import AllEngines
from kvcalc.engines import ENGINES, engine_of
from kvcalc.memory.grid import kinds
from kvcalc.report.answers import all_engines, estimate
from kvcalc.report.answers.layers import describe_layers
from kvcalc.report.cells import ratio
from kvcalc.report.page.data import Question, to_json, to_object
from kvcalc.report.page.equations import equation
from kvcalc.site import accuracy, devices
from kvcalc.site.drawings import bars, curve, layers
from kvcalc.site.frame import Page, filled, lines, link, sheet, text
from kvcalc.site.parts import Cell, facts, size, table, tensors
from kvcalc.site.subject import Subject
from kvcalc.site.text import inline
from kvcalc.units import format_bytes, format_count, format_tokens

# kind of mechanism -> its page
Homes = dict[str, str]


def page(subject: Subject, homes: Homes) -> Page:
    """homes: where each mechanism is described."""
    spec, found = subject.spec, subject.estimate
    parameters, cache = format_count(found.parameters.total), format_bytes(found.cache.bytes)
    about = (
        f"{spec.name}: {parameters} parameters, {format_bytes(found.weight_bytes)} of weights, "
        f"{cache} of cache at {format_tokens(found.workload.context_tokens)} tokens."
    )
    sections: tuple[tuple[str, str, Callable[[], str]], ...] = (
        ("ask", "Ask it", lambda: _form(subject)),
        ("layers", "What each layer keeps", lambda: "".join(_layers(subject, homes))),
        ("engines", "In each engine", lambda: _engines(subject)),
        ("fits", "What fits which GPU", lambda: sheet(devices.sheet(subject))),
        ("parts", "Weights and cache, part by part", lambda: sheet(estimate.sheet(found))),
        ("held", "Held to published numbers", lambda: _held(subject)),
        ("logs", "In public logs", lambda: _logs(subject)),
        ("ids", "On the hub", lambda: _ids(subject)),
        ("spec", "Its spec", lambda: _spec(subject)),
    )
    left_out = {"logs"} if not _logged(subject) else set()
    left_out |= {"ids"} if not subject.hub_ids else set()
    sections = tuple(one for one in sections if one[0] not in left_out)
    body = _head(subject, homes)
    menu = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections)
    body += f'<nav class="toc" aria-label="On this page"><ul>{menu}</ul></nav>\n'
    for name, title, make in sections:
        body += f'<section id="{name}"><h2>{title}</h2>\n{make()}</section>\n'
    return Page(subject.page, spec.name, about, body, script=True)


def _head(subject: Subject, homes: Homes) -> str:
    spec, found = subject.spec, subject.estimate
    mechanisms = "+".join(
        link(subject.page, homes[kind], kind) if kind in homes else text(kind)
        for kind in kinds(spec).split("+")
    )
    longest = spec.max_position_embeddings
    made = f", made for {format_tokens(longest)} tokens" if longest else ""
    hub = "".join(f" · <code>{text(name)}</code>" for name in spec.hub_id)
    sources = ", ".join(inline(source) for source in spec.source) or "a file"
    said = [f"Read in {sources}.", *map(text, spec.notes)]
    if found.assumptions:
        said.append(f"Assumed: {text('; '.join(found.assumptions))}.")
    return (
        f'<h1>{text(spec.name)}</h1>\n<p class="lead">{mechanisms}{made}{hub}</p>\n'
        + facts(_numbers(subject))
        + "".join(f'<p class="quiet">{line}</p>\n' for line in said)
    )


def _numbers(subject: Subject) -> Iterator[tuple[str, str, str]]:
    spec, found = subject.spec, subject.estimate
    total, active = found.parameters.total, found.parameters.active
    below = f"{format_count(active)} a token" if active != total else f"{total:,}"
    yield "parameters", format_count(total), below
    dtype = found.workload.dtype
    yield (
        "weights as published" if dtype == "checkpoint" else f"weights in {dtype}",
        *size(found.weight_bytes),
    )
    yield f"cache at {format_tokens(found.workload.context_tokens)}", *size(found.cache.bytes)
    yield "one more token", *size(found.cache.next_token_bytes)
    longest = spec.max_position_embeddings
    if longest and longest > found.workload.context_tokens and found.cache.bytes:
        yield f"cache at {format_tokens(longest)}", *size(subject.held(longest))
    if found.cache.fixed_bytes_per_sequence:
        yield "windows and states", *size(found.cache.fixed_bytes_per_sequence)


_DEVICE = ' id="device-heading" hidden'


def _form(subject: Subject) -> str:
    found = subject.estimate
    device = found.weight_bytes_per_device[0] + found.cache.per_device_bytes[0]
    numbers = (
        ("cache", "cache", found.cache.bytes),
        ("nextToken", "one more token", found.cache.next_token_bytes),
        ("weights", "weights", found.weight_bytes), ("total", "weights + cache", found.total_bytes),
        ("perDevice", "one device", device),
    )  # fmt: skip
    cells = "".join(
        f'<td data-title="{title}" data-field="{name}" data-bytes="{value}"'
        f"{' hidden' * (name == 'perDevice')}>{format_bytes(value)}<small>{value:,}</small></td>"
        for name, title, value in numbers
    )
    heads = "".join(
        f'<th scope="col"{_DEVICE if name == "perDevice" else ""}>{title}</th>'
        for name, title, _ in numbers
    )
    # Its places are those that the report's script fills (kvcalc/report/page/page.js).
    return filled("form.html", {
        "heads": heads, "name": text(subject.name), "cells": cells, "curve": curve.draw(subject),
        "data": to_json(to_object((subject.found,), Question(found.workload, subject.asked))),
    })  # fmt: skip


def _layers(subject: Subject, homes: Homes) -> Iterator[str]:
    told = subject.told
    if not told["groups"]:
        yield "<p>This model keeps nothing between steps: 0 bytes.</p>\n"
    yield layers.draw(subject.estimate)
    for group in told["groups"]:
        numbers = tuple(n for first, last in group["layer_ranges"] for n in range(first, last + 1))
        kind = group["mechanism"]
        name = link(subject.page, homes[kind], kind) if kind in homes else text(kind)
        count = group["count"]
        yield (
            f"<h3>{text(group['block'])}: {name}, {count} layer{'s' * (count != 1)} "
            f"<span>({text(describe_layers(numbers))})</span></h3>\n"
        )
        if group["explanation"] is not None:
            yield from equation(group["explanation"], inline)
        yield tensors(group, told["peak_tokens"])
    if told["wrong_claims"]:
        items = "".join(f"<li>{text(claim)}</li>" for claim in told["wrong_claims"])
        yield f"<h3>Popular claims that are wrong for this model</h3><ul>{items}</ul>\n"


def _engines(subject: Subject) -> str:
    if not subject.engines:
        return "<p>An engine is asked about sequences of at least one token.</p>\n"
    held = [(row.engine, row.bytes) for row in subject.engines if row.bytes]
    rows = [
        (name, num_bytes, ratio(num_bytes, subject.estimate.cache.bytes))
        for name, num_bytes in held
    ]
    picture = bars.draw(f"The cache of {subject.name} in each engine", rows, 130) if rows else ""
    return (
        "<p>What each accounting holds for the same sequence, beside what the model needs.</p>\n"
        + picture
        + sheet(all_engines.sheet(AllEngines(subject.estimate, subject.engines)))
    )


def _held(subject: Subject) -> str:
    """What the spec states as known, and whether kvcalc computes exactly that."""
    spec = subject.spec
    stated = {} if spec.expect is None else vars(spec.expect)
    known = {field: value for field, value in stated.items() if value is not None}
    if not known:
        return "<p>Its spec states no published number.</p>\n"
    wrong = {field: message for code, field, message in expect_findings(spec) if code == "KV301"}
    rows = (
        (text(field.replace("_", " ")), value, text(wrong.get(f"expect.{field}", "holds")))
        for field, value in known.items()
    )
    return table(("quantity", "published", "kvcalc"), rows, "-n-")


def _logged(subject: Subject) -> tuple[tuple[str, accuracy.Figure], ...]:
    """Figures of engines' logs of the model, where it is the shipped one."""
    return accuracy.of_model(subject.name) if subject.shipped else ()


def _logs(subject: Subject) -> str:
    """What engines printed of it, and what kvcalc says of the same flags and memory."""
    homes = {engine_of(name).words: f"engines/{name}.html" for name in ENGINES}
    rows: list[tuple[Cell, ...]] = [
        (link(subject.page, homes[engine], engine), inline(log), text(asked), text(figure),
         text(logged), text(predicted), text(verdict), text(assumed))
        for engine, one in _logged(subject)
        for log, _, asked, figure, logged, predicted, verdict, assumed in (one.cells,)
    ]  # fmt: skip
    heads = ("engine", "log", "asked", "figure", "logged", "kvcalc", "verdict", "assumed")
    return f'<div class="logs">{table(heads, rows, "----nn--")}</div>'


def _ids(subject: Subject) -> str:
    """Ids of models that have this shape, and what each has of its own."""
    said = ((one, one.told(subject.spec, one.of(subject.spec))) for one in subject.hub_ids)
    items = "".join(
        f"<li>{inline(told[0]) if told else f'<code>{text(one.id)}</code>'}</li>"
        for one, told in said
    )
    return f"<p>kvcalc answers for these ids without a network.</p><ul>{items}</ul>\n"


def _spec(subject: Subject) -> str:
    commands = (
        f"kvcalc estimate {subject.name} --context 32k\nkvcalc explain {subject.name}\n"
        f"kvcalc fit {subject.name} --gpu h100-80gb"
    )
    asked = f'<p>The same on a command line:</p><pre tabindex="0">{lines(commands)}</pre>\n'
    shown = f'<pre class="yaml" tabindex="0">{lines(subject.yaml)}</pre>\n'
    return shown + asked if subject.shipped else shown
