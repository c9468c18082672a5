"""Mamba (S6): a vector of N states per channel and a short causal convolution; no per-token cache.

Equation (Gu and Dao 2023, arXiv 2312.00752, algorithm 2; state-spaces/mamba
modules/mamba_simple.py). Elements kept per sequence and layer, whatever its length:

    d_in * N  +  d_in * (K - 1)

    d_in  intermediate_size    N  state_size    K  conv_kernel

Stored: the SSM state (fp32 unless ``state_dtype`` says otherwise), and the last K - 1 inputs of the
convolution over x, in the KV dtype. Not stored: dt, B and C, which each token makes anew, and the
K-th column, which is the current token's (transformers keeps K columns).
Tensor parallelism divides channels; dt, B and C are the same for all channels, so each rank adds
its share of x_proj's output to the others' and holds the inner norms whole.

Worked number: mamba-2.8b, d_in = 5120, N = 16, K = 4, 64 layers:
64 * (5120*16*4 + 5120*3*2) = 22,937,600 bytes; transformers 5.23 measured 23,592,960 with K = 4
columns, which is 64 * 5120 * 2 more.

Reference code: transformers models/mamba, models/jamba (inner norms), models/falcon_mamba.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner, Taps, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class Mamba1:
    """A Mamba mixer.

    Fields:
        kind: mamba1.
        intermediate_size: channels inside the mixer (d_inner, expand * hidden_size).
        state_size: states per channel (N).
        conv_kernel: taps of the causal convolution (K).
        time_step_rank: rank of the projection that makes dt; ceil(hidden_size / 16) in the paper.
        conv_bias: the convolution has a bias.
        proj_bias: the input and output projections have biases.
        inner_norms: RMSNorms over dt, B and C: weighted (Jamba), weight_free (FalconMamba) or none.
        state_dtype: what the SSM state is kept in; fp32 when absent.
    """

    kind: Literal["mamba1"]
    intermediate_size: Inner
    state_size: Width
    conv_kernel: Taps
    time_step_rank: Width
    conv_bias: bool = True
    proj_bias: bool = False
    inner_norms: Literal["none", "weighted", "weight_free"] = "none"
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.time_step_rank > self.intermediate_size:
            yield (
                "time_step_rank",
                f"a rank of {self.time_step_rank} exceeds the {self.intermediate_size} channels",
            )

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        inner, state, rank = self.intermediate_size, self.state_size, self.time_step_rank
        by_channel = split(0, inner)
        yield ParamTensor("A_log", (inner, state), "recurrent", by_channel)
        yield ParamTensor("D", (inner,), "recurrent", by_channel)
        yield ParamTensor("conv1d.weight", (inner, 1, self.conv_kernel), "recurrent", by_channel)
        if self.conv_bias:
            yield ParamTensor("conv1d.bias", (inner,), "recurrent", by_channel)
        yield from linear("in_proj", 2 * inner, hidden_size, "recurrent",
                          bias=self.proj_bias, shard=Shard(0, (Part(inner, inner),) * 2))  # fmt: skip
        yield from linear("x_proj", rank + 2 * state, inner, "recurrent", shard=split(1, inner))
        yield from linear("dt_proj", inner, rank, "recurrent", bias=True, shard=by_channel)
        yield from linear("out_proj", hidden_size, inner, "recurrent",
                          bias=self.proj_bias, shard=split(1, inner))  # fmt: skip
        if self.inner_norms == "weighted":
            yield ParamTensor("dt_layernorm.weight", (rank,), "recurrent")
            yield ParamTensor("b_layernorm.weight", (state,), "recurrent")
            yield ParamTensor("c_layernorm.weight", (state,), "recurrent")

    def cache(self) -> Iterator[CacheTensor]:
        """The convolution's columns and the SSM state, once per sequence."""
        inner = self.intermediate_size
        yield CacheTensor("conv_state", (inner, self.conv_kernel - 1), ONCE, "conv",
                          split(0, inner), row_axis=0)  # fmt: skip
        yield CacheTensor("ssm_state", (inner, self.state_size), ONCE, "state",
                          split(0, inner), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="Mamba selective state space",
            symbols=(
                Symbol("d_in", "intermediate_size", self.intermediate_size, "channels"),
                Symbol("N", "state_size", self.state_size, "states per channel"),
                Symbol("K", "conv_kernel", self.conv_kernel, "convolution taps"),
            ),
            source="Gu and Dao 2023, arXiv 2312.00752; state-spaces/mamba modules/mamba_simple.py",
            stored=f"the SSM state ({self.state_dtype}) and K - 1 columns of the convolution",
            not_stored="anything per token",
            fixed="d_in * N + d_in * (K - 1)",
        )
