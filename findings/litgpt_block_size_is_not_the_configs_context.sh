#!/usr/bin/env bash
# litgpt 0.5.13: block_size differs from max_position_embeddings for whole families.
#
# One would guess that litgpt's named configs carry the context of the config.json that each names, as their other
# dimensions do. Qwen2.5-7B-Instruct has 131,072 positions there (its config says 32,768), Qwen3-8B-Base 40,960
# (32,768), LLaMA-2-7B-32K 4,096 (32,768), gemma-7b 4,096 (8,192): a cache sized from it is four times too large, or
# an eighth.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy pyyaml "huggingface_hub<2" "typing_extensions"
"$folder/venv/bin/pip" install -q --no-deps "litgpt==0.5.13"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

# The table alone: the package's own __init__ loads its trainers.
place = next(Path(p) / "litgpt" for p in sys.path if (Path(p) / "litgpt" / "config.py").exists())
spec = importlib.util.spec_from_file_location("litgpt_config", place / "config.py")
module = importlib.util.module_from_spec(spec)
sys.modules["litgpt_config"] = module
spec.loader.exec_module(module)
PUBLISHED = {"Qwen2.5-7B-Instruct": 32768, "Qwen3-8B-Base": 32768, "LLaMA-2-7B-32K": 32768, "Gemma-7b": 8192}
found = {name: module.Config.from_name(name).block_size for name in PUBLISHED}
print("litgpt", version("litgpt"), {name: (found[name], PUBLISHED[name]) for name in PUBLISHED})
assert found == {"Qwen2.5-7B-Instruct": 131072, "Qwen3-8B-Base": 40960, "LLaMA-2-7B-32K": 4096,
                 "Gemma-7b": 4096}, found
PYTHON
