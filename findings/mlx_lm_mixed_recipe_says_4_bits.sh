#!/usr/bin/env bash
# mlx-lm 0.32.2: a model quantised by the recipe mixed_3_6 says "bits": 4, and loses the class's own rule.
#
# One would read the format of a converted model in its config.json. The top level of "quantization" has the
# defaults (4 bits in groups of 64) whatever the recipe made; what the matrices are stands matrix by matrix
# below it. And a recipe takes the place of the class's rule: the routers of a mixture of experts, which plain
# "-q" keeps in 8 bits, get 3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "mlx[cpu]==0.32.4" "mlx-lm==0.32.2"
"$folder/venv/bin/python" - <<'PYTHON'
from collections import Counter
from importlib.metadata import version

import mlx.core as mx
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.models import qwen3_moe
from mlx_lm.utils import quantize_model

SIZES = {
    "model_type": "qwen3_moe", "hidden_size": 128, "num_hidden_layers": 8, "intermediate_size": 256,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "rms_norm_eps": 1e-6,
    "vocab_size": 256, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "moe_intermediate_size": 128, "rope_theta": 10000.0,
    "tie_word_embeddings": False, "max_position_embeddings": 512, "norm_topk_prob": True,
}
said = {}
for name in ("plain", "mixed_3_6"):
    model = qwen3_moe.Model(qwen3_moe.ModelArgs.from_dict(SIZES))
    mx.eval(model.parameters())
    rule = model.quant_predicate if name == "plain" else mixed_quant_predicate_builder(name, model)
    _, config = quantize_model(model, dict(SIZES), 64, 4, quant_predicate=rule)
    found = config["quantization"]
    routers = {v["bits"] for k, v in found.items() if isinstance(v, dict) and k.endswith("mlp.gate")}
    each = Counter(v["bits"] for v in found.values() if isinstance(v, dict))
    said[name] = (found["bits"], dict(each), routers)
print("mlx-lm", version("mlx-lm"), "(top level, matrices by bits, routers):", said)
assert said["plain"][0] == said["mixed_3_6"][0] == 4, said
assert set(said["mixed_3_6"][1]) == {3, 6}, said
assert (said["plain"][2], said["mixed_3_6"][2]) == ({8}, {3}), said
PYTHON
