"""The four proofs that hold the calculator's inventory against models that run.

*parameters*   the whole model at true size on the meta device: names, shapes, dtypes, total;
*cache*        what the model kept after a prefill and after every decode step, in bf16: layers of
               true size on the meta device, then all layers made small, with values;
*sufficient*   decoding with that cache gives what one pass without it gives, float64, within 1e-9;
*necessary*    changing any cached tensor, and any single position of it, changes the outputs.

The calculator says what it expects through kvcalc/memory/inventory.py; the models say what is.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UnsupportedError
from kvcalc.memory.inventory import CacheGroup, ParamGroup, groups_of, parameter_groups
from kvcalc.memory.weights import summarise, weight_bytes
from kvcalc.spec.model import ModelSpec
from kvcalc.stack.recursion import Case
from kvcalc.tensors import CacheTensor, Chunk, Once, ParamTensor
from kvcalc.verify.build import filled, on_meta
from kvcalc.verify.model import ModelCache, Place, ReferenceModel
from kvcalc.verify.plan import plan, sizes_of
from kvcalc.verify.proofs import Proof, Row, Tensor, Verification, limited, spans
from kvcalc.verify.reduce import ENCODER_TOKENS, reduced, shallow

TOLERANCE = 1e-9
ATTEMPTS = 24
NAME_OF = {
    torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64",
    torch.int64: "int64",
}  # fmt: skip
Say = Callable[[str], None]
# One cached tensor of one layer.
Key = tuple[Place, str]


def verify(spec: ModelSpec, say: Say = lambda text: None) -> Verification:
    """Run all four proofs on a CPU: parameters at true size, the others on a small model.

    say: told what is being done. Raises UnsupportedError when the model cannot be made small or
    its parts do not fit together.
    """
    started = time.monotonic()
    say(f"{spec.name}: parameters at true size on the meta device")
    proofs = [prove_parameters(spec)]
    small = reduced(spec)
    try:
        run = Run(small.spec)
        with torch.inference_mode(), one_thread():
            say(f"{spec.name}: cache at true size on the meta device, then {run.plan}")
            proofs.append(prove_cache(Run(reduced(spec, whole_depth=True).spec), spec))
            say(f"{spec.name}: sufficient and necessary")
            proofs += [prove_sufficient(run), prove_necessary(run)]
    except (RuntimeError, IndexError, KeyError) as error:
        # torch says so when sizes that no rule compares do not fit.
        raise UnsupportedError(f"{spec.name}: the reference model does not run: {error}") from error
    return Verification(
        model=spec.name,
        source=spec.source,
        device="cpu",
        against="reference",
        torch_version=torch.__version__,
        proofs=tuple(proofs),
        changes=small.changes,
        plan=str(run.plan),
        seconds=round(time.monotonic() - started),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors are computed faster by one thread than by several that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------- parameters


def prove_parameters(spec: ModelSpec) -> Proof:
    """Every weight of the model at true size against the inventory, by name."""
    model = on_meta(spec)
    measured: dict[str, tuple[torch.Tensor, bool]] = {}
    measured |= {name: (tensor, False) for name, tensor in model.named_parameters()}
    measured |= {name: (tensor, True) for name, tensor in model.named_buffers()}
    rows: list[Row] = []
    failures: list[str] = []
    listed: set[str] = set()
    for group in parameter_groups(spec):
        for tensor in group.tensors:
            rows.append(_weight_row(group, tensor, measured, listed, failures))
    for name, (found, buffer) in measured.items():
        if name not in listed:
            kind = "buffer" if buffer else "parameter"
            failures.append(f"{name}: a {kind} of the model that the formula leaves out")
            rows.append(Row(name, 1, False, None, _as_tensor(found)))
    total = sum(tensor.numel() for tensor, buffer in measured.values() if not buffer)
    num_bytes = sum(
        tensor.numel() * tensor.element_size() for tensor, buffer in measured.values() if not buffer
    )
    formula = summarise(spec).total
    if formula != total:
        failures.append(f"total: formula {formula} parameters, measured {total}")
    formula_bytes = weight_bytes(spec, "bf16")[0]
    if formula_bytes != num_bytes:
        failures.append(
            f"total: formula {formula_bytes} bytes of bf16 weights, measured {num_bytes}"
        )
    return Proof("parameters", not failures, tuple(rows), limited(failures),
                 unit="parameters", formula_total=formula, measured_total=total)  # fmt: skip


def _weight_row(
    group: ParamGroup, tensor: ParamTensor, measured: dict[str, tuple[torch.Tensor, bool]],
    listed: set[str], failures: list[str],
) -> Row:  # fmt: skip
    """One tensor of the inventory in all layers that own it."""
    expected = Tensor(tensor.shape, "bf16", 2 * tensor.numel)
    passed, shown = True, None
    for layer in group.layers or (None,):
        prefix = group.prefix if layer is None else group.prefix.format(layer)
        name = prefix + tensor.name
        problem = _weight_problem(name, tensor, measured.get(name), name in listed)
        listed.add(name)
        if name in measured and (shown is None or problem):
            shown = _as_tensor(measured[name][0])
        if problem:
            passed = False
            failures.append(f"{name}: {problem}")
    where = group.prefix.replace("{}", spans(group.layers)) if group.layers else group.prefix
    note = "buffer, counted apart" if tensor.buffer else ""
    return Row(where + tensor.name, group.count, passed, expected, shown, note)


def _weight_problem(
    name: str, tensor: ParamTensor, found: tuple[torch.Tensor, bool] | None, twice: bool
) -> str:
    if twice:
        return "the formula counts it twice"
    if found is None:
        return f"in the formula {list(tensor.shape)}, not in the model"
    measured, buffer = found
    if tuple(measured.shape) != tensor.shape:
        return f"formula {list(tensor.shape)}, measured {list(measured.shape)}"
    if buffer != tensor.buffer:
        kinds = ("a parameter", "a buffer")
        return f"formula {kinds[tensor.buffer]}, measured {kinds[buffer]}"
    if not buffer and measured.dtype != torch.bfloat16:
        return f"formula bf16, measured {NAME_OF[measured.dtype]}"
    return ""


def _as_tensor(tensor: torch.Tensor) -> Tensor:
    """Shape, dtype and the bytes of the storage, which a view would not show."""
    num_bytes = tensor.untyped_storage().nbytes()
    return Tensor(tuple(tensor.shape), NAME_OF[tensor.dtype], num_bytes)


# ---------------------------------------------------------------- running a small model


class Run:
    """A small model, its inputs, and how many tokens to run."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.plan = spec, plan(spec)
        generator = torch.Generator().manual_seed(1)
        self.ids = torch.randint(0, spec.vocab_size, (1, self.plan.tokens), generator=generator)
        self.source = self._source(generator)

    def _source(self, generator: torch.Generator) -> torch.Tensor | None:
        encoder, tokens = self.spec.encoder, self.plan.encoder_tokens
        if encoder is None:
            return None
        if encoder.conv_stem is not None:
            shape: tuple[int, ...] = (1, encoder.conv_stem.in_channels, 2 * tokens)
        elif encoder.embedding == "none":
            shape = (1, tokens, encoder.hidden_size or self.spec.hidden_size)
        else:
            return torch.randint(0, self.spec.vocab_size, (1, tokens), generator=generator)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    @cached_property
    def model(self) -> ReferenceModel:
        """The model in float64."""
        return filled(self.spec)

    def in_dtype(self, dtype: torch.dtype) -> tuple[ReferenceModel, torch.Tensor | None]:
        """The same model in another precision."""
        model = filled(self.spec).to(dtype)
        source = self.source
        if source is not None and source.is_floating_point():
            source = source.to(dtype)
        return model, source

    def steps(self, *cuts: int) -> list[tuple[int, int]]:
        """Stretches of tokens: up to each cut at once, then one by one."""
        edges = [0, *cuts, *range(cuts[-1] + 1, self.plan.tokens + 1)]
        return list(pairwise(edges))

    def decode(self, *cuts: int) -> tuple[torch.Tensor, ModelCache]:
        """Logits of every token and the cache, decoding in these stretches."""
        cache, outputs = ModelCache(), []
        for start, end in self.steps(*cuts):
            source = self.source if start == 0 else None
            outputs.append(self.model(self.ids[:, start:end], cache, source))
        return torch.cat(outputs, 1), cache

    @property
    def encoder_only(self) -> bool:
        """No layer of the stack is causal: nothing is decoded."""
        blocks = [self.spec.blocks[name] for name in self.model.names]
        return all(
            getattr(block.attention, "mask", "") == "bidirectional" and block.recurrent is None
            for block in blocks
        )


