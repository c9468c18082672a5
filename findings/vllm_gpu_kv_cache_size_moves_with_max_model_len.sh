#!/usr/bin/env bash
# vLLM 0.33.0: "GPU KV cache size: N tokens" of a hybrid grows with --max-model-len, of the same blocks.
#
# One would guess that the tokens of a pool are its blocks times the tokens of one. The line is the number of longest
# requests times their length, and every request of Qwen3-Next's kind holds a block of states in each of three groups
# besides its tokens: the longer the request, the smaller their share. Tokens printed at one length say
# nothing of another, and memory over tokens is no cost of a token.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip"
"$pip" install -q "torch==2.13.0" numpy "transformers==5.23.0" cbor2 blake3 psutil cloudpickle msgspec pybase64 regex \
    pyzmq aiohttp openai openai_harmony cachetools uvloop py-cpuinfo prometheus_client fastapi partial-json-parser \
    llguidance pydantic requests pillow
# xgrammar would bring a torch of its own.
"$pip" install -q --no-deps "xgrammar==0.2.9" apache-tvm-ffi "vllm==0.33.0"
"$folder/venv/bin/python" - 2> "$folder/log" <<'PYTHON' || { tail -20 "$folder/log"; exit 1; }
from importlib.metadata import version
from types import SimpleNamespace

import torch
from vllm.v1.core.kv_cache_utils import get_kv_cache_capacity
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec, MambaSpec

# Qwen3-Next-80B on one GPU: a group of attention and three of delta-rule states, in pages of one size.
attention = FullAttentionSpec(block_size=1056, num_kv_heads=2, head_size=256, dtype=torch.bfloat16)
states = MambaSpec(block_size=1056, shapes=((3, 8192), (32, 128, 128)), dtypes=(torch.bfloat16, torch.float32),
                   page_size_padded=attention.page_size_bytes)
groups = [KVCacheGroupSpec(["attention"], attention)]
groups += [KVCacheGroupSpec([f"states {number}"], states) for number in range(3)]
pool = KVCacheConfig(num_blocks=600, kv_cache_tensors=[], kv_cache_groups=groups)
tokens = {}
for length in (8_192, 65_536, 262_144):
    asked = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=length),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1),
        cache_config=SimpleNamespace(mamba_cache_mode="none"),
    )
    tokens[length] = get_kv_cache_capacity(asked, pool)[0]
print("vllm", version("vllm"), "tokens of 600 blocks of 1,056, by --max-model-len:", tokens, "blocks times tokens:",
      600 * 1056)
assert tokens == {8_192: 446_836, 65_536: 595_781, 262_144: 624_152}, tokens
PYTHON
