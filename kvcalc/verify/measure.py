"""A model at true size on a device, measured by the device's allocator: ``verify --device cuda``.

*requested*  what each cached tensor asked for, and what the allocator says was given back when the
             cache was dropped: the formula's bytes exactly;
*allocated*  the blocks that hold them, each explained, and their sum exactly;
*peak*       the most that lived during the prefill and during one decode step, against a trace of
             the same pass on the meta device, within 2 %; the calculator's workspace item is named
             in it, and so is the rest.

The whole model is measured when it fits. Otherwise one layer of each kind is, alone on the device,
with its neighbours left on the meta device: no weight of theirs is ever made.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import KvcalcError, UnsupportedError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.weights import weight_bytes
from kvcalc.memory.workload import Workload
from kvcalc.memory.workspace import WorkspaceItem, workspace
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor, Chunk
from kvcalc.units import format_bytes
from kvcalc.verify.allocator import Allocator, CudaAllocator, TrackedCpu, explained, rounded
from kvcalc.verify.backends import attention_backend
from kvcalc.verify.build import on_meta
from kvcalc.verify.ffn.moe import Experts, Router
from kvcalc.verify.model import Layer, ModelCache, Place, ReferenceModel
from kvcalc.verify.parts import KeyValue, Norm, State, Step
from kvcalc.verify.proofs import Proof, Row, Verification, limited
from kvcalc.verify.proofs import Tensor as Shown
from kvcalc.verify.runner import NAME_OF, inventory, label, place_of
from kvcalc.verify.stack import hyper_connections

Say = Callable[[str], None]
SLOTS = ("attention", "cross_attention", "recurrent", "ffn")
PERCENT = 2
# A recurrent layer is run token by token: beyond this its peak is extrapolated, not traced.
TRACED_TOKENS = 512
# Their reference modules score half of the heads, or the chosen ones, at a time.
SCORED_IN_PARTS = ("differential", "moa")
LISTED = 6


class OutOfMemoryError(KvcalcError):
    """The device is too small for the workload; the message says what would fit."""


@dataclass(frozen=True)
class Size:
    """What is run: ``tokens`` positions of each of ``batch`` sequences, the last one decoded."""

    tokens: int
    batch: int
    encoder_tokens: int
    backend: str


@dataclass(frozen=True)
class Trial:
    """The whole model, or one layer with those whose keys and values it reads before it.

    layers: what is under test, in order. count: how many layers of the model are of its kind.
    """

    name: str
    layers: tuple[int, ...]
    count: int
    whole: bool = False


@dataclass(frozen=True)
class Peaks:
    """The most bytes beside weights and inputs: of the prefill and of a decode step.

    total: the most of all blocks, weights and inputs among them; 0 when not asked for.
    made_by: what lives at the prefill's peak, by the operation that made it, largest first.
    """

    prefill: int
    decode: int
    total: int = 0
    made_by: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Measured:
    """One trial's tensors with their blocks, what dropping them gave back, and the peaks."""

    kept: tuple[tuple[Place, str, Shown, int], ...]
    requested: int
    allocated: int
    reserved: int
    peaks: Peaks


