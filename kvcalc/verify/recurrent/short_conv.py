"""Gated short convolution (LFM2): y = W_out (C * conv_K(B * x)), with B, C and x from the input.

Kept: ``conv_state`` (B, d, K - 1).
"""

from torch import Tensor

from kvcalc.recurrent.short_conv import ShortConv as Fields
from kvcalc.verify.parts import CausalConv, Linear, Module, State, Step


class ShortConv(Module):
    """A convolution between two gates."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.conv = CausalConv(c.hidden_size, c.conv_L_cache, c.conv_bias)
        self.in_proj = Linear(hidden_size, 3 * c.hidden_size, c.conv_bias)
        self.out_proj = Linear(c.hidden_size, hidden_size, c.conv_bias)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        b, c, u = self.in_proj(x).chunk(3, -1)  # (B, T, d) each
        return self.out_proj(c * self.conv(b * u, cache))
