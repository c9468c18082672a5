"""``kvcalc estimate --lengths FILE``: what requests of a trace take, and how many fit."""

from collections.abc import Iterator
from typing import Any

from kvcalc.engines.traffic import TrafficAnswer
from kvcalc.memory.traffic import Percentile, Traffic
from kvcalc.report.cells import Bytes, Count, ExactBytes, percent
from kvcalc.report.objects import traffic as objects
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Column, Row, Sheet, Table, rows_of, table

KEYS = (
    "model", "request", "tokens", "logical_bytes", "bytes", "concurrency", "shared_concurrency",
    "part", "value",
)  # fmt: skip


def to_object(found: TrafficAnswer) -> dict[str, Any]:
    """Integers only."""
    model = {"name": found.model, "spec": found.path}
    return filled(objects.Traffic, found.traffic, model=model, assumptions=found.notes)


def sheet(found: TrafficAnswer) -> Sheet:
    """The distribution, then all requests together."""
    traffic = found.traffic
    columns = (
        Column("request", "request", of=_name), Column("tokens", "tokens", Count),
        Column("need", "logical_bytes", Bytes), Column(_held(traffic), "", Bytes, lambda row: row.bytes),
        Column("bytes", "bytes", ExactBytes), Column("at once", "concurrency", Count),
        Column("sharing the prefix", "shared_concurrency", Count),
    )  # fmt: skip
    totals = (Column("all requests", "request", wraps=True), Column("", "value"),
              Column("", wraps=True))  # fmt: skip
    parts = (table("percentile", columns, rows_of(columns, traffic.percentiles)),
             Table("total", totals, tuple(_totals(traffic)), headed=False))  # fmt: skip
    subtitle = f"the cache of {traffic.num_requests:,} request{'s' * (traffic.num_requests != 1)}"
    return Sheet(found.model, subtitle, parts, found.notes, KEYS)


def _name(row: Percentile) -> str:
    """``mean``, ``p50``, ``longest``."""
    if row.percent is None:
        return "mean"
    return "longest" if row.percent == 100 else f"p{row.percent}"


def _held(traffic: Traffic) -> str:
    """``in blocks of 16``, ``vllm``."""
    return f"in blocks of {traffic.block_tokens}" if traffic.block_tokens else traffic.held_by


def _totals(traffic: Traffic) -> Iterator[Row]:
    """(what, value, beside it) of all requests together."""
    yield Row(("requests", Count(traffic.num_requests), ""))
    yield Row(("tokens", Count(traffic.num_tokens), ""))
    for what, num_bytes in (
        ("need, all together", traffic.logical_bytes),
        (f"held, {_held(traffic)}", traffic.bytes),
    ):
        yield Row((what, Bytes(num_bytes), f"{num_bytes:,} B"))
    beyond = traffic.rounding_bytes
    share = f"{percent(abs(beyond), traffic.logical_bytes)} of it"
    yield Row(("beyond the need", Bytes(beyond), share))
    if traffic.available_bytes is not None:
        yield Row(("memory for the cache", Bytes(traffic.available_bytes), "on each device"))
    if traffic.prefix is not None:
        prefix = traffic.prefix
        whole = f"{prefix.blocks_tokens:,} tokens in whole blocks, kept once"
        told = "prompts at least as long" if traffic.has_prompts else "the file tells no prompts"
        yield Row((f"prefix of {prefix.tokens:,} tokens", Bytes(prefix.bytes), whole))
        yield Row(("requests that share it", Count(prefix.sharing), told))
        saved = f"{prefix.saved_bytes:,} B"
        yield Row(("saved, all held at once", Bytes(prefix.saved_bytes), saved))
