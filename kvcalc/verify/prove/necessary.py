"""*necessary*: changing any cached tensor, and any single position of it, changes the outputs."""

from collections.abc import Iterator

import torch

from kvcalc.frozen import frozen
from kvcalc.proofs import Proof, Row, proved, spans
from kvcalc.tensors import Once
from kvcalc.verify.model import ModelCache, Place
from kvcalc.verify.places import Key, inventory, label
from kvcalc.verify.prove.small import Run
from kvcalc.verify.prove.sufficient import TOLERANCE

ATTEMPTS = 24


@frozen
class Change:
    """One change of the cache: a whole tensor, or one position of it."""

    place: Place
    name: str
    axis: int = 0
    slot: int | None = None


def prove_necessary(run: Run) -> Proof:
    """Change each cached tensor, and each position of one layer of each kind; watch the outputs."""
    if run.encoder_only:
        return Proof("necessary", True, applies=False, notes=("nothing is kept",))
    _, cache = run.decode(run.plan.prefill)
    changes = list(_changes(run, cache))
    outputs, left = _effects(run, cache, changes, 2)
    for seed in range(3, 3 + ATTEMPTS):
        # What only sways a choice of the top k may need another change, or other tokens, to show.
        again = [index for index, change in enumerate(changes)
                 if not outputs[index] and change.slot is None]  # fmt: skip
        if not again:
            break
        more, _ = _effects(run, cache, [changes[index] for index in again], seed)
        for index, changed in zip(again, more, strict=True):
            outputs[index] = changed
    effect: dict[Key, dict[int | None, tuple[bool, bool]]] = {}
    for change, changed, gone in zip(changes, outputs, left, strict=True):
        effect.setdefault((change.place, change.name), {})[change.slot] = (changed, gone)
    rows: list[Row] = []
    failures: list[str] = []
    for place, name, tensor in cache.tensors():
        seen = effect.get((place, name))
        text = label(place, name)
        if seen is None:
            rows.append(Row(text, 1, True, note="empty at this length"))
            continue
        problem, note = _judge(run, place, seen)
        rows.append(Row(text, 1, not problem, note=note))
        if problem:
            failures.append(f"{text} {list(tensor.shape)}: {problem}")
    return proved("necessary", _grouped(rows), failures)


def _changes(run: Run, cache: ModelCache) -> Iterator[Change]:
    """Every tensor as a whole; every position where a block stands for the first time."""
    axes = {
        (group.slot, tensor.name): tensor.token_axis + 1
        for group, tensor in inventory(run.spec)
        if not isinstance(tensor.extent, Once)
    }
    seen: set[tuple[str, str, str]] = set()
    for place, name, tensor in cache.tensors():
        if not tensor.numel():
            continue
        yield Change(place, name)
        _, layer, slot = place
        kind = (run.model.names[layer], slot, name)
        if kind in seen or (slot, name) not in axes:
            continue
        seen.add(kind)
        axis = axes[slot, name]
        for index in range(tensor.shape[axis]):
            yield Change(place, name, axis, index)


def _changed(tensor: torch.Tensor, change: Change, generator: torch.Generator) -> torch.Tensor:
    """The tensor with other values: reversed in sign, larger, with noise, so that choices turn."""
    part = tensor if change.slot is None else tensor.select(change.axis, change.slot)
    noise = torch.randn(part.shape, generator=generator, dtype=part.dtype)
    other = -1.5 * part + (part.abs().mean() + 0.1) * noise
    if change.slot is None:
        return other
    result = tensor.clone()
    result.select(change.axis, change.slot).copy_(other)
    return result


def _effects(
    run: Run, cache: ModelCache, changes: list[Change], seed: int
) -> tuple[list[bool], list[bool]]:
    """For each change: did an output change, and had the change left the cache after one token?"""
    generator = torch.Generator().manual_seed(seed)
    tail = torch.randint(0, run.spec.vocab_size, (1, run.plan.ahead), generator=generator)
    together = run.spec.recursion is None
    size = len(changes) if together else 1
    outputs: list[bool] = []
    left: list[bool] = []
    for begin in range(0, len(changes), max(size, 1)):
        part = changes[begin : begin + size]
        if together:
            batch = _batched(cache, part, generator)
            caches = [batch]
        else:
            caches = [_batched(cache, [], generator), _batched(cache, part, generator, own=False)]
        logits, after = zip(*(_ahead(run, item, tail) for item in caches), strict=True)
        base = logits[0][:1]
        others = logits[0][1:] if together else logits[1]
        apart = (others - base).abs().nan_to_num(nan=1.0).amax((1, 2))
        outputs += (apart > TOLERANCE).tolist()
        for row, change in enumerate(part, start=1):
            now = after[0].get((change.place, change.name))
            then = now if together else after[1].get((change.place, change.name))
            left.append(now is None or then is None
                        or torch.equal(now[0], then[row if together else 0]))  # fmt: skip
    return outputs, left


