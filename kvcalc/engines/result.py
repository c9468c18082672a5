"""The answer of an engine: the pool as its log states it, what it is made of, what is wasted."""

from fractions import Fraction
from typing import Literal

from kvcalc.frozen import changed, frozen
from kvcalc.memory.shown import Shown


@frozen(kw_only=True)
class Pool:
    """One pool of equal blocks, or of cells, on the device that decides.

    tokens: what this engine version prints as its cache's size. max_concurrency: what it prints as
    its concurrency, before rounding. bytes_per_request: what it prints as needed for one request of
    max_model_len. estimated_max_model_len: the longest request that fits, as its error suggests.
    bytes: what the pool takes, where its size was given in tokens (--tokens, --ctx-size) or the
    engine prints it.
    """

    available_bytes: int | None = None
    block_tokens: int | None = None
    bytes_per_block: int | None = None
    num_blocks: int | None = None
    tokens: int | None = None
    max_concurrency: Fraction | None = None
    blocks_per_request: int | None = None
    bytes_per_request: int | None = None
    estimated_max_model_len: int | None = None
    bytes: int | None = None


@frozen(kw_only=True)
class LayerGroup:
    """Layers that the engine lays out alike: they share block tables.

    layers: how many. padding_layers: slots that own memory and belong to no layer.
    page_bytes: one block of one layer. blocks_per_request: blocks of one request of max_model_len.
    """

    mechanism: str
    layers: int
    padding_layers: int = 0
    block_tokens: int | None = None
    page_bytes: int | None = None
    blocks_per_request: int | None = None


@frozen(kw_only=True)
class Cache:
    """One cache as an engine's log lists it: an attention, recurrent or indexer pool.

    window: tokens that its layers see, where the engine has a pool per window.
    """

    name: str
    type: Literal["attention", "recurrent", "indexer"]
    layers: int
    window: int | None = None
    cells: int | None = None
    streams: int | None = None
    k_bytes: int | None = None
    v_bytes: int | None = None
    r_bytes: int | None = None
    s_bytes: int | None = None
    bytes: int


@frozen(kw_only=True)
class Waste:
    """Memory that the engine takes beyond the logical need, and why.

    cause: a few words, the same for the same reason. bytes: of the whole pool, or of one request
    where ``per_request`` is set. why: one sentence for people.
    """

    cause: str
    bytes: int
    per_request: bool = False
    why: str = ""


@frozen(kw_only=True)
class CapacityResult(Shown):
    """What an engine will allocate, in the terms of its own log.

    pool_range: the pools of the least and the most memory that the stated figure may have been
    rounded from; None when both are the answer. logical_bytes_per_request: what one request of
    max_model_len needs by the closed form, to set beside ``pool.bytes_per_request``.
    rules: which of the engine's rules applied, each with its function. notes: what was assumed.
    source: where the model's dimensions are from; path: its file, where there is one.
    """

    engine: str
    version: str
    model: str
    pool: Pool
    pool_range: tuple[Pool, Pool] | None = None
    max_model_len: int | None = None
    logical_bytes_per_request: int | None = None
    groups: tuple[LayerGroup, ...] = ()
    caches: tuple[Cache, ...] = ()
    waste: tuple[Waste, ...] = ()
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    path: str = ""

    @property
    def figures(self) -> object:
        return changed(self, notes=())
