"""MLA, multi-head latent attention: one latent per token instead of keys and values per head.

Equation (DeepSeek-V2, arXiv 2405.04434, section 2.1.2, equations 9 to 19 and Table 1). Elements
kept per cached position of one layer:

    d_c + d_R                                     layout ``latent``
    n_h * (d_n + d_R) + n_h * d_v                 layout ``expanded``

    d_c  kv_lora_rank       the compressed KV latent, after its norm
    d_R  qk_rope_head_dim   one rotary key shared by all heads
    d_n  qk_nope_head_dim,  d_v  v_head_dim,  n_h  num_attention_heads

Stored (latent): the latent and the rotary key, once for all heads; no factor 2, no head factor.
Not stored: keys and values, which are rebuilt from the latent (or absorbed into the projections).
Expanded: what transformers up to 5.14.1 and remote-code models keep, per-head keys and values.
GLM-5.3-Flash has no rotary key (qk_rope_head_dim 0), and keeps the latent alone.
Tensor parallelism replicates the latent on every rank; it divides the expanded layout.

"4.5 * d_h" is this with d_c = 4 d_h and d_R = d_h / 2: true of DeepSeek-V2 and V3 and Kimi-K2,
false of GLM-5 (d_n = 192, true 576, shorthand 864) and Mistral-4.

Worked number: DeepSeek-V3, 61 * (512 + 64) * 2 bytes = 70,272 bytes a token in bf16, as measured
with transformers 5.23; expanded 61 * 128 * (192 + 128) * 2 = 4,997,120.

Reference code: deepseek-ai/DeepSeek-V3 inference/model.py (class MLA).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.attention.dsa import Indexer
from kvcalc.attention.mha_mqa_gqa import window_extent
from kvcalc.counts import Heads, Rotary, Scaled, Width, WindowSize
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, Extent, ParamTensor, linear, prefixed, split


@frozen(kw_only=True)
class MultiHeadLatentAttention:
    """Multi-head latent attention.

    Fields:
        kind: mla.
        num_attention_heads: query heads.
        q_lora_rank: width of the query latent; null when queries are projected directly.
        kv_lora_rank: width of the cached KV latent.
        qk_nope_head_dim: width of a head's key without rotary embedding, rebuilt from the latent.
        qk_rope_head_dim: width of the rotary key that all heads share; cached (also when NoPE); 0 where
            there is none (GLM-5.3-Flash).
        v_head_dim: width of a value head, rebuilt from the latent.
        cache_layout: latent (the paper, engines, transformers from 5.15) or expanded (per head);
            latent_whole_kv_b, of a GGUF file from before April 2025, is a latent that llama.cpp
            keeps per head.
        bias: which projections carry a bias.
        output_gate: per_element gates the heads' output from the hidden state (Kimi-K3); per_head has
            one gate a head (Ling hybrid).
        sliding_window: the layer sees the last W tokens, the current one included.
        attention_hidden_size: what queries and latents are made of, where it is not hidden_size wide
            (EAGLE-3 of a DeepSeek model).
        indexer: the sparse-attention indexer (DSA); null where a layer reuses another's selection.
    """

    kind: Literal["mla"]
    num_attention_heads: Heads
    q_lora_rank: Width | None
    kv_lora_rank: Width
    qk_nope_head_dim: Width
    qk_rope_head_dim: Rotary
    v_head_dim: Width
    cache_layout: Literal["latent", "expanded", "latent_whole_kv_b"] = "latent"
    bias: tuple[Literal["q_a", "kv_a", "o"], ...] = ()
    output_gate: Literal["none", "per_element", "per_head"] = "none"
    sliding_window: WindowSize | None = None
    attention_hidden_size: Scaled | None = None
    indexer: Indexer | None = None

    @property
    def qk_head_dim(self) -> int:
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def extent(self) -> Extent:
        return window_extent(self.sliding_window)

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.indexer is not None:
            yield from self.indexer.check()
        if self.indexer is not None and self.q_lora_rank is None:
            yield "indexer", "the indexer makes its queries from the query latent: set q_lora_rank"
        if "q_a" in self.bias and self.q_lora_rank is None:
            yield "bias", "there is no q_a projection without a q_lora_rank"
        if self.attention_hidden_size and (self.indexer is not None or self.output_gate != "none"):
            yield "attention_hidden_size", "a layer with an indexer or a gate reads hidden_size"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, d_c = self.num_attention_heads, self.kv_lora_rank
        width = self.attention_hidden_size or hidden_size
        query_dim, out_dim = heads * self.qk_head_dim, heads * self.v_head_dim
        by_head = split(0, query_dim, heads)
        if self.q_lora_rank is None:
            yield from linear("q_proj", query_dim, width, "attention", shard=by_head)
        else:
            yield from linear("q_a_proj", self.q_lora_rank, width, "attention",
                              bias="q_a" in self.bias)  # fmt: skip
            yield ParamTensor("q_a_layernorm.weight", (self.q_lora_rank,), "attention")
            yield from linear("q_b_proj", query_dim, self.q_lora_rank, "attention", shard=by_head)
        yield from linear("kv_a_proj_with_mqa", d_c + self.qk_rope_head_dim, width,
                          "attention", bias="kv_a" in self.bias)  # fmt: skip
        yield ParamTensor("kv_a_layernorm.weight", (d_c,), "attention")
        rebuilt = heads * (self.qk_nope_head_dim + self.v_head_dim)
        yield from linear("kv_b_proj", rebuilt, d_c, "attention", shard=split(0, rebuilt, heads))
        yield from linear("o_proj", hidden_size, out_dim, "attention",
                          bias="o" in self.bias, shard=split(1, out_dim, heads))  # fmt: skip
        if self.output_gate != "none":
            gates = out_dim if self.output_gate == "per_element" else heads
            yield from linear("g_proj", gates, hidden_size, "attention",
                              shard=split(0, gates, heads))  # fmt: skip
        if self.indexer is not None and self.q_lora_rank is not None:
            yield from prefixed("indexer", self.indexer.parameters(hidden_size, self.q_lora_rank))

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        heads = self.num_attention_heads
        if self.cache_layout != "expanded":
            yield CacheTensor("latent", (self.kv_lora_rank,), self.extent, "latent")
            if self.qk_rope_head_dim:
                yield CacheTensor("rope_key", (self.qk_rope_head_dim,), self.extent, "rope_key")
        else:
            shard = split(0, heads)
            yield CacheTensor("key", (heads, self.qk_head_dim), self.extent, "key", shard, 1)
            yield CacheTensor("value", (heads, self.v_head_dim), self.extent, "value", shard, 1)
        if self.indexer is not None:
            yield from self.indexer.cache(self.extent)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        d_rope = Symbol("d_R", "qk_rope_head_dim", self.qk_rope_head_dim, "shared rotary key")
        if self.cache_layout != "expanded":
            equation, stored = "d_c", "the normed KV latent, once for all heads"
            symbols = [Symbol("d_c", "kv_lora_rank", self.kv_lora_rank, "KV latent")]
            if self.qk_rope_head_dim:
                equation, symbols = "d_c + d_R", [*symbols, d_rope]
                stored = "the normed KV latent and one rotary key, once for all heads"
        else:
            equation = "n_h * (d_n + d_R) + n_h * d_v"
            symbols = [
                Symbol("n_h", "num_attention_heads", self.num_attention_heads, "heads"),
                Symbol("d_n", "qk_nope_head_dim", self.qk_nope_head_dim, "key without rotary part"),
                d_rope,
                Symbol("d_v", "v_head_dim", self.v_head_dim, "value"),
            ]
            stored = "keys and values of every head, expanded from the latent"
        fixed, positions = "", str(self.extent)
        if self.indexer is not None:
            equation, fixed, positions = self.indexer.beside(equation, positions)
            symbols.extend(self.indexer.symbols())
        return Explanation(
            title="multi-head latent attention"
            + (" with a sparse-attention indexer" if self.indexer else ""),
            symbols=tuple(symbols),
            source="DeepSeek-V2, arXiv 2405.04434, section 2.1.2 and Table 1; "
            "DeepSeek-V3 inference/model.py (class MLA)"
            + ("; DeepSeek-V3.2-Exp report, equations 1 and 2" if self.indexer else ""),
            stored=stored,
            not_stored="keys and values per head: they are rebuilt from the latent"
            if self.cache_layout != "expanded"
            else "the latent they were expanded from",
            per_position=equation,
            fixed=fixed,
            positions=positions,
            notes=self._shorthand(),
        )

    def _shorthand(self) -> tuple[str, ...]:
        """Say whether the popular ``4.5 * d_h`` holds for this layer (d_h = qk_nope_head_dim)."""
        if self.cache_layout == "expanded":
            return ()
        d_h, true = self.qk_nope_head_dim, self.kv_lora_rank + self.qk_rope_head_dim
        if self.kv_lora_rank == 4 * d_h and 2 * self.qk_rope_head_dim == d_h:
            return (f"the shorthand 4.5 * d_h per layer holds here: 4.5 * {d_h} = {true}",)
        return (
            f"the popular shorthand 4.5 * d_h is wrong here: 4.5 * {d_h} = {9 * d_h // 2}, true {true}",
        )
