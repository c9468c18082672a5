"""mlx-lm has no pool: sequences fit while their caches, at the prefill's peak, fit beside the weights.

Buffers shrink and grow: a longer prompt may take less than a shorter one by a step's rest, so the
most at any length up to the one asked is what has to fit.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from kvcalc.buffers import PREFILL
from kvcalc.engines.admission import Admission
from kvcalc.engines.mlx.flags import MlxFlags
from kvcalc.engines.mlx.setup import held, resolve
from kvcalc.memory.cache import CacheFunction
from kvcalc.spec.model import ModelSpec


class MlxAdmission(Admission):
    def __init__(self, spec: ModelSpec, question: MlxFlags) -> None:
        self.function = resolve(spec, question)[1]
        self._most = cache(lambda tokens: most_held(self.function, tokens))

    def admits(self, rooms: Sequence[int], context_tokens: int, sequences: int) -> bool:
        return sequences * self._most(context_tokens) <= min(rooms)

    def concurrency(self, memory: int, context_tokens: int, sequences: int) -> Fraction | None:
        need = self._most(context_tokens)
        return Fraction(max(0, memory), need) if need else None


def most_held(function: CacheFunction, tokens: int) -> int:
    """The most bytes at any prompt of up to so many tokens.

    Beyond whole steps of the prefill a rotating buffer holds the most where the rest is a whole step,
    so the candidates are the length itself and the last ones that end a step.
    """
    lengths = {tokens, *(tokens - (tokens - 1) % PREFILL - back * PREFILL for back in (0, 1))}
    return max(held(function, length) for length in lengths if length > 0)
