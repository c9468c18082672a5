"""LAuReL: a low-rank map beside the residual connection, laurel(x) = x + RMSNorm(B A x)."""

from torch import Tensor

from kvcalc.stack.laurel import Laurel as Fields
from kvcalc.verify.parts import Linear, Module, Norm


class Laurel(Module):
    """The low-rank residual map of one layer."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.linear_left = Linear(hidden_size, c.laurel_rank)
        self.linear_right = Linear(c.laurel_rank, hidden_size)
        self.post_laurel_norm = Norm(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.post_laurel_norm(self.linear_right(self.linear_left(x)))
