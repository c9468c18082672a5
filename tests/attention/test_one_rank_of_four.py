"""What a rank of four holds of every weight and of every cached tensor, with every option on.

Sizes are small enough to check by eye: a hidden size of 11, 8 query heads of 5 channels (40), and 2
KV heads (10), of which each rank holds a copy of one (5). Divided as vLLM's layers do it
(model_executor/layers/linear.py): query heads and gates by rows, the output projection by columns,
its bias whole; latents, the matrices that make them and their norms whole; what is made per head
from a latent by rows. Indexers are whole (vLLM's deepseek_v2.py, ReplicatedLinear).
Caches: 10 tokens, or 7 of an encoder; latents and index keys are whole on every rank.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvcalc.attention import KINDS
from kvcalc.attention.cross import CrossAttention
from kvcalc.attention.differential import DifferentialAttention
from kvcalc.attention.dsa import Indexer
from kvcalc.attention.gla import GroupedLatentAttention
from kvcalc.attention.gta import GroupedTiedAttention
from kvcalc.attention.mfa import MultiMatrixFactorizationAttention
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.attention.moa import MixtureOfAttentionHeads
from kvcalc.attention.moba import MixtureOfBlockAttention
from kvcalc.attention.nsa import NativeSparseAttention
from kvcalc.attention.tpa import TensorProductAttention

GROUPED: dict[str, Any] = {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 5}
LATENT: dict[str, Any] = {
    "num_attention_heads": 8, "kv_lora_rank": 9, "qk_nope_head_dim": 5, "qk_rope_head_dim": 4,
    "v_head_dim": 3,
}  # fmt: skip
INDEXER = Indexer(index_n_heads=3, index_head_dim=7, index_topk=9)
MECHANISMS: dict[str, Any] = {
    "gqa, everything": SoftmaxAttention(
        kind="gqa", **GROUPED, bias=("q", "k", "v", "o"), sinks=True, qk_norm="full",
        output_gate="per_head", relative_attention_num_buckets=6,
    ),
    "gqa, unequal widths and an indexer": SoftmaxAttention(
        kind="gqa", **GROUPED, v_head_dim=3, qk_norm="per_head_layernorm", output_gate="separate",
        indexer=INDEXER,
    ),
    "gqa, values from keys": SoftmaxAttention(kind="gqa", **GROUPED, attention_k_eq_v=True),
    "gqa, keys and values of another layer": SoftmaxAttention(
        kind="gqa", **GROUPED, shared_kv="full", qk_norm="per_head"
    ),
    "mla": MultiHeadLatentAttention(
        kind="mla", **LATENT, q_lora_rank=6, bias=("q_a", "kv_a", "o"),
        output_gate="per_element", indexer=INDEXER,
    ),
    "mla without a query latent": MultiHeadLatentAttention(
        kind="mla", **LATENT, q_lora_rank=None, output_gate="per_head"
    ),
    "cross": CrossAttention(kind="cross", **GROUPED, bias=("q", "k", "v", "o")),
    "differential": DifferentialAttention(
        kind="differential", num_attention_heads=8, num_key_value_heads=4, head_dim=5,
        bias=("q", "k", "v", "o"),
    ),
    "gla": GroupedLatentAttention(
        kind="gla", num_attention_heads=16, num_latent_heads=2, head_dim=5, q_lora_rank=6,
        kv_lora_rank=9, qk_rope_dim=4, bias=("q_a", "q_b", "kv_a", "kv_b", "o"),
    ),
    "gta": GroupedTiedAttention(
        kind="gta", **GROUPED, rope_dim=4, bias=("q", "kv", "rope_k", "o")
    ),
    "mfa, key reuse": MultiMatrixFactorizationAttention(
        kind="mfa", num_attention_heads=8, head_dim=5, share_q_dim=7, reuse_key=True
    ),
    "moba": MixtureOfBlockAttention(
        kind="moba", **GROUPED, moba_chunk_size=4, moba_topk=2, bias=("q", "k", "v", "o")
    ),
    "nsa": NativeSparseAttention(
        kind="nsa", **GROUPED, v_head_dim=3, kernel_size=6, kernel_stride=3, block_size=6, topk=2,
        window_size=4, bias=("q", "k", "v"), compression="linear", gate="per_head",
    ),
    "tpa": TensorProductAttention(
        kind="tpa", num_attention_heads=8, head_dim=5, rank=2, v_rank=3, q_rank=6,
        using_groupnorm=True,
    ),
    "moa": MixtureOfAttentionHeads(
        kind="moa", num_attention_heads=8, num_key_value_heads=4, head_dim=5, num_experts=3,
        num_experts_per_tok=2,
    ),
}  # fmt: skip
ON_ONE_OF_FOUR: dict[str, dict[str, tuple[int, ...]]] = {
    "gqa, everything": {
        "q_proj.weight": (10, 11),
        "q_proj.bias": (10,),
        "k_proj.weight": (5, 11),
        "k_proj.bias": (5,),
        "v_proj.weight": (5, 11),
        "v_proj.bias": (5,),
        "o_proj.weight": (11, 10),
        "o_proj.bias": (11,),
        "g_proj.weight": (2, 11),
        "q_norm.weight": (10,),
        "k_norm.weight": (5,),
        "sinks": (2,),
        "relative_attention_bias.weight": (6, 2),
    },
    "gqa, unequal widths and an indexer": {
        "q_proj.weight": (10, 11),
        "k_proj.weight": (5, 11),
        "v_proj.weight": (3, 11),
        "o_proj.weight": (11, 6),
        "g_proj.weight": (6, 11),
        "q_norm.weight": (5,),
        "q_norm.bias": (5,),
        "k_norm.weight": (5,),
        "k_norm.bias": (5,),
        "indexer.wq_b.weight": (21, 11),
        "indexer.wk.weight": (7, 11),
        "indexer.k_norm.weight": (7,),
        "indexer.k_norm.bias": (7,),
        "indexer.weights_proj.weight": (3, 11),
    },
    "gqa, values from keys": {
        "q_proj.weight": (10, 11),
        "k_proj.weight": (5, 11),
        "o_proj.weight": (11, 10),
    },
    "gqa, keys and values of another layer": {
        "q_proj.weight": (10, 11),
        "o_proj.weight": (11, 10),
        "q_norm.weight": (5,),
    },
    "mla": {
        "q_a_proj.weight": (6, 11),
        "q_a_proj.bias": (6,),
        "q_a_layernorm.weight": (6,),
        "q_b_proj.weight": (18, 6),
        "kv_a_proj_with_mqa.weight": (13, 11),
        "kv_a_proj_with_mqa.bias": (13,),
        "kv_a_layernorm.weight": (9,),
        "kv_b_proj.weight": (16, 9),
        "o_proj.weight": (11, 6),
        "o_proj.bias": (11,),
        "g_proj.weight": (6, 11),
        "indexer.wq_b.weight": (21, 6),
        "indexer.wk.weight": (7, 11),
        "indexer.k_norm.weight": (7,),
        "indexer.k_norm.bias": (7,),
        "indexer.weights_proj.weight": (3, 11),
    },
    "mla without a query latent": {
        "q_proj.weight": (18, 11),
        "kv_a_proj_with_mqa.weight": (13, 11),
        "kv_a_layernorm.weight": (9,),
        "kv_b_proj.weight": (16, 9),
        "o_proj.weight": (11, 6),
        "g_proj.weight": (2, 11),
    },
    "cross": {
        "q_proj.weight": (10, 11),
        "q_proj.bias": (10,),
        "k_proj.weight": (5, 13),
        "k_proj.bias": (5,),
        "v_proj.weight": (5, 13),
        "v_proj.bias": (5,),
        "o_proj.weight": (11, 10),
        "o_proj.bias": (11,),
    },
    "differential": {
        "q_proj.weight": (10, 11),
        "q_proj.bias": (10,),
        "k_proj.weight": (10, 11),
        "k_proj.bias": (10,),
        "v_proj.weight": (10, 11),
        "v_proj.bias": (10,),
        "o_proj.weight": (11, 10),
        "o_proj.bias": (11,),
        "lambda_q1": (5,),
        "lambda_k1": (5,),
        "lambda_q2": (5,),
        "lambda_k2": (5,),
    },
    "gla": {
        "W_dQ.weight": (6, 11),
        "W_dQ.bias": (6,),
        "q_norm.weight": (6,),
        "W_uQ_rope.weight": (36, 6),
        "W_uQ_rope.bias": (36,),
        "W_dKV.weight": (13, 11),
        "W_dKV.bias": (13,),
        "kv_norm_1.weight": (9,),
        "W_ukv_1.weight": (20, 9),
        "W_ukv_1.bias": (20,),
        "kv_norm_2.weight": (9,),
        "W_ukv_2.weight": (20, 9),
        "W_ukv_2.bias": (20,),
        "o_proj.weight": (11, 20),
        "o_proj.bias": (11,),
    },
    "gta": {
        "q_proj.weight": (10, 11),
        "q_proj.bias": (10,),
        "kv_proj.weight": (5, 11),
        "kv_proj.bias": (5,),
        "W_rope_k.weight": (4, 11),
        "W_rope_k.bias": (4,),
        "o_proj.weight": (11, 10),
        "o_proj.bias": (11,),
    },
    "mfa, key reuse": {
        "q_proj.weight": (7, 11),
        "k_proj.weight": (5, 11),
        "N": (5, 5),
        "alpha": (5,),
        "inter_norm.weight": (7,),
        "wq.weight": (10, 7),
        "o_proj.weight": (11, 10),
    },
    "moba": {
        "q_proj.weight": (10, 11),
        "q_proj.bias": (10,),
        "k_proj.weight": (5, 11),
        "k_proj.bias": (5,),
        "v_proj.weight": (5, 11),
        "v_proj.bias": (5,),
        "o_proj.weight": (11, 10),
        "o_proj.bias": (11,),
    },
    "nsa": {
        "q_proj.weight": (10, 11),
        "q_proj.bias": (10,),
        "k_proj.weight": (5, 11),
        "k_proj.bias": (5,),
        "v_proj.weight": (3, 11),
        "v_proj.bias": (3,),
        "g_proj.weight": (6, 11),
        "compress_key": (1, 30, 5),
        "compress_value": (1, 18, 3),
        "intra_block_pe": (1, 6, 5),
        "o_proj.weight": (11, 6),
    },
    "tpa": {
        "c_qkv.W_A_q.weight": (12, 11),
        "c_qkv.W_A_k.weight": (4, 11),
        "c_qkv.W_A_v.weight": (6, 11),
        "c_qkv.W_B_q.weight": (30, 11),
        "c_qkv.W_B_k.weight": (10, 11),
        "c_qkv.W_B_v.weight": (15, 11),
        "subln.weight": (5,),
        "c_proj.weight": (11, 10),
    },
    "moa": {
        "k_proj.weight": (5, 11),
        "v_proj.weight": (5, 11),
        "experts.input_linear": (3, 5, 11),
        "experts.output_linear": (3, 11, 5),
        "experts.bias": (11,),
        "experts.router.weight": (3, 11),
    },
}


@pytest.mark.parametrize("name", MECHANISMS)
def test_weights(name: str) -> None:
    # Cross-attention makes keys and values from an encoder 13 wide.
    widths = (11, 13) if name == "cross" else (11,)
    held = {tensor.name: tensor.per_rank(4) for tensor in MECHANISMS[name].parameters(*widths)}
    assert held == ON_ONE_OF_FOUR[name]
    assert list(MECHANISMS[name].check()) == []


CACHING: dict[str, Any] = {
    **MECHANISMS,
    "mla, expanded": replace(MECHANISMS["mla"], cache_layout="expanded", indexer=None),
    "moba, mean keys": replace(MECHANISMS["moba"], block_keys="mean"),
    "moba, Quest": replace(MECHANISMS["moba"], block_keys="min_max"),
    "nsa, separate branches": replace(MECHANISMS["nsa"], branches="separate"),
    "tpa, factors of weights": replace(MECHANISMS["tpa"], factors="noncontextual_a"),
}
KEPT_ON_ONE_OF_FOUR: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {
    "gqa, unequal widths and an indexer": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 3), "value"),
        "index_key": ((1, 10, 7), "index"),
    },
    "gqa, values from keys": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 5), "value"),
    },
    "gqa, keys and values of another layer": {},
    "mla": {
        "latent": ((1, 10, 9), "latent"),
        "rope_key": ((1, 10, 4), "rope_key"),
        "index_key": ((1, 10, 7), "index"),
    },
    "cross": {
        "cross_key": ((1, 1, 7, 5), "key"),
        "cross_value": ((1, 1, 7, 5), "value"),
    },
    "differential": {
        "key": ((1, 2, 10, 5), "key"),
        "value": ((1, 2, 10, 5), "value"),
    },
    "gla": {
        "latent": ((1, 1, 10, 9), "latent"),
        "rope_key": ((1, 10, 4), "rope_key"),
    },
    "gta": {
        "key_value": ((1, 1, 10, 5), "key_value"),
        "rope_key": ((1, 10, 4), "rope_key"),
    },
    "mfa, key reuse": {
        "key": ((1, 1, 10, 5), "key"),
    },
    "moba": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 5), "value"),
    },
    "nsa": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 3), "value"),
        "compressed_key": ((1, 1, 2, 5), "key"),
        "compressed_value": ((1, 1, 2, 3), "value"),
    },
    "tpa": {
        "key_a": ((1, 10, 2, 2), "key"),
        "key_b": ((1, 10, 2, 5), "key"),
        "value_a": ((1, 10, 2, 3), "value"),
        "value_b": ((1, 10, 3, 5), "value"),
    },
    "moa": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 5), "value"),
    },
    "mla, expanded": {
        "key": ((1, 2, 10, 9), "key"),
        "value": ((1, 2, 10, 3), "value"),
    },
    "moba, mean keys": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 5), "value"),
        "mean_key": ((1, 1, 2, 5), "key"),
    },
    "moba, Quest": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 5), "value"),
        "min_key": ((1, 1, 3, 5), "key"),
        "max_key": ((1, 1, 3, 5), "key"),
    },
    "nsa, separate branches": {
        "key": ((1, 1, 10, 5), "key"),
        "value": ((1, 1, 10, 3), "value"),
        "compressed_key": ((1, 1, 2, 5), "key"),
        "compressed_value": ((1, 1, 2, 3), "value"),
        "window_key": ((1, 1, 4, 5), "key"),
        "window_value": ((1, 1, 4, 3), "value"),
        "unfinished_key": ((1, 1, 5, 5), "key"),
        "unfinished_value": ((1, 1, 5, 3), "value"),
    },
    "tpa, factors of weights": {
        "key_b": ((1, 10, 2, 5), "key"),
        "value_b": ((1, 10, 3, 5), "value"),
    },
}


# gqa with as many heads, and with one, too.
_ABOVE = {"mha", "mqa", *(mechanism.kind for mechanism in MECHANISMS.values())}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in _ABOVE])
def test_every_other_mechanisms_own_file_says_what_a_rank_holds(kind: str) -> None:
    path = Path(__file__).with_name(f"test_{kind}.py")
    told = path.read_text("utf-8") if path.exists() else ""
    for word in ("sums.per_rank(", "sums.weights_per_rank("):
        assert word in told, f"a test with {word}...) in tests/attention/{path.name}"


@pytest.mark.parametrize("name", KEPT_ON_ONE_OF_FOUR)
def test_cache(name: str) -> None:
    kept = {
        tensor.name: (
            replace(tensor, shape=tensor.per_rank(4)).full_shape(1, tensor.extent.positions(10, 7)),
            tensor.role,
        )
        for tensor in CACHING[name].cache()
    }
    assert kept == KEPT_ON_ONE_OF_FOUR[name]
