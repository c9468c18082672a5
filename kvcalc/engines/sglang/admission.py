"""SGLang admits whole pages of each pool, and three states a request."""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.engines.admission import Pools, up
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.holding import hold
from kvcalc.engines.sglang.pool import capacity
from kvcalc.engines.sglang.states import SLOTS_PER_REQUEST
from kvcalc.memory.inventory import groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Chunk, Window


class SglangAdmission(Pools[SglangFlags]):
    def __init__(self, spec: ModelSpec, question: SglangFlags) -> None:
        super().__init__(spec, question, capacity)
        hold(spec, question)  # raises for what it refuses whatever the memory

    def rooms(self, result: CapacityResult, context_tokens: int) -> Iterator[Fraction]:
        page = result.pool.block_tokens or 1
        windows = [tensor.extent.size for group in groups_of(self.spec) for tensor in group.tensors
                   if isinstance(tensor.extent, Window | Chunk)]  # fmt: skip
        for pool in result.caches:
            cells = pool.cells or 0
            if pool.type == "recurrent":
                yield Fraction(cells // SLOTS_PER_REQUEST)
            elif pool.name == "window":
                longest = min(context_tokens, max(windows, default=context_tokens))
                yield Fraction(cells, up(longest, page))
            else:
                yield Fraction(cells, up(context_tokens, page))
