"""MHA, MQA and GQA: softmax attention that keeps a key and a value per KV head.

Equation (Ainslie et al. 2023, GQA, arXiv 2305.13245; MHA: Vaswani et al. 2017, arXiv 1706.03762;
MQA: Shazeer 2019, arXiv 1911.02150). Elements kept per cached position of one layer:

    n_kv * (d_k + d_v)            = 2 * n_kv * d_h when keys and values are equally wide

    n_kv  num_key_value_heads: all query heads share one (mqa), a group shares one (gqa), or none do (mha)
    d_k   head_dim, not hidden_size / num_attention_heads: Gemma-7B has 16 * 256 != 3072
    d_v   v_head_dim, or head_dim

One formula, three kinds; the kind states an intention, and ``check`` holds the head counts to it.

Stored: K, after its rotary embedding where the model has one, and V, before they are repeated for
the query heads.
Not stored: queries, scores, QK-norm statistics, learned sink logits (h parameters, no cache).
How many positions: all of them, the last W (``sliding_window``, the current token included), the
current chunk (``attention_chunk_size``, Llama 4), or the first k and last W (``sink_tokens``,
StreamingLLM, arXiv 2309.17453). A bidirectional layer (an encoder's) keeps nothing: it sees its
whole input at once. A layer with ``shared_kv`` reads another layer's cache and has no K or V weights.

Worked number: Llama-3-8B, n_kv = 8, d_h = 128, 32 layers, bf16: 2*8*128*32*2 = 131,072 bytes a
token, as measured on transformers' own cache. As MHA it would be 4 times that.

Reference code: transformers models/llama/modeling_llama.py (LlamaAttention).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.attention.dsa import Indexer
from kvcalc.counts import ChunkSize, Heads, KVHeads, Scaled, Sinks, Table, Width, WindowSize
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import (
    EVERY_TOKEN,
    CacheTensor,
    Chunk,
    Extent,
    ParamTensor,
    SinkWindow,
    Window,
    linear,
    prefixed,
    split,
    split_kv_heads,
)


def window_extent(
    sliding_window: int | None, chunk_size: int | None = None, sink_tokens: int | None = None
) -> Extent:
    """The extent that these spec fields describe: all positions when none is set."""
    if sliding_window is not None and sink_tokens is not None:
        return SinkWindow(sink_tokens, sliding_window)
    if sliding_window is not None:
        return Window(sliding_window)
    return EVERY_TOKEN if chunk_size is None else Chunk(chunk_size)


@frozen(kw_only=True)
class SoftmaxAttention:
    """Multi-head, multi-query or grouped-query attention.

    Fields:
        kind: mha (a KV head per query head), mqa (one KV head) or gqa (a KV head per group).
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads that are cached; the number of groups, not their size.
        head_dim: width of a query and key head.
        v_head_dim: width of a value head; head_dim when absent.
        bias: which projections carry a bias.
        qk_norm: per_head (one weight of head_dim for Q, one for K), per_head_layernorm (the same
            with biases), full (a weight over the whole projected width), l2 (no weights).
        output_gate: per_element doubles the query projection (Qwen3-Next); separate is a projection
            as wide, of its own and without a bias (Trinity); per_head adds a gate per head
            (Step-3.5).
        sinks: a learned sink logit per query head (gpt-oss): parameters, no cache.
        sliding_window: the layer sees the last W tokens, the current one included.
        attention_chunk_size: the layer sees the tokens of the current chunk (Llama 4).
        sink_tokens: with sliding_window, the first tokens are kept as well (StreamingLLM).
        mask: causal, or bidirectional as in an encoder, which keeps no cache.
        shared_kv: name of the block whose latest layer's K and V this layer reads; it keeps none.
            target, in a draft: a layer of the model that it drafts for (Gemma 4's assistants).
        attention_k_eq_v: values come from the key projection (Gemma 4); both are still cached.
        attention_hidden_size: input width of Q, K and V where it is not hidden_size (Zamba2).
        relative_attention_num_buckets: rows of a relative position bias of this layer's own (UMT5).
        global_projections: Q, K and V are projected once more for the tokens that attend to all of
            the input (Longformer): parameters, no cache.
        indexer: a sparse-attention indexer whose keys are cached beside K and V (MiniMax-M3).
    """

    kind: Literal["mha", "mqa", "gqa"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    v_head_dim: Width | None = None
    bias: tuple[Literal["q", "k", "v", "o"], ...] = ()
    qk_norm: Literal["none", "per_head", "per_head_layernorm", "full", "l2"] = "none"
    output_gate: Literal["none", "per_element", "separate", "per_head"] = "none"
    sinks: bool = False
    sliding_window: WindowSize | None = None
    attention_chunk_size: ChunkSize | None = None
    sink_tokens: Sinks | None = None
    mask: Literal["causal", "bidirectional"] = "causal"
    shared_kv: str | None = None
    attention_k_eq_v: bool = False
    attention_hidden_size: Scaled | None = None
    relative_attention_num_buckets: Table | None = None
    global_projections: bool = False
    indexer: Indexer | None = None

    @property
    def value_dim(self) -> int:
        return self.head_dim if self.v_head_dim is None else self.v_head_dim

    @property
    def extent(self) -> Extent:
        return window_extent(self.sliding_window, self.attention_chunk_size, self.sink_tokens)

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield (
                "num_key_value_heads",
                f"{heads} query heads cannot share {kv_heads} KV heads evenly",
            )
        elif self.kind == "mha" and kv_heads != heads:
            yield "num_key_value_heads", f"mha has a KV head per query head: {heads}, or kind: gqa"
        elif self.kind == "mqa" and kv_heads != 1:
            yield "num_key_value_heads", "mqa has one KV head: 1, or kind: gqa"
        if self.sliding_window is not None and self.attention_chunk_size is not None:
            yield "attention_chunk_size", "a layer has a window or a chunk, not both"
        if self.sink_tokens is not None and self.sliding_window is None:
            yield "sink_tokens", "sink tokens are kept beside a sliding_window, which is not set"
        if self.global_projections and self.mask == "causal":
            yield (
                "global_projections",
                "tokens that attend to all of the input: mask: bidirectional",
            )
        if self.indexer is not None:
            yield from self.indexer.check()
        if self.indexer is not None and self.shared_kv is not None:
            yield "indexer", "a layer that reads another's K and V keeps no index keys of its own"
        if self.attention_k_eq_v and self.value_dim != self.head_dim:
            yield "attention_k_eq_v", "values taken from the key projection are head_dim wide"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        d_k, d_v = self.head_dim, self.value_dim
        width = self.attention_hidden_size or hidden_size
        query_dim, out_dim = heads * d_k, heads * d_v
        gated_dim = query_dim + (out_dim if self.output_gate == "per_element" else 0)
        yield from linear("q_proj", gated_dim, width, "attention",
                          bias="q" in self.bias, shard=split(0, gated_dim, heads))  # fmt: skip
        if self.shared_kv is None:
            yield from linear("k_proj", kv_heads * d_k, width, "attention", bias="k" in self.bias,
                              shard=split_kv_heads(0, kv_heads * d_k, kv_heads))  # fmt: skip
            if not self.attention_k_eq_v:
                yield from linear("v_proj", kv_heads * d_v, width, "attention",
                                  bias="v" in self.bias,
                                  shard=split_kv_heads(0, kv_heads * d_v, kv_heads))  # fmt: skip
        if self.global_projections:
            for side, size in (("q", query_dim), ("k", kv_heads * d_k), ("v", kv_heads * d_v)):
                num_heads = heads if side == "q" else kv_heads
                yield from linear(f"{side}_global_proj", size, width, "attention",
                                  bias=side in self.bias,
                                  shard=split_kv_heads(0, size, num_heads))  # fmt: skip
        yield from linear("o_proj", hidden_size, out_dim, "attention",
                          bias="o" in self.bias, shard=split(1, out_dim, heads))  # fmt: skip
        if self.output_gate in ("per_head", "separate"):
            gates = heads if self.output_gate == "per_head" else out_dim
            yield from linear("g_proj", gates, width, "attention", shard=split(0, gates, heads))
        for side, num_heads in (("q", heads), ("k", kv_heads)):
            if side == "k" and self.shared_kv is not None:
                continue
            if self.qk_norm in ("per_head", "per_head_layernorm"):
                yield ParamTensor(f"{side}_norm.weight", (d_k,), "attention")
                if self.qk_norm == "per_head_layernorm":
                    yield ParamTensor(f"{side}_norm.bias", (d_k,), "attention")
            elif self.qk_norm == "full":
                yield ParamTensor(f"{side}_norm.weight", (num_heads * d_k,), "attention",
                                  split_kv_heads(0, num_heads * d_k, num_heads))  # fmt: skip
        if self.sinks:
            yield ParamTensor("sinks", (heads,), "attention", split(0, heads))
        if self.relative_attention_num_buckets is not None:
            shape = (self.relative_attention_num_buckets, heads)
            yield ParamTensor("relative_attention_bias.weight", shape, "attention", split(1, heads))
        if self.indexer is not None:
            yield from prefixed("indexer", self.indexer.parameters(hidden_size, hidden_size))

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        if self.mask == "bidirectional" or self.shared_kv is not None:
            return
        heads = self.num_key_value_heads
        shard = split_kv_heads(0, heads, heads)
        yield CacheTensor("key", (heads, self.head_dim), self.extent, "key", shard, token_axis=1)
        yield CacheTensor(
            "value", (heads, self.value_dim), self.extent, "value", shard, token_axis=1
        )
        if self.indexer is not None:
            yield from self.indexer.cache(self.extent)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        equal = self.value_dim == self.head_dim
        symbols = [Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads")]
        symbols.append(
            Symbol("d_h" if equal else "d_k", "head_dim", self.head_dim, "key head width")
        )
        if not equal:
            symbols.append(Symbol("d_v", "v_head_dim", self.value_dim, "value head width"))
        equation = "2 * n_kv * d_h" if equal else "n_kv * (d_k + d_v)"
        fixed, positions = "", str(self.extent)
        if self.indexer is not None:
            symbols.extend(self.indexer.symbols())
            equation, fixed, positions = self.indexer.beside(equation, positions)
        keeps = self.mask == "causal" and self.shared_kv is None
        stored = "K (after rotation, where the model rotates keys) and V of each KV head"
        if self.mask == "bidirectional":
            stored = "nothing: an encoder sees its whole input at once"
        elif self.shared_kv == "target":
            stored = "nothing: K and V are those of the model that it drafts for"
        elif self.shared_kv is not None:
            stored = f"nothing: K and V are those of the latest '{self.shared_kv}' layer"
        paper = {
            "mha": "Vaswani et al. 2017, arXiv 1706.03762, section 3.2",
            "mqa": "Shazeer 2019, arXiv 1911.02150",
            "gqa": "Ainslie et al. 2023, arXiv 2305.13245",
        }[self.kind]
        return Explanation(
            title={"mha": "multi-head", "mqa": "multi-query", "gqa": "grouped-query"}[self.kind]
            + " attention",
            symbols=tuple(symbols) if keeps else (),
            source=f"{paper}; transformers models/llama/modeling_llama.py",
            stored=stored,
            not_stored="queries, attention scores, K and V repeated for the query heads",
            per_position=equation if keeps else "",
            fixed=fixed if keeps else "",
            positions=positions if keeps else "",
        )
