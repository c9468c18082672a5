#!/usr/bin/env bash
# kvpress 0.5.5: AdaKV and ThinK at a compression ratio of 0.5 keep every byte of the cache.
#
# One would guess that a press of ratio 0.5 halves the cache, as its question and answer on memory says and as the
# norm's press does. AdaKV drops other tokens of each head, which one tensor of all heads cannot hold: it keeps
# all and hides them while attention runs. ThinK writes zeros over half of the keys' channels and keeps them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "numpy<3" "transformers==5.2.0" "accelerate==1.15.0" "cachetools<6" \
    "datasets==5.2.0" "fire<0.7" "peft==0.21.2" "pandas<3" "requests<3"
"$folder/venv/bin/pip" install -q --no-deps "kvpress==0.5.5"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from kvpress import AdaKVPress, KnormPress, ThinKPress
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

config = LlamaConfig(
    hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=128,
)
model = LlamaForCausalLM(config).eval()
prompt = torch.arange(1000).view(1, -1) % 128
presses = {"knorm": KnormPress(0.5), "adakv of knorm": AdaKVPress(KnormPress(0.5)), "think": ThinKPress(0.5)}
num_bytes = {}
for name, press in presses.items():
    cache = DynamicCache()
    with torch.no_grad(), press(model):
        model(prompt, past_key_values=cache)
    num_bytes[name] = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
print("kvpress", version("kvpress"), "cache of 1,000 tokens, ratio 0.5, in bytes:", num_bytes)
assert num_bytes == {"knorm": 512_000, "adakv of knorm": 1_024_000, "think": 1_024_000}, num_bytes
PYTHON