def _batched(
    cache: ModelCache, changes: list[Change], generator: torch.Generator, own: bool = True
) -> ModelCache:
    """One sequence as it is, then one for each change. own: with the unchanged one."""
    rows = len(changes) + own
    states: dict[Place, dict[str, torch.Tensor]] = {}
    for place, name, tensor in cache.tensors():
        many = tensor.expand(rows, *tensor.shape[1:]).clone()
        for row, change in enumerate(changes, start=int(own)):
            if (change.place, change.name) == (place, name):
                many[row : row + 1] = _changed(tensor, change, generator)
        states.setdefault(place, {})[name] = many
    history = None if cache.history is None else cache.history.expand(rows, -1)
    return ModelCache(states, cache.seen, cache.prompt, dict(cache.given), history)


def _ahead(
    run: Run, cache: ModelCache, tail: torch.Tensor
) -> tuple[torch.Tensor, dict[Key, torch.Tensor]]:
    """Logits of the tokens after, and the cache as it was after the first of them."""
    rows = next((tensor.shape[0] for _, _, tensor in cache.tensors()), 1)
    outputs = []
    first: dict[Key, torch.Tensor] = {}
    for token in range(tail.shape[1]):
        outputs.append(run.model(tail[:, token : token + 1].expand(rows, -1), cache))
        if not first:
            first = {(place, name): tensor for place, name, tensor in cache.tensors()}
    return torch.cat(outputs, 1), first


def _judge(run: Run, place: Place, seen: dict[int | None, tuple[bool, bool]]) -> tuple[str, str]:
    """What is wrong with a tensor, if anything, and what to say of it."""
    changed, _ = seen[None]
    if not changed:
        return "changing it changes no output, so it need not be kept", "not needed"
    slots = [slot for slot in seen if slot is not None]
    unread = [slot for slot in slots if not seen[slot][0]]
    if not slots:
        return "", "changing it changes the output"
    if not unread:
        return "", f"each of {len(slots)} positions changes the output"
    if len(unread) == 1 and seen[unread[0]][1]:
        return "", (
            f"the oldest position, slot {unread[0]} of {len(slots)}, is about to be overwritten: the "
            f"next token does not read it; each of the others changes the output"
        )
    if _selects(run, place):
        return "", (
            f"{len(slots) - len(unread)} of {len(slots)} positions change the output; "
            f"the others were not among the top k of the next tokens"
        )
    return (
        f"positions {spans(tuple(unread))} of {len(slots)} change no output, so they need not be kept",
        "not all of it is needed",
    )


def _selects(run: Run, place: Place) -> bool:
    """Whether a query of this layer reads only what it ranks highest."""
    mechanism = getattr(run.spec.blocks[run.model.names[place[1]]], place[2])
    names = ("indexer", "index_topk", "topk", "moba_topk")
    return any(getattr(mechanism, name, None) is not None for name in names)


def _grouped(rows: list[Row]) -> tuple[Row, ...]:
    """Rows that say the same of the same tensor in several layers, as one."""
    found: dict[tuple[str, str, bool, str], list[int]] = {}
    for row in rows:
        stack, layer, rest = row.tensor.rpartition("layers.")[0], *_split(row.tensor)
        found.setdefault((f"{stack}layers.", rest, row.passed, row.note), []).append(layer)
    return tuple(
        Row(f"{head}{spans(tuple(layers))}.{rest}", len(layers), passed, note=note)
        for (head, rest, passed, note), layers in found.items()
    )


def _split(name: str) -> tuple[int, str]:
    layer, _, rest = name.rpartition("layers.")[2].partition(".")
    return int(layer), rest
