#!/usr/bin/env bash
# A model before it is trained: which attention, with how many heads, and what it costs to serve.
set -euo pipefail
cd "$(mktemp -d)"

# The model that is planned, as a spec: 32 layers of 4096, 32 heads.
cat > planned.yaml <<'YAML'
name: planned-8b
source: a plan
hidden_size: 4096
vocab_size: 128256
tie_word_embeddings: false
max_position_embeddings: 131072
blocks:
  decoder:
    attention: {kind: gqa, num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128}
    ffn: {kind: gated, intermediate_size: 14336}
layers: [{repeat: 32, blocks: [decoder]}]
YAML

echo "== four attentions at what we serve"
kvcalc compare planned.yaml --attention gqa:4,gqa:8,mla,mla:256 --context 32k,128k --batch 16

echo "== one field: windows of 4,096 tokens in every layer"
kvcalc compare planned.yaml --set blocks.decoder.attention.sliding_window=4096 --context 128k --batch 16

echo "== how many requests of 32k one H100 holds under vLLM, as it is and with a latent"
for attention in gqa:4 gqa:8 mla; do
  python - "$attention" <<'PYTHON'
import sys

import kvcalc

spec, _ = kvcalc.with_attention("planned.yaml", sys.argv[1])
fit = kvcalc.fit(spec, "h100", context_tokens="32k")
print(f"{sys.argv[1]:6} {fit.largest_batch} requests")
PYTHON
done
