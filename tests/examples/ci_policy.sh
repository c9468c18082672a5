#!/usr/bin/env bash
# A team's budgets in CI: what must fit is written once, and the change that breaks it fails by name.
set -euo pipefail
cd "$(mktemp -d)"
git init -q . && git config user.email team@example.org && git config user.name team

mkdir serving
cat > serving/chat.yaml <<'YAML'
name: chat
source: our own
hidden_size: 4096
vocab_size: 128256
tie_word_embeddings: false
blocks:
  decoder:
    attention: {kind: gqa, num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128}
    ffn: {kind: gated, intermediate_size: 14336}
layers: [{repeat: 32, blocks: [decoder]}]
YAML
cat > kvcalc.yaml <<'YAML'
budgets:
  - {models: serving/, context: 32k, batch: 8, gpu: h100-80gb, engine: vllm}
  - {models: chat, context: 128k, cache: 16GiB}
YAML
git add . && git commit -qm "The model that we serve, and what it may take"

echo "== main is within its budgets"
kvcalc check serving kvcalc.yaml

echo "== a change doubles the KV heads"
sed -i.bak 's/num_key_value_heads: 8/num_key_value_heads: 16/' serving/chat.yaml && rm serving/chat.yaml.bak
kvcalc check serving kvcalc.yaml || echo "check: exit $?"
kvcalc diff --base HEAD serving || echo "diff: exit $?"
