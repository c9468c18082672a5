"""``kvcalc report``: one page with tables, plots, equations and a form that recomputes; no network.

The page is built from the files in ``page/``: a frame, its style and its script. It holds the
models' cache terms (``page_data``), and its script evaluates them in whole numbers. A content
security policy with the hashes of the page's own style and script lets nothing else run or load.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path

from kvcalc import __version__
from kvcalc.checks.expect import expect_findings
from kvcalc.deployment.estimation import EstimateQuestion, need_among
from kvcalc.errors import UsageError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.claims import wrong_claims
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.grid import kinds
from kvcalc.memory.inventory import CacheGroup, groups_of, merged
from kvcalc.report.answers.explanation import group_object, keeping_nothing
from kvcalc.report.answers.layers import describe_layers
from kvcalc.report.cells import ratio
from kvcalc.report.page.data import Question, to_json, to_object
from kvcalc.report.page.equations import equation
from kvcalc.report.page.proofs import ProofLine, rows
from kvcalc.spec.catalog import Found
from kvcalc.units import format_bytes, format_count, format_tokens

MAX_BYTES = 1_000_000
_PAGE = Path(__file__).parent


def page_of(
    models: tuple[Found, ...],
    question: EstimateQuestion,
    command: str,
    proofs: tuple[ProofLine, ...] = (),
    watch: Callable[[Iterable[Found], int], Iterable[Found]] = lambda models, total: models,
) -> str:
    """The page of models, which opens with what the first was asked. command: what makes it again.
    proofs: of a run of ``kvcalc verify``. watch: sees every model go by, and how many there are.

    Raises UnsupportedError naming the model that has no answer, UsageError when there are so many models
    that the page would pass ``MAX_BYTES``.
    """
    estimates = tuple(need_among(each, question) for each in watch(models, len(models)))
    opening = Question(estimates[0].workload, question.asked)
    return _render(models, estimates, opening, command, proofs)


def _render(
    models: tuple[Found, ...],
    estimates: tuple[Estimate, ...],
    question: Question,
    command: str,
    proofs: tuple[ProofLine, ...],
) -> str:
    style = _file("page.css")
    script = "\n".join(_file(name) for name in ("recompute.js", "charts.js", "page.js"))
    names = ", ".join(estimate.spec.name for estimate in estimates)
    parts = {
        "policy": f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'",
        "title": escape(
            f"{names}: memory" if len(names) < 80 else f"Memory of {len(models)} models"
        ),
        "style": style,
        "script": script,
        "heading": escape(names if len(names) < 200 else f"{len(models)} models"),
        "version": escape(__version__),
        "command": escape(command),
        "rows": "".join(_rows(estimates)),
        "equations": "".join(_model(estimate) for estimate in estimates),
        "expectations": "".join(_expectations(estimates)),
        "proofs": _proofs(tuple(estimate.spec.name for estimate in estimates), proofs),
        "data": to_json(to_object(models, question)),
    }
    frame = _file("page.html")
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)
    size = len(page.encode("utf-8", "surrogateescape"))
    if size > MAX_BYTES:
        raise UsageError(
            f"a page of {len(models)} models would take {size:,} bytes, more than a page should "
            f"({MAX_BYTES:,}): name fewer models"
        )
    return page


def _file(name: str) -> str:
    return (_PAGE / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _rows(estimates: tuple[Estimate, ...]) -> Iterator[str]:
    """The table as the page opens, so that it reads without its script."""
    first = estimates[0].cache.bytes
    for estimate in estimates:
        spec, cache = estimate.spec, estimate.cache
        device = estimate.weight_bytes_per_device[0] + cache.per_device_bytes[0]
        total = estimate.parameters.total
        cells = (
            _bytes_cell("cache", "cache", cache.bytes),
            f'<td data-title="to the first" data-field="ratio">{ratio(cache.bytes, first)}</td>',
            _bytes_cell("nextToken", "one more token", cache.next_token_bytes),
            _bytes_cell("weights", "weights", estimate.weight_bytes),
            _bytes_cell("total", "weights + cache", estimate.total_bytes),
            _bytes_cell("perDevice", "one device", device, len(cache.per_device_bytes) < 2),
            f'<td data-title="parameters">{format_count(total)}<small>{total:,}</small></td>',
        )
        kind = f"<small>{escape(kinds(spec))}</small>{_longest(estimate)}"
        yield f'<tr><th scope="row">{escape(spec.name)}{kind}</th>{"".join(cells)}</tr>\n'


def _longest(estimate: Estimate) -> str:
    """What a model was made for, where more is asked of it; the script hides it where less is."""
    longest = estimate.spec.max_position_embeddings
    if longest is None:
        return ""
    hidden = " hidden" * (estimate.workload.context_tokens <= longest)
    words = f"made for at most {longest:,} tokens"
    return f'<small class="beyond" data-longest="{longest}"{hidden}>{words}</small>'


def _bytes_cell(name: str, title: str, value: int, hidden: bool = False) -> str:
    """title: of the column, which stands over the value where there is no room for columns."""
    shown = f"{format_bytes(value)}<small>{value:,}</small>"
    about = f'data-title="{title}" data-field="{name}" data-bytes="{value}"{" hidden" * hidden}'
    return f"<td {about}>{shown}</td>"


def _model(estimate: Estimate) -> str:
    """The equations of every kind of layer, the popular errors, the assumptions, the sources."""
    spec, workload = estimate.spec, estimate.workload
    function = cache_function(spec, workload.cache)
    length = function.peak(workload.context_tokens, workload.encoder_tokens)
    groups = merged(groups_of(spec))
    lines = [f"<details open><summary><h3>{escape(spec.name)}</h3> "]
    lines.append(f"<span>{escape(kinds(spec))}</span></summary>\n")
    if not groups:
        lines.append("<p>This model keeps nothing between steps: 0 bytes.</p>\n")
    for group in groups:
        lines += _group(estimate, group, length)
    lines += (
        f"<section><h4>{escape(kind)}</h4><p>{escape(why)}</p></section>\n"
        for kind, why in keeping_nothing(spec, groups)
    )
    lines += _list("Popular formulas that are wrong for this model", wrong_claims(spec, workload))
    lines += _list("Assumed, and left out", estimate.assumptions)
    lines += _list("Dimensions from", spec.source)
    lines.append("</details>\n")
    return "".join(lines)


def _group(estimate: Estimate, group: CacheGroup, length: int) -> Iterator[str]:
    workload, count = estimate.workload, len(group.layers)
    told = group_object(estimate.spec, group, workload, length)
    yield (
        f"<section><h4>{escape(group.block)}: {escape(group.mechanism)}, {count} "
        f"layer{'s' if count != 1 else ''} <span>({describe_layers(group.layers)})</span></h4>\n"
    )
    if told["explanation"] is not None:
        yield from equation(told["explanation"])
    when = "" if length == workload.context_tokens else ", when the most is held"
    yield (
        '<div class="scroll"><table><caption>One layer, one sequence, '
        f"{format_tokens(length)} tokens{when}</caption><thead><tr><th>kept</th><th>shape</th>"
        "<th>format</th><th>positions</th><th>bytes a position</th><th>bytes</th></tr></thead><tbody>"
    )
    for tensor in told["tensors"]:
        cells = (
            "[" + ", ".join(map(str, tensor["shape"])) + "]", tensor["dtype"],
            f"{tensor['positions']:,} <small>{escape(tensor['extent'])}</small>",
            f"{tensor['position_bytes']:,}", f"{tensor['bytes']:,}",
        )  # fmt: skip
        yield f'<tr><th scope="row">{escape(tensor["name"])}</th>'
        yield "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    each, total = sum(tensor["bytes"] for tensor in told["tensors"]), told["bytes"]
    yield "</tbody></table></div>\n"
    yield (
        f"<p>{each:,} bytes a layer × {count} = <strong>{total:,}</strong> bytes "
        f"({format_bytes(total)}).</p></section>\n"
    )


def _list(title: str, lines: tuple[str, ...]) -> Iterator[str]:
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f"<section><h4>{title}</h4><ul>{items}</ul></section>\n"


def _expectations(estimates: tuple[Estimate, ...]) -> Iterator[str]:
    """Published numbers that the specs state, held against what kvcalc computes."""
    for estimate in estimates:
        spec = estimate.spec
        name = f'<th scope="row">{escape(spec.name)}</th>'
        wrong = {
            field: message for code, field, message in expect_findings(spec) if code == "KV301"
        }
        stated = {} if spec.expect is None else vars(spec.expect)
        known = {field: value for field, value in stated.items() if value is not None}
        if not known:
            yield f'<tr>{name}<td colspan="3">its spec states no published number</td></tr>\n'
        for field, value in known.items():
            message = wrong.get(f"expect.{field}")
            yield (
                f'<tr class="{"differs" if message else "holds"}">{name}'
                f"<td>{field.replace('_', ' ')}</td><td>{value:,}</td>"
                f"<td>{escape(message or 'holds')}</td></tr>\n"
            )


def _proofs(names: tuple[str, ...], proofs: tuple[ProofLine, ...]) -> str:
    """What a run of ``kvcalc verify`` measured, or how to get it into the page."""
    if not proofs:
        models = escape(" ".join(names))
        return (
            f"<p>Not run for this page: <code>kvcalc verify {models} --format json &gt; proofs.json"
            "</code> builds the models in PyTorch and measures every tensor, and "
            "<code>kvcalc report --proofs proofs.json</code> shows the result here.</p>"
        )
    head = "".join(
        f"<th>{word}</th>" for word in ("model", "proof", "formula", "measured", "against", "")
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n'
        f"{''.join(rows(names, proofs))}</tbody></table></div>"
    )
