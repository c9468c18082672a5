#!/usr/bin/env bash
# transformers 5.23.0 with bitsandbytes 0.50.2: get_memory_footprint() of a 4-bit model leaves out its scales.
#
# One would guess that the method which sums parameters and buffers counts what a quantised model holds. The
# absolute maxima, one float32 for 64 weights, are neither: they hang on the parameter's quant_state. An nf4 matrix
# takes 4.5 bits a weight and is counted with 4, so the file that save_pretrained writes is larger than the
# footprint, and double quantisation, which shrinks the model, changes the footprint by nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0" "accelerate==1.15.0"
"$folder/venv/bin/pip" install -q --no-deps "bitsandbytes==0.50.2"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

config = LlamaConfig(
    hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
    vocab_size=512,
)
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained("model")
seen = {}
for nested in (False, True):
    rule = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=nested)
    model = LlamaForCausalLM.from_pretrained(
        "model", quantization_config=rule, dtype=torch.bfloat16, device_map="cpu"
    )
    states = [weight.quant_state for weight in model.parameters() if hasattr(weight, "quant_state")]
    scales = sum(state.absmax.nbytes + (state.state2.absmax.nbytes if nested else 0) for state in states)
    packed = sum(weight.nbytes for weight in model.parameters() if hasattr(weight, "quant_state"))
    seen["double" if nested else "single"] = (model.get_memory_footprint(), packed, scales)
print("transformers", version("transformers"), "bitsandbytes", version("bitsandbytes"),
      "footprint, packed weights and scales in bytes:", seen)
(single, packed, scales), (double, _, nested_scales) = seen["single"], seen["double"]
assert single == double and packed * 2 // 64 * 4 == scales == packed // 8, seen
assert nested_scales < scales / 3 and packed < single < packed + scales + 600_000, seen
PYTHON
