"""Towers against the reference modules: small ones of every kind, and faults that must be caught."""

from typing import Any

import pytest

from kvcalc.frozen import changed
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.model import ModelSpec
from kvcalc.towers import KINDS

torch = pytest.importorskip("torch")

DECODER = """\
name: small
source: a test
hidden_size: 32
vocab_size: 50
tie_word_embeddings: true
blocks:
  decoder:
    attention: {kind: mha, num_attention_heads: 2, num_key_value_heads: 2, head_dim: 16}
    ffn: {kind: gated, intermediate_size: 48}
layers: [{repeat: 1, blocks: [decoder]}]
towers:
"""
TRANSFORMER = "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 48"
TOWERS = {
    "vit": f"kind: vit, {TRANSFORMER}, patch_size: 4, patch_bias: true, tokens: 2, positions: 6, "
    "embedding_norm: true, layer_scale: true, qk_norm: per_head, pooling: attention",
    "vit_gated": f"kind: vit, {TRANSFORMER}, patch_size: 4, temporal_patch_size: 2, ffn: gated, norm: "
    "rmsnorm, layer_norms: '4', patch_norm: true, num_key_value_heads: 1, final_norm: false, "
    "patch_embedding: linear, attention_bias: [], ffn_bias: false",
    "sam": "kind: sam, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, mlp_dim: 48, "
    "patch_size: 4, patches: 4, window_size: 2, global_attn_indexes: [1], output_channels: 8",
    "mobilenet": "kind: mobilenet, stem_channels: 4, fused_channels: 20, output_size: 24, blocks: ["
    "{channels: 8, expansion: 2, kernel: 3}, {channels: 8, expansion: 2, start_kernel: 3, mid_kernel: 5, "
    "repeat: 2}, {channels: 8, expansion: 1, heads: 2, head_dim: 4, kv_kernel: 3}, "
    "{channels: 12, expansion: 2, heads: 3, head_dim: 4}]",
    "speech": f"kind: speech, {TRANSFORMER}, num_mel_bins: 8, positions: 9, attention_bias: [q, v, o]",
    "speech_2d": f"kind: speech, {TRANSFORMER}, num_mel_bins: 16, stem: conv2d, conv_channels: 5, "
    "conv_out_features: 10",
    "conformer": "kind: conformer, input_size: 8, hidden_size: 32, num_hidden_layers: 2, "
    "num_attention_heads: 2, head_dim: 8, intermediate_size: 48, relative_positions: 9, "
    "conv_kernel_size: 3, output_size: 7",
    "gated_conformer": "kind: gated_conformer, num_mel_bins: 9, conv_channels: 6, halvings: 2, "
    "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 48, "
    "kernel_size: 3, relative_positions: 6",
    "usm": "kind: usm, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, "
    "conv_kernel_size: 3, stem_channels: [8, 4], stem_features: 8, output_size: 24",
    "usm_3n": "kind: usm, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, "
    "conv_kernel_size: 3, stem_channels: [8, 4], stem_features: 8",
    "mlp": "kind: mlp, in_features: 64, sizes: [48, 32], norm: layernorm, norm_size: 16, gated: 40, "
    "gated_out: 24, final_norm: rmsnorm",
    "mlp_copies": "kind: mlp, in_features: 64, sizes: [48, 32], norm: layernorm, copies: 3",
    "perceiver": "kind: perceiver, hidden_size: 32, num_latents: 3, num_hidden_layers: 2, "
    "num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, intermediate_size: 48",
    "qformer": "kind: qformer, hidden_size: 32, num_hidden_layers: 3, num_attention_heads: 2, "
    "intermediate_size: 48, encoder_hidden_size: 24, cross_attention_frequency: 2, num_queries: 4, "
    "vocab_size: 20, positions: 10",
    "sequence": "kind: sequence, steps: [{name: a.proj, sizes: [8, 4], bias: true}, {name: a.table, op: "
    "table, sizes: [5, 4]}, {name: conv, op: conv, sizes: [8, 4, 3, 3]}, {name: gate, op: tensor, sizes: "
    "[1]}, {name: norm, op: norm, sizes: [8], bias: true}]",
}  # fmt: skip


def spec_of(name: str) -> ModelSpec:
    return load_spec_text(f"{DECODER}  tower: {{{TOWERS[name]}}}\n", "small.yaml")


@pytest.mark.parametrize("name", TOWERS)
def test_every_kind_is_as_its_module(name: str) -> None:
    from kvcalc.verify.prove.towers import prove_towers

    proof = prove_towers(spec_of(name))
    assert proof.passed, proof.failures
    assert proof.formula_total == proof.measured_total


def test_every_kind_is_here() -> None:
    assert {spec_of(name).towers["tower"].kind for name in TOWERS} == set(KINDS)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda tensors: tensors[:-1], "and the formula leaves it out"),
        (lambda tensors: (*tensors, tensors[0]), "the formula counts it twice"),
        (
            lambda tensors: (*tensors[:-1], changed(tensors[-1], shape=(33,))),
            "formula [33], measured [32]",
        ),
        (
            lambda tensors: (*tensors, changed(tensors[0], name="more.weight")),
            "not in the module",
        ),
    ],
)
def test_faults_are_caught(monkeypatch: pytest.MonkeyPatch, plant: Any, said: str) -> None:
    from kvcalc.memory.towers import tower_groups
    from kvcalc.verify.prove import towers as proof

    def wrong(spec: ModelSpec) -> Any:
        *rest, last = tower_groups(spec)
        return (*rest, changed(last, tensors=plant(last.tensors)))

    monkeypatch.setattr(proof, "tower_groups", wrong)
    found = proof.prove_towers(spec_of("speech"))
    assert not found.passed
    assert any(said in failure for failure in found.failures), found.failures


def test_a_weight_that_no_pass_reaches_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from kvcalc.verify.prove.towers import prove_towers
    from kvcalc.verify.towers.qformer import QFormerLayer

    monkeypatch.setattr(QFormerLayer, "forward", lambda self, x, source: self.attention(x, x))
    found = prove_towers(spec_of("qformer"))
    assert any("query_ffn.up_proj.weight: no pass reaches it" in each for each in found.failures)


def test_verify_runs_it() -> None:
    from kvcalc.verify.runner import verify

    found = verify(spec_of("mlp"))
    assert [proof.name for proof in found.proofs] == [
        "parameters", "towers", "cache", "sufficient", "necessary",
    ]  # fmt: skip
    assert found.passed
