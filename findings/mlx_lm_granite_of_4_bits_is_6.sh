#!/usr/bin/env bash
# mlx-lm 0.32.2: Granite converted to 4 bits takes nearly 6 bits a weight.
#
# One would guess 4.5 bits a weight, as every other model converted with "-q" has: 4 bits and a scale and a bias
# for each group of 64. Granite's class keeps the output projection of attention, the down projection and the
# head in 8 bits, which are half of a model's matrices.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib import import_module
from importlib.metadata import version

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import quantize_model

SIZES = {
    "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "max_position_embeddings": 512, "tie_word_embeddings": False, "logits_scaling": 1.0,
    "attention_multiplier": 1.0, "embedding_multiplier": 1.0, "residual_multiplier": 1.0,
    "attention_bias": False, "mlp_bias": False, "head_dim": 64,
}
bits = {}
for name in ("granite", "llama"):
    module = import_module(f"mlx_lm.models.{name}")
    model = module.Model(module.ModelArgs.from_dict({"model_type": name, **SIZES}))
    model.set_dtype(mx.bfloat16)
    weights = sum(value.size for _, value in tree_flatten(model.parameters()))
    rule = getattr(model, "quant_predicate", None)
    model, _ = quantize_model(model, dict(SIZES), 64, 4, quant_predicate=rule)
    num_bytes = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
    bits[name] = round(8 * num_bytes / weights, 2)
print("mlx-lm", version("mlx-lm"), "bits a weight at -q 4:", bits)
assert bits["llama"] < 4.6 and bits["granite"] > 5.5, bits
PYTHON
