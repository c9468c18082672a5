"""What each use of a shared block has of its own: a projection and low-rank adapters (Zamba).

x = x + W_l F_l([x, e])          W <- W + B_l A_l for gate and up, and for Q, K, V if set
"""

from collections.abc import Callable

from torch import Tensor, nn

from kvcalc.stack.shared_adapter import SharedAdapter as Fields
from kvcalc.verify.parts import Linear


def _nothing(x: Tensor) -> None:
    """Zamba's uses add nothing to gate and up."""


class LowRank(nn.Sequential):
    """B A x; the two matrices are named 0 and 1."""

    def __init__(self, width: int, rank: int, out: int) -> None:
        super().__init__(Linear(width, rank), Linear(rank, out))

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = super().__call__(x)
        return y


class SharedAdapter(nn.Module):
    """The own weights of one use."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        width, rank = 2 * hidden_size, c.adapter_rank
        self.linear = Linear(hidden_size, hidden_size)
        self.gate_up_proj_adapter: Callable[[Tensor], Tensor | None] = _nothing
        if rank is None:
            return
        if c.use_shared_attention_adapter:
            self.linear_q_adapter = LowRank(width, rank, width)
            self.linear_k_adapter = LowRank(width, rank, width)
            self.linear_v_adapter = LowRank(width, rank, width)
        self.gate_up_proj_adapter = LowRank(hidden_size, rank, 2 * c.intermediate_size)

    def for_attention(self, x: Tensor) -> dict[str, Tensor]:
        """x (B, T, 2 d): what this use adds to Q, K and V."""
        if not self.c.use_shared_attention_adapter:
            return {}
        return {
            "q": self.linear_q_adapter(x),
            "k": self.linear_k_adapter(x),
            "v": self.linear_v_adapter(x),
        }
