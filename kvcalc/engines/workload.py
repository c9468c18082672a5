"""What an engine holds for a workload: so many sequences of so many tokens, apart from any pool.

    bytes = logical need + what each cause adds (or saves)

An engine's module has ``hold(spec, request) -> Holding`` beside ``capacity``: the same rules, asked
for one sequence of ``request.max_model_len`` tokens. A ``Share`` is what one tensor-parallel rank of
one pipeline stage holds of it, as ``Slab``s of equal layers; ``share.need`` is the same sequence in
the engine's own number formats without pages, and ``share.waste`` what pages add to that.
``workload_cache`` multiplies by ranks and sequences and sets the answer beside the logical need;
copies of heads and other number formats are causes of their own, so that the causes add up to the
difference.

What a pool has once, whatever its requests (vLLM's null block, SGLang's dump pages and padding
state, what is left over after the last block), is not here: ``capacity`` answers for pools.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from importlib import import_module
from typing import Literal

from kvcalc.engines import ENGINES
from kvcalc.engines.request import CapacityRequest
from kvcalc.engines.result import Waste
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.memory.accounting import Accounting, logical
from kvcalc.memory.cache import CacheFunction, compile_groups, tensor_bytes
from kvcalc.memory.estimate import answer
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

Part = Literal["kv", "index", "state"]
PARTS: tuple[Part, ...] = ("kv", "index", "state")
_WHAT: dict[Part, str] = {"kv": "keys and values", "index": "index keys", "state": "states"}


def part_of(role: str) -> Part:
    """The part of a cache that a tensor's role belongs to."""
    if role in ("conv", "state"):
        return "state"
    return "index" if role == "index" else "kv"


@dataclass(frozen=True, kw_only=True)
class Slab:
    """Equal layers: what each of them holds of one sequence on one rank.

    tensors: (name, rows, bytes of a row). padding_layers: equal slots that belong to no layer.
    unused_bytes: what the allocator sets aside beside these layers and nothing uses.
    """

    block: str
    mechanism: str
    layers: tuple[int, ...]
    tensors: tuple[tuple[str, int, int], ...]
    padding_layers: int = 0
    unused_bytes: int = 0

    @property
    def layer_bytes(self) -> int:
        return sum(rows * row_bytes for _, rows, row_bytes in self.tensors)

    @property
    def bytes(self) -> int:
        return (len(self.layers) + self.padding_layers) * self.layer_bytes + self.unused_bytes


