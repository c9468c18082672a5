"""What real traffic takes: the cache of requests of many lengths, instead of one context.

A model's cache is compiled once to a function of tokens, and requests of equal length are one. For
each request: its logical need at its full length (prompt and output), and what an allocator of blocks
holds for it: every kind of position rounded up to whole blocks, or an engine's own accounting.

    concurrency at a percentile    min over stages of  available // bytes of a request on the device
    on average                     min over stages of  available * requests // bytes of all requests
    a shared prefix of P tokens    floor(P / block) whole blocks of what is kept for every token, once;
                                   windows and states move on and are each request's own

Percentiles are nearest-rank: the smallest request that at least p % of requests do not exceed.
"""

from collections.abc import Callable
from math import lcm

from kvcalc.frozen import frozen
from kvcalc.memory.cache import CacheFunction
from kvcalc.memory.lengths import Lengths
from kvcalc.tensors import (
    Chunk,
    EncoderTokens,
    EveryToken,
    Extent,
    LastBlock,
    PerBlock,
    Share,
    SinkWindow,
    Tail,
    Window,
)

PERCENTILES = (50, 90, 95, 99, 100)
BLOCK_TOKENS = 16

# One request's bytes on a tensor-parallel rank of each pipeline stage, by its tokens.
StageBytes = Callable[[int], tuple[int, ...]]


@frozen(kw_only=True)
class Percentile:
    """The request at one percentile, and how many like it fit.

    percent: None for the mean. bytes: as held, on all devices; logical_bytes: the need.
    concurrency: None without a memory. shared_concurrency: with the prefix held once.
    """

    percent: int | None
    tokens: int
    logical_bytes: int
    bytes: int
    concurrency: int | None = None
    shared_concurrency: int | None = None


@frozen(kw_only=True)
class Prefix:
    """A prefix that requests share. blocks_tokens: its whole blocks; bytes: of them, on all devices.

    sharing: requests whose prompt is at least as long. saved_bytes: over all requests that share,
    were they all held at once.
    """

    tokens: int
    blocks_tokens: int
    bytes: int
    sharing: int
    saved_bytes: int


@frozen(kw_only=True)
class Traffic:
    """The answer. held_by: whose accounting ``bytes`` follow.

    logical_bytes, bytes: of all requests together. rounding_bytes: what the accounting holds beyond
    the need.
    """

    num_requests: int
    num_tokens: int
    has_prompts: bool
    held_by: str
    block_tokens: int | None
    percentiles: tuple[Percentile, ...]
    logical_bytes: int
    bytes: int
    available_bytes: int | None
    prefix: Prefix | None

    @property
    def rounding_bytes(self) -> int:
        return self.bytes - self.logical_bytes


