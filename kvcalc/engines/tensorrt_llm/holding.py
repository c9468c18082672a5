"""TensorRT-LLM's blocks for sequences: whole blocks of each window's pool, a state slot each.

A sequence longer than a window keeps the window's blocks and one more, so that the window is always
held in full (kvCacheManager.h, kSWAExtraBlock). Pools for different windows have equal shares of the
memory (calculate_max_num_blocks_for_vswa), so the pool that a sequence needs most of decides how
large each of them must be.
"""

from kvcalc.engines.holding import Holding, Part, Share, Slab
from kvcalc.engines.result import Waste
from kvcalc.engines.tensorrt_llm import rank as ranks
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.versions import VERSION
from kvcalc.frozen import frozen
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec


@frozen
class _Block:
    """Layers of one block of the spec: their pool, and what one of them takes."""

    name: str
    layers: tuple[int, ...]
    window: int | None
    attention: ranks.OfWindow | None
    conv: int
    state: int
    mixer: str


def hold(spec: ModelSpec, request: TensorrtLlmFlags) -> Holding:
    """Blocks of one sequence of max_model_len. Raises as ``tensorrt_llm.capacity`` does."""
    tokens = request.max_model_len or 1
    block = request.block_size or ranks.BLOCK_TOKENS
    stages = tuple(ranks.stages_of(spec, request.layout.pipeline))
    for stage in stages:
        ranks.rank_of(spec, request, stage)
    parts = [_blocks(spec, request, stage) for stage in stages]

    def stage_bytes(length: int) -> tuple[int, ...]:
        return tuple(sum(slab.bytes for slab in _slabs(one, length, block)) for one in parts)

    windows = {one.window for part in parts for one in part if one.attention is not None}
    rules = [f"blocks of {block} tokens, whole for each sequence"]
    if len(windows) > 1:
        rules.append("an equal share of the memory for each window's pool "
                     "(calculate_max_num_blocks_for_vswa)")  # fmt: skip
    return Holding(
        version=request.engine_version or VERSION,
        shares=tuple(_share(part, tokens, block) for part in parts),
        stage_bytes=stage_bytes,
        far=max(_far(part, block) for part in parts),
        period=block,
        step=block,
        formats={
            "kv": "rows as TensorRT-LLM stores them",
            "index": "index keys are fp8 with an fp32 scale per 128, whatever the cache's format",
            "state": "convolutions in the model's format, the rest in its own",
        },
        rules=tuple(rules),
    )


def _blocks(spec: ModelSpec, request: TensorrtLlmFlags, stage: range) -> list[_Block]:
    found: dict[str, list[int]] = {}
    for layer in decoder_layers(spec):
        if layer.index in stage:
            found.setdefault(layer.block, []).append(layer.index)
    blocks = []
    for name, layers in found.items():
        one = ranks.one_layer(spec, spec.blocks[name], request)
        window, attention = next(iter(one.windows.items()), (None, None))
        mixer = spec.blocks[name].recurrent
        kind = mixer.kind if mixer is not None else ""
        blocks.append(_Block(name, tuple(layers), window, attention, one.conv, one.state, kind))
    return blocks


def _rows(window: int | None, tokens: int, block: int) -> int:
    """Tokens of whole blocks that a sequence has in a pool."""
    if window is None or tokens <= window:
        return -(-tokens // block) * block
    return (-(-window // block) + 1) * block


def _pools(blocks: list[_Block], tokens: int, block: int) -> dict[int | None, int]:
    """Bytes that a sequence takes of each window's pool."""
    found: dict[int | None, int] = {}
    for one in blocks:
        if one.attention is not None:
            own = _rows(one.window, tokens, block) * one.attention.token_bytes * len(one.layers)
            found[one.window] = found.get(one.window, 0) + own
    return found


def _far(blocks: list[_Block], block: int) -> int:
    """From here on windows are full and the pool that grows is the largest."""
    widest = max((one.window or 0 for one in blocks), default=0)
    pools = _pools(blocks, widest + block, block)
    token = sum(one.attention.token_bytes * len(one.layers) for one in blocks
                if one.attention is not None and one.window is None)  # fmt: skip
    return max(widest, max(pools.values(), default=0) // token if token else 0) + 2 * block


def _slabs(blocks: list[_Block], tokens: int, block: int) -> list[Slab]:
    pools = _pools(blocks, tokens, block)
    found, seen = [], set()
    for one in blocks:
        if one.attention is not None:
            rows = _rows(one.window, tokens, block)
            sizes = (("k", one.attention.k), ("v", one.attention.v),
                     ("index keys", one.attention.index))  # fmt: skip
            unused = 0 if one.window in seen else max(pools.values()) - pools[one.window]
            seen.add(one.window)
            found.append(
                Slab(
                    block=one.name,
                    mechanism=one.attention.mechanism,
                    layers=one.layers,
                    tensors=tuple((name, rows, size) for name, size in sizes if size),
                    unused_bytes=unused,
                )
            )
        states = tuple((name, 1, size) for name, size in (("conv", one.conv), ("state", one.state))
                       if size)  # fmt: skip
        if states:
            found.append(Slab(block=one.name, mechanism=one.mixer, layers=one.layers,
                              tensors=states))  # fmt: skip
    return found


def _share(blocks: list[_Block], tokens: int, block: int) -> Share:
    need: dict[Part, int] = {"kv": 0, "index": 0, "state": 0}
    pools = _pools(blocks, tokens, block)
    equal = sum(max(pools.values()) - size for size in pools.values())
    lost = {"block rounding": 0, "equal pools": equal}
    for one in blocks:
        count = len(one.layers)
        need["state"] += (one.conv + one.state) * count
        if one.attention is None:
            continue
        wanted = tokens if one.window is None else min(tokens, one.window)
        beyond = _rows(one.window, tokens, block) - wanted
        lost["block rounding"] += beyond * one.attention.token_bytes * count
        need["kv"] += wanted * (one.attention.k + one.attention.v) * count
        need["index"] += wanted * one.attention.index * count
    waste = tuple(Waste(cause=cause, bytes=size, per_request=True, why=_WHY[cause])
                  for cause, size in lost.items() if size)  # fmt: skip
    return Share(slabs=tuple(_slabs(blocks, tokens, block)), need=need, waste=waste)


_WHY = {
    "block rounding": "the last block is not full, and a sliding window has a block more than it fills",
    "equal pools": "each window's pool has an equal share of the memory, so the largest decides",
}
