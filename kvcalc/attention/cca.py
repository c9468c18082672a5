"""CCA, compressed convolutional attention: GQA in a narrow latent, with a convolution over Q and K.

Equation (Figliolia et al. 2025, arXiv 2510.04476; CCGQA where query heads share
keys and values). Elements kept by one layer:

    2 * n_kv * d_h                                           per cached position
    (n_h + n_kv) * d_h * (K_0 + K_1 - 2) + n_kv * d_h / 2    per sequence, whatever its length

    n_h   num_attention_heads    d_h  head_dim     K_0  cca_time0: taps of the depthwise convolution
    n_kv  num_key_value_heads                      K_1  cca_time1: taps of the one within each head

Heads are narrower together than hidden_size: ZAYA1 has 8 * 128 for 2048. Attention runs on them as
they are; nothing is projected up again but the output.

Stored: K after its convolutions, norm and rotary embedding, and V; the last K_0 + K_1 - 2 inputs of
the two convolutions over Q and K; half of the values' channels come from the token before, so that
token's projection is kept as well. Not stored: queries, the means of Q and K, scores.
vLLM and SGLang keep the token's hidden_size in place of its projection.
Tensor parallelism divides nothing: vLLM replicates the layer (its projections are
ReplicatedLinear), and transformers has no plan for it.

Worked number: ZAYA1-8B, n_h = 8, n_kv = 2, d_h = 128, K_0 = K_1 = 2, bf16: 2*2*128*2 = 1,024 bytes
a token and layer, and (10*128*2 + 128)*2 = 5,376 bytes a sequence and layer, as transformers 5.23
measured: [B, 2, T, 128] twice, [B, 1280, 2] and [B, 128].

Reference code: transformers models/zaya/modeling_zaya.py (ZayaCCAProjection, ZayaQKNorm).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.attention.mha_mqa_gqa import window_extent
from kvcalc.counts import Taps, WholeHeads, Width, WindowSize
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, Extent, ParamTensor, linear


@frozen(kw_only=True)
class CompressedConvolutionalAttention:
    """Compressed convolutional attention.

    Fields:
        kind: cca.
        num_attention_heads: query heads (n_h).
        num_key_value_heads: key and value heads that are cached (n_kv).
        head_dim: width of a query, key and value head (d_h).
        cca_time0: taps of the depthwise convolution over Q and K (K_0).
        cca_time1: taps of the convolution within each head, after it (K_1).
        attention_bias: the five projections have biases; the convolutions always have.
        sliding_window: the layer sees the last W tokens, the current one included.
    """

    kind: Literal["cca"]
    num_attention_heads: WholeHeads
    num_key_value_heads: WholeHeads
    head_dim: Width
    cca_time0: Taps
    cca_time1: Taps
    attention_bias: bool = False
    sliding_window: WindowSize | None = None

    @property
    def conv_size(self) -> int:
        return (self.num_attention_heads + self.num_key_value_heads) * self.head_dim

    @property
    def delayed_size(self) -> int:
        return self.num_key_value_heads * self.head_dim // 2

    @property
    def extent(self) -> Extent:
        return window_extent(self.sliding_window)

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield "num_key_value_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly"
        if kv_heads * self.head_dim % 2:
            yield "head_dim", "half of the values' channels are the last token's: they must be even"
        if self.cca_time0 + self.cca_time1 < 3:
            yield "cca_time0", "two convolutions of one tap mix no tokens"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        queries, keys = (
            heads * self.head_dim for heads in (self.num_attention_heads, self.num_key_value_heads)
        )
        half, conv = self.delayed_size, self.conv_size
        for name, width in (
            ("q_proj", queries), ("k_proj", keys), ("v_proj_current", half), ("v_proj_delayed", half),
        ):  # fmt: skip
            yield from linear(
                f"qkv_proj.{name}", width, hidden_size, "attention", bias=self.attention_bias
            )
        for name, shape in (
            ("conv_qk_depthwise", (conv, 1, self.cca_time0)),
            ("conv_qk_grouped", (conv, self.head_dim, self.cca_time1)),
        ):
            yield ParamTensor(f"qkv_proj.{name}.weight", shape, "attention")
            yield ParamTensor(f"qkv_proj.{name}.bias", (conv,), "attention")
        yield ParamTensor("qk_norm.temp", (self.num_key_value_heads,), "attention")
        yield from linear("o_proj", hidden_size, queries, "attention", bias=self.attention_bias)

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        shape = (self.num_key_value_heads, self.head_dim)
        yield CacheTensor("key", shape, self.extent, "key", token_axis=1)
        yield CacheTensor("value", shape, self.extent, "value", token_axis=1)
        columns = self.cca_time0 + self.cca_time1 - 2
        yield CacheTensor("conv_state", (self.conv_size, columns), ONCE, "conv", row_axis=0)
        yield CacheTensor("delayed_value", (self.delayed_size,), ONCE, "conv")

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="compressed convolutional attention",
            symbols=(
                Symbol("n_h", "num_attention_heads", self.num_attention_heads, "query heads"),
                Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
                Symbol("K_0", "cca_time0", self.cca_time0, "taps of the first convolution"),
                Symbol("K_1", "cca_time1", self.cca_time1, "taps of the second convolution"),
            ),
            source="Figliolia et al. 2025, arXiv 2510.04476; transformers "
            "models/zaya/modeling_zaya.py",
            stored="K (after convolutions, norm and rotary embedding) and V of each KV head; the "
            "convolutions' last inputs and the last token's delayed half of V",
            not_stored="queries, means of queries and keys, attention scores",
            per_position="2 * n_kv * d_h",
            fixed="(n_h + n_kv) * d_h * (K_0 + K_1 - 2) + n_kv * d_h // 2",
            positions=str(self.extent),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "cca_time0": 2, "cca_time1": 2
}  # fmt: skip
