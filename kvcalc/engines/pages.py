"""Pages of whole tokens: what an engine holds of a sequence whose layers keep rows in equal pages.

For engines without pools of unequal widths: each of a sequence's layers has ceil(rows / page) pages of its
own, a window's layers as many as the window needs, recurrent layers one slot. ``hold`` makes the
``Holding`` of it; how many of them fit a memory is each engine's own.
"""

from functools import partial

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.holding import PARTS, Holding, Part, Share, Slab
from kvcalc.engines.result import LayerGroup, Waste
from kvcalc.frozen import frozen
from kvcalc.memory.cache import cache_function
from kvcalc.spec.model import ModelSpec

ROUNDING = "page rounding"
IDLE = "pages of layers that share"
MASKED = "windows kept whole"
RING = "rings beyond the window"


@frozen(kw_only=True)
class Kept:
    """Equal layers. rows: (name, part, bytes of a row, bytes of it that are needed) of one layer.

    window: rows that are needed at most; None: all. slack: rows kept beyond them. masked: all are
    kept, whatever the window. ring: rows
    that a sequence has for its window, whatever its length. once: a slot a sequence, likewise. idle:
    pages that no layer reads, as the layers read another's.
    """

    block: str
    mechanism: str
    layers: tuple[int, ...]
    rows: tuple[tuple[str, Part, int, int], ...]
    window: int | None = None
    slack: int = 0
    masked: bool = False
    ring: int | None = None
    once: bool = False
    idle: bool = False

    @property
    def row_bytes(self) -> int:
        """One row of one layer."""
        return sum(size for _, _, size, _ in self.rows)

    def needed(self, tokens: int) -> int:
        """Rows that a sequence of so many tokens needs."""
        if self.idle:
            return 0
        if self.once:
            return 1
        return tokens if self.window is None else min(tokens, self.window)

    def taken(self, tokens: int, page: int) -> int:
        """Rows of the whole pages that it takes."""
        if self.once:
            return 1
        if self.ring is not None:
            return self.ring
        rows = (
            tokens if self.window is None or self.masked else min(tokens, self.window + self.slack)
        )
        return -(-rows // page) * page


def paged(kept: tuple[Kept, ...], page: int) -> tuple[LayerGroup, ...]:
    """The layers that lie in pages of so many tokens: no slots, no rings."""
    return tuple(
        LayerGroup(mechanism=one.mechanism, layers=len(one.layers), block_tokens=page,
                   page_bytes=one.row_bytes * page)
        for one in kept if not one.once and one.ring is None
    )  # fmt: skip


def need(spec: ModelSpec, longest: int | None) -> int | None:
    """Bytes that the longest request needs at most, in 16 bits; None where no longest is known."""
    return cache_function(spec, CacheDtypes()).most(longest) if longest else None


def hold(
    stages: tuple[tuple[Kept, ...], ...], tokens: int, page: int, *, version: str,
    formats: dict[Part, str], padded: tuple[str, str] = ("", ""), rules: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Holding:  # fmt: skip
    """A sequence of so many tokens on a rank of each stage.

    padded: what fills a row up to more than its values, as a cause of waste, and why.
    """
    widest = max(((one.window or 0) + one.slack for stage in stages for one in stage), default=0)

    def stage_bytes(length: int) -> tuple[int, ...]:
        return tuple(sum(slab.bytes for slab in _slabs(stage, length, page)) for stage in stages)

    return Holding(
        version=version,
        shares=tuple(map(partial(_share, tokens=tokens, page=page, padded=padded), stages)),
        stage_bytes=stage_bytes,
        far=widest + page,
        period=page,
        step=page,
        formats=formats,
        rules=rules,
        notes=notes,
    )


def _slabs(stage: tuple[Kept, ...], tokens: int, page: int) -> tuple[Slab, ...]:
    return tuple(
        Slab(
            block=one.block,
            mechanism=one.mechanism,
            layers=one.layers,
            tensors=tuple((name, one.taken(tokens, page), size) for name, _, size, _ in one.rows),
        )
        for one in stage
    )


def _share(stage: tuple[Kept, ...], tokens: int, page: int, padded: tuple[str, str]) -> Share:
    need: dict[Part, int] = dict.fromkeys(PARTS, 0)
    lost = dict.fromkeys((ROUNDING, IDLE, MASKED, RING, padded[0]), 0)
    for one in stage:
        count, wanted = len(one.layers), one.needed(tokens)
        size = one.row_bytes * count
        cause = IDLE if one.idle else RING if one.ring is not None or one.slack else ROUNDING
        if one.masked and cause == ROUNDING:
            lost[MASKED] += (tokens - wanted) * size
            wanted = tokens
        lost[cause] += (one.taken(tokens, page) - wanted) * size
        wanted = one.needed(tokens)
        for _, part, each, needed in one.rows:
            need[part] += wanted * needed * count
            lost[padded[0]] += wanted * (each - needed) * count
    waste = tuple(Waste(cause=cause, bytes=lost_bytes, per_request=True, why=_WHY.get(cause, padded[1]))
                  for cause, lost_bytes in lost.items() if lost_bytes)  # fmt: skip
    return Share(slabs=_slabs(stage, tokens, page), need=need, waste=waste)


_WHY = {
    ROUNDING: "the last page is not full",
    MASKED: "layers with a window keep every token, and mask what is out of it",
    RING: "a window's buffer has rows beyond it",
    IDLE: "layers that read another layer's keys and values have pages of their own all the same",
}
