#!/usr/bin/env bash
# mlx-lm 0.32.2: Jamba holds the states of every prompt token through the whole answer.
#
# One would guess that a Mamba layer holds one state, as its cache's nbytes say. The state that is kept is a view of
# the states of all positions of the prompt, and the view keeps the whole alive: after 600 tokens memory is a hundred
# times what the cache's arrays add up to, and further tokens free none of it. (float32: on a CPU, mixtures run in
# nothing else.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import mlx.core as mx
from mlx_lm.models import jamba
from mlx_lm.models.cache import make_prompt_cache

sizes = {
    "model_type": "jamba", "hidden_size": 384, "intermediate_size": 320, "num_hidden_layers": 6,
    "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 700, "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5, "attn_layer_offset": 2, "attn_layer_period": 4, "expert_layer_offset": 1,
    "expert_layer_period": 2, "mamba_d_conv": 4, "mamba_d_state": 16, "mamba_expand": 2, "num_experts": 4,
    "num_experts_per_tok": 2, "mamba_dt_rank": 24,
}
model = jamba.Model(jamba.ModelArgs.from_dict(sizes))
model.set_dtype(mx.float32)
mx.eval(model.parameters())
before, cache = mx.get_active_memory(), make_prompt_cache(model)
seen = []
for tokens in (600, 1, 1, 1):
    logits = model(mx.zeros((1, tokens), mx.int32), cache=cache)
    mx.eval(logits, [layer.state for layer in cache])
    del logits
    mx.clear_cache()
    seen.append((mx.get_active_memory() - before, sum(layer.nbytes for layer in cache)))
states = 5 * 600 * 768 * 16 * 4
print("mlx-lm", version("mlx-lm"), "bytes held and nbytes of the caches, step by step:", seen,
      "the states of all 600 tokens:", states)
assert all(held > states > 100 * counted for held, counted in seen), seen
PYTHON
