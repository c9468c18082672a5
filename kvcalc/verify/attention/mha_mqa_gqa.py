"""MHA, MQA and GQA: keys and values per KV head, with windows, chunks and sinks.

    y = W_o softmax(Q K^T / sqrt(d_k)) V          H query heads share G keys and values

Kept: ``key`` (B, G, S, d_k) after its norm and rotary embedding, and ``value`` (B, G, S, d_v), of
the tokens that a later query may see. An encoder's layer and a layer that reads another's keys and
values keep nothing.
"""

from torch import Tensor

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention as Fields
from kvcalc.verify.attention.dsa import Indexer
from kvcalc.verify.parts import (
    Embedding,
    KeyValue,
    Linear,
    Module,
    Norm,
    Sight,
    State,
    Step,
    append,
    attend,
    content_to_position,
    heads,
    merged,
    relative_bias,
    rms,
    rotary,
    unfold,
    weight,
)


class SoftmaxAttention(Module):
    """Softmax attention over grouped heads."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        H, G, d_k = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        d_v = c.head_dim if c.v_head_dim is None else c.v_head_dim
        width = c.attention_hidden_size or hidden_size
        gate = H * d_v if c.output_gate == "per_element" else 0
        self.d_v = d_v
        self.q_proj = Linear(width, H * d_k + gate, "q" in c.bias)
        if c.shared_kv is None:
            self.k_proj = Linear(width, G * d_k, "k" in c.bias)
            if not c.attention_k_eq_v:
                self.v_proj = Linear(width, G * d_v, "v" in c.bias)
        if c.global_projections:
            # Of tokens that attend to all of the input, which no token of a run here is.
            self.q_global_proj = Linear(width, H * d_k, "q" in c.bias)
            self.k_global_proj = Linear(width, G * d_k, "k" in c.bias)
            self.v_global_proj = Linear(width, G * d_v, "v" in c.bias)
        self.o_proj = Linear(H * d_v, hidden_size, "o" in c.bias)
        if c.output_gate in ("per_head", "separate"):
            self.g_proj = Linear(width, H if c.output_gate == "per_head" else H * d_v)
        if c.qk_norm in ("per_head", "per_head_layernorm", "full"):
            kind = "layernorm" if c.qk_norm == "per_head_layernorm" else "rmsnorm"
            full = c.qk_norm == "full"
            self.q_norm = Norm(H * d_k if full else d_k, kind)
            if c.shared_kv is None:
                self.k_norm = Norm(G * d_k if full else d_k, kind)
        if c.sinks:
            self.sinks = weight(H)
        if c.relative_attention_num_buckets is not None:
            self.relative_attention_bias = Embedding(c.relative_attention_num_buckets, H)
        if c.indexer is not None:
            self.indexer = Indexer(c.indexer, hidden_size, hidden_size)
        self.sight = Sight(
            c.sliding_window, c.attention_chunk_size, c.sink_tokens or 0, c.mask == "bidirectional"
        )

    def forward(
        self, x: Tensor, cache: State | None, step: Step, extra: dict[str, Tensor] | None = None
    ) -> Tensor:
        """extra: what an adapter adds to the Q, K and V projections (Zamba2)."""
        c, extra = self.c, extra or {}
        H, d_k = c.num_attention_heads, c.head_dim
        q = unfold(self.q_proj(x), -1, (H, -1))  # (B, T, H, d_k [+ d_v]): a head's query, its gate
        q, gate = (part.flatten(2) for part in q.split_with_sizes((d_k, q.shape[-1] - d_k), -1))
        q = rotary(self._normed(q + extra.get("q", 0), "q", H), step.positions)  # (B, H, T, d_k)
        if c.mask == "bidirectional":
            cache = None
        kv = self._key_value(x, cache, step, extra) if step.source is None else step.source
        step.made = kv
        mask = self.sight.mask(step.order, kv.order)  # (T, S)
        if c.indexer is not None:
            chosen = self.indexer(x, x, cache, step, self.sight)  # (B, T, S)
            mask = mask & chosen[:, None, None]
        bias = None
        own = c.relative_attention_num_buckets is not None
        table = self.relative_attention_bias if own else step.relative
        if table is not None:
            bias = relative_bias(table, step.order, kv.order, self.sight.both_ways)
        if step.places is not None and c.shared_kv is None:
            places = heads(self.k_proj(step.places)[None], c.num_key_value_heads)[0]
            bias = content_to_position(q, places, step.order, kv.order, self.sight.both_ways)
        sinks = self.sinks if c.sinks else None
        y = attend(q, kv.key, kv.value, mask, sinks, bias)  # (B, H, T, d_v)
        if c.output_gate == "per_head":
            y = y * self.g_proj(x).sigmoid().transpose(1, 2).unsqueeze(-1)
        y = merged(y)  # (B, T, H * d_v)
        if c.output_gate == "per_element":
            y = y * gate.sigmoid()
        elif c.output_gate == "separate":
            y = y * self.g_proj(x).sigmoid()
        return self.o_proj(y)

    def _key_value(
        self, x: Tensor, cache: State | None, step: Step, extra: dict[str, Tensor]
    ) -> KeyValue:
        """Keys and values of the kept tokens and the new ones."""
        c, G = self.c, self.c.num_key_value_heads
        plain = self.k_proj(x) + extra.get("k", 0)  # (B, T, G * d_k)
        v = plain if c.attention_k_eq_v else self.v_proj(x) + extra.get("v", 0)
        k = rotary(self._normed(plain, "k", G), step.positions)  # (B, G, T, d_k)
        k = append(cache, "key", k, 2)  # (B, G, S, d_k)
        v = append(cache, "value", heads(v, G), 2)  # (B, G, S, d_v)
        order = self.sight.kept(step, cache)
        self.sight.keep(cache, "key", k, 2, step)
        self.sight.keep(cache, "value", v, 2, step)
        return KeyValue(k, v, order)

    def _normed(self, x: Tensor, side: str, num_heads: int) -> Tensor:
        """Queries or keys per head, (B, n, T, d_k), after their norm if they have one."""
        kind = self.c.qk_norm
        if kind == "none":
            return heads(x, num_heads)
        if kind == "l2":
            return rms(heads(x, num_heads))
        norm = self.q_norm if side == "q" else self.k_norm
        return heads(norm(x), num_heads) if kind == "full" else norm(heads(x, num_heads))