# ---------------------------------------------------------------- cache


@dataclass(frozen=True)
class Expected:
    """One cached tensor that the calculator lists for one layer."""

    place: Place
    tensor: CacheTensor

    @property
    def name(self) -> str:
        return label(self.place, self.tensor.name)

    def at(self, tokens: int, encoder_tokens: int) -> Tensor:
        positions = self.tensor.extent.positions(tokens, encoder_tokens)
        dtypes = CacheDtypes()
        num_bytes = positions * self.tensor.position_bytes(dtypes)
        dtype = dtypes.format(self.tensor.role, self.tensor.dtype).name
        return Tensor(self.tensor.full_shape(1, positions), dtype, num_bytes)


def label(place: Place, name: str) -> str:
    """``layers.3.attention.key``: a cached tensor as a message names it."""
    stack, layer, slot = place
    return f"{'encoder.' if stack == 'encoder' else ''}layers.{layer}.{slot}.{name}"


def inventory(spec: ModelSpec, case: Case = "worst") -> Iterator[tuple[CacheGroup, CacheTensor]]:
    """Every cached tensor with the layers that keep one."""
    for group in groups_of(spec, case):
        for tensor in group.tensors:
            yield group, tensor


@dataclass
class Trial:
    """One run whose cache is watched: which model, on which tokens, and what came of it.

    stretches: (first, last + 1) tokens of each forward pass. words: where it ran, for messages.
    measured: every tensor that is kept now. most: every tensor at its largest so far.
    """

    spec: ModelSpec
    model: ReferenceModel
    ids: torch.Tensor
    source: torch.Tensor | None
    encoder_tokens: int
    stretches: list[tuple[int, int]]
    words: str
    case: Case = "worst"
    depth: int | None = None
    measured: dict[Key, Tensor] = field(default_factory=dict)
    most: dict[Key, Tensor] = field(default_factory=dict)
    failed: dict[Key, str] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return self.stretches[-1][1]


