"""What follows from one model and an engine, however much memory a device has: each worked out once."""

from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from kvcalc.deployment.answer import FitRequest, step_of
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.overhead import Overhead, overheads, was_measured
from kvcalc.deployment.parallelism import Stage, stages_of, whole_cache
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.admission import Admission
from kvcalc.engines.engine import Batch, Reserved, Setting, Share
from kvcalc.engines.holding import Holding
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.request import CapacityRequest
from kvcalc.errors import UsageError
from kvcalc.frozen import changed
from kvcalc.memory.asked_beside import Beside
from kvcalc.memory.layout import Layout
from kvcalc.memory.weights import rank_bytes
from kvcalc.spec.model import ModelSpec

_Key = tuple[str, CacheDtypes, Layout, Beside]


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
        requests=request.max_num_seqs,
    )
    question: Any = record.served(setting)
    if record.share_of == "free":
        question = changed(question, memory_utilization=free_share)
    found: CapacityRequest = question
    return found


class Taken(NamedTuple):
    """What an engine takes of a device beside weights and cache, and the sums of it and of its band."""

    items: tuple[Overhead, ...]
    bytes: int
    least_bytes: int
    most_bytes: int

    @classmethod
    def of(cls, items: tuple[Overhead, ...]) -> "Taken":
        return cls(
            items, sum(item.bytes for item in items), sum(item.least_bytes for item in items),
            sum(item.most_bytes for item in items),
        )  # fmt: skip


class Known:
    """What was found of one model so far."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._stages: dict[tuple[_Key, int], tuple[Stage, ...]] = {}
        self._loads: dict[tuple[Any, ...], Loaded | None] = {}
        self._takes: dict[tuple[Any, ...], list[Taken]] = {}
        self._weights: dict[str, int] = {}
        self._holdings: dict[tuple[str, CapacityRequest], Holding] = {}
        self._admissions: dict[tuple[str, CapacityRequest], Admission] = {}

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

    def taken(self, device: Accelerator, request: FitRequest) -> list[Taken]:
        """What the engine takes of a device of each stage, beside weights and cache."""
        step = step_of(device, request)
        measured = was_measured(device.name, request.engine, request.engine_version)
        sets_aside = request.record.embeddings
        kept = sets_aside and sets_aside(
            self.spec, device, request.engine_version, request.max_num_seqs
        )
        key = (request.engine, request.engine_version, request.layout, step, request.eager,
               measured, _item_tokens(request), kept)  # fmt: skip
        if key not in self._takes:
            of_stage = partial(self._of_stage, device, request, measured, kept)
            # Stages before the last are alike.
            others = request.layout.pipeline - 1
            before = [of_stage(last=False)] * others if others else []
            self._takes[key] = [*before, of_stage(last=True)]
        return self._takes[key]

    def _of_stage(
        self, device: Accelerator, request: FitRequest, measured: bool, kept: Reserved | None, *,
        last: bool,
    ) -> Taken:  # fmt: skip
        record = request.record
        if record.takes is None:
            raise _unmeasured(request)
        taken = record.takes(request.engine_version)
        workload = request.workload
        self.stages(
            request
        )  # Ranks that do not divide the checkpoint are refused, whatever is loaded.
        if not whole_cache(
            self.spec, workload.cache, workload.beside, workload.layout.tensor
        ).terms:
            # Requests that keep nothing wait without taking a place.
            request = request.of(batch_size=1)
        layout = request.layout
        items = overheads(
            self.spec, step_of(device, request) or Batch(1, 1), layout.tensor, layout.pipeline,
            last_stage=last, eager=request.eager,
            ranks=layout.tensor * (layout.data if layout.expert else 1),
            measured=measured, largest_item=_item_tokens(request),
        )  # fmt: skip
        if record.embeddings is not None:
            items = tuple(item for item in items if item.name != "encoder cache")
        if kept is not None:
            size = kept.bytes
            own = Overhead("encoder cache", size, size, size, kept.formula)
            items = (*items, own)
        return Taken.of(tuple(item for item in items if item.name in taken))

    def holding(self, device: Accelerator, request: FitRequest) -> Holding | None:
        record = request.record
        if record.hold is None:
            return None
        question = question_of(device, request, None)
        key = (request.engine, question)
        if key not in self._holdings:
            self._holdings[key] = record.held(self.spec, question)
        return self._holdings[key]


def _item_tokens(request: FitRequest) -> int | None:
    """Tokens of the largest item of a request that the server plans for."""
    largest = request.workload.largest_item
    if largest is None:
        return None
    found = largest.of(request.workload.context_tokens, dict(request.media.limits))
    return None if found is None else found[1]


def _unmeasured(request: FitRequest) -> UsageError:
    instead = (
        "give --available (llama.cpp: --ctx-size) to 'kvcalc capacity'"
        if request.record.capacity is not None
        else f"'kvcalc estimate --engine {request.engine}' says what it holds"
    )
    return UsageError(
        f"{request.engine_words}: what it takes of a GPU beside its cache is not known here; {instead}"
    )