def eventually_linear(at: StageBytes, far: int, period: int, step: int = 1) -> StageBytes:
    """The same values, each computed once: beyond ``far`` a period adds the same bytes every time.

    step: at(tokens) is at(tokens rounded up to step); it divides the period.
    """
    base = -(-far // period) * period
    memo: dict[int, tuple[int, ...]] = {}
    slopes: list[int] = []

    def value(tokens: int) -> tuple[int, ...]:
        whole = -(-tokens // step) * step
        turns = (whole - base) // period if whole > base else 0
        key = whole - turns * period
        found = memo.get(key)
        if found is None:
            found = memo[key] = at(key)
        if not turns:
            return found
        if not slopes:
            slopes.extend(b - a for a, b in zip(at(base), at(base + period), strict=True))
        return tuple([one + turns * slope for one, slope in zip(found, slopes, strict=True)])

    return value


def far_of(function: CacheFunction, block: int = 1) -> tuple[int, int] | None:
    """(far, period) of a cache's function in blocks; None where a fraction of tokens is kept.

    A period is added to far, since the most may be held at a shorter length (``CacheFunction.peak``).
    """
    far, period = 0, block
    for extent, _ in function.terms:
        match extent:
            case Window(size) | Chunk(size) | LastBlock(size):
                far = max(far, size)
            case SinkWindow(sinks, size):
                far = max(far, sinks + size)
            case Tail(size):
                period = lcm(period, size)
            case PerBlock(size, stride):
                far, period = max(far, size), lcm(period, stride * block)
            case Share():
                return None
    return far + block + period, period


def paged(function: CacheFunction, block: int) -> Callable[[int, int], int]:
    """Bytes of a sequence that grows to (tokens, encoder tokens) and whose positions come in blocks."""
    terms = [(extent, num_bytes, _in_blocks(extent)) for extent, num_bytes in function.terms]

    def at(tokens: int, encoder_tokens: int) -> int:
        total = 0
        for extent, num_bytes, blocks in terms:
            positions = extent.positions(tokens, encoder_tokens)
            total += (-(-positions // block) * block if blocks else positions) * num_bytes
        return total

    def most(tokens: int, encoder_tokens: int = 0) -> int:
        peak = function.peak(tokens, encoder_tokens)
        return max(at(length, encoder_tokens) for length in {tokens, peak})

    return most


def _in_blocks(extent: Extent) -> bool:
    return isinstance(extent, EveryToken | Window | Chunk | SinkWindow | PerBlock | EncoderTokens)


def shared_bytes(function: CacheFunction, tokens: int) -> int:
    """What ``tokens`` positions of a prefix take of everything that is kept for good."""
    return sum(
        extent.positions(tokens, 0) * num_bytes
        for extent, num_bytes in function.terms
        if isinstance(extent, EveryToken | PerBlock)
    )


def traffic(
    lengths: Lengths,
    *,
    logical: StageBytes,
    stage_bytes: StageBytes,
    tensor: int = 1,
    held_by: str = "blocks",
    block_tokens: int | None = None,
    available_bytes: int | None = None,
    prefix_tokens: int | None = None,
    prefix_stage_bytes: StageBytes | None = None,
) -> Traffic:
    """Distribution, concurrency, rounding and prefix savings of the requests.

    logical: the need of a request that grows to so many tokens, the only value.
    stage_bytes: what is held on a rank of each stage; ``tensor`` ranks hold the like.
    prefix_stage_bytes: what that many tokens of a prefix take there.
    """
    requests = lengths.num_requests
    prefix, shared = _prefix(lengths, prefix_tokens, prefix_stage_bytes, block_tokens or 1, tensor)

    def percentile(percent: int, tokens: int, need: int, held: tuple[int, ...]) -> Percentile:
        return Percentile(
            percent=percent, tokens=tokens, logical_bytes=need, bytes=sum(held) * tensor,
            concurrency=_fit(available_bytes, held, 1),
            shared_concurrency=_fit_shared(available_bytes, held, shared, tokens, prefix),
        )  # fmt: skip

    all_logical, all_stages, found = _summed(lengths, logical, stage_bytes, percentile)
    num_tokens = sum(tokens * count for tokens, count in lengths.totals.items())
    all_bytes = sum(all_stages) * tensor
    concurrency = _fit(available_bytes, all_stages, requests)
    mean = _mean(requests, num_tokens, all_logical, all_bytes, concurrency)
    return Traffic(
        num_requests=requests,
        num_tokens=num_tokens,
        has_prompts=lengths.has_prompts,
        held_by=held_by,
        block_tokens=block_tokens,
        percentiles=(mean, *found),
        logical_bytes=all_logical,
        bytes=all_bytes,
        available_bytes=available_bytes,
        prefix=prefix,
    )


def _summed(
    lengths: Lengths, logical: StageBytes, stage_bytes: StageBytes,
    percentile: Callable[[int, int, int, tuple[int, ...]], Percentile],
) -> tuple[int, tuple[int, ...], list[Percentile]]:  # fmt: skip
    """The need of all requests, what a rank of each stage holds of them all, and the percentiles."""
    counts, requests = sorted(lengths.totals.items()), lengths.num_requests
    found: list[Percentile] = []
    all_logical, seen = 0, 0
    all_stages = [0] * len(stage_bytes(counts[0][0]))
    for tokens, count in counts:
        (need,), held = logical(tokens), stage_bytes(tokens)
        all_logical += need * count
        for stage, num_bytes in enumerate(held):
            all_stages[stage] += num_bytes * count
        seen += count
        while len(found) < len(PERCENTILES) and seen * 100 >= PERCENTILES[len(found)] * requests:
            found.append(percentile(PERCENTILES[len(found)], tokens, need, held))
    return all_logical, tuple(all_stages), found


def _mean(
    requests: int, tokens: int, logical_bytes: int, num_bytes: int, concurrency: int | None
) -> Percentile:
    """The mean of all requests, each figure rounded up to a whole one."""
    return Percentile(
        percent=None,
        tokens=-(-tokens // requests),
        logical_bytes=-(-logical_bytes // requests),
        bytes=-(-num_bytes // requests),
        concurrency=concurrency,
    )


def _fit(available: int | None, held: tuple[int, ...], requests: int) -> int | None:
    """How many requests fit on the device that holds most; None where nothing is held or asked."""
    if available is None or not any(held):
        return None
    return min(available * requests // num_bytes for num_bytes in held if num_bytes)


def _fit_shared(
    available: int | None,
    held: tuple[int, ...],
    shared: tuple[int, ...] | None,
    tokens: int,
    prefix: Prefix | None,
) -> int | None:
    """One request whole, and others without the prefix; None where a request is shorter than it."""
    if available is None or shared is None or prefix is None or tokens < prefix.tokens:
        return None
    found = []
    for num_bytes, common in zip(held, shared, strict=True):
        own = num_bytes - common
        if own > 0:
            found.append(max(0, available - common) // own)
    return min(found) if found else None


def _prefix(
    lengths: Lengths,
    tokens: int | None,
    stage_bytes: StageBytes | None,
    block: int,
    tensor: int,
) -> tuple[Prefix | None, tuple[int, ...] | None]:
    if not tokens or stage_bytes is None:
        return None, None
    whole = tokens // block * block
    shared = stage_bytes(whole)
    sharing = sum(count for prompt, count in lengths.prompts.items() if prompt >= tokens)
    num_bytes = sum(shared) * tensor
    return Prefix(
        tokens=tokens,
        blocks_tokens=whole,
        bytes=num_bytes,
        sharing=sharing,
        saved_bytes=max(0, sharing - 1) * num_bytes,
    ), shared
