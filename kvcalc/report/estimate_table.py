"""``kvcalc estimate`` for people: one screen per model, proportions at a glance, 80 columns."""

from typing import Any

from rich.table import Table
from rich.text import Text

from kvcalc.memory.estimate import Estimate, GroupEstimate
from kvcalc.memory.inventory import merged
from kvcalc.memory.whatif import as_mha
from kvcalc.report.ranges import describe_layers
from kvcalc.report.text import bar, percent, ratio
from kvcalc.report.text import render as to_text
from kvcalc.units import format_bytes, format_count, format_tokens


def render(answers: list[tuple[Estimate, Estimate | None]]) -> str:
    """One report per model. answers: (estimate, the real model's where this is a what-if)."""
    return "\n".join(to_text(*_report(estimate, real)) for estimate, real in answers)


def _report(estimate: Estimate, real: Estimate | None) -> list[Any]:
    workload = estimate.workload
    question = f"{format_tokens(workload.context_tokens)} tokens x {workload.batch_size}"
    if workload.encoder_tokens:
        question += f", encoder {format_tokens(workload.encoder_tokens)}"
    if workload.beams > 1:
        question += f", {workload.beams} beams"
    title = Text(estimate.spec.name, style="bold")
    title.append(
        f"  {format_count(estimate.parameters.total)} parameters  |  {question}", "not bold"
    )
    parts: list[Any] = [title, "", _weights(estimate), "", *_cache(estimate), "", _totals(estimate)]
    parts += ["", *_workspace(estimate)]
    if real is None and (mha := as_mha(estimate)) is not None:
        kind = "/".join(sorted({group.group.mechanism for group in estimate.cache.groups}))
        times = ratio(mha, estimate.cache.bytes)
        parts += ["", Text(f"With a KV head per query head (MHA) the cache would take "
                           f"{format_bytes(mha)}, {times} what {kind} takes.", "dim")]  # fmt: skip
    if estimate.assumptions:
        parts.append("")
        parts += [Text(f"- {note}", "dim") for note in estimate.assumptions]
    return parts


