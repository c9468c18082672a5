"""How many sequences an engine admits at once into the memory that it has for its cache.

Asked by ``kvcalc fit``, by budgets of ``kvcalc check`` and, through the engine's own pool, by ``kvcalc
capacity``. Each engine has its rule in its own ``admission.py``.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from typing import Generic, TypeVar

from kvcalc.engines.request import Available, CapacityRequest
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UsageError
from kvcalc.frozen import changed
from kvcalc.spec.model import ModelSpec

F = TypeVar("F", bound=CapacityRequest)


class Admission:
    """An engine that was set up for a model: what it admits.

    rooms: bytes for the cache on a device of each pipeline stage.
    """

    def admits(self, rooms: Sequence[int], context_tokens: int, sequences: int) -> bool:
        """Whether so many sequences of this length are held at once."""
        held = self.concurrency(min(rooms), context_tokens, sequences)
        return held is None or sequences <= held

    def concurrency(self, memory: int, context_tokens: int, sequences: int) -> Fraction | None:
        """How many sequences of this length the fullest stage has room for; None: any number.

        sequences: for how many the engine was set up, where that takes memory.
        """
        raise NotImplementedError

    def stops(self, memory: int, requests: int) -> str | None:
        """Why its server does not start where it may run so many requests at once, or does not run
        so many whatever the memory, and what helps."""
        return None


class Pools(Admission, Generic[F]):
    """An engine whose pools are cells: the pool with the least room decides.

    question: its flags, the memory left out. capacity: the engine's own.
    """

    def __init__(
        self, spec: ModelSpec, question: F, capacity: Callable[[ModelSpec, F], CapacityResult]
    ) -> None:
        self.spec, self.question, self._capacity = spec, question, capacity
        self._result = cache(self._ask)

    def _ask(self, memory: int, question: F) -> CapacityResult | None:
        """The engine's pools; None where it stops, as they do not hold a single state."""
        try:
            return self._capacity(self.spec, changed(question, available=Available.exactly(memory)))
        except UsageError:
            return None

    def asked(self, context_tokens: int, sequences: int) -> F:
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


def up(number: int, step: int) -> int:
    """The next multiple."""
    return -(-number // step) * step
