#!/usr/bin/env bash
# transformers 5.23.0: tp_plan="auto" divides Phi-3's weights over the ranks and not its cache.
#
# One would guess that two ranks hold half of the key and value heads each, as Llama's do. Phi-3's plan cuts the fused
# matrix of q, k and v by columns and gathers its output, so every rank has all heads and caches all of them: more
# devices give its cache no more room.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0" "accelerate==1.15.0"
cd "$folder"
cat > ranks.py <<'PYTHON'
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM

dist.init_process_group("gloo")
for name in ("llama", "phi3"):
    model = AutoModelForCausalLM.from_pretrained(name, tp_plan="auto")
    cache = model(torch.ones(1, 10, dtype=torch.long), use_cache=True).past_key_values
    weight = dict(model.named_parameters())["model.layers.0.self_attn.o_proj.weight"]
    print(f"{name} rank {dist.get_rank()}: o_proj {list(weight.shape)}, keys {list(cache.layers[0].keys.shape)}")
dist.destroy_process_group()
PYTHON
"$folder/venv/bin/python" - <<'PYTHON'
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

sizes = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=8,
             num_key_value_heads=4, vocab_size=512, pad_token_id=0)
for name, kind in {"llama": LlamaConfig, "phi3": Phi3Config}.items():
    AutoModelForCausalLM.from_config(kind(**sizes)).save_pretrained(name)
print("transformers", transformers.__version__)
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/python" -m torch.distributed.run --standalone --nproc-per-node 2 ranks.py \
    2> ranks.log > ranks.txt || { tail -20 ranks.log; exit 1; }
sort ranks.txt
for rank in 0 1; do
    grep -q "^llama rank $rank: .*keys \[1, 2, 10, 32\]" ranks.txt
    grep -q "^phi3 rank $rank: .*keys \[1, 4, 10, 32\]" ranks.txt
done
