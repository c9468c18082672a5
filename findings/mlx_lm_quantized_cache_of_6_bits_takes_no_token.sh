#!/usr/bin/env bash
# mlx-lm 0.32.2: a QuantizedKVCache made for 5 or 6 bits raises on its first token; one that is converted works.
#
# The class sizes its buffers by whole values per 32-bit word (32 // bits), but mlx packs 5 and 6 bits densely.
# --kv-bits 6 works, because generate converts a filled cache instead of making an empty one, so a program that
# makes the class itself meets an error that the command never shows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import mlx.core as mx
from mlx_lm.models.cache import KVCache, QuantizedKVCache

rows = mx.random.normal((1, 2, 8, 128)).astype(mx.bfloat16)
made, converted = {}, {}
for bits in (8, 6, 5, 4):
    try:
        QuantizedKVCache(group_size=64, bits=bits).update_and_fetch(rows, rows)
        made[bits] = "takes tokens"
    except ValueError:
        made[bits] = "ValueError"
    cache = KVCache()
    cache.update_and_fetch(rows, rows)
    cache.to_quantized(64, bits).update_and_fetch(rows, rows)
    converted[bits] = "takes tokens"
print("mlx-lm", version("mlx-lm"), "made empty:", made, "converted:", converted)
assert made == {8: "takes tokens", 6: "ValueError", 5: "ValueError", 4: "takes tokens"}, made
PYTHON