@dataclass(frozen=True, kw_only=True)
class Share:
    """One tensor-parallel rank of one pipeline stage, for one sequence.

    need: bytes without pages in the engine's formats. waste: causes that make ``bytes`` of it.
    """

    slabs: tuple[Slab, ...]
    need: dict[Part, int]
    waste: tuple[Waste, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(slab.bytes for slab in self.slabs)


@dataclass(frozen=True, kw_only=True)
class Holding:
    """An engine's memory for sequences of one model under one set of flags.

    shares: of a sequence of max_model_len, one for each pipeline stage. stage_bytes: of a sequence of
    any other length on the same server, which is that of the length rounded up to ``step``; beyond
    ``far`` every ``period`` of tokens adds the same.
    formats: how this engine's formats differ, by part, in words.
    """

    version: str
    shares: tuple[Share, ...]
    stage_bytes: Callable[[int], tuple[int, ...]]
    far: int
    period: int
    step: int
    formats: dict[Part, str]
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EngineCache:
    """The cache of all sequences as one engine holds it, on all devices.

    bytes: logical_bytes and every cause of ``waste`` add up to it. bytes_per_token, fixed_...: what
    one more token of one sequence adds once windows are full, averaged over a block and rounded up,
    and what does not depend on the length; on all devices. groups: one sequence on one rank, with
    the number of ranks that hold the like.
    """

    engine: str
    version: str
    bytes: int
    logical_bytes: int
    bytes_per_token: int
    fixed_bytes_per_sequence: int
    per_device_bytes: tuple[int, ...]
    groups: tuple[Slab, ...]
    ranks: int
    sequences: int
    waste: tuple[Waste, ...]
    rules: tuple[str, ...]
    notes: tuple[str, ...]


def holding(
    engine: str, spec: ModelSpec, workload: Workload, kv_dtype: str | None, version: str | None
) -> Holding:
    """One engine's rules for sequences of up to the workload's context.

    kv_dtype: as asked; None leaves the engine its default. Raises UsageError for flags that the
    engine does not have and UnsupportedError for models that it cannot run or is not accounted for.
    """
    if workload.context_tokens < 1:
        raise UsageError("--context 0: an engine is asked about sequences of at least one token")
    module = import_module(ENGINES[engine][0])
    common = CapacityRequest(
        engine_version=version,
        layout=workload.layout,
        max_model_len=workload.context_tokens,
        kv_dtype=kv_dtype,
        state_dtype=workload.cache.state,
        encoder_tokens=workload.encoder_tokens or None
        if "encoder_tokens" in module.FLAGS
        else None,
    )
    found: Holding = module.hold(spec, common)
    return found


def workload_cache(
    engine: str, spec: ModelSpec, workload: Workload, kv_dtype: str | None = None,
    version: str | None = None,
) -> EngineCache:  # fmt: skip
    """What an engine holds for a workload, beside the logical need. Raises as ``holding`` does."""
    held = holding(engine, spec, workload, kv_dtype, version)
    ranks, sequences = workload.layout.tensor, workload.num_sequences
    need = logical_parts(spec, workload)
    causes: dict[str, Waste] = {}

    def add(cause: str, num_bytes: int, why: str) -> None:
        if num_bytes:
            before = causes[cause].bytes if cause in causes else 0
            causes[cause] = Waste(cause=cause, bytes=before + num_bytes, why=why)

    for share in held.shares:
        for waste in share.waste:
            add(waste.cause, waste.bytes * ranks * sequences, waste.why)
    whole = held
    if ranks > 1:
        undivided = replace(workload, layout=Layout())
        whole = holding(engine, spec, undivided, kv_dtype, version)
    for part in PARTS:
        own = sum(share.need[part] for share in held.shares) * ranks * sequences
        once = sum(share.need[part] for share in whole.shares) * sequences
        add("replication", own - once, f"heads, latents or states that several of the {ranks} "
            "tensor-parallel ranks keep, or that do not divide evenly")  # fmt: skip
        add(f"format of {_WHAT[part]}", once - need[part], held.formats[part])
    per_rank = [share.bytes * sequences for share in held.shares]
    far = -(-held.far // held.period) * held.period
    at, next_ = (sum(held.stage_bytes(far + extra)) * ranks for extra in (0, held.period))
    slope = Fraction(next_ - at, held.period)
    return EngineCache(
        engine=engine,
        version=held.version,
        bytes=sum(per_rank) * ranks,
        logical_bytes=sum(need.values()),
        bytes_per_token=-int(-slope // 1),
        fixed_bytes_per_sequence=int(at - slope * far),
        per_device_bytes=tuple(one for one in per_rank for _ in range(ranks)),
        groups=tuple(slab for share in held.shares for slab in share.slabs),
        ranks=ranks,
        sequences=sequences,
        waste=tuple(causes.values()),
        rules=held.rules,
        notes=held.notes,
    )


def logical_parts(spec: ModelSpec, workload: Workload) -> dict[Part, int]:
    """The logical need of all sequences, by part of the cache."""
    groups = groups_of(spec)
    function = compile_groups(groups, workload.cache)
    length = function.peak(workload.context_tokens, workload.encoder_tokens)
    one = group_parts(groups, workload, length)
    return {part: num_bytes * workload.num_sequences for part, num_bytes in one.items()}


def group_parts(groups: tuple[CacheGroup, ...], workload: Workload, length: int) -> dict[Part, int]:
    """What the tensors of groups hold of one sequence of exactly ``length`` tokens, by part."""
    found: dict[Part, int] = dict.fromkeys(PARTS, 0)
    for group in groups:
        for tensor in group.tensors:
            function = CacheFunction(((tensor.extent, tensor_bytes(tensor, workload.cache)),))
            num_bytes = function.at(length, workload.encoder_tokens)
            found[part_of(tensor.role)] += num_bytes * len(group.layers)
    return found


@dataclass(frozen=True, kw_only=True)
class Row:
    """One accounting beside the others. bytes: None where the engine refuses, for ``refusal``."""

    engine: str
    version: str | None = None
    bytes: int | None = None
    per_device_bytes: tuple[int, ...] = ()
    bytes_per_token: int | None = None
    fixed_bytes_per_sequence: int | None = None
    waste: tuple[Waste, ...] = ()
    refusal: str | None = None


def side_by_side(
    spec: ModelSpec, workload: Workload, kv_dtype: str | None = None
) -> tuple[Row, ...]:
    """The logical need, transformers' caches and every engine's, in that order.

    An engine that does not support the model, a format or a layout says so in its row.
    """
    rows = [_plain_row(spec, workload, logical(spec), None)]
    rows.append(_or_refusal("transformers", partial(_transformers_row, spec, workload)))
    for engine in ENGINES:
        row = partial(_engine_row, engine, spec, workload, kv_dtype)
        rows.append(_or_refusal(engine, row))
    return tuple(rows)


def _or_refusal(engine: str, row: Callable[[], Row]) -> Row:
    try:
        return row()
    except KvcalcError as error:
        return Row(engine=engine, refusal=error.message)


def _engine_row(engine: str, spec: ModelSpec, workload: Workload, kv_dtype: str | None) -> Row:
    cache = workload_cache(engine, spec, workload, kv_dtype)
    return Row(
        engine=engine,
        version=cache.version,
        bytes=cache.bytes,
        per_device_bytes=cache.per_device_bytes,
        bytes_per_token=cache.bytes_per_token,
        fixed_bytes_per_sequence=cache.fixed_bytes_per_sequence,
        waste=cache.waste,
    )


def _transformers_row(spec: ModelSpec, workload: Workload) -> Row:
    from kvcalc.engines import transformers

    accounting = transformers.accounting(spec, workload.cache)
    return _plain_row(spec, workload, accounting, ".".join(map(str, transformers.MEASURED)))


_LIBRARY: dict[Part, str] = {
    "kv": "a window keeps W - 1 positions; some families keep expanded or doubled heads",
    "index": "index keys as its cache classes keep them",
    "state": "convolutions keep K columns, the current token's among them",
}


def _plain_row(
    spec: ModelSpec, workload: Workload, accounting: Accounting, version: str | None
) -> Row:
    cache = answer(spec, workload, (), accounting).cache
    waste: list[Waste] = []
    if not accounting.at_most:
        need = logical_parts(spec, workload)
        held = group_parts(accounting.groups, workload, workload.context_tokens)
        for part in PARTS:
            more = held[part] * workload.num_sequences - need[part]
            if more:
                cause = f"{_WHAT[part]} of the library's caches"
                waste.append(Waste(cause=cause, bytes=more, why=_LIBRARY[part]))
    return Row(
        engine=accounting.engine,
        version=version,
        bytes=cache.bytes,
        per_device_bytes=cache.per_device_bytes,
        bytes_per_token=cache.bytes_per_token,
        fixed_bytes_per_sequence=cache.fixed_bytes_per_sequence,
        waste=tuple(waste),
    )
