"""What a device has left, and what fits there, as ``kvcalc fit`` and budgets of ``check`` ask.

On each device: memory * utilization - weights - overheads is left for the cache. An engine admits
requests into it by its own rules (``admission`` of its record), the least of all stages deciding, as
``kvcalc capacity --gpu`` has it. The overheads have a band (kvcalc.deployment.overhead): ``fits`` holds
at its upper end too, ``tight`` only at the model's value.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from kvcalc.deployment.answer import Device, FitRequest, Verdict, step_of
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.overhead import Overhead, overheads, was_measured
from kvcalc.deployment.parallelism import Stage, stages_of
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Batch, Reserved, Setting, Share
from kvcalc.engines.holding import Holding
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.request import CapacityRequest
from kvcalc.engines.result import Waste
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.frozen import changed
from kvcalc.memory.asked_beside import Beside
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.memory.inventory import groups_of
from kvcalc.memory.layout import Layout
from kvcalc.memory.weights import rank_bytes
from kvcalc.spec.model import ModelSpec
from kvcalc.units import MAX_TOKENS

# The memory for the cache on each stage, and the engine's rules.
_Prepared = tuple[list[int], Admission]
_Key = tuple[str, CacheDtypes, Layout, Beside]
# Ranks of one kind that are tried: any number that one machine has, as 3 or 6 cards are common.
_RANKS = range(1, 9)


def question_of(
    device: Accelerator, request: FitRequest, free_share: Fraction | None
) -> CapacityRequest:
    """The same question as ``kvcalc capacity`` puts it to the engine, without the memory.

    free_share: of the free memory, for engines whose share is of that.
    """
    record, workload = request.record, request.workload
    # Engines call the format of the activations 'auto', which a checkpoint may declare otherwise.
    left_open = workload.cache.kv_name == "bf16" and not request.kv_stated
    kv_dtype = None if left_open else workload.cache.kv_name
    setting = Setting(
        workload=changed(workload, context_tokens=max(1, workload.context_tokens)),
        kv_dtype=kv_dtype,
        engine_version=request.engine_version,
        compute_capability=device.sm,
        step=step_of(device, request),
    )
    question: Any = record.served(setting)
    if record.share_of == "free":
        question = changed(question, memory_utilization=free_share)
    found: CapacityRequest = question
    return found


class Planner:
    """Answers for one model; what does not depend on the device is worked out once."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._stages: dict[tuple[_Key, int], tuple[Stage, ...]] = {}
        self._loads: dict[tuple[Any, ...], Loaded | None] = {}
        self._overheads: dict[tuple[Any, ...], tuple[Overhead, ...]] = {}
        self._needs: dict[CacheDtypes, CacheFunction] = {}
        self._weights: dict[str, int] = {}
        self._dividing: dict[tuple[str, int], bool] = {}
        self._holdings: dict[tuple[str, CapacityRequest], Holding] = {}
        self._admissions: dict[tuple[str, CapacityRequest], Admission] = {}
        self._dealt: dict[FitRequest, list[FitRequest]] = {}

    def stages(self, request: FitRequest, device: Accelerator | None = None) -> tuple[Stage, ...]:
        """device: whose kernels decide what is loaded; None where only the cache is asked about."""
        workload = request.workload
        key = (workload.dtype, workload.cache, request.layout, workload.beside)
        loaded = None if device is None else self._loaded(request, device)
        # What was loaded is kept, so its identity stays its own.
        known = self._stages.get((key, id(loaded)))
        if known is None:
            known = self._stages[key, id(loaded)] = stages_of(self.spec, *key, loaded)
        return known

    def _loaded(self, request: FitRequest, device: Accelerator) -> Loaded | None:
        """The weights as the engine's own classes allocate them, where that is known."""
        loads, dtype = request.record.loads, request.workload.dtype
        if loads is None:
            return None
        key = (request.engine, request.engine_version, dtype, request.layout,
               self.kernels(device, request))  # fmt: skip
        if key not in self._loads:
            found = loads(self.spec, dtype, request.layout, request.engine_version, device)
            self._loads[key] = found if isinstance(found, Loaded) else None
        return self._loads[key]

    @staticmethod
    def kernels(device: Accelerator, request: FitRequest) -> int | str | None:
        """What decides the kernels that weights are laid out for: the compute capability, else the device.
        None of an engine that lays out nothing."""
        named = device.name if request.record.loads is not None else None
        return device.sm or named

    def weight_bytes(self, dtype: str) -> int:
        """All weights in a format, on however many devices. Raises as ``rank_bytes`` does."""
        if dtype not in self._weights:
            self._weights[dtype] = sum(rank_bytes(self.spec, dtype, 1).values())
        return self._weights[dtype]

    def may_hold(self, device: Accelerator, request: FitRequest) -> bool:
        """Whether all devices together have room for the weights and a quarter of the need, which
        is found at once: no engine's formats are narrower than a quarter of those asked for. False
        too for what is refused."""
        least = self._least(request)
        return least is not None and least <= request.layout.devices * device.bytes

    def _least(self, request: FitRequest) -> int | None:
        """What ``may_hold`` asks room for, whatever the layout; None where it is refused."""
        workload = request.workload
        try:
            need = self._need(workload.cache).most(workload.context_tokens, workload.encoder_tokens)
            return self.weight_bytes(workload.dtype) + need * workload.batch_size // 4
        except KvcalcError:
            return None

    def _need(self, dtypes: CacheDtypes) -> CacheFunction:
        """The logical need of one request on one device."""
        if dtypes not in self._needs:
            self._needs[dtypes] = compile_groups(groups_of(self.spec), dtypes)
        return self._needs[dtypes]

    def admission(self, device: Accelerator, request: FitRequest) -> Admission:
        """The engine's rules, set up as asked. Raises for what the engine refuses."""
        # No rule depends on the longest request; a plan for each would be slow.
        asked = request.of(context_tokens=self.spec.max_position_embeddings or 1)
        question = question_of(device, asked, self.share(device, request).of)
        key = (request.engine, question)
        if key not in self._admissions:
            self._admissions[key] = request.record.admitting(self.spec, question)
        return self._admissions[key]

    def share(self, device: Accelerator, request: FitRequest) -> Share:
        """The share of the memory that the engine may use: as asked, or its own.

        Raises UsageError for an engine whose share, and what it takes, is not known.
        """
        if request.utilization is not None:
            return Share(of=request.utilization)
        chooses = request.record.share
        if chooses is None:
            raise _unmeasured(request)
        return chooses(self.spec, device, request.layout, request.max_num_seqs)

    def budget(self, device: Accelerator, request: FitRequest) -> int:
        """ceil(total * utilization), as vLLM's request_memory has it; all of it where the share is of
        what is free."""
        if request.record.share_of != "device":
            return device.bytes
        of = self.share(device, request).of
        return -(-device.bytes * of.numerator // of.denominator)

    def overheads(
        self, device: Accelerator, request: FitRequest, stage: int
    ) -> tuple[Overhead, ...]:
        """What the engine takes of a device of a stage, beside weights and cache."""
        step = step_of(device, request)
        measured = was_measured(device.name, request.engine, request.engine_version)
        sets_aside = request.record.embeddings
        kept = sets_aside and sets_aside(
            self.spec, device, request.engine_version, request.max_num_seqs
        )
        key = (request.engine, request.engine_version, request.layout, step, request.eager,
               measured, stage, request.workload.largest_item, kept)  # fmt: skip
        if key not in self._overheads:
            self._overheads[key] = self._taken(device, request, stage, measured, kept)
        return self._overheads[key]

    def _taken(
        self, device: Accelerator, request: FitRequest, stage: int, measured: bool,
        kept: Reserved | None,
    ) -> tuple[Overhead, ...]:  # fmt: skip
        record = request.record
        if record.takes is None:
            raise _unmeasured(request)
        taken = record.takes(request.engine_version)
        if not any(one.cache.terms for one in self.stages(request)):
            # Requests that keep nothing wait without taking a place.
            request = request.of(batch_size=1)
        layout = request.layout
        items = overheads(
            self.spec, step_of(device, request) or Batch(1, 1), layout.tensor, layout.pipeline,
            last_stage=stage == layout.pipeline - 1, eager=request.eager,
            ranks=layout.tensor * (layout.data if layout.expert else 1),
            measured=measured, largest_item=request.workload.largest_item,
        )  # fmt: skip
        if record.embeddings is not None:
            items = tuple(item for item in items if item.name != "encoder cache")
        if kept is not None:
            size = kept.bytes
            own = Overhead("encoder cache", size, size, size, kept.formula)
            items = (*items, own)
        return tuple(item for item in items if item.name in taken)

    def room(self, device: Accelerator, request: FitRequest) -> list[tuple[int, int, int]]:
        """(at the model's value, least, most) bytes left for the cache on a device of each stage."""
        budget, rooms = self.budget(device, request), []
        for number, stage in enumerate(self.stages(request, device)):
            items = self.overheads(device, request, number)
            left = budget - stage.weight_bytes
            taken = (sum(item.bytes for item in items), sum(item.most_bytes for item in items),
                     sum(item.least_bytes for item in items))  # fmt: skip
            value, least, most = (left - each for each in taken)
            rooms.append((value, least, most))
        return rooms

    def memory(self, device: Accelerator, request: FitRequest) -> tuple[int, int, int]:
        """The same of the fullest stage, which decides how many blocks all of them have."""
        return min(self.room(device, request))

    def _admitted(self, device: Accelerator, request: FitRequest, end: int) -> bool:
        """Whether it fits at one end of the band: 0, the model's value; 1, the least memory."""
        if request.sequences > (request.max_num_seqs or request.sequences):
            return False
        rooms = self._rooms(device, request, end)
        if rooms is None:
            return False
        rules = self.admission(device, request)
        if request.max_num_seqs is not None and self.stops(device, request, end) is not None:
            return False
        return rules.admits(rooms, max(1, request.workload.context_tokens), request.sequences)

    def _rooms(self, device: Accelerator, request: FitRequest, end: int) -> list[int] | None:
        """The memory for the cache on each stage at one end of the band; None where there is none."""
        rooms = [room[end] for room in self.room(device, request)]
        # The need alone may be nothing; an engine's pool holds at least a block.
        return None if min(rooms) < (0 if request.record.memory == "none" else 1) else rooms

    def stops(self, device: Accelerator, request: FitRequest, end: int = 0) -> str | None:
        """Why the engine's server does not start with the requests of its step, and what helps."""
        step = step_of(device, request)
        if step is None or request.eager:
            return None
        memory = min(room[end] for room in self.room(device, request))
        return self.admission(device, request).stops(memory, step.requests)

    def _logical(self, request: FitRequest) -> list[int]:
        """The logical need of the requests on a rank of each stage."""
        tokens = (request.workload.context_tokens, request.workload.encoder_tokens)
        return [request.sequences * stage.cache.most(*tokens) for stage in self.stages(request)]

    def verdict(self, device: Accelerator, request: FitRequest) -> Verdict:
        """The one verdict. Raises for what the engine, the device or the layout refuses."""
        request.record.check_device(device, request.engine_version)
        request.record.check_weights(self.spec, request.workload.dtype)
        if self._admitted(device, request, 1):
            return "fits"
        return "tight" if self._admitted(device, request, 0) else "does not fit"

    def holds(self, device: Accelerator, request: FitRequest, end: int = 0) -> bool:
        """Whether it fits at one end of the band; False too for what is refused."""
        try:
            return self._admitted(device, request, end)
        except KvcalcError:
            return False

    def longest_context(self, device: Accelerator, request: FitRequest, end: int = 0) -> int | None:
        """The longest context at which the whole batch fits; None: any.

        The model's own longest at most, or what is asked for where that is more.
        """
        own = self.spec.max_position_embeddings
        limit = None if own is None else max(own, request.workload.context_tokens, 1)
        if request.max_num_seqs is not None:
            # The tokens of a step follow from the context.
            return most(
                lambda tokens: self.holds(device, request.of(context_tokens=tokens), end), limit
            )
        prepared = self._prepared(device, request, end)
        return most(lambda tokens: _admits(prepared, tokens, request.sequences), limit)

    def largest_batch(self, device: Accelerator, request: FitRequest, end: int = 0) -> int | None:
        """The most requests of the context that fit, over all replicas; None: any number."""
        data, tokens = request.layout.data, max(1, request.workload.context_tokens)
        steps: dict[Batch | None, _Prepared | None] = {}

        def fits(sequences: int) -> bool:
            if sequences > (request.max_num_seqs or sequences):
                return False
            step = step_of(device, request, sequences)
            if step not in steps:
                asked = request.of(batch_size=sequences * data)
                steps[step] = self._prepared(device, asked, end)
            return _admits(steps[step], tokens, sequences)

        found = most(fits, None)
        return None if found is None else found * data

    def _prepared(self, device: Accelerator, request: FitRequest, end: int) -> _Prepared | None:
        """The memory for the cache and the engine's rules, which are the same for every length and,
        within one step, every batch; None where nothing fits."""
        try:
            rooms = self._rooms(device, request, end)
            return None if rooms is None else (rooms, self.admission(device, request))
        except KvcalcError:
            return None

    def fewest(self, device: Accelerator, request: FitRequest) -> Layout | None:
        """The fewest devices; of those, the most tensor ranks. Up to 8 of each kind."""
        least, dtype = self._least(request), request.workload.dtype
        if least is None:
            return None
        for asked in self._dealt_out(request):
            layout = asked.layout
            may_hold = least <= layout.devices * device.bytes
            if may_hold and self._may_divide(dtype, layout) and self.holds(device, asked):
                return layout
        return None

    def _dealt_out(self, request: FitRequest) -> list[FitRequest]:
        """The request on all ranks that are tried, in the order in which they are: the same for every
        device."""
        if request not in self._dealt:
            now = request.layout
            layouts = sorted(
                (changed(now, tensor=tensor, pipeline=pipeline)
                 for tensor in _RANKS for pipeline in _RANKS),
                key=lambda layout: (layout.devices, -layout.tensor),
            )  # fmt: skip
            self._dealt[request] = [request.of(layout=layout) for layout in layouts]
        return self._dealt[request]

    def _may_divide(self, dtype: str, layout: Layout) -> bool:
        """Whether so many tensor ranks may divide the weights: 3, 5, 6 and 7 seldom do, whatever the
        device. Experts that are dealt out whole are not divided."""
        ranks = layout.tensor
        if layout.expert or ranks & (ranks - 1) == 0:
            return True
        if (dtype, ranks) not in self._dividing:
            try:
                rank_bytes(self.spec, dtype, ranks)
                self._dividing[dtype, ranks] = True
            except KvcalcError:
                self._dividing[dtype, ranks] = False
        return self._dividing[dtype, ranks]

    def devices(self, device: Accelerator, request: FitRequest) -> tuple[Device, ...]:
        """One device of each stage, with what the engine reserves there and why."""
        held = self.holding(device, request)
        needs, found = self._logical(request), []
        for number, (stage, room) in enumerate(
            zip(self.stages(request, device), self.room(device, request), strict=True)
        ):
            need = reserved = needs[number]
            waste: tuple[Waste, ...] = ()
            if held is not None:
                share = held.shares[number]
                reserved = share.bytes * request.sequences
                waste = tuple(times(share.waste, request.sequences))
                other = reserved - need - sum(item.bytes for item in waste)
                if other:
                    waste += (Waste(cause="number formats", bytes=other, why="rows and states in "
                              f"the formats that {request.engine_words} keeps them in"),)  # fmt: skip
            found.append(Device(number, stage.layers, stage.weight_bytes,
                                self.overheads(device, request, number), *room,
                                need, reserved, waste, stage.beside))  # fmt: skip
        return tuple(found)

    def holding(self, device: Accelerator, request: FitRequest) -> Holding | None:
        record = request.record
        if record.hold is None:
            return None
        question = question_of(device, request, None)
        key = (request.engine, question)
        if key not in self._holdings:
            self._holdings[key] = record.held(self.spec, question)
        return self._holdings[key]


def _admits(prepared: _Prepared | None, tokens: int, sequences: int) -> bool:
    """Whether prepared rules admit it; False too for what they refuse."""
    if prepared is None:
        return False
    try:
        return prepared[1].admits(prepared[0], max(1, tokens), sequences)
    except KvcalcError:
        return False


def _unmeasured(request: FitRequest) -> UsageError:
    instead = (
        "give --available (llama.cpp: --ctx-size) to 'kvcalc capacity'"
        if request.record.capacity is not None
        else f"'kvcalc estimate --engine {request.engine}' says what it holds"
    )
    return UsageError(
        f"{request.engine_words}: what it takes of a GPU beside its cache is not known here; {instead}"
    )


def times(waste: tuple[Waste, ...], sequences: int) -> Iterator[Waste]:
    """What all sequences lose, most first."""
    items = sorted((item for item in waste if item.bytes), key=lambda item: -item.bytes)
    yield from (changed(item, bytes=item.bytes * sequences) for item in items)


def most(fits: Callable[[int], bool], limit: int | None) -> int | None:
    """The largest number up to ``limit`` that fits; 0 when not even 1 does.

    limit None: there is none, and None is the answer where even 2^40, more than any cache has, fits.
    """
    if limit is not None and fits(limit):
        return limit
    least, above = 0, 1
    while fits(above):
        if above >= MAX_TOKENS:
            return None
        least, above = above, above * 2
    above = above if limit is None else min(above, limit)
    while above - least > 1:
        middle = (least + above) // 2
        least, above = (middle, above) if fits(middle) else (least, middle)
    return least
