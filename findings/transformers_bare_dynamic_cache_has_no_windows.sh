#!/usr/bin/env bash
# transformers 5.23.0: a DynamicCache that the user makes keeps every token of every windowed layer.
#
# One would guess that `past_key_values=DynamicCache()` is what a model makes for itself where it is given no cache,
# and that a model's windows are its own affair. The windows live in the cache: made without `config=`, it has
# none, generate() takes it as it is, and a Gemma 3 whose layers need 15 tokens keeps 201 in each.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import DynamicCache, Gemma3ForCausalLM, Gemma3TextConfig

config = Gemma3TextConfig(
    hidden_size=64, intermediate_size=64, num_hidden_layers=6, num_attention_heads=2, num_key_value_heads=1,
    head_dim=32, vocab_size=128, sliding_window=16, eos_token_id=None,
)
model = Gemma3ForCausalLM(config).eval()
prompt = torch.ones(1, 200, dtype=torch.long)
caches = {"none given": None, "DynamicCache()": DynamicCache(), "DynamicCache(config=)": DynamicCache(config=config)}
kept = {}
for name, cache in caches.items():
    answer = model.generate(prompt, past_key_values=cache, max_new_tokens=2, return_dict_in_generate=True)
    kept[name] = [layer.keys.shape[-2] for layer in answer.past_key_values.layers]
print("transformers", transformers.__version__, "tokens kept by layer after 201, window 16:", kept)
assert kept["none given"] == kept["DynamicCache(config=)"] == [15] * 5 + [201], kept
assert kept["DynamicCache()"] == [201] * 6, kept
PYTHON