def verify(
    spec: ModelSpec, context: int, batch: int, backend: str = "eager",
    allocator: Allocator | None = None, say: Say = lambda text: None,
) -> Verification:  # fmt: skip
    """Measure a model at its true dimensions.

    allocator: the device; the current CUDA device without one. Raises NotFoundError where there is
    none, OutOfMemoryError with the sizes that would fit, UnsupportedError for what cannot be run.
    """
    started = time.monotonic()
    device = CudaAllocator() if allocator is None else allocator
    if spec.recursion is not None:
        raise UnsupportedError(f"{spec.name}: a recursion routes by values, which are random here")
    encoder = spec.encoder
    size = Size(context, batch, 0 if encoder is None else encoder.tokens or context, backend)
    device.release()
    model = on_meta(spec)
    trials = trials_of(spec, model, size, device.free_bytes())
    found = []
    try:
        for trial in trials:
            say(f"{spec.name}: {trial.name}, {context} tokens, batch {batch}, {backend}")
            expected = traced(spec, trial, size)
            if expected.total > device.free_bytes():
                raise torch.OutOfMemoryError(trial.name)
            found.append((trial, expected, measured(spec, trial, size, device)))
    except torch.OutOfMemoryError as error:
        # The traceback holds on to every tensor of the run.
        error.__traceback__ = None
        device.release()
        raise OutOfMemoryError(_too_large(spec, trials, size, device)) from None
    finally:
        device.release()
    proofs = (_requested(spec, found, size), _allocated(found), _peak(spec, found, size))
    layers = "the whole model" if trials[0].whole else (
        "one layer of each kind, alone: " + ", ".join(f"{t.name} ({t.count})" for t in trials)
    )  # fmt: skip
    return Verification(
        model=spec.name, source=spec.source, device=device.name, against="reference",
        torch_version=torch.__version__, proofs=proofs,
        plan=f"{layers}; {context} tokens, batch {batch}, {backend} attention; "
             f"{format_bytes(sum(m.reserved for _, _, m in found[-1:]))} reserved (information)",
        seconds=round(time.monotonic() - started),
    )  # fmt: skip


# ---------------------------------------------------------------- what is run


def trials_of(spec: ModelSpec, model: ReferenceModel, size: Size, free: int) -> tuple[Trial, ...]:
    """The whole model where it fits and has no recurrent layers, else a layer of each kind.

    Recurrent layers are run token by token, which for a whole stack would take minutes.
    """
    everything = tuple(range(len(model.layers)))
    whole = Trial("the whole model", everything, len(everything), whole=True)
    recurrent = any(block.recurrent is not None for block in spec.blocks.values())
    least = weight_bytes(spec, "bf16")[0] + size.batch * cache_function(spec, CacheDtypes()).at(
        size.tokens, size.encoder_tokens
    )
    if not recurrent and least <= free and traced(spec, whole, size).total <= free:
        return (whole,)
    trials: dict[str, Trial] = {}
    for index, name in enumerate(model.names):
        if name in trials:
            trials[name] = replace(trials[name], count=trials[name].count + 1)
            continue
        layers: tuple[int, ...] = (index,)
        source = getattr(spec.blocks[name].attention, "shared_kv", None)
        if source is not None:
            layers = (max(i for i in range(index) if model.names[i] == source), index)
        trials[name] = Trial(f"layer {index} ({name})", layers, 1)
    return tuple(trials.values())


def _parts(model: ReferenceModel, trial: Trial) -> list[nn.Module]:
    """The modules that a trial needs."""
    if trial.whole:
        return [model]
    parts: list[nn.Module] = []
    for index in trial.layers:
        layer = model.layers[index]
        assert isinstance(layer, Layer)
        parts += [*layer.lender, layer]
    if model.spec.relative_attention_num_buckets is not None:
        parts.append(model.relative_attention_bias)
    return parts


def _materialise(model: ReferenceModel, trial: Trial, device: torch.device) -> None:
    """Weights of the modules under test, and of no other."""
    parts = _parts(model, trial)
    for part in parts:
        for module in part.modules():
            if isinstance(module, Experts):
                # Looking up k matrices for each token would take more memory than the device has.
                setattr(module, "forward", partial(grouped, module))  # noqa: B010
    if device.type == "meta":
        return
    with torch.no_grad():
        for part in parts:
            if any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers())):
                part.to_empty(device=device)
            for module in part.modules():
                for tensor in (*module.parameters(False), *module.buffers(False)):
                    if not tensor.is_floating_point():
                        tensor.random_(0, module.c.num_experts if isinstance(module, Router) else 1)
                    elif isinstance(module, Norm) or tensor.dim() < 2:
                        tensor.fill_(1.0 if isinstance(module, Norm) else 0.1)
                    else:
                        tensor.normal_(0.0, tensor.shape[-1] ** -0.5)