def _grid(*headers: str) -> Table:
    """A borderless table. Words stand left and may wrap; numbers stand right and never do."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, header in enumerate(headers):
        words = index == 0 or header in ("shape", "formula")
        left = words or header == ""
        table.add_column(header, justify="left" if left else "right", no_wrap=not words,
                         overflow="fold")  # fmt: skip
    return table


def _weights(estimate: Estimate) -> Table:
    table = _grid(f"weights ({estimate.workload.dtype})", "parameters", "bytes", "share", "")
    total = estimate.weight_bytes
    for component, count in estimate.parameters.by_component.items():
        if count:
            num_bytes = estimate.weight_bytes_by_component[component]
            table.add_row(f"  {component}", f"{count:,}", format_bytes(num_bytes),
                          percent(num_bytes, total), Text(bar(num_bytes, total), "cyan"))  # fmt: skip
    table.add_row("  total", f"{estimate.parameters.total:,}", format_bytes(total), "", "",
                  style="bold")  # fmt: skip
    parameters = estimate.parameters
    if parameters.active != parameters.total:
        table.add_row("  active per token", f"{parameters.active:,}", "", "", "")
        if parameters.active_without_embedding != parameters.active:
            table.add_row("    without the token table",
                          f"{parameters.active_without_embedding:,}", "", "", "", style="dim")  # fmt: skip
    return table


def _cache(estimate: Estimate) -> list[Any]:
    cache = estimate.cache
    if not cache.groups:
        return [Text("cache: none. This model keeps nothing between steps.", "bold")]
    table = _grid(f"cache ({estimate.workload.cache.kv_name})", "shape", "bytes", "share", "")
    for group in _merged(cache.groups):
        _group_rows(table, group, cache.bytes)
    return [table]


def _merged(groups: tuple[GroupEstimate, ...]) -> list[GroupEstimate]:
    """Groups with the same tensors as one row."""
    by_tensors = {group.group.tensors: group.tensors for group in groups}
    per_layer = {key: sum(tensor.bytes for tensor in value) for key, value in by_tensors.items()}
    return [
        GroupEstimate(
            group, by_tensors[group.tensors], per_layer[group.tensors] * len(group.layers)
        )
        for group in merged(tuple(group.group for group in groups))
    ]


def _group_rows(table: Table, group: GroupEstimate, total: int) -> None:
    layers = group.group.layers
    count = f"{len(layers)} layer{'s' if len(layers) != 1 else ''}"
    where = "encoder " if group.group.stack == "encoder" else ""
    table.add_row(f"  {group.group.block}: {group.group.mechanism}",
                  f"{count} ({where}{describe_layers(layers)})", format_bytes(group.bytes),
                  percent(group.bytes, total), Text(bar(group.bytes, total, 10), "magenta"))  # fmt: skip
    for tensor in group.tensors:
        shape = "[" + ", ".join(map(str, tensor.shape)) + "]"
        table.add_row(f"    {tensor.name}", f"{shape} {tensor.dtype}",
                      format_bytes(tensor.bytes * len(layers)), "", "", style="dim")  # fmt: skip


def _totals(estimate: Estimate) -> Table:
    cache, total = estimate.cache, estimate.total_bytes
    table = _grid("total", "bytes", "", "share", "")
    rows = [("  weights", estimate.weight_bytes, "cyan"), ("  cache", cache.bytes, "magenta")]
    for name, num_bytes, colour in rows:
        table.add_row(name, f"{num_bytes:,}", format_bytes(num_bytes), percent(num_bytes, total),
                      Text(bar(num_bytes, total), colour))  # fmt: skip
    table.add_row("  together", f"{total:,}", format_bytes(total), "", "", style="bold")
    table.add_row("  cache per token", f"{cache.bytes_per_token:,}",
                  format_bytes(cache.bytes_per_token), "", "")  # fmt: skip
    if cache.fixed_bytes_per_sequence:
        fixed = cache.fixed_bytes_per_sequence
        table.add_row("  fixed per sequence", f"{fixed:,}", format_bytes(fixed), "", "")
    if cache.after_prefill_bytes is not None:
        pinned = cache.after_prefill_bytes
        table.add_row("  cache right after a prefill", f"{pinned:,}", format_bytes(pinned), "", "")
    if cache.range_bytes is not None:
        for name, value in zip(("least", "expected", "worst"), cache.range_bytes, strict=True):
            shown = "unknown: state recursion.depths" if value is None else f"{value:,}"
            table.add_row(f"  cache, {name} case", shown,
                          "" if value is None else format_bytes(value), "", "")  # fmt: skip
    if len(estimate.weight_bytes_per_device) > 1:
        pairs = zip(estimate.weight_bytes_per_device, cache.per_device_bytes, strict=True)
        weights, kept = max(pairs, key=sum)
        table.add_row(f"  fullest of {len(cache.per_device_bytes)} devices",
                      f"{weights + kept:,}", format_bytes(weights + kept), "", "")  # fmt: skip
        table.add_row("    weights", f"{weights:,}", format_bytes(weights), "", "", style="dim")
        table.add_row("    cache", f"{kept:,}", format_bytes(kept), "", "", style="dim")
    return table


def _workspace(estimate: Estimate) -> list[Any]:
    title = Text("workspace", style="bold")
    title.append(": largest buffers of one unchunked prefill, not at the same time", "not bold")
    table = _grid("buffer", "bytes", "formula")
    # What fused attention never writes comes last, although it would be the largest.
    for item in sorted(estimate.workspace, key=lambda item: item.eager_only):
        eager = ", eager only" if item.eager_only else ""
        table.add_row(f"  {item.name}", format_bytes(item.bytes), item.formula + eager, style="dim")
    notes = dict.fromkeys(item.note for item in estimate.workspace if item.note)
    return [title, table, *(Text(f"  {note}", "dim") for note in notes)]
