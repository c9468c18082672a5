"""What ``explain`` prints must evaluate to what the inventory holds.

A position of the equation is one entry of the coarsest tensor that grows with the sequence: a
token, or, where blocks are summarised, a block of tokens. Everything bounded is in the fixed
part, at its most; a mechanism in which nothing grows has its window, or the encoder's tokens, as
positions.
"""

from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import pytest

from kvcalc.attention import CROSS_KINDS, KINDS
from kvcalc.attention.cca import CompressedConvolutionalAttention
from kvcalc.attention.cross import CrossAttention
from kvcalc.attention.csa import CompressedSparseAttention
from kvcalc.attention.differential import DifferentialAttention
from kvcalc.attention.dsa import Indexer
from kvcalc.attention.gla import GroupedLatentAttention
from kvcalc.attention.gta import GroupedTiedAttention
from kvcalc.attention.hca import HeavilyCompressedAttention
from kvcalc.attention.mfa import MultiMatrixFactorizationAttention
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.attention.moa import MixtureOfAttentionHeads
from kvcalc.attention.moba import MixtureOfBlockAttention
from kvcalc.attention.nsa import NativeSparseAttention
from kvcalc.attention.tpa import TensorProductAttention
from kvcalc.attention.v4_window import SharedKeyValueWindow
from kvcalc.explanation import Explanation
from kvcalc.tensors import CacheTensor, Once
from tests.verify.specs import mechanism_of

GROUPED = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
V4 = {
    "num_attention_heads": 64,
    "head_dim": 512,
    "q_lora_rank": 1024,
    "o_groups": 8,
    "o_lora_rank": 1024,
    "sliding_window": 96,
}
INDEXER = Indexer(index_n_heads=64, index_head_dim=128, index_topk=2048)
GQA = SoftmaxAttention(kind="gqa", **GROUPED)
MLA = MultiHeadLatentAttention(
    kind="mla",
    num_attention_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=96,
)
TPA = TensorProductAttention(
    kind="tpa", num_attention_heads=47, head_dim=64, rank=2, v_rank=3, q_rank=6
)
MFA = MultiMatrixFactorizationAttention(
    kind="mfa", num_attention_heads=64, head_dim=256, share_q_dim=2048
)
NSA = NativeSparseAttention(
    kind="nsa",
    num_attention_heads=64,
    num_key_value_heads=4,
    head_dim=192,
    v_head_dim=128,
    kernel_size=32,
    kernel_stride=16,
    block_size=64,
    topk=16,
    window_size=512,
)
MOBA = MixtureOfBlockAttention(kind="moba", **GROUPED, moba_chunk_size=4096, moba_topk=12)

MECHANISMS = {
    "gqa": GQA,
    "gqa, unequal widths": replace(GQA, v_head_dim=64),
    "gqa, window": replace(GQA, sliding_window=512),
    "gqa, chunk": replace(GQA, attention_chunk_size=1024),
    "gqa, sinks": replace(GQA, sliding_window=1000, sink_tokens=4),
    "gqa, indexer": replace(GQA, indexer=INDEXER),
    "encoder": replace(GQA, mask="bidirectional"),
    "shared keys and values": replace(GQA, shared_kv="full"),
    "mla": MLA,
    "mla, expanded": replace(MLA, cache_layout="expanded"),
    "mla, indexer": replace(MLA, indexer=INDEXER),
    "v4_window": SharedKeyValueWindow(kind="v4_window", **V4),
    "hca": HeavilyCompressedAttention(kind="hca", **V4, compress_rate=128),
    "csa": CompressedSparseAttention(
        kind="csa", **V4, compress_rate=4, index_n_heads=64, index_head_dim=128, index_topk=512
    ),
    "gta": GroupedTiedAttention(kind="gta", **GROUPED, rope_dim=64),
    "gla": GroupedLatentAttention(
        kind="gla",
        num_attention_heads=16,
        num_latent_heads=2,
        head_dim=128,
        q_lora_rank=1024,
        kv_lora_rank=256,
        qk_rope_dim=64,
    ),
    "tpa": TPA,
    "tpa, non-contextual A": replace(TPA, factors="noncontextual_a"),
    "tpa, non-contextual B": replace(TPA, factors="noncontextual_b"),
    "mfa": MFA,
    "mfa, key reuse": replace(MFA, reuse_key=True),
    "differential": DifferentialAttention(kind="differential", **GROUPED),
    "nsa": NSA,
    "nsa, separate branches": replace(NSA, branches="separate"),
    "nsa, separate branches, one-token blocks": replace(
        NSA, branches="separate", kernel_size=1, kernel_stride=1
    ),
    "moba": MOBA,
    "moba, mean keys": replace(MOBA, block_keys="mean"),
    "quest": replace(MOBA, block_keys="min_max", moba_chunk_size=16),
    "moa": MixtureOfAttentionHeads(
        kind="moa",
        num_attention_heads=32,
        num_key_value_heads=16,
        head_dim=128,
        num_experts=8,
        num_experts_per_tok=2,
    ),
    "cca": CompressedConvolutionalAttention(kind="cca", **GROUPED, cca_time0=2, cca_time1=3),
    "cross": CrossAttention(kind="cross", **GROUPED),
}


ABOVE = {mechanism.kind for mechanism in MECHANISMS.values()}
# Every other kind as the small spec of it has it.
OTHERS = [kind for kind in (*KINDS, *CROSS_KINDS) if kind not in ABOVE]
every_mechanism = pytest.mark.parametrize("name", [*MECHANISMS, *OTHERS])


def mechanism_named(name: str) -> Any:
    return MECHANISMS[name] if name in MECHANISMS else mechanism_of(name)


def evaluate(explanation: Explanation, equation: str) -> int:
    """The equation's value with this layer's numbers; nothing but integers may be left in it."""
    substituted = explanation.substituted(equation)
    assert set(substituted) <= set("0123456789 +-*/()"), substituted
    return int(eval(substituted)) if substituted else 0


def slope(tensor: CacheTensor) -> Fraction:
    return Fraction(*tensor.extent.slope())


def counted(mechanism: Any) -> tuple[Fraction, int]:
    """Elements per position and fixed elements, from the inventory."""
    tensors = list(mechanism.cache())
    growing = [tensor for tensor in tensors if slope(tensor)]
    if growing:
        unit = 1 / min(slope(tensor) for tensor in growing)
        per_position = sum(prod(t.shape) * slope(t) * unit for t in growing)
        rest = [tensor for tensor in tensors if not slope(tensor)]
    else:
        per_position = sum(prod(t.shape) for t in tensors if not isinstance(t.extent, Once))
        rest = [tensor for tensor in tensors if isinstance(tensor.extent, Once)]
    fixed = sum(
        prod(t.shape) * max(t.extent.positions(tokens, 0) for tokens in range(2048)) for t in rest
    )
    return Fraction(per_position), fixed


@every_mechanism
def test_equations_evaluate_to_the_inventory(name: str) -> None:
    mechanism = mechanism_named(name)
    explanation = mechanism.explain()
    per_position, fixed = counted(mechanism)
    assert evaluate(explanation, explanation.per_position) == per_position
    assert evaluate(explanation, explanation.fixed) == fixed


@every_mechanism
def test_symbols_are_fields_with_their_values(name: str) -> None:
    mechanism = mechanism_named(name)
    explanation = mechanism.explain()
    for symbol in explanation.symbols:
        value = mechanism
        for name in symbol.field.split("."):
            value = getattr(value, name)
        if value is not None:  # an optional field that takes another's value
            assert value == symbol.value, symbol
    assert explanation.source
    assert explanation.stored
    assert explanation.not_stored
