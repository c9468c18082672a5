"""How many sequences an engine admits at once into the memory that it has for its cache.

One rule per engine, asked by ``kvcalc fit``, by budgets of ``kvcalc check`` and, through the engine's own
pool, by ``kvcalc capacity``:

* vLLM: (blocks - the null block) // blocks of one request, windows with the tokens in flight included
  (BlockPool, KVCacheManager.allocate_slots), and one request must pass the check at startup
  (_check_enough_kv_cache_memory);
* SGLang: whole pages of each pool, three states a request;
* TensorRT-LLM: whole blocks of each window's pool, a state slot for each request.

The logical need, which no engine meets, is not here: it is divided into the memory as it stands.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib import import_module

from kvcalc.engines import ENGINES
from kvcalc.engines.request import Available, CapacityRequest
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UsageError
from kvcalc.memory.inventory import groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Chunk, Window


class Admission:
    """An engine that was set up for a model: what it admits, and what it reserves.

    question: its flags, the memory left out.
    """

    def __init__(self, spec: ModelSpec, question: CapacityRequest) -> None:
        self.spec, self.question = spec, question

    def admits(self, memory: int, context_tokens: int, sequences: int) -> bool:
        """Whether so many sequences of this length are held at once."""
        held = self.concurrency(memory, context_tokens, sequences)
        return held is None or sequences <= held

    def concurrency(self, memory: int, context_tokens: int, sequences: int) -> Fraction | None:
        """How many sequences of this length the pool has room for; None: any number.

        sequences: for how many the engine was set up, where that takes memory.
        """
        raise NotImplementedError


class _Vllm(Admission):
    def __init__(self, spec: ModelSpec, question: CapacityRequest) -> None:
        super().__init__(spec, question)
        from kvcalc.engines.vllm.plan import Plan

        self.plan = Plan(spec, question)

    def admits(self, memory: int, context_tokens: int, sequences: int) -> bool:
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


class _Pools(Admission):
    """An engine whose pools are cells: the pool with the least room decides."""

    engine: str

    def __init__(self, spec: ModelSpec, question: CapacityRequest) -> None:
        super().__init__(spec, question)
        self._module = import_module(ENGINES[self.engine][0])
        self._module.hold(spec, question)  # raises for what the engine refuses whatever the memory
        self._result = cache(self._ask)

    def _ask(self, memory: int, question: CapacityRequest) -> CapacityResult | None:
        """The engine's pools; None where it stops, as they do not hold a single state."""
        try:
            given = replace(question, available=Available.exactly(memory))
            result: CapacityResult = self._module.capacity(self.spec, given)
        except UsageError:
            return None
        return result

    def asked(self, context_tokens: int, sequences: int) -> CapacityRequest:
        """The flags of a server for such sequences."""
        return self.question

    def rooms(self, result: CapacityResult, context_tokens: int) -> Iterator[Fraction]:
        """Sequences that each pool holds."""
        raise NotImplementedError

    def concurrency(self, memory: int, context_tokens: int, sequences: int) -> Fraction | None:
        if memory <= 0:
            return Fraction(0)
        result = self._result(memory, self.asked(context_tokens, sequences))
        if result is None:
            return Fraction(0)
        return min(self.rooms(result, context_tokens), default=None)


class _Sglang(_Pools):
    engine = "sglang"

    def rooms(self, result: CapacityResult, context_tokens: int) -> Iterator[Fraction]:
        from kvcalc.engines.sglang.states import SLOTS_PER_REQUEST

        page = result.pool.block_tokens or 1
        windows = [tensor.extent.size for group in groups_of(self.spec) for tensor in group.tensors
                   if isinstance(tensor.extent, Window | Chunk)]  # fmt: skip
        for pool in result.caches:
            cells = pool.cells or 0
            if pool.type == "recurrent":
                yield Fraction(cells // SLOTS_PER_REQUEST)
            elif pool.name == "window":
                yield Fraction(
                    cells, _up(min(context_tokens, max(windows, default=context_tokens)), page)
                )
            else:
                yield Fraction(cells, _up(context_tokens, page))


class _TensorrtLlm(_Pools):
    engine = "tensorrt-llm"

    def asked(self, context_tokens: int, sequences: int) -> CapacityRequest:
        return replace(self.question, max_model_len=context_tokens, max_num_seqs=sequences)

    def rooms(self, result: CapacityResult, context_tokens: int) -> Iterator[Fraction]:
        block = result.pool.block_tokens or 1
        for pool in result.caches:
            if pool.type == "recurrent":
                continue
            if pool.window is None or context_tokens <= pool.window:
                yield Fraction(pool.cells or 0, _up(context_tokens, block))
            else:
                # A block more, so that the window is always held in full (kSWAExtraBlock).
                yield Fraction(pool.cells or 0, _up(pool.window, block) + block)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


_RULES: dict[str, type[Admission]] = {
    "vllm": _Vllm, "sglang": _Sglang, "tensorrt-llm": _TensorrtLlm,
}  # fmt: skip


def admission(engine: str, spec: ModelSpec, question: CapacityRequest) -> Admission:
    """The engine's rules for a model. Raises as its ``capacity`` does for what it refuses."""
    module, words = ENGINES[engine]
    question.only(words, import_module(module).FLAGS)
    return _RULES[engine](spec, question)
