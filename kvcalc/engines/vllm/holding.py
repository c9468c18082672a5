"""vLLM's blocks for sequences: what the pool of ``plan`` gives to each, without the pool's own.

A sequence is billed as vLLM bills a request of max_model_len (``blocks.py``), so N sequences fit
exactly where ``capacity`` prints a concurrency of N: windows with the tokens in flight included. A
rank of a pipeline stage holds as many blocks as every other and pays its own layers' pages.
"""

from math import gcd, lcm

from kvcalc.engines.holding import PARTS, Holding, Part, Share, Slab
from kvcalc.engines.vllm import waste
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.groups import Group
from kvcalc.engines.vllm.page import Entry, Page
from kvcalc.engines.vllm.plan import Plan
from kvcalc.frozen import changed
from kvcalc.spec.model import ModelSpec

_PART: dict[str, Part] = {"state": "state", "index": "index"}


def hold(spec: ModelSpec, request: VllmFlags) -> Holding:
    """Blocks of one sequence of max_model_len. Raises as ``vllm.capacity`` does."""
    plan = Plan(spec, changed(request, available=None))
    stages = [frozenset(stage) for stage in plan.stack.stages]

    def stage_bytes(tokens: int) -> tuple[int, ...]:
        if not plan.groups:
            return tuple(0 for _ in stages)
        blocks = plan.blocks_per_request(tokens)
        return tuple(blocks * plan.layout.bytes_per_block(stage) for stage in stages)

    pages = [group.page for group in plan.groups if group.page.kind != "state"]
    if plan.schedule.states is None:
        pages += [group.page for group in plan.groups if group.page.kind == "state"]
    period = lcm(*(page.block_tokens for page in pages))
    return Holding(
        version=plan.rules.version,
        shares=tuple(_share(plan, stage) for stage in stages),
        stage_bytes=stage_bytes,
        far=max((page.window or 0 for page in pages), default=0) + plan.schedule.in_flight + period,
        period=period,
        step=gcd(*(page.block_tokens for page in pages)) or 1,
        formats={
            "kv": f"rows in {plan.stack.kv.name} as vLLM lays them out, scales included",
            "index": "index keys are fp8 with an fp32 scale per 128, whatever the cache's format",
            "state": "states in the formats that vLLM keeps them in (mamba_ssm_cache_dtype)",
        },
        rules=tuple(rule for rule in plan.rules_applied if not rule.startswith("cache size")),
        # What the notes of capacity say of its own options is not for a workload.
        notes=tuple(note.partition("; where the log")[0] for note in plan.notes),
    )


def _share(plan: Plan, stage: frozenset[int]) -> Share:
    need: dict[Part, int] = dict.fromkeys(PARTS, 0)
    for entry in plan.entries:
        if entry.layer in stage:
            need[_PART.get(entry.page.kind, "kv")] += plan.logical(entry.own)
    if not plan.groups:
        return Share(slabs=(), need=need)
    width = plan.layout.bytes_per_block(stage)
    slabs = [slab for group in plan.groups for slab in _slabs(plan, group, stage, width)]
    lost = tuple(item for item in waste.of_stage(plan, stage) if item.bytes)
    return Share(slabs=tuple(slabs), need=need, waste=lost)


def _slabs(plan: Plan, group: Group, stage: frozenset[int], width: int) -> list[Slab]:
    """The group's layers by block of the spec and page; what is left of a block with the last."""
    blocks = plan.schedule.blocks(group.page, plan.max_model_len)
    mine = [entry for entry in group.entries if entry.layer in stage]
    if not mine:
        unused = blocks * width
        return [Slab(block="padding", mechanism="none", layers=(), tensors=(), unused_bytes=unused)]
    left = width - sum(entry.page.page_bytes for entry in mine)
    padding = min(group.padding, left // group.page.page_bytes)
    left -= padding * group.page.page_bytes
    names = plan.stack.layer_names
    alike: dict[tuple[str, str, Page], list[Entry]] = {}
    for entry in mine:
        alike.setdefault((names[entry.layer], entry.page.name, entry.page), []).append(entry)
    found = []
    for number, ((block, name, page), entries) in enumerate(alike.items()):
        last = number == len(alike) - 1
        fits = page.page_bytes == group.page.page_bytes
        found.append(
            Slab(
                block=block,
                mechanism=name,
                layers=tuple(entry.layer for entry in entries),
                tensors=(("states" if page.kind == "state" else "pages", blocks, page.page_bytes),),
                padding_layers=padding if last and fits else 0,
                unused_bytes=blocks * (left + (0 if fits else padding * group.page.page_bytes))
                if last
                else 0,
            )
        )
    return found
