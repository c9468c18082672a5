"""How many sectors transformers' continuous batching makes of a memory, release 5.24.0.

cache.py, PagedAttentionMemoryHandler. Of the memory that its log calls available go first the tensors of a
step of ``max_batch_tokens`` (8,192): inputs, outputs, and the larger of the attention's and the head's
peak; then two trash sectors and, as the classes slice the hidden states, the logits of 1,024 requests. A
sector costs its bytes and the copies of its tokens that attention reads; without flash attention as many
are taken off again as the masks of [step, cache + step] need. Flash attention reads keys and values as
they are; sdpa and eager repeat them for every query head.

Flash attention on CUDA plans ahead (two sets of inputs) and, where no layer slides, has a block table of 32
blocks a request (initialization.py).
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

from kvcalc.engines import pages
from kvcalc.engines.result import CapacityResult, LayerGroup, Pool, Waste
from kvcalc.engines.transformers_cb.flags import TransformersCbFlags
from kvcalc.engines.transformers_cb.models import RELEASE
from kvcalc.engines.transformers_cb.pages import TRASH, Paged, paged
from kvcalc.errors import UsageError
from kvcalc.spec.model import ModelSpec

BATCH_TOKENS, REQUESTS, TABLE = 8192, 1024, 32
_BACKENDS = ("flash_attention_2", "flash_attention_3", "sdpa", "eager")
_INT, _LONG, _FLOAT = 4, 8, 4


def capacity(spec: ModelSpec, request: TransformersCbFlags) -> CapacityResult:
    """The sectors of a memory. Raises UsageError where nothing says how attention is computed."""
    cache = paged(spec, request)
    memory = request.available
    if memory is None:
        raise UsageError(
            "say how much memory there is: --available SIZE, which its log calls 'Memory available for "
            "cache allocation'"
        )
    steps = Steps(spec, request, cache)
    longest = request.max_model_len or spec.max_position_embeddings
    pools = [_pool(cache, steps.sectors(each), longest, each, steps)
             for each in (memory.bytes, memory.least, memory.most)]  # fmt: skip
    pool, least, most = pools
    if not pool.num_blocks:
        raise UsageError(
            f"{memory} leaves no sector of {cache.sector_bytes:,} bytes beside a step of "
            f"{steps.tokens:,} tokens: fewer with --max-num-batched-tokens, or flash attention"
        )
    return CapacityResult(
        engine="transformers-cb",
        version=request.engine_version or RELEASE,
        model=spec.name,
        pool=pool,
        pool_range=None if least.num_blocks == most.num_blocks else (least, most),
        max_model_len=longest,
        logical_bytes_per_request=pages.need(spec, longest),
        groups=tuple(_groups(cache, longest)),
        waste=(_trash(cache),),
        rules=(
            f"pages of {cache.page} tokens; a sector is the least common multiple of the kinds' blocks: "
            f"{cache.sector_bytes:,} bytes (cache.py, PagedAttentionCache)",
            f"a step of {steps.tokens:,} tokens, its copies and masks, come off the memory first "
            "(PagedAttentionMemoryHandler)",
        ),
        notes=tuple(steps.notes()),
    )


def _groups(cache: Paged, longest: int | None) -> Iterator[LayerGroup]:
    for one in cache.kept:
        blocks = -(-one.taken(longest, cache.page) // cache.page) if longest else None
        yield LayerGroup(mechanism=one.mechanism, layers=len(one.layers), block_tokens=cache.page,
                         page_bytes=cache.page_bytes, blocks_per_request=blocks)  # fmt: skip


def _trash(cache: Paged) -> Waste:
    why = "two sectors that padding reads and writes, and no request has"
    return Waste(cause="trash sectors", bytes=TRASH * cache.sector_bytes, why=why)


class Steps:
    """What a step costs beside the cache. Raises UsageError without an attention backend."""

    def __init__(self, spec: ModelSpec, request: TransformersCbFlags, cache: Paged) -> None:
        given = (request.attention_backend or "").removeprefix("paged|")
        if given not in _BACKENDS:
            raise UsageError(
                f"--attention-backend {given or 'is not said'}: continuous batching takes the flash "
                f"attention that is installed, which decides the pool: say {', '.join(_BACKENDS)}"
            )
        self.cache, self.request, self.given = cache, request, given
        self.flash = given.startswith("flash")
        self.tokens = request.max_num_batched_tokens or BATCH_TOKENS
        self.windows = any(kind.window is not None for kind in cache.kinds)
        ahead = request.async_scheduling
        self.sets = 2 if (self.flash if ahead is None else ahead) else 1
        self.table = TABLE if self.flash and not self.windows else 0
        self.masks = 0 if self.flash else 2 if self.windows else 1
        copies = 2 * cache.heads if self.flash else 2 * cache.query_heads + cache.heads
        head, element, kinds = cache.head_dim, cache.element, len(cache.kinds)
        peak = element * (spec.hidden_size + (cache.query_heads + 2 * cache.heads + copies) * head)
        self.token_bytes = peak + self.sets * (
            7 * _INT + _INT + kinds * self.table * _INT + 2 * kinds * _LONG
        )
        per_sector = max(cache.blocks_per_sector(kind) for kind in cache.kinds) * cache.page
        self.sector_tokens = per_sector
        self.sector_cost = cache.sector_bytes + per_sector * (
            copies * head * element + self.sets * kinds * _LONG
        )
        rows = request.max_num_seqs or REQUESTS
        vocabulary = spec.vocab_size or 0
        self.fixed = TRASH * cache.sector_bytes + rows * (
            spec.hidden_size * element + vocabulary * _FLOAT
        )

    def mask_bytes(self, sectors: int) -> int:
        """The masks of a step over so many sectors."""
        numbers = self.tokens * (sectors * self.sector_tokens + self.tokens)
        return self.sets * self.masks * self.cache.element * numbers

    def sectors(self, memory: int) -> int:
        """Sectors of a memory; 0 where there is none."""
        left = memory - self.fixed - self.tokens * self.token_bytes
        found = left // self.sector_cost
        masks = self.mask_bytes(found)
        each = self.mask_bytes(found + 1) - masks
        found -= -(-masks // (self.sector_cost + each))
        return max(0, found)

    def notes(self) -> list[str]:
        said = [
            "--available is what the log calls 'Memory available for cache allocation': 0.9 of what is "
            "free of the GPU, 0.8 with logits processors, 0.6 on a CPU (max_memory_percent)"
        ]
        if self.flash and self.request.async_scheduling is None:
            said.append(
                "with CUDA graphs, so planned ahead, which takes two sets of a step's inputs"
            )
        if self.windows:
            said.append("layers with windows: no prefixes are shared")
        return said


def _pool(cache: Paged, sectors: int, longest: int | None, memory: int, steps: Steps) -> Pool:
    requests = steps.request.max_num_seqs or REQUESTS
    held = (
        _most(requests, lambda each: cache.sectors(longest, each) <= sectors) if longest else None
    )
    return Pool(
        available_bytes=memory,
        block_tokens=cache.page,
        bytes_per_block=cache.sector_bytes,
        num_blocks=sectors,
        max_concurrency=None if held is None else Fraction(held),
        blocks_per_request=cache.sectors(longest) if longest else None,
        bytes_per_request=cache.sectors(longest) * cache.sector_bytes if longest else None,
        estimated_max_model_len=_longest(cache, sectors),
        bytes=(sectors + TRASH) * cache.sector_bytes,
    )


def _longest(cache: Paged, sectors: int) -> int:
    most = sectors * cache.page * max(cache.blocks_per_sector(kind) for kind in cache.kinds)
    return _most(most, lambda tokens: cache.sectors(tokens) <= sectors)


def _most(high: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to ``high`` that fits; 0 where none does."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
