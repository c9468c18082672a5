"""Small specs, one for each mechanism and each way of stacking; dimensions are made up."""

from functools import cache
from typing import Any

from kvcalc.spec.loader import load_spec_text

HEAD = "name: t\nsource: made up\nhidden_size: 64\nvocab_size: 100\ntie_word_embeddings: true\n"
GQA = "{kind: gqa, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 8}"
FFN = "{kind: gated, intermediate_size: 128}"


def attention(kind: str, more: str = "", repeat: int = 2) -> str:
    """A stack of equal layers with this attention."""
    return (
        f"{HEAD}blocks:\n  a:\n    attention: {{{kind}}}\n    ffn: {FFN}\n"
        f"layers:\n  - {{repeat: {repeat}, blocks: [a]}}\n{more}"
    )


def recurrent(kind: str, ffn: str = FFN) -> str:
    """A stack of equal layers with this mixer."""
    return (
        f"{HEAD}blocks:\n  r:\n    recurrent: {{{kind}}}\n    ffn: {ffn}\n"
        f"layers:\n  - {{repeat: 2, blocks: [r]}}\n"
    )


_HEADS = "num_attention_heads: 8, num_key_value_heads: 2, head_dim: 8"
_MLA = (
    "kind: mla, num_attention_heads: 8, kv_lora_rank: 32, qk_nope_head_dim: 8, "
    "qk_rope_head_dim: 4, v_head_dim: 8"
)
_INDEXER = "indexer: {index_n_heads: 4, index_head_dim: 8, index_topk: 64}"
_V4 = (
    "num_attention_heads: 8, head_dim: 16, q_lora_rank: 16, o_groups: 2, o_lora_rank: 8, "
    "sliding_window: 128"
)
_TPA = "kind: tpa, num_attention_heads: 8, head_dim: 8, rank: 2"
_NSA = (
    "kind: nsa, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 12, v_head_dim: 8, "
    "kernel_size: 32, kernel_stride: 16, block_size: 64, topk: 16, window_size: 512"
)
_MOBA = f"kind: moba, {_HEADS}, moba_chunk_size: 64, moba_topk: 12"
_CCA = f"kind: cca, {_HEADS}, cca_time0: 2, cca_time1: 3"
_MAMBA2 = "kind: mamba2, num_heads: 8, head_dim: 16, state_size: 16, n_groups: 2, conv_kernel: 4"
_BOTH_WAYS = (
    "kind: mha, num_attention_heads: 4, num_key_value_heads: 4, head_dim: 8, mask: bidirectional"
)
_MIX = "{kind: rwkv_channel_mix, hidden_size: 64, intermediate_size: 128}"
_RWKV7 = (
    "kind: rwkv7, hidden_size: 64, num_heads: 4, head_dim: 16, decay_low_rank_dim: 8, "
    "a_low_rank_dim: 8, v_low_rank_dim: 8, gate_low_rank_dim: 8"
)