def grouped(experts: Experts, x: Tensor, chosen: Tensor) -> Tensor:
    """Routed experts with tokens sorted by expert, as engines compute them: (N, w) -> (N, k, w)."""
    c, (count, k) = experts.c, chosen.shape
    gated = c.expert == "gated"
    flat = chosen.clamp(max=c.num_experts - 1).flatten()  # (N k)
    order = flat.argsort()
    if x.device.type == "meta":
        share, rest = divmod(count * k, c.num_experts)
        sizes = [share + (index < rest) for index in range(c.num_experts)]
    else:
        sizes = torch.bincount(flat, minlength=c.num_experts).tolist()
    inner = _each(x[order // k], experts.gate_up_proj if gated else experts.up_proj, sizes)
    if c.expert_bias:
        bias = experts.gate_up_proj_bias if gated else experts.up_proj_bias
        inner = inner + bias[flat[order]]
    if gated:
        gate, value = inner.chunk(2, -1)
        inner = F.silu(gate) * value
    else:
        inner = F.relu(inner).square()
    y = _each(inner, experts.down_proj, sizes)
    if c.expert_bias:
        y = y + experts.down_proj_bias[flat[order]]
    y = y[order.argsort()].view(count, k, -1)
    if c.num_zero_experts is not None:
        y = torch.where((chosen >= c.num_experts)[..., None], x[:, None], y)
    return y


def _each(rows: Tensor, weights: Tensor, sizes: list[int]) -> Tensor:
    """Each stretch of rows times its expert's matrix."""
    y = rows.new_empty((rows.shape[0], weights.shape[1]))
    start = 0
    for expert, size in enumerate(sizes):
        if size:
            torch.mm(rows[start : start + size], weights[expert].t(), out=y[start : start + size])
        start += size
    return y


class _Bench:
    """A trial on a device: its inputs, and the passes over them."""

    def __init__(self, spec: ModelSpec, trial: Trial, size: Size, device: torch.device) -> None:
        self.spec, self.trial, self.size, self.device = spec, trial, size, device
        self.model = on_meta(spec)
        _materialise(self.model, trial, device)
        batch, tokens, d = size.batch, size.tokens, spec.hidden_size
        self.ids = torch.zeros((batch, tokens), dtype=torch.int64, device=device)
        self.source = self._source()
        self.x: Tensor | None = None
        self.p: Tensor | None = None
        if not trial.whole:
            self.x = self._numbers(batch, tokens, d)
            if spec.per_layer_embeddings is not None:
                width = spec.per_layer_embeddings.hidden_size_per_layer_input
                self.p = self._numbers(batch, tokens, width)

    def _numbers(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.bfloat16, device=self.device).normal_()

    def _source(self) -> Tensor | None:
        """The encoder's input for a whole model, its output for a layer."""
        encoder, batch, tokens = self.spec.encoder, self.size.batch, self.size.encoder_tokens
        if encoder is None:
            return None
        width = encoder.hidden_size or self.spec.hidden_size
        if not self.trial.whole or encoder.embedding == "none":
            return self._numbers(batch, tokens, width)
        if encoder.conv_stem is not None:
            return self._numbers(batch, encoder.conv_stem.in_channels, 2 * tokens)
        return torch.zeros((batch, tokens), dtype=torch.int64, device=self.device)

    def tensors(self) -> Iterator[Tensor]:
        """Weights and inputs: everything that is there before the first pass."""
        for part in _parts(self.model, self.trial):
            yield from (*part.parameters(), *part.buffers())
        yield from (t for t in (self.ids, self.source, self.x, self.p) if t is not None)

    def run(self, cache: ModelCache, start: int, end: int) -> None:
        """One pass over tokens ``start`` to ``end``; its result is dropped."""
        source = self.source if start == 0 else None
        ids = self.ids[:, start:end]
        if self.trial.whole:
            self.model(ids, cache, source)
            return
        assert self.x is not None
        spec, x = self.spec, self.x[:, start:end]
        order = torch.arange(start, end, device=self.device)
        relative = None
        if spec.relative_attention_num_buckets is not None:
            relative = self.model.relative_attention_bias
        step = Step(order, order, start, ids, x, source, relative)
        if spec.hyper_connections is not None:
            x = hyper_connections.widen(x, spec.hyper_connections)
        if spec.altup is not None:
            x = torch.stack([x] * spec.altup.altup_num_inputs)
        p = self.p[:, start:end] if self.p is not None else None
        latest: KeyValue | None = None
        for index in self.trial.layers:
            shares = getattr(spec.blocks[self.model.names[index]].attention, "shared_kv", None)
            own = step.of(source=latest if shares else None)
            states: dict[str, State] = {
                slot: cache.states.get(("decoder", index, slot), {}) for slot in SLOTS
            }
            x = self.model.layers[index](x, states, own, p)
            latest = own.made
            cache.states |= {("decoder", index, s): state for s, state in states.items() if state}
        cache.seen = end


def _causal(spec: ModelSpec) -> bool:
    """Whether anything is decoded: not in an encoder."""
    return any(
        block.recurrent is not None or getattr(block.attention, "mask", "causal") != "bidirectional"
        for block in spec.blocks.values()
    )


# ---------------------------------------------------------------- measuring


def measured(spec: ModelSpec, trial: Trial, size: Size, device: Allocator) -> Measured:
    """Run a trial on a device and read the allocator's books."""
    with device.watching(), torch.no_grad(), attention_backend(size.backend):
        bench = _Bench(spec, trial, size, device.device)
        # Libraries that keep a workspace make it in the first pass, not in the one that is measured.
        warm = ModelCache()
        bench.run(warm, 0, min(2, size.tokens))
        del warm
        base = device.now()
        cache = ModelCache()
        cut = size.tokens - 1 if _causal(spec) and size.tokens > 1 else size.tokens
        device.reset_peak()
        bench.run(cache, 0, cut)
        prefill = device.now().peak_requested - base.requested
        decode = 0
        if cut < size.tokens:
            device.reset_peak()
            bench.run(cache, cut, size.tokens)
            decode = device.now().peak_requested - base.requested
        kept = tuple(
            (place, name,
             Shown(tuple(t.shape), NAME_OF[t.dtype], t.untyped_storage().nbytes()), device.block(t))
            for place, name, t in cache.tensors()
        )  # fmt: skip
        full = device.now()
        cache.states.clear()
        empty = device.now()
    return Measured(kept, full.requested - empty.requested, full.allocated - empty.allocated,
                    full.reserved, Peaks(prefill, decode))  # fmt: skip


def traced(spec: ModelSpec, trial: Trial, size: Size) -> Peaks:
    """The peaks of a trial as a trace on the meta device gives them, without any memory."""
    blocks = [spec.blocks[name] for name in on_meta(spec).names]
    recurrent = any(blocks[index].recurrent is not None for index in trial.layers)
    if not recurrent or size.tokens <= TRACED_TOKENS:
        return _traced(spec, trial, size)
    # A scan's peak is a straight line in the tokens.
    near = _traced(spec, trial, replace(size, tokens=TRACED_TOKENS // 2))
    far = _traced(spec, trial, replace(size, tokens=TRACED_TOKENS))
    steps = size.tokens - TRACED_TOKENS

    def on(low: int, high: int) -> int:
        return high + (high - low) * steps // (TRACED_TOKENS - TRACED_TOKENS // 2)

    if any(blocks[index].attention is not None for index in trial.layers):
        raise UnsupportedError(
            f"{trial.name}: attention beside a recurrent mixer is measured up to {TRACED_TOKENS} tokens"
        )
    return Peaks(on(near.prefill, far.prefill), on(near.decode, far.decode),
                 on(near.total, far.total), far.made_by)  # fmt: skip


def _traced(spec: ModelSpec, trial: Trial, size: Size) -> Peaks:
    books = TrackedCpu(device="meta")
    with books.watching(), torch.no_grad(), attention_backend(size.backend):
        bench = _Bench(spec, trial, size, books.device)
        there = {id(tensor): tensor for tensor in bench.tensors()}.values()
        for tensor in there:
            books.take(tensor, "weight")
        base, blocks, before = books.requested, books.allocated, books.live.copy()
        kept = sum(rounded(tensor.untyped_storage().nbytes()) for tensor in there)
        cache = ModelCache()
        cut = size.tokens - 1 if _causal(spec) and size.tokens > 1 else size.tokens
        books.reset_peak()
        bench.run(cache, 0, cut)
        prefill = books.peak_requested - base
        most = books.peak_allocated
        made = (books.at_peak - before).most_common()
        books.reset_peak()
        if cut < size.tokens:
            bench.run(cache, cut, size.tokens)
        decode = books.peak_requested - base if cut < size.tokens else 0
        most = max(most, books.peak_allocated)
    return Peaks(prefill, decode, kept + most - blocks, tuple(made))


# ---------------------------------------------------------------- proofs

Found = list[tuple[Trial, Peaks, Measured]]


def _says(tensor: CacheTensor, size: Size) -> Shown:
    """What the calculator says of one cached tensor."""
    dtypes = CacheDtypes()
    positions = tensor.extent.positions(size.tokens, size.encoder_tokens)
    if isinstance(tensor.extent, Chunk):
        # Dropped when the next chunk begins; the formula's number is the most it comes to.
        positions = (size.tokens - 1) % tensor.extent.size + 1
    return Shown(tensor.full_shape(size.batch, positions),
                 dtypes.format(tensor.role, tensor.dtype).name,
                 size.batch * positions * tensor.position_bytes(dtypes))  # fmt: skip


def _requested(spec: ModelSpec, found: Found, size: Size) -> Proof:
    rows: list[Row] = []
    failures: list[str] = []
    formula = total = 0
    for trial, _, got in found:
        kept = {(place, name): shown for place, name, shown, _ in got.kept}
        wanted = 0
        for group, tensor in inventory(spec):
            if group.stack != "decoder":
                continue
            for layer in (index for index in group.layers if index in trial.layers):
                key = (place_of(group, layer), tensor.name)
                says, shown = _says(tensor, size), kept.pop(key, None)
                wanted += says.bytes
                good = shown == says or (shown is None and not says.bytes)
                if not good:
                    failures.append(f"{label(*key)}: formula {says}; measured {shown or 'nothing'}")
                if not trial.whole or layer == group.layers[0] or not good:
                    count = len(group.layers) if trial.whole else trial.count
                    rows.append(Row(label(*key), count, good, says, shown, trial.name))
        for key, shown in kept.items():
            failures.append(f"{label(*key)}: kept as {shown}, and the formula leaves it out")
            rows.append(Row(label(*key), 1, False, None, shown, trial.name))
        if got.requested != wanted:
            failures.append(f"{trial.name}: the allocator held {got.requested} requested bytes for the "
                            f"cache, the formula says {wanted}")  # fmt: skip
        formula, total = formula + wanted, total + got.requested
    return Proof("requested", not failures, tuple(rows), limited(failures),
                 unit="bytes", formula_total=formula, measured_total=total)  # fmt: skip


def _allocated(found: Found) -> Proof:
    rows: list[Row] = []
    failures: list[str] = []
    formula = total = 0
    for trial, _, got in found:
        blocks = 0
        seen: set[tuple[str, int, int]] = set()
        for place, name, shown, block in got.kept:
            if not shown.bytes:
                continue
            blocks += block
            why = explained(shown.bytes, block)
            if not why:
                failures.append(f"{label(place, name)}: a block of {block} bytes for {shown.bytes}")
            if (name, shown.bytes, block) not in seen or not why:
                seen.add((name, shown.bytes, block))
                same = sum(
                    1 for _, n, s, b in got.kept if (n, s.bytes, b) == (name, shown.bytes, block)
                )
                rows.append(Row(label(place, name), same, bool(why), None, None, why))
        if blocks != got.allocated:
            failures.append(f"{trial.name}: the blocks add up to {blocks} bytes, "
                            f"the allocator says {got.allocated}")  # fmt: skip
        formula, total = formula + blocks, total + got.allocated
    return Proof("allocated", not failures, tuple(rows), limited(failures),
                 unit="bytes", formula_total=formula, measured_total=total)  # fmt: skip


def _peak(spec: ModelSpec, found: Found, size: Size) -> Proof:
    rows: list[Row] = []
    failures: list[str] = []
    for trial, expected, got in found:
        for phase, says, shown in (("prefill", expected.prefill, got.peaks.prefill),
                                   ("decode", expected.decode, got.peaks.decode)):  # fmt: skip
            if not says and not shown:
                continue
            good = 100 * abs(shown - says) <= PERCENT * says
            note = f"measured {shown} bytes, expected {says}, difference {shown - says}"
            if phase == "prefill":
                item = largest(spec, trial, size)
                if item is not None and item.bytes > shown:
                    good = False
                    failures.append(f"{trial.name}: {item.name} alone take {item.bytes} bytes by the "
                                    f"formula, and the peak is {shown}")  # fmt: skip
                note += f"; {_rest(item, expected)}"
            if 100 * abs(shown - says) > PERCENT * says:
                failures.append(
                    f"{trial.name}, {phase}: {note.partition(';')[0]}, more than {PERCENT} %"
                )
            rows.append(Row(f"{trial.name}, {phase}", 1, good, None, None, note))
    return Proof("peak", not failures, tuple(rows), limited(failures))


def largest(spec: ModelSpec, trial: Trial, size: Size) -> WorkspaceItem | None:
    """The calculator's largest workspace item that the prefill of this trial has."""
    tokens = size.tokens - 1 if _causal(spec) and size.tokens > 1 else size.tokens
    if not trial.whole:
        name = on_meta(spec).names[trial.layers[-1]]
        spec = replace(spec, blocks={name: spec.blocks[name]}, encoder=None)
    parts = [getattr(block.attention, "kind", "") for block in spec.blocks.values()]
    in_parts = any(kind in SCORED_IN_PARTS for kind in parts)
    items = workspace(spec, Workload(context_tokens=tokens, batch_size=size.batch))
    for item in items:
        if item.eager_only and (in_parts or size.backend != "eager"):
            continue
        if item.name.startswith("logits") and not trial.whole:
            continue
        return item
    return None


def _rest(item: WorkspaceItem | None, expected: Peaks) -> str:
    """What lives at the peak, largest first."""
    parts = [f"{name} {num_bytes}" for name, num_bytes in expected.made_by[:LISTED]]
    more = len(expected.made_by) - LISTED
    listed = ", ".join(parts) + (f" and {more} smaller" if more > 0 else "")
    of_it = "" if item is None else f"workspace of the calculator: {item.name} {item.bytes}; "
    return f"{of_it}alive at the peak: {listed}"


# ---------------------------------------------------------------- out of memory


def _too_large(spec: ModelSpec, trials: tuple[Trial, ...], size: Size, device: Allocator) -> str:
    """What is needed, what there is, and what would fit."""
    free = device.free_bytes()

    def need(tokens: int, batch: int, backend: str) -> int:
        at = Size(tokens, batch, min(size.encoder_tokens, max(tokens, 1)), backend)
        return max(traced(spec, trial, at).total for trial in trials)

    fits = []
    tokens = _most(size.tokens - 1, lambda n: need(n, size.batch, size.backend) <= free)
    if tokens:
        fits.append(f"--context {tokens}")
    batch = _most(size.batch - 1, lambda n: need(size.tokens, n, size.backend) <= free)
    if batch:
        fits.append(f"--batch {batch}")
    if size.backend == "eager" and need(size.tokens, size.batch, "sdpa") <= free:
        fits.append("--attention-backend sdpa")
    return (
        f"{spec.name}: {size.tokens} tokens, batch {size.batch}, {size.backend} attention need "
        f"{format_bytes(need(size.tokens, size.batch, size.backend))}, and {device.name} has "
        f"{format_bytes(free)} free; "
        + (f"what would fit: {', or '.join(fits)}" if fits else "not even one token fits")
    )


def _most(high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to ``high`` that fits; 0 when none does."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
