"""What every mechanism of a block answers, whatever its kind."""

from collections.abc import Iterator
from typing import Protocol

from kvcalc.tensors import CacheTensor, ParamTensor


class Mechanism(Protocol):
    """An attention, a recurrent mixer, a cross-attention or a feed-forward layer."""

    @property
    def kind(self) -> str:
        """The word that a spec chooses it by."""

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of one layer. A cross-attention may be given the encoder's width, too."""

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
