"""SGLang's pool of recurrent states: how many slots, and what they take."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from kvcalc.engines.request import CapacityRequest
from kvcalc.engines.result import Cache
from kvcalc.engines.sglang.layers import Layers

# mem_cache/kv_cache_configurator.py, MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO.
SLOTS_PER_REQUEST = 3


@dataclass(frozen=True)
class Slots:
    """count: slots as the log prints them, without the padding one. requests: that run at once.

    draft_tokens: whose states are kept during verification; 0 without speculative decoding.
    """

    count: int
    requests: int
    draft_tokens: int

    def bytes(self, layers: Layers) -> int:
        """What the pool is billed before the token pools are sized."""
        per = layers.state_bytes
        return (self.count + 1) * per + self._drafts() * per

    def _drafts(self) -> int:
        return (self.requests + 1) * self.draft_tokens if self.draft_tokens else 0


def _per_request(request: CapacityRequest) -> int:
    return 1 if request.prefix_caching is False else SLOTS_PER_REQUEST


def slots_for_requests(layers: Layers, request: CapacityRequest) -> Slots | None:
    """A stated number of slots; None when none was stated."""
    if request.max_num_seqs is None:
        return None
    drafts = request.speculative_tokens or 0
    running = max(1, request.max_num_seqs // _per_request(request))
    return Slots(request.max_num_seqs, running, drafts)


def slots_for_budget(
    layers: Layers, budget: int, ratio: Fraction, request: CapacityRequest
) -> Slots:
    """r / (1 + r) of the budget, the padding slot and the drafts' states taken from it."""
    per, drafts, share = layers.state_bytes, request.speculative_tokens or 0, _per_request(request)
    memory = budget * ratio / (1 + ratio)
    count = int((memory - per * (1 + drafts)) // (per * (1 + Fraction(drafts, share))))
    running = count // share
    if request.max_num_seqs is not None:
        running = min(running, request.max_num_seqs)
    return Slots(count, running, drafts)


def state_caches(layers: Layers, slots: Slots) -> Iterator[Cache]:
    """The state pool, and the drafts' states, as MambaPool allocates them."""
    rows = slots.count + 1
    r, s = layers.conv_bytes * rows, layers.temporal_bytes * rows
    yield Cache(name="states", type="recurrent", layers=layers.state_layers, cells=slots.count,
                r_bytes=r, s_bytes=s, bytes=r + s)  # fmt: skip
    if slots.draft_tokens:
        drafts, requests = slots.draft_tokens, slots.requests + 1
        # Windows of consecutive draft tokens overlap, so they are stored as one longer window.
        windows = sum(
            channels * (drafts + columns - 1 if overlap else drafts * columns) * size
            for channels, columns, size, overlap in layers.convolutions
        )
        r, s = windows * requests, layers.temporal_bytes * requests * drafts
        yield Cache(name="draft states", type="recurrent", layers=layers.state_layers,
                    cells=slots.requests, r_bytes=r, s_bytes=s, bytes=r + s)  # fmt: skip
