#!/usr/bin/env bash
# mlx-lm 0.32.2: --kv-bits works for Gemma 3 and gpt-oss until the cache is long enough to be quantised, then raises.
#
# One would guess that a model whose windows cannot be quantised is refused at once, or keeps them in 16 bits. The cache
# is left alone up to --quantized-kv-start (5,000 tokens on the command line) and quantised in the middle of what is
# then running: a windowed layer raises NotImplementedError. Short prompts never show it; Llama and Qwen 3 go on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib import import_module
from importlib.metadata import version

import mlx.core as mx
from mlx_lm.generate import generate_step

START = 20  # in place of 5,000
SIZES = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 6, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "max_position_embeddings": 4096, "tie_word_embeddings": True, "sliding_window": 16,
    "sliding_window_pattern": 6, "query_pre_attn_scalar": 64, "rope_local_base_freq": 10000.0,
    "rope_global_base_freq": 10000.0,
}
seen = {}
for name in ("llama", "qwen3", "gemma3_text", "gpt_oss"):
    module = import_module(f"mlx_lm.models.{name}")
    model = module.Model(module.ModelArgs.from_dict({"model_type": name, **SIZES}))
    for prompt in (8, 30):
        steps = generate_step(mx.array([1] * prompt), model, max_tokens=4, kv_bits=8, quantized_kv_start=START)
        try:
            seen[name, prompt] = len(list(steps))
        except NotImplementedError as error:
            seen[name, prompt] = str(error)
print("mlx-lm", version("mlx-lm"), "tokens after prompts of 8 and 30, quantised from 20 on:", seen)
assert seen["llama", 8] == seen["llama", 30] == seen["qwen3", 30] == 4, seen
assert seen["gemma3_text", 8] == seen["gpt_oss", 8] == 4, seen
assert seen["gemma3_text", 30] == seen["gpt_oss", 30] == "RotatingKVCache Quantization NYI", seen
PYTHON
