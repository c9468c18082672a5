"""GGUF headers for the tests: written by the ``gguf`` package, as llama.cpp's loader would have them.

``of_spec`` writes the header that a conversion of a shipped spec's model has: the tensors that
llama.cpp src/models/<architecture>.cpp creates, under its names, with their shapes (outermost axis
first, as numpy has it), and the keys that it reads. No file holds tensor data.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import Block, ModelSpec

Tensor = tuple[str, tuple[int, ...], Type]
Keys = Mapping[str, Any]


def write(path: Path, architecture: str, keys: Keys, tensors: Sequence[Tensor]) -> Path:
    """A header alone."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in keys.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, list(value))
    for name, shape, kind in tensors:
        block_elements, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        elements = int(np.prod(shape, dtype=object))
        writer.add_tensor_info(
            name, gguf.quant_shape_to_byte_shape(shape, kind), np.dtype(np.uint8),
            elements // block_elements * block_bytes, raw_dtype=kind,
        )  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path


def of_spec(
    spec: ModelSpec, architecture: str, matrix: Type = Type.F16
) -> tuple[dict[str, Any], list[Tensor]]:
    """Keys and tensors of a model. matrix: the format of its matrices; vectors are F32."""
    keys: dict[str, Any] = {}
    shapes: list[tuple[str, tuple[int, ...]]] = []
    width = spec.hidden_size
    layers = decoder_layers(spec)
    blocks = [spec.blocks[layer.block] for layer in layers]
    table = (spec.vocab_size, width)
    shapes.append(("token_embd.weight", table))
    if spec.final_norm and spec.norm != "none":
        shapes += _norm(
            "token_embd_norm" if architecture.startswith("lfm2") else "output_norm", spec
        )
    if not spec.tie_word_embeddings:
        shapes.append(("output.weight", table))
    if spec.head_bias:
        shapes.append(("output.bias", (spec.vocab_size,)))
    for index, block in enumerate(blocks):
        place = f"blk.{index}."
        for name, shape in _layer(block, spec, architecture):
            shapes.append((place + name, shape))
    if spec.per_layer_embeddings is not None:
        shapes += _gemma3n_ends(spec, len(layers))
    keys |= _keys(spec, blocks, architecture)
    tensors = [
        (name, shape, matrix if len(shape) > 1 and "norm" not in name else Type.F32)
        for name, shape in shapes
    ]
    return {f"{architecture}.{key}": value for key, value in keys.items()}, tensors


def _norm(name: str, spec: ModelSpec) -> list[tuple[str, tuple[int, ...]]]:
    found = [(f"{name}.weight", (spec.hidden_size,))]
    if spec.norm == "layernorm":
        found.append((f"{name}.bias", (spec.hidden_size,)))
    return found


# ---------------------------------------------------------------- keys


def _keys(spec: ModelSpec, blocks: list[Block], architecture: str) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "block_count": len(blocks),
        "embedding_length": spec.hidden_size,
        "context_length": spec.max_position_embeddings or 8192,
        "feed_forward_length": 1,
        "rope.freq_base": 10000.0,
    }
    plain = spec.norm == "layernorm" or spec.norm == "layernorm_no_bias"
    keys["attention.layer_norm_epsilon" if plain else "attention.layer_norm_rms_epsilon"] = 1e-5
    attentions = [block.attention for block in blocks]
    any_attention: Any = next((item for item in attentions if item is not None), None)
    if any_attention is not None:
        keys["attention.head_count"] = any_attention.num_attention_heads
    if any_attention is not None and any_attention.kind == "mla":
        rope = any_attention.qk_rope_head_dim
        keys["attention.head_count_kv"] = 1
        keys["attention.kv_lora_rank"] = any_attention.kv_lora_rank
        if any_attention.q_lora_rank:
            keys["attention.q_lora_rank"] = any_attention.q_lora_rank
        keys["attention.key_length"] = any_attention.kv_lora_rank + rope
        keys["attention.value_length"] = any_attention.kv_lora_rank
        keys["attention.key_length_mla"] = any_attention.qk_head_dim
        keys["attention.value_length_mla"] = any_attention.v_head_dim
        keys["rope.dimension_count"] = rope
    elif any_attention is not None:
        counts = [0 if item is None else item.num_key_value_heads for item in attentions]
        one = set(counts) == {counts[0]} and architecture not in ("jamba", "lfm2", "nemotron_h")
        keys["attention.head_count_kv"] = counts[0] if one else counts
        if any_attention.head_dim * any_attention.num_attention_heads != spec.hidden_size:
            keys["attention.key_length"] = any_attention.head_dim
            keys["attention.value_length"] = any_attention.value_dim
    windows = {getattr(item, "sliding_window", None) for item in attentions} - {None}
    if windows and architecture != "starcoder2":
        keys["attention.sliding_window"] = windows.pop()
    experts: Any = next((b.ffn for b in blocks if b.ffn is not None and b.ffn.kind == "moe"), None)
    if experts is not None:
        keys["expert_count"] = experts.num_experts
        keys["expert_used_count"] = experts.num_experts_per_tok
    mixers = [block.recurrent for block in blocks if block.recurrent is not None]
    if mixers:
        keys |= _mixer_keys(mixers[0])
    if architecture == "gemma3n":
        shared = sum(getattr(item, "shared_kv", None) is not None for item in attentions)
        keys["attention.shared_kv_layers"] = shared
        keys["attention.sliding_window_pattern"] = [
            getattr(item, "sliding_window", None) is not None for item in attentions
        ]
        keys["altup.num_inputs"] = 4
    return keys


