"""RG-LRU: a gated linear recurrence of one number per channel and a short convolution.

Equation (De et al. 2024, Griffin, arXiv 2402.19427, equations 1 to 4: h_t = a_t * h_(t-1) +
sqrt(1 - a_t^2) * (i_t * x_t)). Elements kept per sequence and layer, whatever its length:

    w  +  w * (K - 1)

    w  lru_width    K  conv1d_width

Stored: the recurrence's state (fp32 unless ``state_dtype`` says otherwise), and the last K - 1
inputs of the convolution, in the KV dtype. Not stored: the gates.
The input and recurrence gates are block-diagonal, one block per head (``num_attention_heads``).
Tensor parallelism divides these blocks, and with them the channels.

Worked number: RecurrentGemma-2B, w = 2560, K = 4, 18 such layers:
18 * (2560*4 + 2560*3*2) = 460,800 bytes, as measured with transformers 5.23.

Reference code: transformers models/recurrent_gemma (RecurrentGemmaRecurrentBlock), which keeps the
states on its modules and not in a cache object.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Inner, Taps
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class RgLru:
    """A recurrent block of Griffin: two branches, a convolution and an RG-LRU.

    Fields:
        kind: rg_lru.
        lru_width: channels of the recurrence (w).
        num_attention_heads: blocks of the block-diagonal gates.
        conv1d_width: taps of the causal convolution (K).
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["rg_lru"]
    lru_width: Inner
    num_attention_heads: Heads
    conv1d_width: Taps
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.lru_width % self.num_attention_heads:
            yield (
                "num_attention_heads",
                f"{self.lru_width} channels do not divide into {self.num_attention_heads} blocks",
            )

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the block; all belong to ``recurrent``."""
        width, heads = self.lru_width, self.num_attention_heads
        block = width // heads
        by_block = split(0, width, heads)
        for name in ("linear_y", "linear_x"):
            yield from linear(name, width, hidden_size, "recurrent", bias=True, shard=by_block)
        yield from linear("linear_out", hidden_size, width, "recurrent",
                          bias=True, shard=split(1, width, heads))  # fmt: skip
        yield ParamTensor("conv_1d.weight", (width, 1, self.conv1d_width), "recurrent", by_block)
        yield ParamTensor("conv_1d.bias", (width,), "recurrent", by_block)
        yield ParamTensor("rg_lru.recurrent_param", (width,), "recurrent", by_block)
        for gate in ("input_gate", "recurrent_gate"):
            yield ParamTensor(f"rg_lru.{gate}_weight", (heads, block, block), "recurrent",
                              split(0, heads))  # fmt: skip
            yield ParamTensor(f"rg_lru.{gate}_bias", (heads, block), "recurrent", split(0, heads))

    def cache(self) -> Iterator[CacheTensor]:
        """The convolution's columns and the recurrence's state, once per sequence."""
        by_block = split(0, self.lru_width, self.num_attention_heads)
        yield CacheTensor("conv_state", (self.lru_width, self.conv1d_width - 1), ONCE, "conv",
                          by_block, row_axis=0)  # fmt: skip
        yield CacheTensor("recurrent_state", (self.lru_width,), ONCE, "state",
                          by_block, dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="real-gated linear recurrent unit",
            symbols=(
                Symbol("w", "lru_width", self.lru_width, "channels"),
                Symbol("K", "conv1d_width", self.conv1d_width, "convolution taps"),
            ),
            source="De et al. 2024, arXiv 2402.19427, equations 1 to 4; transformers "
            "models/recurrent_gemma",
            stored=f"a number a channel ({self.state_dtype}) and K - 1 columns of the convolution",
            not_stored="anything per token",
            fixed="w + w * (K - 1)",
        )
