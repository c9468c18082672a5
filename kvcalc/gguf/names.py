"""What each row of kvcalc's inventory is called in a GGUF file, and how its shape is written there.

One table for all architectures; what an architecture does otherwise stands in its record
(kvcalc/gguf/architectures.py). Source: llama.cpp v0.5.0, src/llama-arch.cpp (LLM_TENSOR_NAMES),
src/models/*.cpp (load_arch_tensors: shapes), gguf-py/gguf/tensor_mapping.py and conversion/*.py
(what the converter splits, stacks, drops and keeps in 32 bits).
"""

from collections.abc import Iterator
from functools import cache
from math import prod

from kvcalc.frozen import frozen
from kvcalc.gguf.tensors import stem_of
from kvcalc.tensors import ParamTensor

Shape = tuple[int, ...]


@frozen
class Stored:
    """One tensor of the file, and the rows of the inventory it is made of.

    beside: further rows in the same tensor (a fused key and value), with their shapes in it.
    """

    name: str
    shape: Shape
    row: ParamTensor
    beside: tuple[tuple[ParamTensor, Shape], ...] = ()


# Our name without .weight and .bias -> llama.cpp's, both without what stands before them.
STEMS = {
    "attention.q_proj": "attn_q", "attention.k_proj": "attn_k", "attention.v_proj": "attn_v",
    "attention.o_proj": "attn_output", "attention.g_proj": "attn_gate",
    "attention.q_norm": "attn_q_norm", "attention.k_norm": "attn_k_norm",
    "attention.q_a_proj": "attn_q_a", "attention.q_a_layernorm": "attn_q_a_norm",
    "attention.q_a_norm": "attn_q_a_norm", "attention.q_b_proj": "attn_q_b",
    "attention.kv_a_proj_with_mqa": "attn_kv_a_mqa", "attention.kv_a_layernorm": "attn_kv_a_norm",
    "attention.kv_proj": "attn_kv", "attention.kv_norm": "attn_kv_a_norm",
    "attention.o_a_proj": "attn_output_a", "attention.o_b_proj": "attn_output_b",
    "attention.indexer.wq_b": "indexer.attn_q_b", "attention.indexer.wk": "indexer.attn_k",
    "attention.indexer.q_norm": "indexer.q_norm", "attention.indexer.k_norm": "indexer.k_norm",
    "attention.indexer.weights_proj": "indexer.proj",
    "attention.compressor.kv_proj": "attn_compressor_kv",
    "attention.compressor.gate_proj": "attn_compressor_gate",
    "attention.compressor.kv_norm": "attn_compressor_norm",
    "attention.compressor.indexer.kv_proj": "indexer_compressor_kv",
    "attention.compressor.indexer.gate_proj": "indexer_compressor_gate",
    "attention.compressor.indexer.kv_norm": "indexer_compressor_norm",
    "attention.compressor.indexer.q_b_proj": "indexer.attn_q_b",
    "attention.compressor.indexer.scorer.weights_proj": "indexer.proj",
    "cross_attention.q_proj": "cross_attn_q", "cross_attention.k_proj": "cross_attn_k",
    "cross_attention.v_proj": "cross_attn_v", "cross_attention.o_proj": "cross_attn_output",
    "ffn.gate_proj": "ffn_gate", "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down",
    "ffn.ffn_sub_norm": "ffn_sub_norm", "ffn.router": "ffn_gate_inp",
    "ffn.shared_expert.gate_proj": "ffn_gate_shexp", "ffn.shared_expert.up_proj": "ffn_up_shexp",
    "ffn.shared_expert.down_proj": "ffn_down_shexp",
    "ffn.shared_expert_gate": "ffn_gate_inp_shexp",
    "ffn.latent_down_proj": "ffn_latent_down", "ffn.latent_up_proj": "ffn_latent_up",
    "recurrent.in_proj": "ssm_in", "recurrent.out_proj": "ssm_out", "recurrent.x_proj": "ssm_x",
    "recurrent.dt_proj": "ssm_dt", "recurrent.conv1d": "ssm_conv1d",
    "recurrent.dt_layernorm": "ssm_dt_norm", "recurrent.b_layernorm": "ssm_b_norm",
    "recurrent.c_layernorm": "ssm_c_norm", "recurrent.norm": "ssm_norm",
    "recurrent.in_proj_qkv": "attn_qkv", "recurrent.in_proj_z": "attn_gate",
    "recurrent.in_proj_b": "ssm_beta", "recurrent.in_proj_a": "ssm_alpha",
    # Kimi's delta attention.
    "recurrent.q_proj": "attn_q", "recurrent.k_proj": "attn_k", "recurrent.v_proj": "attn_v",
    "recurrent.forget_gate.f_proj": "ssm_f_a", "recurrent.forget_gate.f_a_proj": "ssm_f_a",
    "recurrent.forget_gate.f_b_proj": "ssm_f_b",
    "recurrent.b_proj": "ssm_beta", "recurrent.g_a_proj": "ssm_g_a",
    "recurrent.g_b_proj": "ssm_g_b", "recurrent.g_proj": "ssm_g", "recurrent.o_norm": "ssm_norm",
    "recurrent.o_proj": "attn_output",
    # RWKV-6 and 7.
    "recurrent.receptance": "time_mix_receptance", "recurrent.key": "time_mix_key",
    "recurrent.value": "time_mix_value", "recurrent.gate": "time_mix_gate",
    "recurrent.output": "time_mix_output", "recurrent.ln_x": "time_mix_ln",
    "ffn.key": "channel_mix_key", "ffn.value": "channel_mix_value",
    "ffn.receptance": "channel_mix_receptance",
    # Gemma 3n and 4.
    "altup.correction_coefs": "altup_correct_coef", "altup.prediction_coefs": "altup_predict_coef",
    "altup.modality_router": "altup_router", "altup.router_norm": "altup_router_norm",
    "laurel.linear_left": "laurel_l", "laurel.linear_right": "laurel_r",
    "laurel.post_laurel_norm": "laurel_post_norm", "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj", "post_per_layer_input_norm": "post_norm",
    # Multi-token prediction.
    "enorm": "nextn.enorm", "hnorm": "nextn.hnorm", "eh_proj": "nextn.eh_proj",
    "shared_head.norm": "nextn.shared_head_norm", "embed_tokens": "nextn.embed_tokens",
    "shared_head.head": "nextn.shared_head_head",
    # Beside the layers.
    "embedding": "token_embd", "embedding_norm": "token_embd_norm",
    "position_embedding": "position_embd", "token_type_embedding": "token_types",
    "final_norm": "output_norm", "head": "output",
    "embed_tokens_per_layer": "per_layer_token_embd",
    "per_layer_model_projection": "per_layer_model_proj",
    "per_layer_projection_norm": "per_layer_proj_norm",
}  # fmt: skip
# Whole names, without .weight or .bias of PyTorch's kind.
NAMES = {
    "attention.sinks": "attn_sinks.weight",
    "ffn.router.e_score_correction_bias": "exp_probs_b.bias",
    "ffn.router.scale": "ffn_gate_inp.scale",
    "ffn.router.per_expert_scale": "ffn_down_exps.scale",
    "ffn.router.tid2eid": "ffn_gate_tid2eid.weight",
    "ffn.experts.up_proj": "ffn_up_exps.weight", "ffn.experts.down_proj": "ffn_down_exps.weight",
    "ffn.experts.down_proj_bias": "ffn_down_exps.bias",
    "recurrent.dt_bias": "ssm_dt.bias", "recurrent.A_log": "ssm_a", "recurrent.D": "ssm_d",
    "recurrent.forget_gate.dt_bias": "ssm_dt.bias", "recurrent.forget_gate.A_log": "ssm_a",
    "layer_scalar": "layer_output_scale.weight",
    "altup.correct_output_scale": "altup_correct_scale.weight",
    "attention.compressor.position_bias": "attn_compressor_ape.weight",
    "attention.compressor.indexer.position_bias": "indexer_compressor_ape.weight",
    "attn_hc.fn": "hc_attn_fn.weight", "attn_hc.base": "hc_attn_base.weight",
    "attn_hc.scale": "hc_attn_scale.weight", "ffn_hc.fn": "hc_ffn_fn.weight",
    "ffn_hc.base": "hc_ffn_base.weight", "ffn_hc.scale": "hc_ffn_scale.weight",
    "hc_head.hc_fn": "output_hc_fn.weight", "hc_head.hc_base": "output_hc_base.weight",
    "hc_head.hc_scale": "output_hc_scale.weight",
    "recurrent.time_maa_x": "time_mix_lerp_x.weight",
    "recurrent.time_maa_w1": "time_mix_w1.weight", "recurrent.time_maa_w2": "time_mix_w2.weight",
    "recurrent.time_decay": "time_mix_decay.weight", "recurrent.time_faaaa": "time_mix_first.weight",
    "recurrent.time_decay_w1": "time_mix_decay_w1.weight",
    "recurrent.time_decay_w2": "time_mix_decay_w2.weight",
    "ffn.time_mix_key": "channel_mix_lerp_k.weight",
    "ffn.time_mix_receptance": "channel_mix_lerp_r.weight",
    **{f"recurrent.{part}": f"time_mix_{part}.weight" for part in (
        "w0", "w1", "w2", "a0", "a1", "a2", "v0", "v1", "v2", "g1", "g2", "k_k", "k_a", "r_k")},
}  # fmt: skip
# What no file holds: poolers of encoders are not used, xIELU's numbers are keys.
DROPPED = ("pooler.weight", "pooler.bias", "ffn.act_fn.alpha_p", "ffn.act_fn.alpha_n")

