"""Lightning attention: linear attention with a fixed decay per head; no per-token cache.

Equation (Qin et al. 2024, Lightning Attention-2, arXiv 2401.04658: kv_t = l kv_(t-1) + k_t v_t^T;
MiniMax-01, arXiv 2501.08313, section 2.2). Elements kept per sequence and layer:

    h * d_h * d_h

    h  num_attention_heads    d_h  head_dim

Stored: the matrix kv of each head (fp32 unless ``state_dtype`` says otherwise; transformers keeps
it in the model's dtype). Not stored: the decay rates, which follow from the head and the layer and
are no parameters.
Tensor parallelism divides heads.

Worked number: MiniMax-Text-01 (model card: 80 layers, softmax attention in every 8th), h = 64,
d_h = 128: 70 * 64*128*128 * 4 = 293,601,280 bytes.

Reference code: transformers models/minimax/modeling_minimax.py (MiniMaxLightningAttention).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class LightningAttention:
    """A lightning attention mixer (MiniMax-01).

    Fields:
        kind: lightning.
        num_attention_heads: heads (h).
        head_dim: width of a query, key and value head (d_h).
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["lightning"]
    num_attention_heads: Heads
    head_dim: Width
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a lightning attention layer."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        heads = self.num_attention_heads
        inner = heads * self.head_dim
        by_head = split(0, inner, heads)
        yield ParamTensor("norm.weight", (inner,), "recurrent", by_head)
        yield from linear("qkv_proj", 3 * inner, hidden_size, "recurrent",
                          shard=split(0, 3 * inner, heads))  # fmt: skip
        yield from linear("out_proj", hidden_size, inner, "recurrent",
                          shard=split(1, inner, heads))  # fmt: skip
        yield from linear("output_gate", inner, hidden_size, "recurrent", shard=by_head)

    def cache(self) -> Iterator[CacheTensor]:
        """Each head's matrix, once per sequence."""
        heads, width = self.num_attention_heads, self.head_dim
        yield CacheTensor("kv_state", (heads, width, width), ONCE, "state",
                          split(0, heads), dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="lightning attention",
            symbols=(
                Symbol("h", "num_attention_heads", self.num_attention_heads, "heads"),
                Symbol("d_h", "head_dim", self.head_dim, "head width"),
            ),
            source="Qin et al. 2024, arXiv 2401.04658; MiniMax-01, arXiv 2501.08313",
            stored=f"a matrix per head ({self.state_dtype})",
            not_stored="anything per token",
            fixed="h * d_h * d_h",
        )
