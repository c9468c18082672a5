#!/usr/bin/env bash
# mlx-lm 0.32.2: DeepSeek-V2's class caches keys and values of every head, DeepSeek-V3's the latent.
#
# Both models have multi-head latent attention, whose point is a cache of one latent and one rotary key per
# token. mlx-lm's class of V2 expands them before it caches: a V2-Lite takes 8.9 times what the latent would.
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

YARN = {"type": "yarn", "factor": 1.0, "original_max_position_embeddings": 512, "mscale": 1.0,
        "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1}
SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 256, "kv_lora_rank": 32,
    "q_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32,
    "n_routed_experts": None, "n_shared_experts": None, "first_k_dense_replace": 1,
    "num_experts_per_tok": 1, "max_position_embeddings": 512, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
    "attention_bias": False, "rope_scaling": YARN, "topk_group": 1, "n_group": 1,
    "routed_scaling_factor": 1.0, "moe_layer_freq": 1,
}
widths = {}
for name in ("deepseek_v2", "deepseek_v3"):
    module = import_module(f"mlx_lm.models.{name}")
    model = module.Model(module.ModelArgs.from_dict({"model_type": name, **SIZES}))
    cache = make_prompt_cache(model)
    mx.eval(model(mx.array([[1, 2, 3]]), cache=cache))
    kept = (cache[0].keys, cache[0].values)
    widths[name] = sum(array.shape[1] * array.shape[3] for array in kept)
print("mlx-lm", version("mlx-lm"), "values cached of a token and layer:", widths)
assert widths == {"deepseek_v2": 4 * (48 + 32), "deepseek_v3": 32 + 16}, widths
PYTHON