def prove_cache(run: Run, spec: ModelSpec | None = None) -> Proof:
    """What is kept after the prefill and after each decode step, tensor by tensor.

    run: all layers, made small, with values. spec: the model at true size; two repeats of each run
    of its layers are run as well, on the meta device, where shapes and dtypes come into being as
    anywhere else and no memory does. A recursion routes by values, so it is not.
    """
    trials = []
    if spec is not None and spec.recursion is None:
        trials.append(at_true_size(shallow(spec)))
    model, source = run.in_dtype(torch.bfloat16)
    recursion = run.spec.recursion
    notes: list[str] = []
    cases: tuple[tuple[Case, int | None], ...] = (("worst", None),)
    if recursion is not None and recursion.routing == "token_choice":
        cases = (("worst", recursion.num_recursions), ("least", 1))
        notes.append(
            "token choice: every token sent as deep as it goes, then none deeper than once"
        )
    for case, depth in cases:
        trials.append(Trial(run.spec, model, run.ids, source, run.plan.encoder_tokens,
                            run.steps(run.plan.prefill), "made small", case, depth))  # fmt: skip
    rows: list[Row] = []
    failures: list[str] = []
    totals = []
    for trial in trials:
        expected = _follow(trial)
        failures += trial.failed.values()
        more, formula, total = _cache_rows(trial, expected)
        rows += more
        totals.append((formula, total))
        if formula != total:
            failures.append(f"total, {trial.words}: formula {formula} bytes, measured {total}")
        notes.append(f"{trial.words}: prefill of {trial.stretches[0][1]} tokens, decoded to "
                     f"{trial.tokens}: {total} bytes")  # fmt: skip
    if not rows:
        notes = ["nothing is kept, and the formula says so"]
    return Proof("cache", not failures, tuple(rows), limited(failures), tuple(notes),
                 unit="bytes", formula_total=totals[0][0], measured_total=totals[0][1])  # fmt: skip


