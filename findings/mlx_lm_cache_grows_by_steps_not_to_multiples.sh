#!/usr/bin/env bash
# mlx-lm 0.32.2: a KVCache does not hold a multiple of its step of 256 rows.
#
# One would guess that 601 cached tokens take the next multiple of 256, 768 rows. The buffer is cut to the
# tokens that it holds before whole steps are added: after 301 tokens and then 300 it has 813 rows.
# Estimates of a chat's memory that round the length up to 256 are therefore short after every odd prompt.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import mlx.core as mx
from mlx_lm.models.cache import KVCache

cache = KVCache()
rows = []
for tokens in (301, 300):
    chunk = mx.zeros((1, 2, tokens, 64), mx.bfloat16)
    cache.update_and_fetch(chunk, chunk)
    rows.append((cache.offset, cache.keys.shape[2]))
print("mlx-lm", version("mlx-lm"), "(tokens, rows held):", rows)
assert rows == [(301, 512), (601, 813)], rows
PYTHON
