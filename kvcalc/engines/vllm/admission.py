"""vLLM admits (blocks - the null block) // blocks of one request, windows with the tokens in flight
included (BlockPool, KVCacheManager.allocate_slots), and one request must pass the check at startup
(_check_enough_kv_cache_memory)."""

from collections.abc import Sequence
from fractions import Fraction

from kvcalc.engines.admission import Admission
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.spec.model import ModelSpec


class VllmAdmission(Admission):
    def __init__(self, spec: ModelSpec, question: VllmFlags) -> None:
        self.plan = Plan(spec, question)

    def admits(self, rooms: Sequence[int], context_tokens: int, sequences: int) -> bool:
        memory = min(rooms)
        plan, stages = self.plan, [stage for stage in self.plan.stack.stages if stage]
        if not plan.groups:
            return memory > 0
        null = 0 if plan.rules.v0 else 1
        blocks = memory // self._width() - null
        if blocks < sequences * plan.blocks_per_request(context_tokens):
            return False
        return all(
            plan.need(stage, context_tokens)
            <= memory - plan.rules.null_block_in_check * plan.layout.bytes_per_block(stage)
            for stage in stages
        )

    def concurrency(self, memory: int, context_tokens: int, sequences: int) -> Fraction | None:
        if not self.plan.groups:
            return None
        blocks = max(0, memory) // self._width()
        return Fraction(blocks, self.plan.blocks_per_request(context_tokens))

    def _width(self) -> int:
        return max(self.plan.layout.width(stage) for stage in self.plan.stack.stages)
