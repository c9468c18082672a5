"""vLLM admits (blocks - the null block) // blocks of one request, windows with the tokens in flight
included (BlockPool, KVCacheManager.allocate_slots), and one request must pass the check at startup
(_check_enough_kv_cache_memory)."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

from kvcalc.engines.admission import Admission
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.engines.vllm.starts import refusal
from kvcalc.spec.model import ModelSpec


class VllmAdmission(Admission):
    def __init__(self, spec: ModelSpec, question: VllmFlags) -> None:
        self.plan = Plan(spec, question)
        # Searches on many devices ask about the same lengths.
        self._lengths: dict[int, tuple[int, int]] = {}

    def admits(self, rooms: Sequence[int], context_tokens: int, sequences: int) -> bool:
        memory = min(rooms)
        if not self.plan.groups:
            return memory > 0
        needed, least = self._length(context_tokens)
        null = 0 if self.plan.rules.v0 else 1
        return memory // self._width - null >= sequences * needed and least <= memory

    def _length(self, context_tokens: int) -> tuple[int, int]:
        """Blocks of a request, and the memory at which the check at startup passes on all stages."""
        found = self._lengths.get(context_tokens)
        if found is None:
            plan = self.plan
            least = max(
                plan.need(stage, context_tokens) + null
                for stage, null in zip(self._stages, self._nulls, strict=True)
            )
            found = plan.blocks_per_request(context_tokens), least
            self._lengths[context_tokens] = found
        return found

    def concurrency(self, memory: int, context_tokens: int, sequences: int) -> Fraction | None:
        if not self.plan.groups:
            return None
        blocks = max(0, memory) // self._width
        return Fraction(blocks, self._length(context_tokens)[0])

    def stops(self, memory: int, requests: int) -> str | None:
        if not self.plan.groups:
            return None
        return refusal(self.plan, max(0, memory) // self._width, requests)

    @cached_property
    def _stages(self) -> list[Sequence[int]]:
        return [stage for stage in self.plan.stack.stages if stage]

    @cached_property
    def _nulls(self) -> list[int]:
        """What the check sets aside for the null block on each stage."""
        plan = self.plan
        return [
            plan.rules.null_block_in_check * plan.layout.bytes_per_block(stage)
            for stage in self._stages
        ]

    @cached_property
    def _width(self) -> int:
        return max(self.plan.layout.width(stage) for stage in self.plan.stack.stages)
