"""GGUF headers of true size without tensor data, for llama.cpp's own library to judge.

The tensors are kvcalc's list; the keys are what src/models/*.cpp (load_arch_hparams) of llama.cpp
v0.5.0 demand, read off the spec's mechanisms and not off that list. The file is sparse: its data
were never written, and the library maps them without reading them.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvcalc.dtypes import GGML
from kvcalc.gguf.tensors import GgufModel, GgufTensor, kind_of
from kvcalc.spec.layers import decoder_layers, encoder_layers
from kvcalc.spec.model import ModelSpec

# ggml.h, enum ggml_type.
NUMBERS = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q4_K": 12,
    "q6_K": 14, "i32": 26, "bf16": 30,
}  # fmt: skip


def write(path: Path, model: GgufModel, keys: dict[str, Any]) -> Path:
    """A header and the room for its tensors."""
    infos, offset = [], 0
    for tensor in model.tensors:
        dims = tuple(reversed(tensor.shape))
        info = _text(tensor.name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        infos.append(info + struct.pack("<IQ", NUMBERS[tensor.source], offset))
        offset += -(-GGML[tensor.source].tensor(tensor.shape) // 32) * 32
    pairs = [_text(key) + _value(value) for key, value in keys.items()]
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(pairs))
    data = head + b"".join(pairs) + b"".join(infos)
    data += bytes(-len(data) % 32)
    path.write_bytes(data)
    os.truncate(path, len(data) + offset)
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    kinds = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        kind, code = kinds[type(value[0])]
        packed = b"".join(struct.pack(code, item) for item in value)
        return struct.pack("<IIQ", 9, kind, len(value)) + packed
    kind, code = kinds[type(value)]
    return struct.pack("<I", kind) + struct.pack(code, value)


# ---------------------------------------------------------------- keys


def keys_of(spec: ModelSpec, model: GgufModel) -> dict[str, Any]:
    """The keys of a model's header, under its architecture's name."""
    found: dict[str, Any] = {"general.architecture": model.architecture}
    prefix = f"{model.architecture}."
    for name, value in {**_plain(spec, model), **_attention(spec, model), **_experts(spec),
                        **_states(spec), **_own(spec, model)}.items():  # fmt: skip
        if value is not None:
            found[prefix + name] = value
    if model.architecture == "apertus":
        ones = [1.0] * model.num_layers
        found |= {f"xielu.{part}": ones for part in ("alpha_n", "alpha_p", "beta", "eps")}
    found["tokenizer.ggml.token_type_count"] = (
        max(1, spec.embedding.token_types or 1) if spec.embedding else 1
    )
    found["tokenizer.ggml.model"] = "no_vocab"
    found[prefix + "vocab_size"] = spec.vocab_size
    return found


def _blocks(spec: ModelSpec, model: GgufModel) -> list[Any]:
    blocks = [spec.blocks[layer.block] for layer in decoder_layers(spec)]
    blocks = blocks[: len(blocks) // _loops(spec)]
    if spec.mtp is not None:
        blocks += [spec.blocks[spec.mtp.block]] * (model.num_layers - len(blocks))
    return blocks


def _loops(spec: ModelSpec) -> int:
    """How often the layers run: the file has them once."""
    return max(group.loops for group in spec.layers)


def _plain(spec: ModelSpec, model: GgufModel) -> dict[str, Any]:
    widths = []
    for block in _blocks(spec, model):
        ffn = block.ffn
        width = getattr(ffn, "intermediate_size", None)
        if width is None and ffn is not None:
            width = getattr(ffn, "moe_intermediate_size", 0)
        widths.append(width or 0)
    return {
        "block_count": model.num_layers // _loops(spec),
        "num_loops": _loops(spec) if _loops(spec) > 1 else None,
        "embedding_length": spec.hidden_size,
        "context_length": spec.max_position_embeddings or 8192,
        "feed_forward_length": widths,
        "attention.layer_norm_epsilon": 1e-5,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.group_norm_epsilon": 1e-5 if model.architecture == "rwkv7" else None,
        "rope.freq_base": 10000.0,
        "nextn_predict_layers": model.num_layers - len(decoder_layers(spec)) or None,
        "leading_dense_block_count": _leading(spec, model),
    }


def _leading(spec: ModelSpec, model: GgufModel) -> int:
    count = 0
    for block in _blocks(spec, model):
        if hasattr(block.ffn, "num_experts"):
            break
        count += 1
    return count


def _attention(spec: ModelSpec, model: GgufModel) -> dict[str, Any]:
    blocks = _blocks(spec, model)
    first = next((b.attention for b in blocks if b.attention is not None), None)
    kda = next((b.recurrent for b in blocks if getattr(b.recurrent, "kind", "") == "kda"), None)
    if first is None:
        return {"attention.head_count": 0}
    heads = [getattr(b.attention, "num_attention_heads", 0) for b in blocks]
    groups = [
        getattr(b.attention, "num_key_value_heads", None) or getattr(b.attention, "num_attention_heads", 0)
        for b in blocks
    ]  # fmt: skip
    some = {count for count in heads if count}
    same = {count for count in groups if count}
    found: dict[str, Any] = {
        "attention.head_count": heads
        if len(some) > 1 or model.architecture == "deci"
        else next(iter(some)),
        "attention.head_count_kv": groups,
    }
    if len(same) == 1 and model.architecture in (
        "qwen3next",
        "qwen35",
        "qwen35moe",
        "minimax-01",
    ):
        found["attention.head_count_kv"] = next(iter(same))
    latent = getattr(first, "kv_lora_rank", None)
    if latent:
        rope, nope = first.qk_rope_head_dim, first.qk_nope_head_dim
        whole = any("attn_kv_b.weight" in tensor.name for tensor in model.tensors)
        found |= {
            "attention.head_count": first.num_attention_heads,
            "attention.head_count_kv": first.num_attention_heads if whole else 1,
            "attention.q_lora_rank": getattr(first, "q_lora_rank", None),
            "attention.kv_lora_rank": latent,
            "attention.key_length": nope + rope if whole else latent + rope,
            "attention.value_length": first.v_head_dim if whole else latent,
            "attention.key_length_mla": None if whole else nope + rope,
            "attention.value_length_mla": None if whole else first.v_head_dim,
            "rope.dimension_count": rope,
        }
        if kda is not None:
            found["attention.head_count_kv"] = [int(b.attention is not None) for b in blocks]
    elif hasattr(first, "head_dim"):
        value = getattr(first, "v_head_dim", None) or first.head_dim
        found |= {"attention.key_length": first.head_dim, "attention.value_length": value,
                  "rope.dimension_count": first.head_dim}  # fmt: skip
    windows = [getattr(b.attention, "sliding_window", None) for b in blocks]
    if any(windows):
        found["attention.sliding_window"] = max(window or 0 for window in windows)
        found["attention.sliding_window_pattern"] = [bool(window) for window in windows]
    return found


def _experts(spec: ModelSpec) -> dict[str, Any]:
    moe: Any = next((b.ffn for b in spec.blocks.values() if hasattr(b.ffn, "num_experts")), None)
    if moe is None:
        # As the converter writes it for DeepSeek's line without experts (Youtu).
        width = max(getattr(b.ffn, "intermediate_size", 0) for b in spec.blocks.values())
        return {"expert_feed_forward_length": width, "expert_shared_count": 0}
    shared = getattr(moe, "shared_expert_intermediate_size", None) or 0
    return {
        "expert_count": moe.num_experts,
        "expert_used_count": moe.num_experts_per_tok,
        "expert_feed_forward_length": moe.moe_intermediate_size,
        "expert_shared_feed_forward_length": shared or None,
        "expert_shared_count": max(1, shared // moe.moe_intermediate_size) if shared else None,
        "expert_gating_func": 2,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": True,
        "expert_group_count": 1,
        "expert_group_used_count": 1,
        "moe_latent_size": getattr(moe, "latent_size", None),
        "interleave_moe_layer_step": 1,
    }


def _states(spec: ModelSpec) -> dict[str, Any]:
    mixers: Any = [b.recurrent for b in spec.blocks.values() if b.recurrent is not None]
    if not mixers:
        return {}
    mixer = mixers[0]
    match mixer.kind:
        case "mamba1":
            return {"ssm.conv_kernel": mixer.conv_kernel, "ssm.inner_size": mixer.intermediate_size,
                    "ssm.state_size": mixer.state_size, "ssm.time_step_rank": mixer.time_step_rank,
                    "ssm.dt_b_c_rms": mixer.inner_norms == "weight_free"}  # fmt: skip
        case "mamba2":
            return {"ssm.conv_kernel": mixer.conv_kernel,
                    "ssm.inner_size": mixer.num_heads * mixer.head_dim,
                    "ssm.state_size": mixer.state_size, "ssm.time_step_rank": mixer.num_heads,
                    "ssm.group_count": mixer.n_groups}  # fmt: skip
        case "gated_deltanet":
            return {"ssm.conv_kernel": mixer.linear_conv_kernel_dim,
                    "ssm.inner_size": mixer.linear_num_value_heads * mixer.linear_value_head_dim,
                    "ssm.state_size": mixer.linear_key_head_dim,
                    "ssm.time_step_rank": mixer.linear_num_value_heads,
                    "ssm.group_count": mixer.linear_num_key_heads,
                    "full_attention_interval": 4,
                    "rope.dimension_sections": [11, 11, 10, 0]}  # fmt: skip
        case "short_conv":
            return {"shortconv.l_cache": mixer.conv_L_cache}
        case "kda":
            return {"ssm.conv_kernel": mixer.short_conv_kernel_size, "kda.head_dim": mixer.head_dim,
                    "kda.gate_lower_bound": -5.0}  # fmt: skip
        case "lightning":
            return {}
        case "rwkv6":
            return {"wkv.head_size": mixer.head_dim, "rescale_every_n_layers": 0,
                    "attention.head_count": 0}  # fmt: skip
        case "rwkv7":
            return {"wkv.head_size": mixer.head_dim, "attention.head_count": 0,
                    "attention.decay_lora_rank": mixer.decay_low_rank_dim,
                    "attention.iclr_lora_rank": mixer.a_low_rank_dim,
                    "attention.value_residual_mix_lora_rank": mixer.v_low_rank_dim,
                    "attention.gate_lora_rank": mixer.gate_low_rank_dim}  # fmt: skip
    raise ValueError(f"no keys for {mixer.kind}")


def _own(spec: ModelSpec, model: GgufModel) -> dict[str, Any]:
    """What single architectures demand."""
    blocks = _blocks(spec, model)
    first: Any = next((b.attention for b in blocks if b.attention is not None), None)
    match model.architecture:
        case "command-r" | "cohere2" | "cohere2moe" | "muse-glimmer":
            return {"logit_scale": 1.0}
        case "minicpm3" | "minimax-01" | "granite" | "granitemoe" | "granitehybrid" | "granite_swa":
            return {"residual_scale": 1.0, "embedding_scale": 1.0, "logit_scale": 1.0,
                    "attention.scale": 1.0}  # fmt: skip
        case "gptneox":
            return {"use_parallel_residual": True}
        case "bert" | "modern-bert":
            return {"attention.causal": False, "pooling_type": 1}
        case "phi3" if spec.vocab_size == 200064:
            return {"rope.dimension_count": 96}
        case "dbrx":
            return {"attention.clamp_kqv": 8.0}
        case "rwkv6":
            mixer: Any = blocks[0].recurrent
            return {"time_mix_extra_dim": mixer.proj_low_rank_dim,
                    "time_decay_extra_dim": mixer.gate_low_rank_dim}  # fmt: skip
        case "kimi-k3":
            moe: Any = blocks[-1].ffn
            return {"attn_res.block_size": 12, "expert_latent_length": moe.latent_size,
                    "activation.situ_beta": 1.0, "activation.situ_linear_beta": 1.0}  # fmt: skip
        case "gemma3n" | "gemma4":
            return _gemma(spec, blocks, first)
        case "t5":
            encoder = encoder_layers(spec)
            attention: Any = spec.blocks[encoder[0].block].attention
            width = attention.head_dim
            return {"attention.relative_buckets_count": spec.relative_attention_num_buckets,
                    "decoder_block_count": len(blocks), "block_count": len(encoder),
                    "feed_forward_length": getattr(blocks[0].ffn, "intermediate_size", 0),
                    "attention.head_count": attention.num_attention_heads,
                    "attention.head_count_kv": attention.num_attention_heads,
                    "attention.key_length": width, "attention.value_length": width,
                    "decoder_start_token_id": 0}  # fmt: skip
        case "deepseek32" | "glm-dsa" | "minimax-m3" | "deepseek4":
            return _indexer(spec, model, first)
        case "qwen2vl":
            return {"rope.dimension_sections": [16, 24, 24, 0]}
        case "qwen3vl" | "qwen3vlmoe":
            taken = getattr(spec.towers.get("deepstack"), "copies", None)
            return {"rope.dimension_sections": [24, 20, 20, 0], "n_deepstack_layers": taken}
        case "llama4":
            return {
                "interleave_moe_layer_step": 2
                if any(not hasattr(b.ffn, "num_experts") for b in blocks)
                else 1
            }
        case "mimo2" | "step35":
            return _by_reach(blocks)
    return {}


def _gemma(spec: ModelSpec, blocks: list[Any], first: Any) -> dict[str, Any]:
    attentions = [b.attention for b in blocks if b.attention is not None]
    near = next((item for item in attentions if item.sliding_window), first).head_dim
    far = next((item for item in attentions if not item.sliding_window), first).head_dim
    tables = spec.per_layer_embeddings
    found: dict[str, Any] = {
        "attention.key_length": far, "attention.value_length": far,
        "attention.key_length_swa": near, "attention.value_length_swa": near,
        "rope.dimension_count": far, "rope.dimension_count_swa": near,
        "rope.freq_base_swa": 10000.0, "final_logit_softcapping": 30.0,
        "attention.shared_kv_layers": sum(item.shared_kv is not None for item in attentions),
        "embedding_length_per_layer_input": tables.hidden_size_per_layer_input if tables else 0,
    }  # fmt: skip
    # Gemma 4's dense layer beside the experts.
    dense = [b.ffn.shared_expert_intermediate_size for b in blocks if hasattr(b.ffn, "num_experts")]
    return found | ({"feed_forward_length": dense[0]} if dense else {})


def _by_reach(blocks: list[Any]) -> dict[str, Any]:
    return {"rope.freq_base_swa": 10000.0,
            "swiglu_clamp_exp": [0.0] * len(blocks), "swiglu_clamp_shexp": [0.0] * len(blocks)}  # fmt: skip


def _indexer(spec: ModelSpec, model: GgufModel, first: Any) -> dict[str, Any]:
    blocks = _blocks(spec, model)
    index: Any = next(
        getattr(b.attention, "indexer", None) or b.attention for b in blocks
        if getattr(b.attention, "indexer", None) or hasattr(b.attention, "index_n_heads")
    )  # fmt: skip
    found = {"attention.indexer.head_count": index.index_n_heads,
             "attention.indexer.key_length": index.index_head_dim,
             "attention.indexer.top_k": index.index_topk,
             "attention.indexer.block_size": 128, "attention.indexer.local_blocks": 1}  # fmt: skip
    if model.architecture == "deepseek4":
        streams: Any = spec.hyper_connections
        rates = {"csa": 4, "hca": 128, "v4_window": 0}
        found |= {
            "expert_gating_func": 4,
            "attention.q_lora_rank": first.q_lora_rank,
            "attention.output_group_count": first.o_groups,
            "attention.output_lora_rank": first.o_lora_rank,
            "attention.compress_rope_freq_base": 10000.0,
            "hyper_connection.count": streams.hc_mult,
            "hyper_connection.sinkhorn_iterations": 20, "hyper_connection.epsilon": 1e-5,
            "hash_layer_count": sum("tid2eid" in item.name for item in model.tensors),
            "attention.compress_ratios": [rates[b.attention.kind] for b in blocks],
            "swiglu_clamp_exp": [0.0] * len(blocks), "swiglu_clamp_shexp": [0.0] * len(blocks),
        }  # fmt: skip
    return found


def with_tensors(model: GgufModel, tensors: Iterable[GgufTensor]) -> GgufModel:
    """A file with other tensors."""
    return replace(model, kinds=tuple(map(kind_of, tensors)))


def tensor(name: str, *shape: int, source: str = "bf16") -> GgufTensor:
    """A tensor for a test."""
    return GgufTensor(name, shape, source, "other")
