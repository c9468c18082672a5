"""The two-matrix feed-forward layer: y = W_2 act(W_1 x). It keeps nothing."""

from torch import Tensor
from torch.nn import functional as F

from kvcalc.ffn.dense import DenseFeedForward as Fields
from kvcalc.verify.parts import Linear, Module, State, Step


class DenseFeedForward(Module):
    """Two matrices with a GELU between them."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.up_proj = Linear(hidden_size, c.intermediate_size, c.bias)
        self.down_proj = Linear(c.intermediate_size, hidden_size, c.bias)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        return self.down_proj(F.gelu(self.up_proj(x)))
