#!/usr/bin/env bash
# transformers 5.23.0: T5ForConditionalGeneration ties its head although tie_word_embeddings is false.
#
# flan-t5's and mT5's published files store lm_head.weight apart from the token table, and their config says
# tie_word_embeddings: false. The class ties the two all the same: the model that is built has one matrix less
# than the checkpoint (65,798,144 parameters for flan-t5-xl).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers

config = transformers.T5Config(vocab_size=1000, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4,
                               feed_forward_proj="gated-gelu", tie_word_embeddings=False)
with torch.device("meta"):
    model = transformers.T5ForConditionalGeneration(config)
model.tie_weights()
same = model.lm_head.weight is model.shared.weight
print("transformers", transformers.__version__, "tie_word_embeddings=False, head is the token table:", same)
assert same
PYTHON
