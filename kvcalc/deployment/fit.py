"""Does it fit, how far does it go, and what to change when it does not.

On each device: memory * utilization - weights - overheads is left for the cache. An engine admits
requests into it by its own rules (kvcalc.deployment.admission), the least of all stages deciding, as
``kvcalc capacity --gpu`` has it. ``logical`` divides the need of a request into it instead, stage by
stage. The overheads have a band (kvcalc.deployment.overhead): ``fits`` holds at its upper end too,
``tight`` only at the model's value.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module
from typing import Any, Literal

from kvcalc.deployment.admission import Admission, admission
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.overhead import Batch, Overhead, default_batch, overheads, was_measured
from kvcalc.deployment.parallelism import Stage, stages_of
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import ENGINES
from kvcalc.engines.request import CapacityRequest
from kvcalc.engines.result import Waste
from kvcalc.engines.vllm.versions import rules_for
from kvcalc.engines.workload import Holding
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

# No model goes further; a cache that does not grow would have no end.
LONGEST = 1 << 24
_TENSOR, _PIPELINE = (1, 2, 4, 8), (1, 2, 4, 8)

Verdict = Literal["fits", "tight", "does not fit"]

# What each engine takes of a device before its cache. sglang: activations and graphs live in what
# its share leaves. tensorrt-llm measures what is free before it captures graphs.
_TAKEN = {
    "logical": ("activation peak", "CUDA graphs", "libraries"),
    "vllm": ("activation peak", "CUDA graphs", "libraries"),
    "sglang": ("libraries",),
    "tensorrt-llm": ("activation peak", "libraries"),
}


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """The question.

    workload: requests that must be held at once, over all replicas of its layout.
    engine: whose pages to count; ``logical`` counts the need alone, beside what vLLM takes.
    utilization: the share of the device that the engine may use; tensorrt-llm's, of what is free.
    max_num_batched_tokens, max_num_seqs: its scheduler step; None takes what vLLM chooses for the
    device, and no fewer requests than are asked for. eager: no CUDA graphs.
    """

    workload: Workload
    engine: str = "vllm"
    engine_version: str | None = None
    utilization: Fraction = Fraction(9, 10)
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    eager: bool = False

    @property
    def layout(self) -> Layout:
        return self.workload.layout

    @property
    def sequences(self) -> int:
        """Requests of one replica."""
        return -(-self.workload.batch_size // self.layout.data)

    @property
    def engine_words(self) -> str:
        """The engine as sentences name it."""
        return "the logical need" if self.engine == "logical" else ENGINES[self.engine][1]

    def of(self, **fields: Any) -> "FitRequest":
        """The same question about a workload with other fields."""
        return replace(self, workload=replace(self.workload, **fields))


def step_of(device: Accelerator, request: FitRequest) -> Batch:
    """The scheduler's step: as asked, or as vLLM's server chooses it (arg_utils.py)."""
    usual = default_batch(device.bytes, device.name)
    requests = request.max_num_seqs or max(usual.requests, request.sequences)
    tokens = usual.tokens
    if request.max_num_seqs is not None and request.workload.context_tokens:
        tokens = min(tokens, request.max_num_seqs * request.workload.context_tokens)
    return Batch(request.max_num_batched_tokens or max(tokens, requests), requests)


def question_of(device: Accelerator, request: FitRequest) -> CapacityRequest:
    """The same question as ``kvcalc capacity`` puts it to the engine, without the memory."""
    step = step_of(device, request)
    vllm = request.engine == "vllm"
    # Engines call the format of the activations 'auto'.
    kv_dtype = None if request.workload.cache.kv_name == "bf16" else request.workload.cache.kv_name
    return CapacityRequest(
        engine_version=request.engine_version,
        max_model_len=max(1, request.workload.context_tokens),
        encoder_tokens=request.workload.encoder_tokens or None if vllm else None,
        kv_dtype=kv_dtype,
        state_dtype=request.workload.cache.state,
        layout=request.layout,
        compute_capability=device.sm,
        memory_utilization=request.utilization if request.engine == "tensorrt-llm" else None,
        max_num_batched_tokens=step.tokens if vllm else None,
        max_num_seqs=step.requests if vllm else None,
    )


@dataclass(frozen=True)
class Device:
    """One device of one stage. free: what is left for the cache; least, most: its band.

    cache_bytes: the logical need of the requests. reserved_bytes: what the engine takes for them;
    reserved_bytes - cache_bytes is the sum of ``waste``.
    """

    stage: int
    layers: range
    weight_bytes: int
    overheads: tuple[Overhead, ...]
    free: int
    free_least: int
    free_most: int
    cache_bytes: int
    reserved_bytes: int
    waste: tuple[Waste, ...] = ()


@dataclass(frozen=True)
class Change:
    """One way to make it fit. what: options of ``kvcalc fit``. cost: what it costs, in words."""

    what: str
    cost: str


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The answer. longest_context: for the batch; largest_batch: for the context; 0: none.

    Each with ``_least``, what holds at the lower end of the memory's band, too. fewest: the layout
    with the fewest devices that holds the request; None: none up to 64. measured: whether the
    overheads are of this device and engine. version: the engine's, whose rules these are.
    """

    model: str
    model_context: int | None
    device: Accelerator
    request: FitRequest
    version: str | None
    measured: bool
    budget: int
    devices: tuple[Device, ...]
    verdict: Verdict
    longest_context: int
    longest_context_least: int
    largest_batch: int
    largest_batch_least: int
    fewest: Layout | None
    fewest_verdict: Verdict
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


