"""The Conformer: two half feed-forward layers around attention and a convolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.towers.conformer import ConformerEncoder as Fields
from kvcalc.verify.parts import Embedding, Linear, Module, Norm
from kvcalc.verify.towers.parts import Ffn, TowerModule, like


class HalfFfn(Ffn):
    """A feed-forward layer with a norm in front, half of which is added."""

    def __init__(self, c: Fields) -> None:
        super().__init__(c.hidden_size, c.intermediate_size, bias=True)
        self.norm = Norm(c.hidden_size, "layernorm")

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(self.norm(x)) / 2


class ShawAttention(Module):
    """Attention whose scores have a term by the distance of two frames."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.heads, self.head_dim = c.num_attention_heads, c.head_dim
        inner = self.heads * self.head_dim
        self.norm = Norm(c.hidden_size, "layernorm")
        self.q_proj = Linear(c.hidden_size, inner, "q" in c.attention_bias)
        self.k_proj = Linear(c.hidden_size, inner, "k" in c.attention_bias)
        self.v_proj = Linear(c.hidden_size, inner, "v" in c.attention_bias)
        self.o_proj = Linear(inner, c.hidden_size, "o" in c.attention_bias)
        self.rows = c.relative_positions
        if c.relative_positions is not None:
            self.rel_pos_emb = Embedding(c.relative_positions, c.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        parts = [proj(y) for proj in (self.q_proj, self.k_proj, self.v_proj)]
        q, k, v = (
            part.view(x.shape[0], -1, self.heads, self.head_dim).transpose(1, 2) for part in parts
        )
        scores = q @ k.transpose(2, 3)
        if self.rows is not None:
            order = torch.arange(x.shape[1], device=x.device)
            apart = (order[:, None] - order[None] + self.rows // 2).clamp(0, self.rows - 1)
            scores = scores + torch.einsum("bhtc,tsc->bhts", q, self.rel_pos_emb(apart))
        y = ((scores * self.head_dim**-0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        return x + self.o_proj(y)


class BatchNorm(Module):
    """A norm over a batch, by the statistics that it keeps as buffers."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, channels, T)."""
        scale: Tensor = self.weight * torch.rsqrt(self.running_var + 1e-5)
        shift: Tensor = self.bias - self.running_mean * scale
        return torch.addcmul(shift[:, None], x, scale[:, None])


class ConvModule(Module):
    """A gated pointwise convolution, a depthwise one with a norm, and a pointwise one."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        width, channels, taps = c.hidden_size, c.conv_expansion * c.hidden_size, c.conv_kernel_size
        self.norm = Norm(width, "layernorm")
        self.up_conv = nn.Conv1d(width, 2 * channels, 1)
        self.depth_conv = nn.Conv1d(
            channels, channels, taps, padding="same", groups=channels, bias=False
        )
        self.batch_norm = BatchNorm(channels)
        self.down_conv = nn.Conv1d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.up_conv(self.norm(x).transpose(1, 2)), 1)
        y = F.silu(self.batch_norm(self.depth_conv(y)))
        down: Tensor = self.down_conv(y)
        return x + down.transpose(1, 2)


class ConformerLayer(Module):
    """One block of the equation."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.ff1, self.attention = HalfFfn(c), ShawAttention(c)
        self.conv, self.ff2 = ConvModule(c), HalfFfn(c)
        self.post_norm = Norm(c.hidden_size, "layernorm")

    def forward(self, x: Tensor) -> Tensor:
        return self.post_norm(self.ff2(self.conv(self.attention(self.ff1(x)))))


class ConformerEncoder(TowerModule):
    """Layers over frames, with a head of characters that is read back in the middle."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c = c
        self.input_linear = Linear(c.input_size, c.hidden_size, True)
        self.layers = nn.ModuleList(ConformerLayer(c) for _ in range(c.num_hidden_layers))
        if c.output_size is not None:
            self.out = Linear(c.hidden_size, c.output_size, True)
            self.out_mid = Linear(c.output_size, c.hidden_size, True)

    def example(self) -> Tensor:
        """Four frames."""
        return like(self, 1, 4, self.c.input_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_linear(x)
        middle = len(self.layers) // 2
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == middle and self.c.output_size is not None:
                x = x + self.out_mid(self.out(x).softmax(-1))
        return x
