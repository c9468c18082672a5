#!/usr/bin/env bash
# mlx-lm 0.32.2: a batch of unequal prompts takes the longest one's rows for each.
#
# One would guess that prompts of 300 and of 10 tokens keep 310 rows, or their own buffers. BatchGenerator puts
# them in one array and pads the shorter on its left: both take the longer one's rows as long as both run.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.models import cache as caches
from mlx_lm.models import llama

SIZES = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 512,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}
model = llama.Model(llama.ModelArgs.from_dict(SIZES))
model.set_dtype(mx.bfloat16)
seen = {}
real = caches.BatchKVCache.update_and_fetch


def watched(self, keys, values):
    out = real(self, keys, values)
    seen["rows"] = self.keys.shape
    return out


caches.BatchKVCache.update_and_fetch = watched
rows = {}
for lengths in ((300, 300), (300, 10)):
    batch = BatchGenerator(model, max_tokens=3)
    batch.insert([[1] * length for length in lengths])
    for _ in range(2):
        batch.next()
    rows[lengths] = tuple(seen["rows"])
    batch.close()
print("mlx-lm", version("mlx-lm"), "rows kept of two prompts:", rows)
assert rows[300, 10] == rows[300, 300] and rows[300, 10][0] == 2, rows
PYTHON