def _mixer_keys(mixer: Any) -> dict[str, int | bool]:
    if mixer.kind == "short_conv":
        return {"shortconv.l_cache": mixer.conv_L_cache}
    if mixer.kind == "gated_deltanet":
        return {
            "ssm.conv_kernel": mixer.linear_conv_kernel_dim,
            "ssm.inner_size": mixer.value_size,
            "ssm.state_size": mixer.linear_key_head_dim,
            "ssm.time_step_rank": mixer.linear_num_value_heads,
            "ssm.group_count": mixer.linear_num_key_heads,
        }
    keys = {"ssm.conv_kernel": mixer.conv_kernel, "ssm.state_size": mixer.state_size}
    if mixer.kind == "mamba1":
        keys |= {"ssm.inner_size": mixer.intermediate_size}
        keys |= {"ssm.time_step_rank": mixer.time_step_rank}
        if mixer.inner_norms == "weight_free":
            keys |= {"ssm.dt_b_c_rms": True}
        return keys
    keys |= {"ssm.inner_size": mixer.inner_size, "ssm.time_step_rank": mixer.num_heads}
    return keys | {"ssm.group_count": mixer.n_groups}


# ---------------------------------------------------------------- one layer

# Architectures whose llama.cpp names of the norms are not attn_norm and ffn_norm.
_NORM_NAMES = {
    "olmo2": ("post_attention_norm", "post_ffw_norm"),
    "gpt-oss": ("attn_norm", "post_attention_norm"),
    "qwen3next": ("attn_norm", "post_attention_norm"),
    "glm4moe": ("attn_norm", "post_attention_norm"),
    "falcon": ("attn_norm", "attn_norm_2"),
}
_FOUR = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
_FUSED_QKV = ("falcon", "phi3")


def _layer(
    block: Block, spec: ModelSpec, architecture: str
) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, count = spec.hidden_size, block.num_norms
    if spec.norm != "none":
        names = _NORM_NAMES.get(architecture, ("attn_norm", "ffn_norm"))
        for name in _FOUR if count == 4 else names[:count]:
            yield from _norm(name, spec)
    if block.attention is not None:
        yield from _attention(block.attention, width, architecture)
    if block.recurrent is not None:
        yield from _mixer(block.recurrent, width)
    if block.ffn is not None:
        yield from _feed_forward(block.ffn, width, architecture)
    if spec.altup is not None:
        yield from _gemma3n_layer(spec)


