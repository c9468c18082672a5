#!/usr/bin/env bash
# hf-mem 0.5.6: the same model's cache is half as large where it is read from a GGUF.
#
# One would guess that a calculator answers alike for a repository's safetensors and for the GGUF made of it. The
# one way reads head_dim, 128 for Qwen3-0.6B; the other divides the embedding length by the heads, 1,024 / 16 = 64,
# and never looks at the file's attention.key_length. Gemma, Qwen3 and Mistral-Nemo state widths that differ so.
# Neither way knows a latent: DeepSeek-V3's is counted as 128 heads of 56, 25 times what it keeps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "hf-mem==0.5.6"
"$folder/venv/bin/python" - <<'PYTHON'
from hf_mem import __version__
from hf_mem.gguf.kv_cache import KV_CACHE_FIELD_ENDINGS, compute_gguf_kv_cache_size
from hf_mem.safetensors.kv_cache import compute_safetensors_kv_cache_size

TOKENS = 8192
qwen3 = {"hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
         "num_hidden_layers": 28}
# What a GGUF of it says, and which of its fields are read.
fields = {"block_count": 28, "head_count_kv": 8, "head_count": 16, "embedding_length": 1024,
          "context_length": TOKENS, "key_length": 128, "value_length": 128}
read = {name: value for name, value in fields.items() if name in KV_CACHE_FIELD_ENDINGS}
deepseek = {"hidden_size": 7168, "num_attention_heads": 128, "num_key_value_heads": 128, "num_hidden_layers": 61,
            "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128}
found = {
    "qwen3-0.6b, safetensors": compute_safetensors_kv_cache_size(qwen3, "BF16", TOKENS),
    "qwen3-0.6b, gguf": compute_gguf_kv_cache_size(read),
    "deepseek-v3, safetensors": compute_safetensors_kv_cache_size(deepseek, "BF16", TOKENS),
}
kept = {"qwen3-0.6b": 2 * 28 * TOKENS * 8 * 128 * 2, "deepseek-v3": 61 * TOKENS * (512 + 64) * 2}
print("hf-mem", __version__, "bytes of", TOKENS, "tokens in 16 bits:", found, "kept:", kept)
assert found["qwen3-0.6b, safetensors"] == kept["qwen3-0.6b"] == 2 * found["qwen3-0.6b, gguf"], found
assert 24 < found["deepseek-v3, safetensors"] / kept["deepseek-v3"] < 25, found
PYTHON
