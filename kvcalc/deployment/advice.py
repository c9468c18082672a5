"""What would make it fit: combinations of changes, the few that no other beats.

A combination takes one choice of each kind: the format of the weights, the format of the cache, the
devices, and as few of the engine's own flags as do it. Each choice has a rank of what it costs; a
combination is beaten by one that costs no more of anything. Where no devices are added, fewer requests
or shorter ones are the last resort of each kind. Every combination that is named was asked about.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

from kvcalc.deployment.answer import Change, Fit, FitRequest, step_of
from kvcalc.deployment.command import added, command, options_of
from kvcalc.deployment.formats import narrower_caches, narrower_weights
from kvcalc.deployment.planner import Planner
from kvcalc.engines.engine import Batch
from kvcalc.frozen import changed, frozen
from kvcalc.memory.layout import Layout
from kvcalc.units import format_tokens

# What people give vLLM on a device that runs nothing else, and a step for a few requests.
MOST_UTILIZATION, SMALL = Fraction(19, 20), Batch(2048, 16)
# Less than a sixteenth of what was asked for is no answer.
MOST_LINES, LEAST_SERVED = 8, 16
_RANKS = (1, 2, 4, 8, 16, 32, 64)


@frozen
class _Choice:
    """One choice: the request with it, what it costs in words, and how much of its kind."""

    request: FitRequest
    costs: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()

    def then(self, other: "_Choice") -> "_Choice":
        """Both; the other was made from this one's request."""
        return _Choice(other.request, self.costs + other.costs, self.ranks + other.ranks)


def changes_for(planner: Planner, answer: Fit, model: str) -> Iterator[Change]:
    """What makes it fit, cheapest first: the engine's own flags, less precision in the cache, less
    service, less precision in the weights, the devices dealt out anew, more of them.

    model: as commands name it.
    """
    request = answer.request
    every = (_asked(planner, answer, each) for each in _combinations(planner, answer))
    found = [one for one in every if one is not None]
    asked = request.workload.batch_size, request.workload.context_tokens
    kept = [one for one in found if not any(_beats(other, one, asked) for other in found)]
    before = options_of(request, planner.spec.own_dtype)
    for one in _few(sorted(kept, key=_dearness)):
        after = options_of(one.request, planner.spec.own_dtype)
        yield Change(
            added(before, after), "; ".join(one.costs), command(model, answer.device, after)
        )


# Places of the ranks: weights, cache, devices, whether ranks were dealt out anew and whether replicas
# were, requests and tokens that are given up, then the flags, and last
# whether it is tight.
_WEIGHTS, _CACHE, _DEVICES, _RANKED, _REPLICATED, _REQUESTS, _TOKENS = range(7)
# A narrower format has to serve this much more than a wider one to be worth a line.
_MORE = (5, 4)


def _beats(one: _Choice, other: _Choice, asked: tuple[int, int]) -> bool:
    """Whether it costs no more of anything, and less of something."""
    mine, its = list(one.ranks), list(other.ranks)
    for place, whole in zip((_REQUESTS, _TOKENS), asked, strict=True):
        less, more = whole - mine[place], whole - its[place]
        if its[place] and less < more and less * _MORE[0] > more * _MORE[1]:
            mine[place] = its[place]
    return mine != its and all(a <= b for a, b in zip(mine, its, strict=True))


def _dearness(one: _Choice) -> tuple[int, ...]:
    ranks = one.ranks
    served = bool(ranks[_REQUESTS] or ranks[_TOKENS])
    dealt = ranks[_RANKED] + ranks[_REPLICATED]
    return (ranks[_DEVICES], dealt, ranks[_WEIGHTS], served, ranks[_CACHE],
            sum(ranks[_TOKENS + 1 : -1]), *(-rank for rank in ranks[_TOKENS + 1 : -1]),
            ranks[_TOKENS], ranks[_REPLICATED])  # fmt: skip


def _few(kept: list[_Choice]) -> list[_Choice]:
    """No more lines than people read: of each number of devices and format of the weights the
    cheapest first, then the next of each."""
    places: dict[tuple[int, int], int] = {}
    turns = []
    for place, one in enumerate(kept):
        group = (one.ranks[_DEVICES], one.ranks[_WEIGHTS])
        turn = places[group] = places.get(group, -1) + 1
        turns.append((turn, place))
    chosen = sorted(place for _, place in sorted(turns)[:MOST_LINES])
    return [kept[place] for place in chosen]


def _asked(planner: Planner, answer: Fit, one: _Choice) -> _Choice | None:
    """A combination that fits, with whether it is tight as the last of its ranks."""
    there = planner.on(answer.device, one.request)
    if one.request == answer.request or not there.holds():
        return None
    if there.holds(1):
        return changed(one, ranks=(*one.ranks, 0))
    return _Choice(one.request, (*one.costs, "tight"), (*one.ranks, 1))


def _combinations(planner: Planner, answer: Fit) -> Iterator[_Choice]:
    """Those that fit, each with as few flags as do it."""
    request = answer.request
    for weights in _weights(planner, answer):
        for cache in _caches(weights.request):
            both = weights.then(cache)
            served = False
            for family in _layouts(planner, both.request, answer.fewest):
                for layout in family:
                    found = list(_with_flags(planner, answer, both.then(layout)))
                    yield from found
                    same = layout.request.layout == request.layout
                    served = served or (same and bool(found))
                    if any(not sum(one.ranks[_TOKENS + 1 :]) for one in found):
                        break
            if not served:
                yield from _served(planner, answer, both)