def _attention(a: Any, width: int, architecture: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    if a.kind == "mla":
        yield from _mla(a, width)
        return
    heads, kv_heads, queries = a.num_attention_heads, a.num_key_value_heads, 1
    if a.output_gate == "per_element":
        queries = 2
    sizes = {"q": queries * heads * a.head_dim, "k": kv_heads * a.head_dim,
             "v": kv_heads * a.value_dim}  # fmt: skip
    if architecture in _FUSED_QKV:
        yield "attn_qkv.weight", (sum(sizes.values()), width)
        if "q" in a.bias:
            yield "attn_qkv.bias", (sum(sizes.values()),)
    else:
        for side, size in sizes.items():
            yield f"attn_{side}.weight", (size, width)
            if side in a.bias:
                yield f"attn_{side}.bias", (size,)
    yield "attn_output.weight", (width, heads * a.value_dim)
    if "o" in a.bias:
        yield "attn_output.bias", (width,)
    if a.sinks:
        yield "attn_sinks.weight", (heads,)
    if a.qk_norm == "per_head":
        yield "attn_q_norm.weight", (a.head_dim,)
        yield "attn_k_norm.weight", (a.head_dim,)
    elif a.qk_norm == "full" and architecture == "command-r":
        yield "attn_q_norm.weight", (heads, a.head_dim)
        yield "attn_k_norm.weight", (kv_heads, a.head_dim)
    elif a.qk_norm == "full":
        yield "attn_q_norm.weight", (heads * a.head_dim,)
        yield "attn_k_norm.weight", (kv_heads * a.head_dim,)


def _mla(a: Any, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    heads, rank, rope = a.num_attention_heads, a.kv_lora_rank, a.qk_rope_head_dim
    if a.q_lora_rank:
        yield "attn_q_a.weight", (a.q_lora_rank, width)
        yield "attn_q_a_norm.weight", (a.q_lora_rank,)
        yield "attn_q_b.weight", (heads * a.qk_head_dim, a.q_lora_rank)
    else:
        yield "attn_q.weight", (heads * a.qk_head_dim, width)
    yield "attn_kv_a_mqa.weight", (rank + rope, width)
    yield "attn_kv_a_norm.weight", (rank,)
    yield "attn_k_b.weight", (heads, rank, a.qk_nope_head_dim)
    yield "attn_v_b.weight", (heads, a.v_head_dim, rank)
    yield "attn_output.weight", (width, heads * a.v_head_dim)


def _mixer(m: Any, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    if m.kind == "short_conv":
        yield "shortconv.conv.weight", (width, m.conv_L_cache)
        yield "shortconv.in_proj.weight", (3 * width, width)
        yield "shortconv.out_proj.weight", (width, width)
    elif m.kind == "gated_deltanet":
        heads, values = m.linear_num_value_heads, m.value_size
        yield "ssm_in.weight", (2 * m.key_size + 2 * values, width)
        yield "ssm_conv1d.weight", (m.conv_size, m.linear_conv_kernel_dim)
        yield "ssm_dt.bias", (heads,)
        yield "ssm_a", (heads,)
        yield "ssm_ba.weight", (2 * heads, width)
        yield "ssm_norm.weight", (m.linear_value_head_dim,)
        yield "ssm_out.weight", (width, values)
    elif m.kind == "mamba1":
        inner, rank, state = m.intermediate_size, m.time_step_rank, m.state_size
        yield "ssm_in.weight", (2 * inner, width)
        yield "ssm_conv1d.weight", (inner, m.conv_kernel)
        yield "ssm_conv1d.bias", (inner,)
        yield "ssm_x.weight", (rank + 2 * state, inner)
        yield "ssm_dt.weight", (inner, rank)
        yield "ssm_dt.bias", (inner,)
        yield "ssm_a", (inner, state)
        yield "ssm_d", (inner,)
        yield "ssm_out.weight", (width, inner)
        if m.inner_norms == "weighted":
            yield "ssm_dt_norm.weight", (rank,)
            yield "ssm_b_norm.weight", (state,)
            yield "ssm_c_norm.weight", (state,)
    else:
        yield "ssm_in.weight", (m.inner_size + m.conv_size + m.num_heads, width)
        yield "ssm_conv1d.weight", (m.conv_size, m.conv_kernel)
        yield "ssm_conv1d.bias", (m.conv_size,)
        yield "ssm_dt.bias", (m.num_heads,)
        yield "ssm_a", (m.num_heads, 1)
        yield "ssm_d", (m.num_heads, 1)
        if m.gated_norm:
            yield "ssm_norm.weight", (m.n_groups, m.inner_size // m.n_groups)
        yield "ssm_out.weight", (width, m.inner_size)


def _feed_forward(f: Any, width: int, architecture: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    if f.kind == "moe":
        yield from _experts(f, width)
        return
    size = f.intermediate_size
    fused = f.kind == "gated" and architecture in ("phi3", "glm4")
    yield "ffn_up.weight", (2 * size if fused else size, width)
    yield "ffn_down.weight", (width, size)
    if f.kind == "gated" and not fused:
        yield "ffn_gate.weight", (size, width)
    if f.bias:
        yield "ffn_up.bias", (size,)
        yield "ffn_down.bias", (width,)


def _experts(f: Any, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    count, size = f.num_experts, f.moe_intermediate_size
    yield "ffn_gate_inp.weight", (count, width)
    if f.router_bias == "parameter":
        yield "ffn_gate_inp.bias", (count,)
    elif f.router_bias == "buffer":
        yield "exp_probs_b.bias", (count,)
    sides = ("gate", "up") if f.expert == "gated" else ("up",)
    for side in sides:
        yield f"ffn_{side}_exps.weight", (count, size, width)
        if f.expert_bias:
            yield f"ffn_{side}_exps.bias", (count, size)
    yield "ffn_down_exps.weight", (count, width, size)
    if f.expert_bias:
        yield "ffn_down_exps.bias", (count, width)
    shared = f.shared_expert_intermediate_size
    if shared:
        for side in sides:
            yield f"ffn_{side}_shexp.weight", (shared, width)
        yield "ffn_down_shexp.weight", (width, shared)
    if f.shared_expert_gate:
        yield "ffn_gate_inp_shexp.weight", (width,)


# ---------------------------------------------------------------- Gemma 3n


def _gemma3n_layer(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    assert spec.altup is not None
    assert spec.laurel is not None
    assert spec.per_layer_embeddings is not None
    width, copies = spec.hidden_size, spec.altup.altup_num_inputs
    rank, narrow = spec.laurel.laurel_rank, spec.per_layer_embeddings.hidden_size_per_layer_input
    yield "inp_gate.weight", (narrow, width)
    yield "proj.weight", (width, narrow)
    yield "post_norm.weight", (width,)
    yield "altup_correct_coef.weight", (copies, copies)
    yield "altup_correct_scale.weight", (width,)
    yield "altup_predict_coef.weight", (copies**2, copies)
    yield "altup_router.weight", (copies, width)
    yield "altup_router_norm.weight", (width,)
    yield "laurel_l.weight", (rank, width)
    yield "laurel_r.weight", (width, rank)
    yield "laurel_post_norm.weight", (width,)


def _gemma3n_ends(spec: ModelSpec, num_layers: int) -> list[tuple[str, tuple[int, ...]]]:
    assert spec.altup is not None
    assert spec.per_layer_embeddings is not None
    width, copies = spec.hidden_size, spec.altup.altup_num_inputs
    rows = spec.per_layer_embeddings.vocab_size_per_layer_input
    packed = num_layers * spec.per_layer_embeddings.hidden_size_per_layer_input
    return [
        ("altup_proj.weight", (copies - 1, width, width)),
        ("altup_unembd_proj.weight", (copies - 1, width, width)),
        ("per_layer_token_embd.weight", (rows, packed)),
        ("per_layer_model_proj.weight", (packed, width)),
        ("per_layer_proj_norm.weight", (packed // num_layers,)),
    ]


SMALL = {
    "llama.block_count": 1, "llama.embedding_length": 64, "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2, "llama.context_length": 512,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}  # fmt: skip
SMALL_TENSORS: list[Tensor] = [
    ("token_embd.weight", (100, 64), Type.F16),
    ("output_norm.weight", (64,), Type.F32),
    ("blk.0.attn_norm.weight", (64,), Type.F32),
    ("blk.0.attn_q.weight", (64, 64), Type.Q8_0),
    ("blk.0.attn_k.weight", (32, 64), Type.Q8_0),
    ("blk.0.attn_v.weight", (32, 64), Type.Q8_0),
    ("blk.0.attn_output.weight", (64, 64), Type.Q8_0),
    ("blk.0.ffn_norm.weight", (64,), Type.F32),
    ("blk.0.ffn_gate.weight", (96, 64), Type.Q4_0),
    ("blk.0.ffn_up.weight", (96, 64), Type.Q4_0),
    ("blk.0.ffn_down.weight", (64, 96), Type.Q4_0),
]


def small(folder: Path, keys: dict[str, object] | None = None, **changed: Tensor | None) -> Path:
    """A tiny llama, with keys added and tensors replaced, added or (None) left out."""
    tensors = {tensor[0]: tensor for tensor in SMALL_TENSORS}
    for name, tensor in changed.items():
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    return write(folder / "small.gguf", "llama", SMALL | (keys or {}), list(tensors.values()))