def at_true_size(spec: ModelSpec) -> Trial:
    """A model on the meta device, past its windows, over the end of a chunk.

    Recurrent layers take tokens one after the other, which a long prefill would make slow; where
    there are any, only a few tokens are run: their states have one size whatever the length.
    """
    parts: list[Any] = [part for block in spec.blocks.values()
                        for part in (block.attention, block.recurrent) if part is not None]  # fmt: skip
    blocks = sizes_of(parts, "compress_rate", "kernel_size")
    chunks = sizes_of(parts, "attention_chunk_size")
    prefill = max([*sizes_of(parts, "sliding_window", "window_size"), *(2 * size for size in blocks)],
                  default=64) + 5  # fmt: skip
    if chunks:
        prefill = min(chunks)
    if any(block.recurrent is not None for block in spec.blocks.values()):
        prefill = 5
    stretches = [(0, prefill), (prefill, prefill + 1)]
    encoder = spec.encoder
    tokens = 0 if encoder is None else encoder.tokens or ENCODER_TOKENS
    source = None
    if encoder is not None:
        with torch.device("meta"):
            if encoder.conv_stem is not None:
                shape = (1, encoder.conv_stem.in_channels, 2 * tokens)
                source = torch.empty(shape, dtype=torch.bfloat16)
            elif encoder.embedding == "none":
                width = encoder.hidden_size or spec.hidden_size
                source = torch.empty((1, tokens, width), dtype=torch.bfloat16)
            else:
                source = torch.empty((1, tokens), dtype=torch.int64)
    ids = torch.empty((1, prefill + 1), dtype=torch.int64, device="meta")
    return Trial(spec, on_meta(spec), ids, source, tokens, stretches, "true size")


def _follow(trial: Trial) -> dict[Key, Expected]:
    """Run a trial and hold the cache to the inventory after every pass."""
    expected = {
        (place_of(group, layer), tensor.name): Expected(place_of(group, layer), tensor)
        for group, tensor in inventory(trial.spec, trial.case)
        for layer in group.layers
    }
    cache = ModelCache()
    for start, end in trial.stretches:
        source = trial.source if start == 0 else None
        trial.model(trial.ids[:, start:end], cache, source, forced_depth=trial.depth)
        trial.measured = {(place, name): _as_tensor(tensor)
                          for place, name, tensor in cache.tensors()}  # fmt: skip
        for key, found in trial.measured.items():
            if key not in trial.most or trial.most[key].bytes < found.bytes:
                trial.most[key] = found
        for key, problem in _cache_problems(trial, expected, end):
            text = f"{label(*key)} after {end} tokens, {trial.words}: {problem}"
            trial.failed.setdefault(key, text)
    return expected


def place_of(group: CacheGroup, layer: int) -> Place:
    """Where one layer of a group keeps its cache."""
    return (group.stack, layer, group.slot)


def _cache_problems(
    trial: Trial, expected: dict[Key, Expected], tokens: int
) -> Iterator[tuple[Key, str]]:
    for key, wanted in expected.items():
        says = wanted.at(tokens, trial.encoder_tokens)
        # A chunk is dropped when the next one begins; the formula says the most it comes to.
        held = trial.most if isinstance(wanted.tensor.extent, Chunk) else trial.measured
        found = held.get(key)
        if found is None:
            if says.bytes:
                yield key, f"in the formula as {says}; the model keeps no such tensor"
        elif found != says:
            yield key, f"formula {says}; measured {found}"
    for key, found in trial.measured.items():
        if key not in expected:
            yield key, f"the model keeps {found}; the formula leaves it out"


