"""``kvcalc estimate --engine vllm|...|all`` for people: what is held, and every byte's reason."""

from typing import Any

from rich.table import Table
from rich.text import Text

from kvcalc.engines.workload import EngineCache, Row
from kvcalc.memory.estimate import Estimate
from kvcalc.report.engine_json import shapes
from kvcalc.report.ranges import describe_layers
from kvcalc.report.text import bar, ratio
from kvcalc.report.text import render as to_text
from kvcalc.units import format_bytes, format_count, format_tokens


def render(answers: list[tuple[Estimate, EngineCache]]) -> str:
    """One report per model."""
    return "\n".join(to_text(*_report(estimate, cache)) for estimate, cache in answers)


def _title(estimate: Estimate, engine: str) -> Text:
    workload = estimate.workload
    title = Text(estimate.spec.name, style="bold")
    title.append(f"  {format_count(estimate.parameters.total)} parameters  |  "
                 f"{format_tokens(workload.context_tokens)} tokens x {workload.num_sequences}"
                 f"{engine}", "not bold")  # fmt: skip
    return title


def _grid(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, header in enumerate(headers):
        words = index == 0 or header in ("holds", "why")
        left = words or header == ""
        table.add_column(header, justify="left" if left else "right", no_wrap=not words,
                         overflow="fold")  # fmt: skip
    return table


def _report(estimate: Estimate, cache: EngineCache) -> list[Any]:
    groups = _grid("cache", "layers", "padding", "holds", "bytes", "")
    copies = cache.ranks * cache.sequences
    for slab in cache.groups:
        layers = f"{len(slab.layers)} ({describe_layers(slab.layers)})" if slab.layers else ""
        held = ", ".join(f"{name} [{', '.join(map(str, shape))}]"
                         for name, shape in shapes(slab, cache.ranks, cache.sequences))  # fmt: skip
        groups.add_row(f"  {slab.block}: {slab.mechanism}", layers, str(slab.padding_layers or ""),
                       Text(f"{held} B", "dim"), format_bytes(slab.bytes * copies),
                       Text(bar(slab.bytes * copies, cache.bytes, 10), "magenta"))  # fmt: skip
    reasons = _grid("from the need to what is held", "bytes", "", "why")
    reasons.add_row(
        "  logical need", f"{cache.logical_bytes:,}", format_bytes(cache.logical_bytes), ""
    )
    for waste in cache.waste:
        reasons.add_row(f"  {waste.cause}", f"{waste.bytes:+,}", format_bytes(waste.bytes),
                        Text(waste.why, "dim"))  # fmt: skip
    reasons.add_row("  held", f"{cache.bytes:,}", format_bytes(cache.bytes),
                    f"{ratio(cache.bytes, cache.logical_bytes)} the need", style="bold")  # fmt: skip
    totals = _grid("total", "bytes", "")
    together = estimate.weight_bytes + cache.bytes
    rows = [(f"  weights ({estimate.workload.dtype})", estimate.weight_bytes),
            ("  cache", cache.bytes), ("  together", together),
            ("  cache per token", cache.bytes_per_token)]  # fmt: skip
    if cache.fixed_bytes_per_sequence:
        rows.append(("  fixed per sequence", cache.fixed_bytes_per_sequence))
    if len(cache.per_device_bytes) > 1:
        pairs = zip(estimate.weight_bytes_per_device, cache.per_device_bytes, strict=True)
        rows.append((f"  fullest of {len(cache.per_device_bytes)} devices", max(map(sum, pairs))))
    for name, num_bytes in rows:
        totals.add_row(name, f"{num_bytes:,}", format_bytes(num_bytes))
    title = _title(estimate, f"  |  {cache.engine} {cache.version}")
    notes = (*cache.rules, *cache.notes, *estimate.assumptions)
    return [title, "", groups, "", reasons, "", totals, "",
            *(Text(f"- {note}", "dim") for note in notes)]  # fmt: skip


def render_all(answers: list[tuple[Estimate, tuple[Row, ...]]]) -> str:
    """One table per model, an accounting a row, its reasons under it."""
    texts = []
    for estimate, rows in answers:
        table = _grid("accounting", "cache", "bytes", "ratio", "", "why")
        largest = max(row.bytes or 0 for row in rows)
        for row in rows:
            name = f"{row.engine} {row.version or ''}".strip()
            if row.bytes is None:
                table.add_row(name, "-", "", "", "", Text(row.refusal or "", "yellow"))
                continue
            table.add_row(Text(name, "bold"), format_bytes(row.bytes), f"{row.bytes:,}",
                          ratio(row.bytes, estimate.cache.bytes),
                          Text(bar(row.bytes, largest, 10), "magenta"), "")  # fmt: skip
            for waste in row.waste:
                table.add_row(Text(f"  {waste.cause}", "dim"), "", f"{waste.bytes:+,}", "", "",
                              Text(waste.why, "dim"))  # fmt: skip
        notes = [Text(f"- {note}", "dim") for note in estimate.assumptions]
        texts.append(to_text(_title(estimate, ""), "", table, "", *notes))
    return "\n".join(texts)
