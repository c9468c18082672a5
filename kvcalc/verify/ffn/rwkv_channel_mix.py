"""RWKV channel mixing: y = sigmoid(W_r x_r) * W_v relu(W_k x_k)^2, x_r and x_k mixed with the last token.

Kept: ``token_shift`` (B, d), the last token's input.
"""

from torch import Tensor

from kvcalc.ffn.rwkv_channel_mix import RwkvChannelMix as Fields
from kvcalc.verify.parts import Linear, Module, State, Step, shifted, weight


class RwkvChannelMix(Module):
    """Channel mixing of RWKV-4, -6 (with a receptance gate) and -7 (without)."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        self.time_mix_key = weight(1, 1, hidden_size)
        if c.receptance:
            self.time_mix_receptance = weight(1, 1, hidden_size)
            self.receptance = Linear(hidden_size, hidden_size)
        self.key = Linear(hidden_size, c.intermediate_size)
        self.value = Linear(c.intermediate_size, hidden_size)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        before = shifted(x, cache)  # (B, T, d)
        y = self.value(self.key(before + (x - before) * self.time_mix_key).relu().square())
        if self.c.receptance:
            y = self.receptance(before + (x - before) * self.time_mix_receptance).sigmoid() * y
        return y