def _cache_rows(trial: Trial, expected: dict[Key, Expected]) -> tuple[list[Row], int, int]:
    """One row per tensor of equal layers, and both totals, after the last pass."""
    rows, formula, total = [], 0, 0
    for group, tensor in inventory(trial.spec, trial.case):
        keys = [(place_of(group, layer), tensor.name) for layer in group.layers]
        bad = [key for key in keys if key in trial.failed]
        shown = bad[0] if bad else keys[0]
        says = expected[shown].at(trial.tokens, trial.encoder_tokens)
        held = trial.most if isinstance(tensor.extent, Chunk) else trial.measured
        found = [held.get(key) for key in keys]
        formula += says.bytes * len(keys)
        total += sum(item.bytes for item in found if item is not None)
        name = f"{'encoder.' if group.stack == 'encoder' else ''}layers.{spans(group.layers)}"
        rows.append(Row(f"{name}.{group.slot}.{tensor.name}", len(keys), not bad, says,
                        held.get(shown), f"{tensor.extent}, {trial.words}"))  # fmt: skip
    for key, extra in trial.measured.items():
        if key not in expected:
            total += extra.bytes
            rows.append(Row(label(*key), 1, False, None, extra, trial.words))
    return rows, formula, total


# ---------------------------------------------------------------- sufficient


def prove_sufficient(run: Run) -> Proof:
    """Decoding with the cache against one pass without it, and one cache against another."""
    if run.encoder_only:
        return Proof("sufficient", True, (), applies=False,
                     notes=("an encoder sees its whole input at once: nothing is decoded",))  # fmt: skip
    tokens, prefill = run.plan.tokens, run.plan.prefill
    ids = run.ids[:, :tokens]
    recursive = run.spec.recursion is not None
    late = max(prefill, tokens - 4)
    ways = [("one by one", (prefill,)), ("in two stretches", (prefill, late))]
    if not recursive:
        ways.append(("after a long prefill", (late,)))
    rows, failures = [], []
    caches: list[ModelCache] = []
    for words, cuts in ways:
        whole = run.model(ids, None, run.source, prompt=cuts[0])
        stepped, cache = run.decode(*cuts)
        caches.append(cache)
        apart = difference(whole, stepped)
        good = apart <= TOLERANCE
        at = " and ".join(str(cut) for cut in cuts)
        rows.append(
            Row("outputs", 1, good, note=f"{words} (from {at}): max difference {apart:.1e}")
        )
        if not good:
            first = int((whole - stepped).abs().amax((0, 2)).gt(TOLERANCE).nonzero()[0])
            failures.append(
                f"outputs {words} differ from one pass by {apart:.3g} from token {first} on: "
                f"something that is needed is not kept"
            )
    for place, name, tensor in caches[0].tensors():
        for other in caches[1:]:
            twin = other.states.get(place, {}).get(name)
            alike = twin is not None and twin.shape == tensor.shape
            apart = difference(tensor, twin) if twin is not None and alike else float("inf")
            if apart > TOLERANCE:
                failures.append(
                    f"{label(place, name)}: depends on how the tokens were cut into passes "
                    f"(max difference {apart:.3g})"
                )
                break
    return Proof("sufficient", not failures, tuple(rows), limited(failures))


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest absolute difference; infinite where one is not a number."""
    if not a.numel():
        return 0.0
    return float((a - b).abs().nan_to_num(nan=float("inf")).max())


# ---------------------------------------------------------------- necessary


@dataclass(frozen=True)
class Change:
    """One change of the cache: a whole tensor, or one position of it."""

    place: Place
    name: str
    axis: int = 0
    slot: int | None = None


def prove_necessary(run: Run) -> Proof:
    """Change each cached tensor, and each position of one layer of each kind; watch the outputs."""
    if run.encoder_only:
        return Proof("necessary", True, (), applies=False, notes=("nothing is kept",))
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
    return Proof("necessary", not failures, _grouped(rows), limited(failures))


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
    return ModelCache(states, cache.seen, cache.prompt, dict(cache.given))


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
