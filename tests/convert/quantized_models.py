"""Small models whose quantised checkpoints the oracle makes: a config of each kind of model."""

from typing import Any

Config = dict[str, Any]

_DENSE: Config = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 512, "tie_word_embeddings": False,
    "dtype": "bfloat16",
}  # fmt: skip

MODELS: dict[str, Config] = {
    "llama": {**_DENSE, "architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    # Biases, and a table that is the head as well.
    "qwen2": {
        **{key: value for key, value in _DENSE.items() if key != "head_dim"},
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True,
    },
    # qkv_proj and gate_up_proj.
    "phi3": {
        **{key: value for key, value in _DENSE.items() if key != "head_dim"},
        "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "pad_token_id": 0,
    },
    "qwen3_moe": {
        **_DENSE, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128,
        "decoder_sparse_step": 1, "mlp_only_layers": [1],
    },
    "deepseek_v3": {
        **{key: value for key, value in _DENSE.items() if key != "head_dim"},
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "num_key_value_heads": 8, "q_lora_rank": 128, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 32, "v_head_dim": 32, "n_routed_experts": 8, "num_experts_per_tok": 2,
        "n_shared_experts": 1, "moe_intermediate_size": 128, "first_k_dense_replace": 1,
        "n_group": 2, "topk_group": 1, "num_nextn_predict_layers": 0,
    },
    "qwen3_next": {
        **_DENSE, "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next",
        "linear_num_key_heads": 4, "linear_num_value_heads": 8, "linear_key_head_dim": 32,
        "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4, "num_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 128, "mlp_only_layers": [1],
        "shared_expert_intermediate_size": 128, "decoder_sparse_step": 1,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "gpt_oss": {
        **_DENSE, "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss",
        "num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 256,
        "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 128,
    },
}  # fmt: skip


def scheme(
    bits: int = 4, kind: str = "int", strategy: str = "group", size: int | None = None, **more: Any
) -> Config:
    """The weights of a group of compressed-tensors."""
    return {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": size,
            "symmetric": True, "dynamic": False, **more}  # fmt: skip


def compressed(
    weights: Config, inputs: Config | None = None, packing: str = "pack-quantized",
    ignore: tuple[str, ...] = ("lm_head",), targets: tuple[str, ...] = ("Linear",),
) -> Config:  # fmt: skip
    """A quantization_config of compressed-tensors with one group."""
    group = {
        "targets": [*targets],
        "weights": weights,
        "input_activations": inputs,
        "format": packing,
    }
    return {"quant_method": "compressed-tensors", "format": packing, "ignore": [*ignore],
            "quantization_status": "compressed", "config_groups": {"group_0": group}}  # fmt: skip


_TOKENS = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True, "symmetric": True}
_TENSOR = {
    "num_bits": 8,
    "type": "float",
    "strategy": "tensor",
    "dynamic": False,
    "symmetric": True,
}
_FP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16,
        "dynamic": "local", "symmetric": True}  # fmt: skip
_FLOAT = "float-quantized"


def _groups(
    *parts: tuple[tuple[str, ...], Config, str], ignore: tuple[str, ...] = ("lm_head",)
) -> Config:
    """A quantization_config of compressed-tensors with several groups: targets, weights, packing."""
    made = compressed(parts[0][1], None, "mixed-precision", ignore)
    made["config_groups"] = {
        f"group_{index}": {"targets": [*targets], "weights": weights, "input_activations": None,
                           "format": packing}
        for index, (targets, weights, packing) in enumerate(parts)
    }  # fmt: skip
    return made


_W4, _W8 = scheme(size=64), scheme(8, "float", "channel")
# What a row is called -> the scheme. Each is made of every model whose experts it can take.
COMPRESSED: dict[str, Config] = {
    "w4a16 g128": compressed(scheme(size=128)),
    "w4a16 g32 asymmetric": compressed(scheme(size=32, symmetric=False)),
    "w4a16 channel": compressed(scheme(strategy="channel")),
    "w4a16 channel asymmetric": compressed(scheme(strategy="channel", symmetric=False)),
    "w8a16 g128": compressed(scheme(8, size=128)),
    "w4a16 g64 act-order": compressed(scheme(size=64, actorder="group")),
    "w4a16 g64 weight order": compressed(scheme(size=64, actorder="weight")),
    "w4a16 fp32 scales": compressed(scheme(size=64, scale_dtype="torch.float32")),
    "fp8 dynamic": compressed(scheme(8, "float", "channel"), _TOKENS, _FLOAT),
    "fp8 tensor static": compressed(scheme(8, "float", "tensor"), _TENSOR, _FLOAT),
    "fp8 channel static": compressed(scheme(8, "float", "channel"), _TENSOR, _FLOAT),
    "fp8 block": compressed(
        scheme(8, "float", "block", block_structure=[128, 128]), None, _FLOAT
    ),
    "int8 w8a8": compressed(
        scheme(8, "int", "channel"), {**_TOKENS, "type": "int"}, "int-quantized"
    ),
    "int8 w8a8 asymmetric": compressed(
        scheme(8, "int", "channel"),
        {**_TENSOR, "type": "int", "symmetric": False}, "int-quantized",
    ),
    "int8 tensor": compressed(scheme(8, "int", "tensor"), None, "int-quantized"),
    "nvfp4": compressed(scheme(4, "float", "tensor_group", 16), _FP4, "nvfp4-pack-quantized"),
    "nvfp4a16": compressed(scheme(4, "float", "tensor_group", 16), None, "nvfp4-pack-quantized"),
    "mxfp4": compressed(scheme(4, "float", "group", 32, scale_dtype="torch.uint8"), None,
                        "mxfp4-pack-quantized"),
    "mxfp8": compressed(scheme(8, "float", "group", 32, scale_dtype="torch.uint8"), None,
                        "mxfp8-quantized"),
    "re: and a layer": compressed(
        scheme(size=128), ignore=("re:.*lm_head", "model.layers.1.self_attn.o_proj", "re:.*down_proj$"),
    ),
    "targets by name": compressed(
        scheme(size=128), targets=("re:.*self_attn\\.(q|k|v|o|qkv)_proj$",),
    ),
    "only a parent": compressed(scheme(size=128), ignore=("lm_head", "model.layers.0.self_attn")),
    "head too": compressed(scheme(size=128), ignore=()),
    "all, then names": _groups((("Linear",), _W4, "pack-quantized"),
                               (("re:.*self_attn.*",), _W8, _FLOAT)),
    "names that overlap": _groups((("re:.*proj$",), _W4, "pack-quantized"),
                                  (("re:.*down_proj$", "model.layers.0.self_attn.o_proj"), _W8, _FLOAT)),
    "names that overlap, turned": _groups((("re:.*down_proj$",), _W8, _FLOAT),
                                          (("re:.*(down|o)_proj$",), _W4, "pack-quantized")),
}  # fmt: skip
