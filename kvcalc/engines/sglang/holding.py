"""SGLang's slots for sequences: what its pools must have for each, without the pools' own.

A sequence takes a slot per token of the full pool, in whole pages. The window pool is a fixed share
of the full one (--swa-full-tokens-ratio), so either may be larger than a sequence needs: the full
pool where a short sequence fills its window. States: one slot a request, and two more that the radix
cache may hold of it (MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO).
"""

from typing import Any

from kvcalc.engines.holding import Holding, Part, Share, Slab
from kvcalc.engines.result import Waste
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.layers import Kind, Layers, count_layers, page_size
from kvcalc.engines.sglang.states import SLOTS_PER_REQUEST
from kvcalc.engines.sglang.versions import NEWEST, WINDOW_RATIO
from kvcalc.frozen import changed, frozen
from kvcalc.memory.stages import pipeline_stages
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec


@frozen
class _Block:
    """Layers of one block of the spec. window: tokens that it needs of a longer sequence."""

    name: str
    layers: tuple[int, ...]
    kind: Kind | None
    window: int | None
    conv_bytes: int
    temporal_bytes: int
    mixer: str
    shared: bool


@frozen
class _Rows:
    """Slots of a sequence in each pool."""

    full: int
    window: int


def hold(spec: ModelSpec, request: SglangFlags) -> Holding:
    """Slots of one sequence of max_model_len. Raises as ``sglang.capacity`` does."""
    tokens = request.max_model_len or 1
    stages = pipeline_stages(len(decoder_layers(spec)), request.layout.pipeline)
    counted = [count_layers(spec, request, stage) for stage in stages]
    page = request.block_size or page_size(counted)
    ratio = request.window_ratio or WINDOW_RATIO
    both = any(one.full for one in counted) and any(one.window for one in counted)
    states = 1 if request.prefix_caching is False else SLOTS_PER_REQUEST
    blocks = [_blocks(spec, request, stage) for stage in stages]
    blocks[-1] += _draft(counted[-1], len(decoder_layers(spec)))
    longest = max((b.window or 0 for stage in blocks for b in stage if b.kind and b.kind.window),
                  default=0)  # fmt: skip

    def rows(length: int) -> _Rows:
        whole = _up(length, page)
        if not both:
            return _Rows(whole, whole)
        needed = _up(min(length, longest), page)
        while int(whole * ratio) // page * page < needed:
            whole = max(whole + page, _up(int(-(-needed // ratio)), page))
        return _Rows(whole, int(whole * ratio) // page * page)

    def stage_bytes(length: int) -> tuple[int, ...]:
        held = rows(length)
        return tuple(sum(slab.bytes for slab in _slabs(one, held, states)) for one in blocks)

    held = rows(tokens)
    notes = [note for one in counted for note in one.notes]
    if both:
        notes.append(
            f"the window pool has {float(ratio):g} times the tokens of the full one "
            "(--window-ratio), needed or not"
        )
    return Holding(
        version=request.engine_version or NEWEST,
        shares=tuple(_share(one, held, states, page, tokens) for one in blocks),
        stage_bytes=stage_bytes,
        far=int(longest / ratio) + 2 * page * ratio.denominator,
        period=page * ratio.denominator,
        step=page,
        formats={
            "kv": "rows as SGLang stores them",
            "index": "index keys are fp8 with an fp32 scale per 128, whatever the cache's format",
            "state": "convolutions in the model's format, the rest in its own",
        },
        rules=(f"{page} token(s) a page (page_size)",
               *((f"{states} state(s) for each request (MambaPool)",)
                 if any(one.state_bytes for one in counted) else ())),
        notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _draft(last: Layers, first: int) -> list[_Block]:
    """The layers that draft, whose pool has as many tokens as the full one."""
    if not last.draft_layers:
        return []
    count, (k, v) = last.draft_layers, last.draft_kept
    alike = count if k % count == v % count == 0 else 1
    kind = Kind("draft", alike, False, k // alike, v // alike, 0)
    return [_Block("draft", tuple(range(first, first + alike)), kind, None, 0, 0, "", False)]


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _blocks(spec: ModelSpec, request: SglangFlags, stage: range) -> list[_Block]:
    """What one layer of each block takes, counted by itself."""
    found: dict[str, list[int]] = {}
    for layer in decoder_layers(spec):
        if layer.index in stage:
            found.setdefault(layer.block, []).append(layer.index)
    blocks = []
    for name, indices in found.items():
        one = count_layers(spec, request, range(indices[0], indices[0] + 1))
        attention: Any = spec.blocks[name].attention
        shared = getattr(attention, "shared_kv", None) is not None
        if shared:
            attention = changed(attention, shared_kv=None)
        extent = next((t.extent for t in attention.cache()), None) if attention else None
        recurrent = spec.blocks[name].recurrent
        blocks.append(
            _Block(
                name,
                tuple(indices),
                one.kinds[0] if one.kinds else None,
                getattr(extent, "size", None),
                one.conv_bytes,
                one.temporal_bytes,
                recurrent.kind if recurrent is not None else "",
                shared,
            )
        )
    return blocks


def _slabs(blocks: list[_Block], rows: _Rows, states: int) -> list[Slab]:
    found = []
    for block in blocks:
        if block.kind is not None:
            slots = rows.window if block.kind.window else rows.full
            parts = (("k", block.kind.k), ("v", block.kind.v), ("index keys", block.kind.index))
            tensors = tuple((name, slots, size) for name, size in parts if size)
            found.append(Slab(block=block.name, mechanism=block.kind.mechanism,
                              layers=block.layers, tensors=tensors))  # fmt: skip
        sizes = (("conv", block.conv_bytes), ("temporal", block.temporal_bytes))
        tensors = tuple((name, states, size) for name, size in sizes if size)
        if tensors:
            found.append(Slab(block=block.name, mechanism=block.mixer, layers=block.layers,
                              tensors=tensors))  # fmt: skip
    return found


def _share(blocks: list[_Block], rows: _Rows, states: int, page: int, tokens: int) -> Share:
    need: dict[Part, int] = {"kv": 0, "index": 0, "state": 0}
    lost = dict.fromkeys(_WHY, 0)
    for block in blocks:
        count = len(block.layers)
        state = (block.conv_bytes + block.temporal_bytes) * count
        need["state"] += state
        lost["states for the radix cache"] += state * (states - 1)
        if block.kind is None:
            continue
        kind = block.kind
        token = (kind.k + kind.v + kind.index) * count
        slots = rows.window if kind.window else rows.full
        wanted = tokens if block.window is None else min(tokens, block.window)
        if block.shared:
            lost["slots of layers that share K and V"] += slots * token
            continue
        need["kv"] += wanted * (kind.k + kind.v) * count
        need["index"] += wanted * kind.index * count
        rounded = min(slots, _up(wanted, page))
        lost["page rounding"] += (rounded - wanted) * token
        if kind.window:
            lost["window pool beyond the window"] += (slots - rounded) * token
        elif block.window is None:
            lost["full pool for the window's sake"] += (slots - rounded) * token
        else:
            lost["windows kept whole"] += (slots - rounded) * token
    waste = tuple(Waste(cause=cause, bytes=size, per_request=True, why=_WHY[cause])
                  for cause, size in lost.items() if size)  # fmt: skip
    return Share(slabs=tuple(_slabs(blocks, rows, states)), need=need, waste=waste)


_WHY = {
    "page rounding": "the last page of a sequence is not full",
    "window pool beyond the window": "the window pool is a fixed share of the full pool",
    "full pool for the window's sake": "a short sequence fills its window, so both pools must grow",
    "windows kept whole": "this architecture has no window pool, so every token is kept",
    "slots of layers that share K and V": "the pools span every layer, also those that read another's",
    "states for the radix cache": "prefixes keep states too: three slots for each running request",
}
