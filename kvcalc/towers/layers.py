"""The transformer layers that towers of images and of sound share.

    x = x + lambda_1 * Attention(norm_1(x))        x = x + lambda_2 * FFN(norm_2(x))

    4 d^2 + biases of q, k, v, o      attention with a KV head per query head, d wide
    2 d f (dense) or 3 d f (gated)    the feed-forward layer, + its biases
    2 norms of d (2 d each with a bias), 2 d more where each sublayer is scaled (lambda)

    d  hidden_size    f  intermediate_size

The mechanisms are the language model's own: kvcalc/attention/mha_mqa_gqa.py without a cache, and
kvcalc/ffn. Checkpoints that fuse q, k and v hold the same elements in one tensor of 3 d rows.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.counts import Heads, Inner, KVHeads, Layers, Scaled, Width
from kvcalc.ffn.dense import DenseFeedForward
from kvcalc.ffn.gated import GatedFeedForward
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, prefixed
from kvcalc.towers.tensors import Side, TowerNorm, TowerPart, norm, of_part


@frozen(kw_only=True)
class TransformerLayers:
    """Layers of attention that sees everything, and a feed-forward layer.

    Fields:
        hidden_size: width of the layers.
        num_hidden_layers: layers, those that the model never reads included: they are loaded.
        num_attention_heads: heads of a layer.
        num_key_value_heads: key and value heads, where there are fewer.
        head_dim: width of a head; hidden_size divided by the heads when absent.
        intermediate_size: width inside the feed-forward layer.
        ffn: dense (two matrices) or gated (three).
        norm: the kind of the layers' norms.
        layer_norms: norms of a layer: 2 in front of its halves, 4 with those behind (Gemma 4).
        final_norm: a norm after the last layer.
        attention_bias: which projections have a bias.
        ffn_bias: the feed-forward matrices have biases.
        qk_norm: none, per_head (a weight of head_dim for Q, one for K) or full (hidden_size wide).
        layer_scale: a learned vector on each half of a layer (InternVL).
    """

    hidden_size: Scaled
    num_hidden_layers: Layers
    num_attention_heads: Heads
    num_key_value_heads: KVHeads | None = None
    head_dim: Width | None = None
    intermediate_size: Inner
    ffn: Literal["dense", "gated"] = "dense"
    norm: TowerNorm = "layernorm"
    layer_norms: Literal["2", "4"] = "2"
    final_norm: bool = True
    attention_bias: tuple[Side, ...] = ("q", "k", "v", "o")
    ffn_bias: bool = True
    qk_norm: Literal["none", "per_head", "full"] = "none"
    layer_scale: bool = False

    def check_layers(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if self.head_dim is None and self.hidden_size % heads:
            yield "num_attention_heads", f"{self.hidden_size} is not divisible by {heads} heads"
        if kv_heads is not None and heads % kv_heads:
            yield (
                "num_key_value_heads",
                f"{heads} query heads cannot share {kv_heads} KV heads evenly",
            )

    @property
    def attention(self) -> SoftmaxAttention:
        """One layer's attention, in the words of the language model's."""
        kv_heads = self.num_key_value_heads or self.num_attention_heads
        return SoftmaxAttention(
            kind="mha" if kv_heads == self.num_attention_heads else "gqa",
            num_attention_heads=self.num_attention_heads, num_key_value_heads=kv_heads,
            head_dim=self.head_dim or self.hidden_size // self.num_attention_heads,
            bias=self.attention_bias, qk_norm=self.qk_norm, mask="bidirectional",
        )  # fmt: skip

    @property
    def feed_forward(self) -> DenseFeedForward | GatedFeedForward:
        """One layer's feed-forward layer, in the words of the language model's."""
        size, bias = self.intermediate_size, self.ffn_bias
        if self.ffn == "gated":
            return GatedFeedForward(kind="gated", intermediate_size=size, bias=bias)
        return DenseFeedForward(kind="dense", intermediate_size=size, bias=bias)

    def layer(self, part: TowerPart) -> Iterator[ParamTensor]:
        """Every weight of one layer."""
        width = self.hidden_size
        yield from of_part(part, prefixed("attention", self.attention.parameters(width)))
        yield from of_part(part, prefixed("ffn", self.feed_forward.parameters(width)))
        for index in range(int(self.layer_norms)):
            yield from norm(f"norms.{index}", self.norm, width, part)
        if self.layer_scale:
            yield ParamTensor("lambda_1", (width,), part)
            yield ParamTensor("lambda_2", (width,), part)
