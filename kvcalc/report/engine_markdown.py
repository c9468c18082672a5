"""``kvcalc estimate --engine vllm|...|all --format markdown``."""

from kvcalc.engines.workload import EngineCache, Row
from kvcalc.memory.estimate import Estimate
from kvcalc.report.engine_json import shapes
from kvcalc.report.ranges import describe_layers
from kvcalc.report.text import ratio
from kvcalc.units import format_bytes, format_tokens


def render(answers: list[tuple[Estimate, EngineCache]]) -> str:
    """One section per model: what is held, and how it comes from the logical need."""
    return "\n".join(_section(estimate, cache) for estimate, cache in answers)


def _title(estimate: Estimate) -> str:
    workload = estimate.workload
    tokens = format_tokens(workload.context_tokens)
    return f"### {estimate.spec.name}: {tokens} tokens x {workload.batch_size}"


def _section(estimate: Estimate, cache: EngineCache) -> str:
    lines = [f"{_title(estimate)} in {cache.engine} {cache.version}", "",
             "| group | layers | padding | holds | bytes | |", "|---|---|---:|---|---:|---:|"]  # fmt: skip
    for slab in cache.groups:
        layers = f"{len(slab.layers)} ({describe_layers(slab.layers)})" if slab.layers else ""
        held = ", ".join(f"{name} {' x '.join(map(str, shape))}"
                         for name, shape in shapes(slab, cache.ranks, cache.sequences))  # fmt: skip
        total = slab.bytes * cache.ranks * cache.sequences
        lines.append(f"| {slab.block}: {slab.mechanism} | {layers} | {slab.padding_layers or ''} "
                     f"| {held} | {total:,} | {format_bytes(total)} |")  # fmt: skip
    lines += ["", "| | bytes | | why |", "|---|---:|---:|---|"]
    lines.append(
        f"| logical need | {cache.logical_bytes:,} | {format_bytes(cache.logical_bytes)} | |"
    )
    for waste in cache.waste:
        lines.append(f"| {waste.cause} | {waste.bytes:+,} | {format_bytes(waste.bytes)} "
                     f"| {waste.why} |")  # fmt: skip
    lines.append(f"| **held** | **{cache.bytes:,}** | **{format_bytes(cache.bytes)}** "
                 f"| {ratio(cache.bytes, cache.logical_bytes)} the need |")  # fmt: skip
    weights = estimate.weight_bytes
    lines.append(
        f"| weights ({estimate.workload.dtype}) | {weights:,} | {format_bytes(weights)} | |"
    )
    notes = (*cache.rules, *cache.notes, *estimate.assumptions)
    lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines).rstrip() + "\n"


def render_all(answers: list[tuple[Estimate, tuple[Row, ...]]]) -> str:
    """One table per model, an accounting a row, the reasons in the last cell."""
    sections = []
    for estimate, rows in answers:
        lines = [_title(estimate), "", "| accounting | cache | bytes | ratio | because |",
                 "|---|---:|---:|---:|---|"]  # fmt: skip
        for row in rows:
            name = f"{row.engine} {row.version or ''}".strip()
            if row.bytes is None:
                lines.append(f"| {name} | - | - | - | {row.refusal} |")
                continue
            reasons = "; ".join(f"{waste.cause} {waste.bytes:+,}" for waste in row.waste)
            lines.append(f"| {name} | {format_bytes(row.bytes)} | {row.bytes:,} "
                         f"| {ratio(row.bytes, estimate.cache.bytes)} | {reasons} |")  # fmt: skip
        lines += ["", *(f"- {note}" for note in estimate.assumptions)]
        sections.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(sections)
