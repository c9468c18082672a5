#!/usr/bin/env bash
# transformers 5.23.0: BertForMaskedLM with tie_word_embeddings=False keeps the vocabulary's bias twice.
#
# One would guess that untying the head adds one matrix of vocab_size x hidden_size. It adds a second bias of
# vocab_size too: cls.predictions.bias and cls.predictions.decoder.bias are one parameter in the tied model
# and two in the untied one, so a count of parameters from the config is short by vocab_size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers

SIZES = {"vocab_size": 1000, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 64}
totals = {}
for tied in (True, False):
    config = transformers.BertConfig(**SIZES, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = transformers.BertForMaskedLM(config)
    model.tie_weights()
    totals[tied] = sum(parameter.numel() for parameter in model.parameters())
extra = totals[False] - totals[True]
print("transformers", transformers.__version__, "untied adds", extra, "= 1000 * 32 + 1000")
assert extra == 33_000, extra
PYTHON
