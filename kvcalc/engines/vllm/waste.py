"""Where vLLM's pool loses memory, in bytes and words.

Of the pool: what is left over after the last whole block, and the null block that BlockPool holds
back (block 0). Of one request of max_model_len on the fullest pipeline stage, so that the causes and
the logical need add up to the bytes that the request takes: unfinished blocks, tokens in flight,
states beyond the first, pages padded to one size, padding layers, groups narrower than the block.
Copies of KV heads on several ranks are part of each rank's need and stated apart.
"""

from collections.abc import Iterator
from typing import Protocol

from kvcalc.engines.result import Pool, Waste
from kvcalc.engines.vllm.blocks import Schedule
from kvcalc.engines.vllm.groups import Group, Layout
from kvcalc.engines.vllm.page import Entry, Page


class Planned(Protocol):
    """What vLLM planned for a model: pages, groups, blocks."""

    max_model_len: int
    schedule: Schedule
    layout: Layout

    @property
    def entries(self) -> tuple[Entry, ...]: ...
    @property
    def groups(self) -> tuple[Group, ...]: ...
    def logical(self, page: Page) -> int: ...
    def fullest_stage(self) -> frozenset[int]: ...


def of_pool(pool: Pool, v0: bool) -> Iterator[Waste]:
    """Memory that no request can use. v0: the first engine, which had no null block."""
    assert pool.available_bytes is not None
    assert pool.bytes_per_block is not None
    yield Waste(
        cause="remainder",
        bytes=pool.available_bytes % pool.bytes_per_block,
        why="less than one block is left over",
    )
    yield Waste(
        cause="null block",
        bytes=0 if v0 else pool.bytes_per_block,
        why="block 0 stands for blocks that were freed and is never given out",
    )


def of_request(plan: Planned) -> Iterator[Waste]:
    """What one request of max_model_len takes beyond its logical need, on the fullest stage."""
    yield from of_stage(plan, plan.fullest_stage())
    yield Waste(cause="replication", bytes=copies(plan, plan.fullest_stage()), per_request=True,
                why="KV heads copied to several ranks; within the logical need of each rank")  # fmt: skip


def copies(plan: Planned, stage: frozenset[int]) -> int:
    """Bytes of one request on a rank of this stage that are copies of another rank's heads."""
    found = 0
    for entry in plan.entries:
        if entry.layer in stage:
            held, total = entry.page.replicated
            need = plan.logical(entry.own)
            found += need - need * total // held
    return found


def of_stage(plan: Planned, stage: frozenset[int]) -> Iterator[Waste]:
    """What a rank of one pipeline stage holds of a request of max_model_len beyond its need."""
    width = plan.layout.width(stage)
    length, schedule = plan.max_model_len, plan.schedule
    found = dict.fromkeys(_WHY, 0)
    for group in plan.groups:
        blocks = schedule.blocks(group.page, length)
        used = 0
        for entry in group.entries:
            if entry.layer not in stage:
                continue
            page, own = entry.page, entry.own
            used += page.page_bytes
            found["page padding"] += blocks * (page.page_bytes - page.unpadded_bytes)
            logical = plan.logical(own)
            beyond = blocks * page.unpadded_bytes - logical
            if page.kind == "state":
                found["states"] += beyond
            elif page.window is not None:
                in_flight = max(0, schedule.held(page, length) - min(page.window, length))
                found["tokens in flight"] += in_flight * page.token_bytes
                found["block rounding"] += beyond - in_flight * page.token_bytes
            elif own.window is not None:
                rounding = -length % page.block_tokens * page.token_bytes
                found["block rounding"] += rounding
                found["windows billed as full"] += beyond - rounding
            else:
                found["block rounding"] += beyond
        padding = min(group.padding * group.page.page_bytes, width - used)
        found["padding layers"] += blocks * padding
        found["narrower groups"] += blocks * (width - used - padding)
    for cause, num_bytes in found.items():
        yield Waste(cause=cause, bytes=num_bytes, per_request=True, why=_WHY[cause])


_WHY = {
    "block rounding": "the last block of each group is not full, and a window may start inside one",
    "tokens in flight": "windows keep what is scheduled and not yet freed",
    "windows billed as full": "the hybrid manager is off",
    "states": "states kept for prefix caching and draft tokens beside the current one",
    "page padding": "pages are padded to one size, so that any block fits any group",
    "padding layers": "slots that no layer uses, so that all groups have as many layers",
    "narrower groups": "every block is as wide as the widest group",
}
