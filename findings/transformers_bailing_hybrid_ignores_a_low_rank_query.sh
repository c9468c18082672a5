#!/usr/bin/env bash
# transformers 5.23.0: BailingHybrid takes q_lora_rank from a config and builds a full query matrix all the same.
#
# Its attention is DeepSeek-V3's, where the same key puts two matrices and a norm in place of one. Here the config
# keeps the value as an attribute that no class reads, so parameters counted with the class are those of another
# model than the files of Ling-3.0-tiny, whose query is of low rank.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

SMALL = {
    "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16, "v_head_dim": 32, "num_experts_per_tok": 2, "moe_intermediate_size": 128,
    "first_k_dense_replace": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
queries = {}
for model_type in ("bailing_hybrid", "deepseek_v3"):
    for rank in (None, 96):
        config = AutoConfig.for_model(model_type, **SMALL, q_lora_rank=rank)
        assert config.q_lora_rank == rank
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        names = {name.split(".")[-2] for name, _ in model.named_parameters() if ".q_" in name}
        queries[model_type, rank] = sorted(names)
print("transformers", transformers.__version__, queries)
low_rank = ["q_a_layernorm", "q_a_proj", "q_b_proj"]
assert queries["deepseek_v3", None] == ["q_proj"] and queries["deepseek_v3", 96] == low_rank, queries
assert queries["bailing_hybrid", None] == queries["bailing_hybrid", 96] == ["q_proj"], queries
PYTHON
