"""TensorRT-LLM admits whole blocks of each window's pool, and keeps a state slot for each request."""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.engines.admission import Pools, up
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.holding import hold
from kvcalc.engines.tensorrt_llm.pool import capacity
from kvcalc.frozen import changed
from kvcalc.spec.model import ModelSpec


class TensorrtLlmAdmission(Pools[TensorrtLlmFlags]):
    def __init__(self, spec: ModelSpec, question: TensorrtLlmFlags) -> None:
        super().__init__(spec, question, capacity)
        hold(spec, question)  # raises for what it refuses whatever the memory

    def asked(self, context_tokens: int, sequences: int) -> TensorrtLlmFlags:
        return changed(self.question, max_model_len=context_tokens, max_num_seqs=sequences)

    def rooms(self, result: CapacityResult, context_tokens: int) -> Iterator[Fraction]:
        block = result.pool.block_tokens or 1
        for pool in result.caches:
            if pool.type == "recurrent":
                continue
            if pool.window is None or context_tokens <= pool.window:
                yield Fraction(pool.cells or 0, up(context_tokens, block))
            else:
                # A block more, so that the window is always held in full (kSWAExtraBlock).
                yield Fraction(pool.cells or 0, up(pool.window, block) + block)
