#!/usr/bin/env bash
# transformers 5.23.0: BigBirdPegasusForCausalLM has a head of its own although the config ties it.
#
# One would guess that tie_word_embeddings=True ties the head to the token table, as it does in every other
# decoder-only class of an encoder-decoder (BartForCausalLM here). BigBirdPegasus's has two parameters of
# vocab_size x d_model after tie_weights(), so a count from the config is short by one table.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers

SIZES = {"vocab_size": 1000, "d_model": 32, "decoder_layers": 1, "decoder_attention_heads": 2,
         "decoder_ffn_dim": 64, "tie_word_embeddings": True}
tables = {}
for name in ("Bart", "BigBirdPegasus"):
    config = getattr(transformers, f"{name}Config")(**SIZES)
    with torch.device("meta"):
        model = getattr(transformers, f"{name}ForCausalLM")(config)
    model.tie_weights()
    tables[name] = sum(p.numel() == 1000 * 32 for p in model.parameters())
print("transformers", transformers.__version__, "tables of the vocabulary:", tables)
assert tables == {"Bart": 1, "BigBirdPegasus": 2}, tables
PYTHON