# Matrices that the converter always writes in 32 bits (conversion/base.py, prepare_tensors);
# vectors and what does not end in .weight are, too.
_IN_32_BITS = (
    "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight",
    "token_types.weight", "ssm_conv1d", "shortconv.conv.weight", "time_mix_first.weight",
    "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "altup_correct_coef.weight",
    "altup_predict_coef.weight", "indexer.proj.weight", "_norm.weight",
)  # fmt: skip


def source_type(name: str, shape: Shape) -> str:
    """The ggml type in which the converter writes a tensor of a 16-bit file."""
    return _matrix_source(stem_of(name)) if len(shape) > 1 else "f32"


@cache
def _matrix_source(stem: str) -> str:
    if stem == "ffn_gate_tid2eid.weight":
        return "i32"
    kept = any(stem.endswith(part) or stem.startswith(part) for part in _IN_32_BITS)
    return "f32" if kept or not stem.endswith(".weight") else "bf16"


def file_name(name: str) -> str | None:
    """llama.cpp's name of an inventory's name; None where the table has none."""
    if name in NAMES:
        return NAMES[name]
    stem, _, suffix = name.rpartition(".")
    return f"{STEMS[stem]}.{suffix}" if stem in STEMS and suffix in ("weight", "bias") else None


# ---------------------------------------------------------------- what is split, stacked or reshaped


