"""SGLang admits whole pages of each pool, three states a request, and one set of its drafts' states."""

from collections.abc import Iterator
from fractions import Fraction

from kvcalc.engines.admission import Pools, up
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.holding import hold
from kvcalc.engines.sglang.pool import capacity
from kvcalc.engines.sglang.states import DRAFT_STATES, SLOTS_PER_REQUEST, running_requests
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
            if pool.name == DRAFT_STATES:
                yield Fraction(
                    cells
                )  # a running request has one (memory_pool.py, intermediate_ssm)
            elif pool.type == "recurrent":
                yield Fraction(cells // SLOTS_PER_REQUEST)
            elif pool.name == "window":
                longest = min(context_tokens, max(windows, default=context_tokens))
                yield Fraction(cells, up(longest, page))
            else:
                yield Fraction(cells, up(context_tokens, page))

    def stops(self, memory: int, requests: int) -> str | None:
        """A drafting server makes its drafts' states for the requests that it may run at once."""
        asked, states = (
            self.question,
            any(group.slot == "recurrent" for group in groups_of(self.spec)),
        )
        most = running_requests(asked)
        if not (states and asked.speculative_tokens and most and most < requests):
            return None
        return (
            f"{requests} requests at once: where it drafts SGLang runs {most}, whatever memory there is; "
            f"--max-num-seqs {requests} (its --max-running-requests) lets it run more"
        )
