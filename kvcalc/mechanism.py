"""What every mechanism of a block answers, whatever its kind."""

from collections.abc import Iterator
from typing import Protocol

from kvcalc.tensors import CacheTensor


class Mechanism(Protocol):
    """An attention, a recurrent mixer, a cross-attention or a feed-forward layer.

    ``parameters`` is not here: a cross-attention's takes the encoder's width as well.
    """

    @property
    def kind(self) -> str:
        """The word that a spec chooses it by."""

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