def stored(row: ParamTensor, heads: int, latent_rank: int, nope: int) -> Iterator[Stored]:
    """What a row becomes that is not one tensor of its own shape.

    heads, latent_rank, nope: of MLA's up-projection, which is split for absorption.
    """
    name, shape = row.name, row.shape
    if name == "ffn.experts.gate_up_proj":
        half = (shape[0], shape[1] // 2, *shape[2:])
        yield Stored("ffn_gate_exps.weight", half, row)
        yield Stored("ffn_up_exps.weight", half, row)
    elif name == "ffn.experts.gate_up_proj_bias":
        yield Stored("ffn_gate_exps.bias", (shape[0], shape[1] // 2), row)
        yield Stored("ffn_up_exps.bias", (shape[0], shape[1] // 2), row)
    elif name == "attention.kv_b_proj.weight":
        yield Stored("attn_k_b.weight", (heads, latent_rank, nope), row)
        yield Stored("attn_v_b.weight", (heads, shape[0] // heads - nope, latent_rank), row)
    else:
        known = file_name(name)
        if known is not None:
            yield Stored(known, _reshaped(name, known, shape), row)


def _reshaped(name: str, known: str, shape: Shape) -> Shape:
    """The shape in the file: convolution kernels without their axis of one, vectors flat."""
    if known in ("ssm_conv1d.weight", "shortconv.conv.weight") and len(shape) == 3:
        return shape[0], shape[2]
    if name in ("attention.sinks", "recurrent.r_k", "ffn.time_mix_key", "ffn.time_mix_receptance"):
        return (prod(shape),)
    if name == "recurrent.forget_gate.A_log":
        return prod(shape), 1
    if name.startswith("recurrent.") and len(shape) == 3 and shape[:2] == (1, 1):
        return (shape[-1],)
    return shape
