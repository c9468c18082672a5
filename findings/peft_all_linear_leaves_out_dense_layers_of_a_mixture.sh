#!/usr/bin/env bash
# peft 0.21.2: "all-linear" on a mixture of experts leaves out the dense feed-forward layers.
#
# One would guess that target_modules="all-linear" adapts every Linear but the head. On Qwen3-MoE (transformers
# 5.23.0, whose experts are one parameter) the names gate_proj, up_proj and down_proj are taken for the experts'
# parameters, and a dense layer's matrices of those names get no adapter; no message says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0" "peft==0.21.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

config = Qwen3MoeConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2,
    mlp_only_layers=[0], decoder_sparse_step=1,
)
model = Qwen3MoeForCausalLM(config)
linear = {name for name, part in model.named_modules() if type(part) is torch.nn.Linear} - {"lm_head"}
adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
prefix = "base_model.model."
reached = {name.removeprefix(prefix).rsplit(".lora_A", 1)[0]
           for name, part in adapted.named_modules() if ".lora_A.default" in name}
left_out = sorted(linear - reached)
print("peft", version("peft"), "Linear layers without an adapter:", left_out)
assert left_out == [f"model.layers.0.mlp.{name}_proj" for name in ("down", "gate", "up")], left_out
PYTHON
