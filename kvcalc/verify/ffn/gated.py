"""The gated feed-forward layer: y = W_down (act(W_gate x) * W_up x). It keeps nothing."""

from torch import Tensor
from torch.nn import functional as F

from kvcalc.ffn.gated import GatedFeedForward as Fields
from kvcalc.verify.parts import Linear, Module, Norm, State, Step


class GatedFeedForward(Module):
    """SwiGLU."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, c.intermediate_size, c.bias)
        self.up_proj = Linear(hidden_size, c.intermediate_size, c.bias)
        self.down_proj = Linear(c.intermediate_size, hidden_size, c.bias or c.down_bias)
        self.ffn_sub_norm = Norm(c.intermediate_size) if c.sub_norm else None

    def forward(
        self, x: Tensor, cache: State | None, step: Step, extra: Tensor | None = None
    ) -> Tensor:
        """extra: (B, T, 2 f), what an adapter adds to gate and up (Zamba2)."""
        gate, up = self.gate_proj(x), self.up_proj(x)  # (B, T, f) each
        if extra is not None:
            more_gate, more_up = extra.chunk(2, -1)
            gate, up = gate + more_gate, up + more_up
        y = F.silu(gate) * up
        return self.down_proj(y if self.ffn_sub_norm is None else self.ffn_sub_norm(y))
