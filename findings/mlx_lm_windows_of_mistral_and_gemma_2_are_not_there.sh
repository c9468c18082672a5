#!/usr/bin/env bash
# mlx-lm 0.32.2: Mistral's, Phi-3's and Gemma 2's windows do not bound the cache.
#
# The configs state a sliding window, and one would guess a rotating cache as Gemma 3 has in the same package.
# Their classes give every layer a cache that keeps all tokens: a Mistral 7B v0.1 takes 4 GiB at 32k, not half a
# GiB, and attention reaches back over tokens that the model was trained not to see.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib import import_module
from importlib.metadata import version

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

WINDOW, TOKENS = 16, 96
SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 256, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "max_position_embeddings": 4096, "sliding_window": WINDOW,
    "query_pre_attn_scalar": 16, "tie_word_embeddings": True, "sliding_window_pattern": 6,
}
# The model_type of the config -> the class that mlx-lm takes for it.
CLASSES = {"mistral": "llama", "phi3": "phi3", "gemma2": "gemma2", "gemma3_text": "gemma3_text"}
held = {}
for model_type, name in CLASSES.items():
    module = import_module(f"mlx_lm.models.{name}")
    model = module.Model(module.ModelArgs.from_dict({"model_type": model_type, **SIZES}))
    cache = make_prompt_cache(model)
    mx.eval(model(mx.zeros((1, TOKENS), mx.int32), cache=cache))
    mx.eval(model(mx.zeros((1, 1), mx.int32), cache=cache))
    held[model_type] = [layer.state[0].shape[2] for layer in cache]
print("mlx-lm", version("mlx-lm"), f"rows held after {TOKENS + 1} tokens, window {WINDOW}:", held)
for model_type in ("mistral", "phi3", "gemma2"):
    assert min(held[model_type]) > TOKENS, held
assert min(held["gemma3_text"]) == WINDOW < TOKENS < max(held["gemma3_text"]), held
PYTHON
