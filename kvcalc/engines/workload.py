"""What an engine holds for a workload: so many sequences of so many tokens, apart from any pool.

    bytes = logical need + what each cause adds (or saves)

``workload_cache`` multiplies an engine's ``Holding`` of one sequence by ranks and sequences and sets the
answer beside the logical need; copies of heads and other number formats are causes of their own, so
that the causes add up to the difference.

What a pool has once, whatever its requests (vLLM's null block, SGLang's dump pages and padding
state, what is left over after the last block), is not here: ``capacity`` answers for pools.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from kvcalc.engines import ENGINES, engine_of
from kvcalc.engines.engine import Batch, Device, Setting
from kvcalc.engines.holding import PARTS, Holding, Part, Slab, group_parts, logical_parts
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.result import Waste
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.estimate import answer
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

_WHAT: dict[Part, str] = {"kv": "keys and values", "index": "index keys", "state": "states"}


@frozen(kw_only=True)
class EngineCache:
    """The cache of all sequences as one engine holds it, on all devices.

    bytes: logical_bytes and every cause of ``waste`` add up to it. bytes_per_token, fixed_...: what
    one more token of one sequence adds once windows are full, averaged over a block and rounded up,
    and what does not depend on the length; on all devices. groups: one sequence on one rank, with
    the number of ranks that hold the like; rest_bytes: what the sequences were given beside that, on
    all ranks. loaded: the weights as the engine's own classes allocate them, or why that is not known;
    None for an engine whose classes were not built.
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
    rest_bytes: int = 0
    loaded: Loaded | str | None = None


def holding(
    name: str, spec: ModelSpec, workload: Workload, kv_dtype: str | None, version: str | None,
    device: Device | None = None,
) -> Holding:  # fmt: skip
    """One engine's rules for sequences of up to the workload's context.

    kv_dtype: as asked; None leaves the engine its default. Raises UsageError for flags that the
    engine does not have and UnsupportedError for models that it cannot run or is not accounted for.
    """
    if workload.context_tokens < 1:
        raise UsageError("--context 0: an engine is asked about sequences of at least one token")
    found = engine_of(name)
    step = None
    if device is not None and found.step is not None:
        usual = found.step(device)
        requests = max(usual.requests, workload.batch_size)
        step = Batch(max(usual.tokens, requests), requests)
    setting = Setting(
        workload=workload, kv_dtype=kv_dtype, engine_version=version, step=step,
        compute_capability=None if device is None else device.sm,
    )  # fmt: skip
    return found.held(spec, found.served(setting))


def workload_cache(
    name: str, spec: ModelSpec, workload: Workload, kv_dtype: str | None = None,
    version: str | None = None, device: Device | None = None,
) -> EngineCache:  # fmt: skip
    """What an engine holds for a workload, beside the logical need. device: the GPU whose kernels
    decide formats and padding. Raises as ``holding`` does, and as the engine's ``loads``."""
    record = engine_of(name)
    if device is not None:
        record.check_device(device, version)
    held = holding(name, spec, workload, kv_dtype, version, device)
    ranks, sequences = workload.layout.tensor, workload.num_sequences
    need = logical_parts(spec, workload)
    whole = held
    if ranks > 1:
        undivided = changed(workload, layout=Layout())
        whole = holding(name, spec, undivided, kv_dtype, version, device)
    rest = held.rest(sequences) if held.rest is not None else 0
    per_rank = [share.bytes * sequences + rest for share in held.shares]
    far = -(-held.far // held.period) * held.period
    at, next_ = (sum(held.stage_bytes(far + extra)) * ranks for extra in (0, held.period))
    slope = Fraction(next_ - at, held.period)
    return EngineCache(
        engine=name,
        version=held.version,
        bytes=sum(per_rank) * ranks,
        logical_bytes=sum(need.values()),
        bytes_per_token=-int(-slope // 1),
        fixed_bytes_per_sequence=int(at - slope * far),
        per_device_bytes=tuple(one for one in per_rank for _ in range(ranks)),
        groups=tuple(slab for share in held.shares for slab in share.slabs),
        ranks=ranks,
        sequences=sequences,
        waste=_waste(held, whole, need, rest, ranks=ranks, sequences=sequences),
        rules=held.rules,
        notes=held.notes,
        rest_bytes=rest * len(held.shares) * ranks,
        loaded=None
        if record.loads is None
        else record.loads(spec, workload.dtype, workload.layout, version, device),
    )


def _waste(
    held: Holding, whole: Holding, need: dict[Part, int], rest: int, *, ranks: int, sequences: int
) -> tuple[Waste, ...]:
    """Why more is held than needed. whole: the same on one rank. rest: bytes of a rank for them all."""
    causes: dict[str, Waste] = {}

    def add(cause: str, num_bytes: int, why: str) -> None:
        if num_bytes:
            before = causes[cause].bytes if cause in causes else 0
            causes[cause] = Waste(cause=cause, bytes=before + num_bytes, why=why)

    for share in held.shares:
        for waste in share.waste:
            add(waste.cause, waste.bytes * ranks * sequences, waste.why)
    for part in PARTS:
        own = sum(share.need[part] for share in held.shares) * ranks * sequences
        once = sum(share.need[part] for share in whole.shares) * sequences
        add("replication", own - once, f"heads, latents or states that several of the {ranks} "
            "tensor-parallel ranks keep, or that do not divide evenly")  # fmt: skip
        add(f"format of {_WHAT[part]}", once - need[part], held.formats[part])
    add("sector rounding", rest * len(held.shares) * ranks, "the last sectors are not full")
    return tuple(causes.values())


@frozen(kw_only=True)
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
    return tuple(
        _or_refusal(name, partial(_row, name, spec, workload, kv_dtype)) for name in ENGINES
    )


def _or_refusal(name: str, row: Callable[[], Row]) -> Row:
    try:
        return row()
    except KvcalcError as error:
        return Row(engine=name, refusal=error.message)


def _row(name: str, spec: ModelSpec, workload: Workload, kv_dtype: str | None) -> Row:
    found = engine_of(name)
    if found.accounting is not None:
        found.check_layout(workload.layout)
        found.check_ranks(spec, workload.layout)
        accounting = found.accounting(spec, workload.cache, None)
        return _plain_row(spec, workload, accounting, found.version)
    cache = workload_cache(name, spec, workload, kv_dtype)
    return Row(
        engine=name,
        version=cache.version,
        bytes=cache.bytes,
        per_device_bytes=cache.per_device_bytes,
        bytes_per_token=cache.bytes_per_token,
        fixed_bytes_per_sequence=cache.fixed_bytes_per_sequence,
        waste=cache.waste,
    )


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
