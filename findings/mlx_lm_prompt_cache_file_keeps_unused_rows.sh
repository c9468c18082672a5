#!/usr/bin/env bash
# mlx-lm 0.32.2: the file of a prompt cache holds the rows that no token has filled yet.
#
# One would guess that a saved prompt takes the bytes of its tokens. `save_prompt_cache` writes a cache's state,
# which is its whole buffers: 300 tokens read in one go have 512 rows, and those are written and read back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - "$folder/prompt.safetensors" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
from mlx_lm.models import llama
from mlx_lm.models.cache import load_prompt_cache, make_prompt_cache, save_prompt_cache

SIZES = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}
NUM_TOKENS = 300
model = llama.Model(llama.ModelArgs.from_dict(SIZES))
model.set_dtype(mx.bfloat16)
cache = make_prompt_cache(model)
mx.eval(model(mx.zeros((1, NUM_TOKENS), mx.int32), cache=cache))
save_prompt_cache(sys.argv[1], cache)
file_bytes = Path(sys.argv[1]).stat().st_size
a_token = 3 * 2 * 2 * 32 * 2
back = load_prompt_cache(sys.argv[1])
print("mlx-lm", version("mlx-lm"), "the file:", file_bytes, "the tokens:", NUM_TOKENS * a_token,
      "rows:", cache[0].state[0].shape, "read back:", back[0].keys.shape)
assert file_bytes > 1.5 * NUM_TOKENS * a_token, file_bytes
PYTHON
