#!/usr/bin/env bash
# llmfit 1.1.17: the plan for DeepSeek-V3 has a cache of 13.3 GiB at 8,192 tokens, which keeps 0.54 GiB.
#
# One would guess that a planner whose list has this model by name counts its latent attention. It multiplies 128 key
# and value heads by the hidden size over the heads, 56, a width that no matrix of the model has: 25 times too
# much. gpt-oss is counted without its windows, twice what its layers keep, and q8_0 is half of F16, without scales.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "llmfit==1.1.17"
"$folder/venv/bin/llmfit" --version
for model in deepseek-ai/DeepSeek-V3 openai/gpt-oss-120b; do
    "$folder/venv/bin/llmfit" plan "$model" --context 8192 --json > "$folder/$(basename "$model").json" 2> /dev/null
done
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json


def plan(name: str) -> dict[str, float]:
    """GiB of the cache by its format."""
    with open(f"{name}.json") as file:
        return {each["kv_quant"]: each["kv_cache_gb"] for each in json.load(file)["kv_alternatives"]}


planned, gpt_oss = plan("DeepSeek-V3"), plan("gpt-oss-120b")
latent = 61 * 8192 * (512 + 64) * 2 / 2**30
windows = 2 * (18 * 8192 + 18 * 128) * 8 * 64 * 2 / 2**30
print("DeepSeek-V3, GiB planned:", planned["fp16"], planned["q8_0"], "kept:", round(latent, 3),
      "gpt-oss-120b:", gpt_oss["fp16"], "kept:", round(windows, 3))
assert planned["fp16"] == 2 * 61 * 8192 * 128 * 56 * 2 / 2**30 == 13.34375, planned
assert planned["q8_0"] == planned["fp16"] / 2 and 24 < planned["fp16"] / latent < 25, planned
assert gpt_oss["fp16"] == 2 * 36 * 8192 * 8 * 64 * 2 / 2**30 == 0.5625, gpt_oss
PYTHON