SPECS: dict[str, str] = {
    "mha": attention("kind: mha, num_attention_heads: 4, num_key_value_heads: 4, head_dim: 8"),
    "gqa": attention(f"kind: gqa, {_HEADS}, v_head_dim: 4, qk_norm: per_head, bias: [q, k, v, o]"),
    "ngram-gated-residual": (
        f"{HEAD}final_norm: false\nhyper_connections: {{hc_mult: 4, hc_lowrank: 16}}\n"
        "blocks:\n  r:\n    recurrent: {kind: gated_deltanet, linear_num_key_heads: 2, "
        "linear_num_value_heads: 4, linear_key_head_dim: 8, linear_value_head_dim: 8, "
        "linear_conv_kernel_dim: 4}\n"
        f"    ffn: {FFN}\n    norms: 0\n"
        "    ngram: {hidden_size: 64, hc_mult: 4, ple_embed_dim: 64, ple_conv_kernel_size: 4, "
        "ngram_size: 3, heads_per_ngram: 2, ngram_vocab_size_base: 100}\n"
        f"  a:\n    attention: {GQA}\n    ffn: {FFN}\n    norms: 0\n"
        "layers:\n  - {repeat: 2, blocks: [r, a]}\n"
    ),
    "gqa-pooled": attention(
        f"kind: gqa, {_HEADS}, indexer: {{index_n_heads: 4, index_head_dim: 8, index_topk: 64, "
        "norm: false, qk_norm: true, head_weights: false, index_kpool: 4, pooling: mean}"
    ),
    "mla-pooled": attention(
        "kind: mla, num_attention_heads: 8, kv_lora_rank: 32, qk_nope_head_dim: 8, qk_rope_head_dim: 0, "
        "v_head_dim: 8, q_lora_rank: 16, indexer: {index_n_heads: 4, index_head_dim: 8, index_topk: 64, "
        "index_kpool: 4, pooling: gated}",
        "hyper_connections: {hc_mult: 4, fold: mean}\n",
    ),
    "mqa": attention(
        "kind: mqa, num_attention_heads: 4, num_key_value_heads: 1, head_dim: 8, sinks: true"
    ),
    "gates": attention(f"kind: gqa, {_HEADS}, output_gate: per_element, qk_norm: full"),
    "k-eq-v": attention(f"kind: gqa, {_HEADS}, attention_k_eq_v: true, output_gate: per_head"),
    "window": attention(f"kind: gqa, {_HEADS}, sliding_window: 128"),
    "sinks": attention(f"kind: gqa, {_HEADS}, sliding_window: 128, sink_tokens: 4"),
    "chunk": attention(f"kind: gqa, {_HEADS}, attention_chunk_size: 128"),
    "head-transform": attention(GQA[1:-1], "head_transform: true\nhead_bias: true\n"),
    "encoder": attention(_BOTH_WAYS),
    "longformer": attention(f"{_BOTH_WAYS}, global_projections: true"),
    "mla": attention(f"{_MLA}, q_lora_rank: 16"),
    "mla-expanded": attention(f"{_MLA}, q_lora_rank: null, cache_layout: expanded"),
    "mla-window": attention(f"{_MLA}, q_lora_rank: null, sliding_window: 128"),
    "dsa": attention(f"{_MLA}, q_lora_rank: 16, {_INDEXER}"),
    "gqa-indexer": attention(f"kind: gqa, {_HEADS}, {_INDEXER}"),
    "v4-window": attention(f"kind: v4_window, {_V4}", "hyper_connections: {hc_mult: 4}\n"),
    "hca": attention(f"kind: hca, {_V4}, compress_rate: 128"),
    "csa": attention(
        f"kind: csa, {_V4}, compress_rate: 4, index_n_heads: 4, index_head_dim: 8, index_topk: 64"
    ),
    "gta": attention(
        "kind: gta, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 16, rope_dim: 8"
    ),
    "gla": attention(
        "kind: gla, num_attention_heads: 8, num_latent_heads: 2, head_dim: 8, q_lora_rank: 32, "
        "kv_lora_rank: 16, qk_rope_dim: 4"
    ),
    "tpa": attention(f"{_TPA}, q_rank: 6, v_rank: 3"),
    "tpa-kv-only": attention(f"{_TPA}, q_rank: null, using_groupnorm: true"),
    "tpa-noncontextual-a": attention(f"{_TPA}, q_rank: 6, factors: noncontextual_a"),
    "tpa-noncontextual-b": attention(f"{_TPA}, q_rank: 6, factors: noncontextual_b"),
    "mfa": attention("kind: mfa, num_attention_heads: 8, head_dim: 16, share_q_dim: 16"),
    "mfa-kr": attention(
        "kind: mfa, num_attention_heads: 8, head_dim: 16, share_q_dim: 16, reuse_key: true"
    ),
    "differential": attention(
        "kind: differential, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 8"
    ),
    "nsa": attention(_NSA),
    "nsa-separate": attention(f"{_NSA}, branches: separate, compression: linear, gate: per_token"),
    "moa": attention(
        "kind: moa, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 8, num_experts: 8, "
        "num_experts_per_tok: 4"
    ),
    "cca": attention(_CCA),
    "cca-window": attention(f"{_CCA}, sliding_window: 128, attention_bias: true"),
    "moba": attention(_MOBA),
    "moba-mean": attention(f"{_MOBA}, block_keys: mean"),
    "quest": attention(f"{_MOBA}, block_keys: min_max"),
    "forgetting": attention(f"kind: forgetting, {_HEADS}"),
    "forgetting-pro": attention(
        f"kind: forgetting, {_HEADS}, qkv_bias: true, qk_norm: true, output_gate: true"
    ),
    "mamba1": recurrent(
        "kind: mamba1, intermediate_size: 128, state_size: 16, conv_kernel: 4, "
        "time_step_rank: 4, inner_norms: weighted"
    ),
    "mamba2": recurrent(_MAMBA2),
    "mamba2-bf16": recurrent(f"{_MAMBA2}, state_dtype: bf16"),
    "gated-deltanet": recurrent(
        "kind: gated_deltanet, linear_num_key_heads: 2, linear_num_value_heads: 4, "
        "linear_key_head_dim: 8, linear_value_head_dim: 8, linear_conv_kernel_dim: 4"
    ),
    "delta-net": recurrent(
        "kind: delta_net, num_heads: 4, head_k_dim: 8, head_v_dim: 16, conv_size: 4"
    ),
    "delta-net-gate": recurrent(
        "kind: delta_net, num_heads: 4, head_k_dim: 8, head_v_dim: 8, conv_size: 4, use_gate: true"
    ),
    "kda": recurrent("kind: kda, num_heads: 4, head_dim: 8, short_conv_kernel_size: 4"),
    "kda-full-rank": recurrent(
        "kind: kda, num_heads: 4, head_dim: 8, short_conv_kernel_size: 4, full_rank_gate: true, "
        "full_rank_decay: true"
    ),
    "lightning": recurrent("kind: lightning, num_attention_heads: 4, head_dim: 8"),
    "retnet": recurrent("kind: retnet, num_heads: 4, head_k_dim: 8, head_v_dim: 16"),
    "rwkv4": recurrent("kind: rwkv4, hidden_size: 64, attention_hidden_size: 64", _MIX),
    "rwkv6": recurrent(
        "kind: rwkv6, hidden_size: 64, num_heads: 4, head_dim: 16, proj_low_rank_dim: 8, "
        "gate_low_rank_dim: 8",
        _MIX,
    ),
    "rwkv7": recurrent(_RWKV7, _MIX),
    "rg-lru": recurrent("kind: rg_lru, lru_width: 64, num_attention_heads: 4, conv1d_width: 4"),
    "short-conv": recurrent("kind: short_conv, hidden_size: 64, conv_L_cache: 3"),
    "mlstm": recurrent("kind: mlstm, num_heads: 4, qk_head_dim: 8, v_head_dim: 16"),
    "mla-gates": attention(f"{_MLA}, q_lora_rank: 16, output_gate: per_head"),
    "relative-positions": attention(
        f"kind: gqa, {_HEADS}", "embedding: {relative_positions: 32, relative_norm: true}\n"
    ),
    "relative-positions-encoder": attention(
        _BOTH_WAYS, "embedding: {relative_positions: 31, norm: true}\n"
    ),
    "experts-bias": recurrent(
        "kind: short_conv, hidden_size: 64, conv_L_cache: 3",
        "{kind: moe, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 32, "
        "output_bias: true, latent_size: 32}",
    ),
    "dense": recurrent(
        "kind: short_conv, hidden_size: 64, conv_L_cache: 3",
        "{kind: dense, intermediate_size: 128, bias: true}",
    ),
    "experts": recurrent(
        "kind: short_conv, hidden_size: 64, conv_L_cache: 3",
        "{kind: moe, num_experts: 16, num_experts_per_tok: 4, moe_intermediate_size: 32, "
        "expert_bias: true, router_bias: buffer, num_zero_experts: 4, "
        "shared_expert_intermediate_size: 32, shared_expert_gate: true}",
    ),
    "loops": f"""{HEAD}blocks:
  a: {{attention: {GQA}, ffn: {FFN}}}
layers:
  - {{repeat: 2, blocks: [a], loops: 3}}
""",
    "shared-kv": f"""{HEAD}blocks:
  a: {{attention: {GQA}, ffn: {FFN}}}
  b: {{attention: {{{GQA[1:-1]}, shared_kv: a}}, ffn: {FFN}}}
layers:
  - {{repeat: 2, blocks: [a, b]}}
""",
    "parallel": f"""{HEAD}blocks:
  a:
    attention: {GQA}
    recurrent: {{{_MAMBA2}}}
    ffn: {FFN}
layers:
  - {{repeat: 2, blocks: [a]}}
""",
    "shared-block": f"""{HEAD}blocks:
  m: {{recurrent: {{{_MAMBA2}}}}}
  s:
    attention:
      kind: mha
      num_attention_heads: 4
      num_key_value_heads: 4
      head_dim: 32
      attention_hidden_size: 128
    ffn: {FFN}
    norms: 3
    share_weights: true
    adapter: {{adapter_rank: 4, intermediate_size: 128, use_shared_attention_adapter: true}}
layers:
  - {{repeat: 2, blocks: [m, s]}}
""",
    "encoder-decoder": f"""{HEAD}blocks:
  e: {{attention: {{{_BOTH_WAYS}}}, ffn: {FFN}}}
  d:
    attention: {GQA}
    cross_attention: {{kind: cross, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 8}}
    ffn: {FFN}
layers:
  - {{repeat: 2, blocks: [d]}}
encoder:
  layers:
    - {{repeat: 2, blocks: [e]}}
  positions: 600
  global_tokens: 3
""",
    "gemma-3n-like": f"""{HEAD}blocks:
  a: {{attention: {GQA}, ffn: {FFN}, norms: 4, layer_scalar: true}}
layers:
  - {{repeat: 2, blocks: [a]}}
altup: {{altup_num_inputs: 4}}
laurel: {{laurel_rank: 4}}
per_layer_embeddings: {{vocab_size_per_layer_input: 100, hidden_size_per_layer_input: 8}}
""",
}
for _sharing, _repeat in (
    ("cycle", 6), ("sequence", 6), ("middle_cycle", 8), ("middle_sequence", 8),
):  # fmt: skip
    for _kv in ("per_recursion", "shared"):
        for _routing in ("expert_choice", "token_choice"):
            SPECS[f"recursion-{_sharing}-{_kv}-{_routing}"] = attention(
                GQA[1:-1],
                f"recursion: {{num_recursions: 3, sharing: {_sharing}, kv_cache: {_kv}, "
                f"routing: {_routing}}}\n",
                _repeat,
            )


@cache
def mechanism_of(kind: str) -> Any:
    """The mechanism of a kind in the first of the specs that has one."""
    for text in SPECS.values():
        if f"kind: {kind}" in text:
            for block in load_spec_text(text).blocks.values():
                for part in block.mechanisms():
                    if part.kind == kind:
                        return part
    raise AssertionError(f"{kind}: a small spec of it in SPECS of tests/verify/specs.py")
