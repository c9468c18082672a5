"""One question on one device: what is left there, and what the engine admits into it.

On each device: memory * utilization - weights - overheads is left for the cache. An engine admits
requests into it by its own rules (``admission`` of its record), the least of all stages deciding, as
``kvcalc capacity --gpu`` has it. The overheads have a band (kvcalc.deployment.overhead): ``fits`` holds
at its upper end too, ``tight`` only at the model's value.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

from kvcalc.deployment.answer import Device, FitRequest, Verdict, step_of
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.known import Known
from kvcalc.deployment.parallelism import Stage, stage_caches
from kvcalc.engines import NEED
from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Batch
from kvcalc.engines.holding import Holding
from kvcalc.engines.result import Waste
from kvcalc.errors import KvcalcError
from kvcalc.frozen import changed
from kvcalc.memory.estimate import answer
from kvcalc.units import MAX_TOKENS


class Server:
    """The answers about one request on one device. ``end`` of the band: 0, the model's value; 1, the
    least memory. Whatever needs the weights, the layout or the engine raises for what is refused."""

    def __init__(self, known: Known, device: Accelerator, request: FitRequest) -> None:
        self.known, self.device, self.request = known, device, request
        # One of each step: within it every batch has the same memory and the same rules.
        self._of_steps: dict[Batch | None, Server] = {}

    @cached_property
    def room(self) -> list[tuple[int, int, int]]:
        """(at the model's value, least, most) bytes left for the cache on a device of each stage."""
        known, device, request = self.known, self.device, self.request
        budget, rooms = known.budget(device, request), []
        for stage, taken in zip(self._stages, known.taken(device, request), strict=True):
            left = budget - stage.weight_bytes
            rooms.append((left - taken.bytes, left - taken.most_bytes, left - taken.least_bytes))
        return rooms

    @cached_property
    def _stages(self) -> tuple[Stage, ...]:
        return self.known.stages(self.request, self.device)

    def memory(self) -> tuple[int, int, int]:
        """The same of the fullest stage, which decides how many blocks all of them have."""
        return min(self.room)

    @cached_property
    def rules(self) -> Admission:
        """The engine's, set up as asked, whatever the longest request."""
        return self.known.admission(self.device, self.request)

    @cached_property
    def holding(self) -> Holding | None:
        """Blocks of one sequence; None of an engine without."""
        return self.known.holding(self.device, self.request)

    def verdict(self) -> Verdict:
        """The one verdict. Raises for what the engine, the device or the layout refuses."""
        record, request = self.request.record, self.request
        record.check_device(self.device, request.engine_version)
        record.check_weights(self.known.spec, request.workload.dtype)
        if self._admitted(1):
            return "fits"
        if self._admitted(0):
            return "tight"
        self.known.admission(self.device, request)  # What it refuses is said, be there room or not.
        return "does not fit"

    def holds(self, end: int = 0) -> bool:
        """Whether it fits at one end of the band; False too for what is refused."""
        try:
            return self._admitted(end)
        except KvcalcError:
            return False

    def _admitted(self, end: int) -> bool:
        request, most = self.request, self.request.max_num_seqs
        if most is not None and request.sequences > most:
            return False
        rooms = self._rooms[end]
        if rooms is None:
            return False
        rules = self.rules
        if most is not None and self.stops(end) is not None:
            return False
        return rules.admits(rooms, max(1, request.workload.context_tokens), request.sequences)

    @cached_property
    def _rooms(self) -> tuple[list[int] | None, list[int] | None]:
        """The memory for the cache on each stage at each end of the band; None where there is none."""
        # The need alone may be nothing; an engine's pool holds at least a block.
        some = 0 if self.request.record.memory == "none" else 1
        values, leasts = [room[0] for room in self.room], [room[1] for room in self.room]
        return (values if min(values) >= some else None), (leasts if min(leasts) >= some else None)

    def _admits(self, end: int, tokens: int, sequences: int) -> bool:
        """Whether it fits a length and, within the same step, a batch; False too for what is refused."""
        try:
            rooms = self._rooms[end]
            return rooms is not None and self.rules.admits(rooms, max(1, tokens), sequences)
        except KvcalcError:
            return False

    def stops(self, end: int = 0) -> str | None:
        """Why the engine's server does not start with the requests of its step, or does not run so many
        at once where it has no step, and what helps."""
        if self.request.eager:
            return None
        step = step_of(self.device, self.request)
        requests = self.request.sequences if step is None else step.requests
        return self.rules.stops(min(room[end] for room in self.room), requests)

    def longest_context(self, end: int = 0) -> int | None:
        """The longest context at which the whole batch fits; None: any.

        The model's own longest at most, or what is asked for where that is more.
        """
        request, own = self.request, self.known.spec.max_position_embeddings
        limit = None if own is None else max(own, request.workload.context_tokens, 1)
        largest = request.workload.largest_item
        if request.max_num_seqs is not None or (largest is not None and largest.grows):
            # The tokens of a step follow from the context, or those of an item that is planned for.
            return most(lambda tokens: self._with(context_tokens=tokens).holds(end), limit)
        return most(lambda tokens: self._admits(end, tokens, request.sequences), limit)

    def largest_batch(self, end: int = 0) -> int | None:
        """The most requests of the context that fit, over all replicas; None: any number."""
        request = self.request
        data, tokens = request.layout.data, max(1, request.workload.context_tokens)

        def fits(sequences: int) -> bool:
            if sequences > (request.max_num_seqs or sequences):
                return False
            step = step_of(self.device, request, sequences)
            if step not in self._of_steps:
                self._of_steps[step] = self._with(batch_size=sequences * data)
            return self._of_steps[step]._admits(end, tokens, sequences)

        found = most(fits, None)
        return None if found is None else found * data

    def _with(self, **fields: int) -> "Server":
        """The same about a workload with other fields."""
        return Server(self.known, self.device, self.request.of(**fields))

    def _in_tensors(self, need: int) -> tuple[int, tuple[Waste, ...]]:
        """What a library of tensors keeps for a need, on its only device; the need of any other."""
        record, workload = self.request.record, self.request.workload
        if record.accounting is None or record.name == NEED:
            return need, ()
        accounting = record.accounting(self.known.spec, workload.cache, self.request.engine_version)
        [kept] = answer(self.known.spec, workload, (), accounting).cache.per_device_bytes
        if kept == need:
            return need, ()
        why = f"tensors as {record.words} keeps them: 'kvcalc estimate --engine {record.name}' has each"
        return kept, (Waste(cause="the library's caches", bytes=kept - need, why=why),)

    def devices(self) -> tuple[Device, ...]:
        """One device of each stage, with what the engine reserves there and why."""
        known, request, held = self.known, self.request, self.holding
        workload, found = request.workload, []
        caches = stage_caches(known.spec, workload.cache, request.layout, workload.beside)
        taken = known.taken(self.device, request)
        each = zip(self._stages, self.room, taken, caches, strict=True)
        for number, (stage, room, beside, cache) in enumerate(each):
            # The logical need of the requests on a rank of the stage.
            need = request.sequences * cache.most(workload.context_tokens, workload.encoder_tokens)
            reserved, waste = self._in_tensors(need)
            if held is not None:
                share = held.shares[number]
                reserved = share.bytes * request.sequences
                waste = tuple(times(share.waste, request.sequences))
                other = reserved - need - sum(item.bytes for item in waste)
                if other:
                    waste += (Waste(cause="number formats", bytes=other, why="rows and states in "
                              f"the formats that {request.engine_words} keeps them in"),)  # fmt: skip
            found.append(Device(number, stage.layers, stage.weight_bytes,
                                beside.items, *room, need, reserved, waste, stage.beside))  # fmt: skip
        return tuple(found)


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
