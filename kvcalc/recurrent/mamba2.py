"""Mamba-2 (SSD): a matrix state per head and a short causal convolution; no per-token cache.

Equation (Dao and Gu 2024, arXiv 2405.21060; state-spaces/mamba modules/mamba2.py). Elements kept
per sequence and layer, whatever its length:

    n_h * P * N  +  (n_h * P + 2 * G * N) * (K - 1)

    n_h  num_heads    P  head_dim    N  state_size    G  n_groups    K  conv_kernel

Stored: the SSM state (fp32 unless ``state_dtype`` says otherwise), and the last K - 1 inputs of the
convolution over x, B and C, in the KV dtype. Not stored: the K-th column, which is the current
token's (transformers keeps K columns; that is its own accounting).
Tensor parallelism divides heads; with fewer groups than ranks each rank keeps a group's B and C.

Worked number: mamba2-2.7b, n_h = 80, P = 64, N = 128, G = 1, K = 4, 64 layers:
64 * (80*64*128*4 + 5376*3*2) = 169,836,544 bytes; transformers 5.23 measured 170,524,672 with
K = 4 columns, which is 64 * 5376 * 2 more.

Reference code: transformers models/mamba2/modeling_mamba2.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, KVHeads, Taps, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class Mamba2:
    """A Mamba-2 mixer.

    Fields:
        kind: mamba2.
        num_heads: SSM heads.
        head_dim: channels of a head (P).
        state_size: width of the state per channel (N).
        n_groups: groups that share B and C (G).
        conv_kernel: taps of the causal convolution (K).
        conv_bias: the convolution has a bias.
        proj_bias: the input and output projections have biases.
        gated_norm: an RMSNorm before the output projection (absent in Falcon-H1).
        state_dtype: what the SSM state is kept in; fp32 when absent.
    """

    kind: Literal["mamba2"]
    num_heads: Heads
    head_dim: Width
    state_size: Width
    n_groups: KVHeads
    conv_kernel: Taps
    conv_bias: bool = True
    proj_bias: bool = False
    gated_norm: bool = True
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    @property
    def inner_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def conv_size(self) -> int:
        return self.inner_size + 2 * self.n_groups * self.state_size

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.num_heads % self.n_groups:
            yield "n_groups", f"{self.num_heads} heads cannot share {self.n_groups} groups evenly"

    def _conv_parts(self) -> tuple[Part, ...]:
        groups = Part(self.n_groups * self.state_size, self.n_groups, replicate=True)
        return (Part(self.inner_size, self.num_heads), groups, groups)

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        inner, conv, heads = self.inner_size, self.conv_size, self.num_heads
        gate_x_b_c_dt = Shard(0, (Part(inner, heads), *self._conv_parts(), Part(heads, heads)))
        yield from linear("in_proj", inner + conv + heads, hidden_size, "recurrent",
                          bias=self.proj_bias, shard=gate_x_b_c_dt)  # fmt: skip
        by_channel = Shard(0, self._conv_parts())
        yield ParamTensor("conv1d.weight", (conv, 1, self.conv_kernel), "recurrent", by_channel)
        if self.conv_bias:
            yield ParamTensor("conv1d.bias", (conv,), "recurrent", by_channel)
        for name in ("dt_bias", "A_log", "D"):
            yield ParamTensor(name, (heads,), "recurrent", split(0, heads))
        if self.gated_norm:
            yield ParamTensor("norm.weight", (inner,), "recurrent", split(0, inner, heads))
        yield from linear("out_proj", hidden_size, inner, "recurrent",
                          bias=self.proj_bias, shard=split(1, inner, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """The convolution's columns and the SSM state, once per sequence."""
        yield CacheTensor("conv_state", (self.conv_size, self.conv_kernel - 1), ONCE, "conv",
                          Shard(0, self._conv_parts()), row_axis=0)  # fmt: skip
        yield CacheTensor("ssm_state", (self.num_heads, self.head_dim, self.state_size), ONCE,
                          "state", split(0, self.num_heads), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="Mamba-2 state space",
            symbols=(
                Symbol("n_h", "num_heads", self.num_heads, "heads"),
                Symbol("P", "head_dim", self.head_dim, "channels per head"),
                Symbol("N", "state_size", self.state_size, "state width"),
                Symbol("G", "n_groups", self.n_groups, "B/C groups"),
                Symbol("K", "conv_kernel", self.conv_kernel, "convolution taps"),
            ),
            source="Dao and Gu 2024, arXiv 2405.21060; state-spaces/mamba modules/mamba2.py",
            stored=f"the SSM state ({self.state_dtype}) and K - 1 columns of the convolution",
            not_stored="anything per token",
            fixed="n_h * P * N + (n_h * P + 2 * G * N) * (K - 1)",
        )
