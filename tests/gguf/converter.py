"""Holds kvcalc's GGUF tensor lists against llama.cpp's own converter, on small random models.

    python -m tests.gguf.converter FOLDER [MODEL_TYPE...]

FOLDER is llama.cpp's source, release v0.5.0 (vendor/llama.cpp in llama-cpp-python 0.3.36's source
archive). For every model_type below, transformers makes a small random model, the converter's class
for it names, fuses, splits and stacks its tensors (no file is written, no vocabulary needed), and
kvcalc reads the same config: names, shapes and the types of a 16-bit file have to be the same. What
llama.cpp's library makes of such tensors is tests/gguf/sweep.py's affair.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import spec_from_config
from kvcalc.gguf.model import gguf_model

SMALL = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "intermediate_size": 96, "vocab_size": 128, "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}  # fmt: skip
_MOE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_ROUTED = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
           "first_k_dense_replace": 1, "n_shared_experts": 1}  # fmt: skip
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_SHARED = {**_MOE, "shared_expert_intermediate_size": 32}
_DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
          "linear_value_head_dim": 16}  # fmt: skip
_LATENT = {"kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
           "num_key_value_heads": 4, "head_dim": 8}  # fmt: skip
_CONV = {"layer_types": ["conv", "conv", "full_attention", "conv"], "tie_word_embeddings": True}
_OLD = ("head_dim", "intermediate_size", "num_key_value_heads", "tie_word_embeddings")
# model_type -> what differs from SMALL; None takes a field out.
MODELS: dict[str, dict[str, Any]] = {
    **{name: {} for name in (
        "llama", "mistral", "qwen3", "olmo2", "seed_oss", "apertus", "granite",
        "nemotron", "arcee")},
    **{name: {"pad_token_id": 0} for name in ("smollm3", "glm4", "glm", "phi3")},
    **{name: {"head_dim": None} for name in ("qwen2", "phi", "olmo", "stablelm", "starcoder2")},
    **{name: dict.fromkeys(_OLD) for name in ("bloom", "gpt2")},
    "falcon": {**dict.fromkeys(_OLD), "new_decoder_architecture": True, "num_kv_heads": 2},
    "gpt_neox": {"head_dim": None, "num_key_value_heads": None},
    "cohere": {"head_dim": None, "tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True},
    "qwen3_moe": _MOE, "qwen2_moe": _SHARED, "mixtral": _LOCAL,
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "qwen3_next": _SHARED | _DELTA, "qwen3_5_text": _DELTA, "qwen3_5_moe_text": _SHARED | _DELTA,
    "glm4_moe": _ROUTED, "dots1": {**_ROUTED, "n_group": 1, "topk_group": 1},
    "deepseek_v2": {**_ROUTED, **_LATENT, "q_lora_rank": None},
    "deepseek_v3": {**_ROUTED, **_LATENT, "q_lora_rank": 32, "n_group": 2, "topk_group": 1},
    "gpt_oss": _LOCAL, "minimax_m2": _LOCAL, "granitemoe": {**_LOCAL, "head_dim": None},
    "llama4_text": {"num_local_experts": 4, "intermediate_size_mlp": 96},
    "hunyuan_v1_moe": {"num_experts": 4, "moe_topk": 2},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32,
                     "moe_num_shared_experts": 1},
    "granitemoehybrid": {**_LOCAL, "shared_intermediate_size": 48, "mamba_n_heads": 8,
                         "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1,
                         "layer_types": ["mamba", "attention", "mamba", "mamba"]},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16,
                  "mamba_n_groups": 1},
    "nemotron_h": {"layers_block_type": ["mamba", "mlp", "mamba", "attention"], "mamba_num_heads": 8,
                   "mamba_head_dim": 16, "ssm_state_size": 16, "n_groups": 2},
    "jamba": {"num_experts": 4, "num_experts_per_tok": 2, "attn_layer_period": 4, "head_dim": None,
              "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
              "mamba_d_state": 8, "mamba_dt_rank": 8},
    "lfm2": {**_CONV, "head_dim": None},
    "lfm2_moe": {**_CONV, **_MOE, "num_experts": 4, "num_dense_layers": 1, "head_dim": None},
    "t5": {**dict.fromkeys(SMALL), "vocab_size": 128, "d_model": 64, "d_kv": 16, "d_ff": 96,
           "num_heads": 4, "num_layers": 4, "tie_word_embeddings": False},
}  # fmt: skip

Tensors = dict[str, tuple[tuple[int, ...], str]]


def converted(model_type: str, changes: dict[str, Any], folder: Path) -> Tensors:
    """What the converter writes of a small random model whose files go to a folder."""
    import conversion
    import gguf
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kept = {key: value for key, value in {**SMALL, **changes}.items()
            if value is not None or key == "q_lora_rank"}  # fmt: skip
    config = AutoConfig.for_model(model_type, **kept)
    maker = AutoModelForSeq2SeqLM if model_type == "t5" else AutoModelForCausalLM
    model = maker.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    converter = conversion.get_model_class(type(model).__name__)
    converter.no_mtp = True
    made = converter(folder, gguf.LlamaFileType.MOSTLY_BF16, folder / "out.gguf")
    made.set_vocab = lambda: None
    made.prepare_tensors()
    return {
        name: (squeezed(tensor.shape), tensor.dtype.name.lower())
        for part in made.gguf_writer.tensors
        for name, tensor in part.items()
    }


def listed(folder: Path) -> Tensors:
    """What kvcalc lists for the same config."""
    values = json.loads((folder / "config.json").read_text("utf-8"))
    spec = spec_from_config(values, "small", "a random model").spec
    return {item.name: (squeezed(item.shape), item.source) for item in gguf_model(spec).tensors}


def squeezed(shape: Any) -> tuple[int, ...]:
    """A shape without axes of one."""
    return tuple(int(size) for size in shape if size != 1)


def main() -> int:
    """Compare every model_type, or those that are named. Returns 1 where something differs."""
    source, *names = sys.argv[1:]
    sys.path[:0] = [f"{source}/gguf-py", source]
    wrong = 0
    for model_type in names or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            theirs = converted(model_type, MODELS[model_type], Path(folder))
            ours = listed(Path(folder))
        differ = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
        wrong += bool(differ)
        first = [(name, theirs.get(name), ours.get(name)) for name in differ[:3]]
        print(f"{model_type}: {first or f'{len(ours)} tensors agree'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