def _weights(planner: Planner, answer: Fit) -> Iterator[_Choice]:
    yield _Choice(answer.request, (), (0,))
    for rank, (name, cost) in enumerate(
        narrower_weights(planner, answer.device, answer.request), 1
    ):
        yield _Choice(answer.request.of(dtype=name), (cost,), (rank,))


def _caches(request: FitRequest) -> Iterator[_Choice]:
    yield _Choice(request, (), (0,))
    for rank, (cache, cost) in enumerate(narrower_caches(request), 1):
        yield _Choice(request.of(cache=cache), (cost,), (rank,))


def _layouts(
    planner: Planner, request: FitRequest, fewest: Layout | None
) -> Iterator[list[_Choice]]:
    """Families of layouts, each by the number of devices: as asked, then ranks that divide the
    model, the fewest that hold it as it is among them; replicas of the attention with whole experts,
    where there are experts and requests."""
    now = request.layout
    ranks = {changed(now, tensor=tensor, pipeline=pipeline)
             for tensor in _RANKS[:4] for pipeline in _RANKS[:4]}  # fmt: skip
    if fewest is not None:
        ranks.add(fewest)
    divided = sorted(ranks, key=lambda layout: (layout.devices, -layout.tensor))
    divided = [one for one in divided if one.devices >= now.devices and one != now]
    yield [_dealt(request, layout, 0) for layout in (now, *divided)]
    moe = any(block.ffn is not None and block.ffn.kind == "moe"
              for block in planner.spec.blocks.values())  # fmt: skip
    if moe and request.record.schedules:
        yield [
            _dealt(request, layout, 1)
            for layout in (Layout(1, 1, ranks, True) for ranks in _RANKS[1:])
            if now.devices <= layout.data <= request.workload.batch_size and layout != now
        ]


def _dealt(request: FitRequest, layout: Layout, replicas: int) -> _Choice:
    now, more = request.layout, layout.devices
    if layout == now:
        cost: tuple[str, ...] = ()
    elif more > now.devices:
        cost = (f"{more} devices instead of {now.devices}",)
    else:
        cost = (f"the same {now.devices} devices, dealt out differently",)
    if replicas:
        cost += (f"{layout.data} replicas of the attention",)
    ranked = int(layout != now) - replicas
    return _Choice(request.of(layout=layout), cost, (more, ranked, replicas, 0, 0))


def _with_flags(planner: Planner, answer: Fit, one: _Choice) -> Iterator[_Choice]:
    """The choice with as few of the engine's own flags as make it fit; nothing where all do not."""
    flags = _flags(planner, answer, one.request)
    every = _flagged(one, flags, range(len(flags)))
    device = answer.device
    if not (planner.may_hold(device, every.request) and planner.holds(device, every.request)):
        return
    for count in range(len(flags) + 1):
        some = [_flagged(one, flags, chosen) for chosen in combinations(range(len(flags)), count)]
        found = [each for each in some if planner.holds(answer.device, each.request)]
        if found:
            yield from found
            return


_Flag = tuple[str, dict[str, Any]]


def _flagged(one: _Choice, flags: Sequence[_Flag | None], chosen: Sequence[int]) -> _Choice:
    request, costs = one.request, list(one.costs)
    taken = [0] * len(flags)
    for index in chosen:
        flag = flags[index]
        if flag is not None:
            costs.append(flag[0])
            request, taken[index] = changed(request, **flag[1]), 1
    return _Choice(request, tuple(costs), (*one.ranks, *taken))


def _flags(planner: Planner, answer: Fit, request: FitRequest) -> list[_Flag | None]:
    """The engine's own flags: they cost no precision and no device. None: not one of this engine's,
    or given already."""
    device, record, step = answer.device, request.record, step_of(answer.device, request)
    share: _Flag | None = None
    if request.utilization is None and planner.share(device, request).of < MOST_UTILIZATION:
        share = "nothing else may use the device", {"utilization": MOST_UTILIZATION}
    smaller: _Flag | None = None
    if step is not None:
        small = Batch(min(step.tokens, SMALL.tokens), max(SMALL.requests, request.sequences))
        if small.requests < step.requests:
            smaller = (
                f"{small.requests} requests at once, prompts in steps of {small.tokens} tokens",
                {"max_num_batched_tokens": small.tokens, "max_num_seqs": small.requests},
            )
    taken = record.takes(request.engine_version) if record.takes is not None else ()
    eager: _Flag | None = None
    if not request.eager and "CUDA graphs" in taken:
        eager = "speed: no CUDA graphs", {"eager": True}
    return [share, smaller, eager]


def _served(planner: Planner, answer: Fit, one: _Choice) -> Iterator[_Choice]:
    """Fewer requests, or shorter ones, on the devices that were asked for."""
    request, here = one.request, planner.on(answer.device, one.request)
    asked = request.workload
    kept, rest = (request.layout.devices, 0, 0), (0, 0, 0)
    batch = here.largest_batch(1) or here.largest_batch()
    if batch and asked.batch_size // LEAST_SERVED <= batch < asked.batch_size:
        fewer = asked.batch_size - batch
        yield _Choice(request.of(batch_size=batch),
                      (*one.costs, f"{batch:,} of {asked.batch_size:,} requests at once"),
                      (*one.ranks, *kept, fewer, 0, *rest))  # fmt: skip
    longest = here.longest_context(1) or here.longest_context()
    if longest and asked.context_tokens // LEAST_SERVED <= longest < asked.context_tokens:
        cost = f"requests of {longest:,} tokens, not {format_tokens(asked.context_tokens)}"
        yield _Choice(request.of(context_tokens=longest), (*one.costs, cost),
                      (*one.ranks, *kept, 0, asked.context_tokens - longest, *rest))  # fmt: skip