class Planner:
    """Answers for one model; what does not depend on the device is worked out once."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._stages: dict[tuple[str, CacheDtypes, Layout], tuple[Stage, ...]] = {}
        self._admissions: dict[tuple[str, CapacityRequest], Admission] = {}

    def stages(self, request: FitRequest) -> tuple[Stage, ...]:
        key = (request.workload.dtype, request.workload.cache, request.layout)
        if key not in self._stages:
            self._stages[key] = stages_of(self.spec, *key)
        return self._stages[key]

    def admission(self, device: Accelerator, request: FitRequest) -> Admission:
        """The engine's rules, set up as asked. Raises for what the engine refuses."""
        question = question_of(device, request)
        # No rule depends on the longest request; a plan for each would be slow.
        key = (
            request.engine,
            replace(question, max_model_len=self.spec.max_position_embeddings or 1),
        )
        if key not in self._admissions:
            self._admissions[key] = admission(request.engine, self.spec, key[1])
        return self._admissions[key]

    def overheads(
        self, device: Accelerator, request: FitRequest, stage: int
    ) -> tuple[Overhead, ...]:
        """What the engine takes of a device of a stage, beside weights and cache."""
        if request.engine not in _TAKEN:
            raise UsageError(
                f"{request.engine}: what it takes of a GPU beside its cache is not known here; "
                "give --available (llama.cpp: --ctx-size) to 'kvcalc capacity'"
            )
        if not any(one.cache.terms for one in self.stages(request)):
            # Requests that keep nothing wait without taking a place.
            request = request.of(batch_size=1)
        layout = request.layout
        items = overheads(
            self.spec, step_of(device, request), layout.tensor, layout.pipeline,
            last_stage=stage == layout.pipeline - 1, eager=request.eager,
            ranks=layout.tensor * (layout.data if layout.expert else 1),
            measured=was_measured(device.name, request.engine, request.engine_version),
        )  # fmt: skip
        taken = _TAKEN[request.engine]
        if request.engine == "vllm" and not rules_for(request.engine_version).graphs_set_aside:
            taken = tuple(name for name in taken if name != "CUDA graphs")
        return tuple(item for item in items if item.name in taken)

    def room(self, device: Accelerator, request: FitRequest) -> list[tuple[int, int, int]]:
        """(at the model's value, least, most) bytes left for the cache on a device of each stage."""
        budget, rooms = budget_of(device, request), []
        for number, stage in enumerate(self.stages(request)):
            items = self.overheads(device, request, number)
            left = budget - stage.weight_bytes
            taken = (sum(item.bytes for item in items), sum(item.most for item in items),
                     sum(item.least for item in items))  # fmt: skip
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
        rooms = [room[end] for room in self.room(device, request)]
        if min(rooms) <= 0:
            return False
        if request.engine == "logical":
            need = self._logical(request)
            return all(one <= room for one, room in zip(need, rooms, strict=True))
        rules = self.admission(device, request)
        return rules.admits(min(rooms), max(1, request.workload.context_tokens), request.sequences)

    def _logical(self, request: FitRequest) -> list[int]:
        """The logical need of the requests on a rank of each stage."""
        tokens = (request.workload.context_tokens, request.workload.encoder_tokens)
        return [request.sequences * stage.cache.most(*tokens) for stage in self.stages(request)]

    def verdict(self, device: Accelerator, request: FitRequest) -> Verdict:
        """The one verdict. Raises for what the engine, or the layout, refuses."""
        if self._admitted(device, request, 1):
            return "fits"
        return "tight" if self._admitted(device, request, 0) else "does not fit"

    def holds(self, device: Accelerator, request: FitRequest, end: int = 0) -> bool:
        """Whether it fits at one end of the band; False too for what is refused."""
        try:
            return self._admitted(device, request, end)
        except KvcalcError:
            return False

    def longest_context(self, device: Accelerator, request: FitRequest, end: int = 0) -> int:
        """The longest context at which the whole batch fits.

        The model's own longest at most, or what is asked for where that is more.
        """
        limit = max(
            self.spec.max_position_embeddings or LONGEST, request.workload.context_tokens, 1
        )
        return _most(
            lambda tokens: self.holds(device, request.of(context_tokens=tokens), end), limit
        )

    def largest_batch(self, device: Accelerator, request: FitRequest, end: int = 0) -> int:
        """The most requests of the context that fit, over all replicas."""
        data = request.layout.data

        def fits(sequences: int) -> bool:
            return self.holds(device, request.of(batch_size=sequences * data), end)

        limit = 1
        while limit < LONGEST and fits(limit):
            limit *= 2
        return _most(fits, limit) * data

    def fewest(self, device: Accelerator, request: FitRequest) -> Layout | None:
        """The fewest devices; of those, the most tensor ranks (up to 8, one machine)."""
        layouts = sorted(
            (replace(request.layout, tensor=tensor, pipeline=pipeline)
             for tensor in _TENSOR for pipeline in _PIPELINE),
            key=lambda layout: (layout.devices, -layout.tensor),
        )  # fmt: skip
        for layout in layouts:
            if self.holds(device, request.of(layout=layout)):
                return layout
        return None

    def devices(self, device: Accelerator, request: FitRequest) -> tuple[Device, ...]:
        """One device of each stage, with what the engine reserves there and why."""
        held = self._holding(device, request)
        needs, found = self._logical(request), []
        for number, (stage, room) in enumerate(
            zip(self.stages(request), self.room(device, request), strict=True)
        ):
            need = reserved = needs[number]
            waste: tuple[Waste, ...] = ()
            if held is not None:
                share = held.shares[number]
                reserved = share.bytes * request.sequences
                waste = tuple(_times(share.waste, request.sequences))
                other = reserved - need - sum(item.bytes for item in waste)
                if other:
                    waste += (Waste(cause="number formats", bytes=other, why="rows and states in "
                              f"the formats that {request.engine_words} keeps them in"),)  # fmt: skip
            found.append(Device(number, stage.layers, stage.weight_bytes,
                                self.overheads(device, request, number), *room,
                                need, reserved, waste))  # fmt: skip
        return tuple(found)

    def _holding(self, device: Accelerator, request: FitRequest) -> Holding | None:
        if request.engine == "logical":
            return None
        module = import_module(ENGINES[request.engine][0])
        question = question_of(device, request)
        if "memory_utilization" in module.FLAGS:
            question = replace(question, memory_utilization=None)
        held: Holding = module.hold(self.spec, question)
        return held

    def fit(self, device: Accelerator, request: FitRequest) -> Fit:
        """The whole answer. Raises UnsupportedError where the layout does not divide the model."""
        from kvcalc.deployment.changes import changes_for, notes_for

        verdict = self.verdict(device, request)
        held = self._holding(device, request)
        fewest = self.fewest(device, request)
        answer = Fit(
            model=self.spec.name,
            model_context=self.spec.max_position_embeddings,
            device=device,
            request=request,
            version=held.version if held is not None else None,
            measured=was_measured(device.name, request.engine, request.engine_version),
            budget=budget_of(device, request),
            devices=self.devices(device, request),
            verdict=verdict,
            longest_context=self.longest_context(device, request),
            longest_context_least=self.longest_context(device, request, 1),
            largest_batch=self.largest_batch(device, request),
            largest_batch_least=self.largest_batch(device, request, 1),
            fewest=fewest,
            fewest_verdict="does not fit" if fewest is None
            else self.verdict(device, request.of(layout=fewest)),
            changes=(),
            notes=(),
        )  # fmt: skip
        changes = tuple(changes_for(self, answer)) if verdict == "does not fit" else ()
        return replace(answer, changes=changes, notes=tuple(notes_for(self.spec, answer)))


def _times(waste: tuple[Waste, ...], sequences: int) -> Iterator[Waste]:
    """What all sequences lose, most first."""
    items = sorted((item for item in waste if item.bytes), key=lambda item: -item.bytes)
    yield from (replace(item, bytes=item.bytes * sequences) for item in items)


def _most(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that fits; 0 when not even 1 does."""
    if fits(limit):
        return limit
    least, most = 0, limit
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least


def budget_of(device: Accelerator, request: FitRequest) -> int:
    """ceil(total * utilization), as vLLM's request_memory has it; all of it for tensorrt-llm, whose
    share is of what is free."""
    share = Fraction(1) if request.engine == "tensorrt-llm" else request.utilization
    return -int(-device.bytes * share // 1)


def memory_for_cache(
    spec: ModelSpec, device: Accelerator, request: FitRequest, engine: str
) -> tuple[int, int, int]:
    """(at the model's value, least, most) bytes of one device that an engine has for its cache."""
    return Planner(spec).memory(device, replace(request, engine=engine))
