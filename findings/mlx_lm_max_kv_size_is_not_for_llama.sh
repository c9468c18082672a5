#!/usr/bin/env bash
# mlx-lm 0.32.2: --max-kv-size bounds the cache of Qwen 3 and does nothing for Llama.
#
# make_prompt_cache makes rotating caches of max_kv_size rows only for classes without a make_cache of their
# own. Llama's class has one (for its sliding-window variants), so the bound is dropped without a word, and a
# Llama or Mistral chat keeps growing where a Qwen chat stays at the bound.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib import import_module
from importlib.metadata import version

from mlx_lm.models.cache import make_prompt_cache

SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 256, "rms_norm_eps": 1e-6, "head_dim": 16,
    "rope_theta": 10000.0, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}
kinds = {}
for name in ("qwen3", "llama"):
    module = import_module(f"mlx_lm.models.{name}")
    model = module.Model(module.ModelArgs.from_dict({"model_type": name, **SIZES}))
    kinds[name] = type(make_prompt_cache(model, max_kv_size=512)[0]).__name__
print("mlx-lm", version("mlx-lm"), "max_kv_size=512:", kinds)
assert kinds == {"qwen3": "RotatingKVCache", "llama": "KVCache"}, kinds
PYTHON
