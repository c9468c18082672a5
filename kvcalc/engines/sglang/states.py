"""SGLang's pool of recurrent states: how many slots, and what they take."""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.engines.result import Cache
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.layers import Layers
from kvcalc.engines.sglang.versions import Rules
from kvcalc.frozen import frozen

# mem_cache/kv_cache_configurator.py, MAMBA_CACHE_SIZE_MAX_RUNNING_REQUESTS_RATIO.
SLOTS_PER_REQUEST = 3


# What the server takes for --max-running-requests when it drafts (speculative_hook.py).
RUNNING_WITH_DRAFTS = 48
DRAFT_STATES = "draft states"


@frozen
class Slots:
    """count: slots as the log prints them, without the padding one. requests: that run at once.

    draft_tokens: whose states are kept during verification; 0 without speculative decoding.
    billed: what the pool is taken to need before the token pools are sized.
    """

    count: int
    requests: int
    draft_tokens: int
    billed: int


def _per_request(request: SglangFlags) -> int:
    return 1 if request.prefix_caching is False else SLOTS_PER_REQUEST


def running_requests(request: SglangFlags) -> int | None:
    """--max-running-requests: as asked, or what a drafting server takes."""
    return request.max_num_seqs or (RUNNING_WITH_DRAFTS if request.speculative_tokens else None)


def slots_for_requests(state_bytes: int, request: SglangFlags, rules: Rules) -> Slots | None:
    """A stated number of slots; None when none was stated. state_bytes: of one slot."""
    drafts = request.speculative_tokens or 0
    count = running_requests(request) if request.prefix_caching is False else request.max_num_seqs
    if count is None:
        return None
    running = max(1, count // _per_request(request))
    rows = count + rules.padding_state + drafts * (running + rules.padding_state)
    return Slots(count, running, drafts, rows * state_bytes)


def slots_for_budget(
    state_bytes: int, budget: int, ratio: Fraction, request: SglangFlags, rules: Rules
) -> Slots:
    """r / (1 + r) of the budget, the padding slot and the drafts' states taken from it."""
    drafts, share = request.speculative_tokens or 0, _per_request(request)
    most = running_requests(request)
    padding = int(rules.padding_state)
    first = 0
    if rules.joint_states:
        memory = budget * ratio / (1 + ratio) - padding * state_bytes * (1 + drafts)
        count = int(memory // (state_bytes * (1 + Fraction(drafts, share))))
    else:
        first = state_bytes * drafts * (most or 0)
        count = int((budget - first) * ratio / (1 + ratio) // state_bytes)
    running = count // share if most is None else min(most, count // share)
    later = drafts * (running + padding) if rules.joint_states else 0
    return Slots(count, running, drafts, first + (count + padding + later) * state_bytes)


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
        yield Cache(name=DRAFT_STATES, type="recurrent", layers=layers.state_layers,
                    cells=slots.requests, r_bytes=r, s_bytes=s, bytes=r + s)  # fmt: skip
