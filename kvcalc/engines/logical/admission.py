"""The need of the requests, divided into the memory as it stands, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.admission import Admission
from kvcalc.engines.request import CapacityRequest
from kvcalc.memory.asked_beside import NOTHING, Beside
from kvcalc.memory.beside import groups_beside
from kvcalc.memory.cache import CacheFunction, compile_groups
from kvcalc.memory.inventory import groups_of
from kvcalc.memory.stages import stage_functions
from kvcalc.spec.model import ModelSpec


@dataclass(frozen=True, kw_only=True)
class LogicalFlags(CapacityRequest):
    """No flags: a workload's number formats, its encoder's tokens and what is beside the model."""

    cache: CacheDtypes = field(default_factory=CacheDtypes)
    encoder_tokens: int = 0
    beside: Beside = NOTHING
    mtp_layers: int | None = None
    speculative_tokens: int | None = None


class LogicalAdmission(Admission):
    def __init__(self, spec: ModelSpec, question: LogicalFlags) -> None:
        self.encoder_tokens = question.encoder_tokens
        self.stages = stage_functions(spec, groups_of(spec), question.cache, question.layout)
        if groups := groups_beside(spec, question.beside):
            more = compile_groups(groups, question.cache, question.layout.tensor)
            self.stages[-1] = CacheFunction((*self.stages[-1].terms, *more.terms))

    def admits(self, rooms: Sequence[int], context_tokens: int, sequences: int) -> bool:
        return all(
            sequences * stage.most(context_tokens, self.encoder_tokens) <= room
            for stage, room in zip(self.stages, rooms, strict=True)
        )

    def concurrency(self, memory: int, context_tokens: int, sequences: int) -> Fraction | None:
        need = max(stage.most(context_tokens, self.encoder_tokens) for stage in self.stages)
        return Fraction(max(0, memory), need) if need else None
