#!/usr/bin/env bash
# llama.cpp in xllamacpp 2026.10.11549: a draft model's cache is in F16 though the model's is in q8_0.
#
# One would guess that --cache-type-k and --cache-type-v choose the cells of every cache of a server. A draft has
# options of its own, which stay F16, and as many cells as the model: a small draft at a long context can take more
# than the quantised cache of the model that it serves.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "xllamacpp==2026.10.11549" "gguf==0.19.0" numpy
cd "$folder"
cat > serve.py <<'PYTHON'
import os

import gguf
import numpy as np
import xllamacpp

HEADS, KV_HEADS, WIDTH, VOCABULARY = 8, 2, 32, 300


def write(path: str, layers: int) -> None:
    """A model of zeros with a byte vocabulary."""
    hidden = HEADS * WIDTH
    file = gguf.GGUFWriter(path, "llama")
    file.add_context_length(4096)
    file.add_embedding_length(hidden)
    file.add_block_count(layers)
    file.add_feed_forward_length(hidden)
    file.add_head_count(HEADS)
    file.add_head_count_kv(KV_HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH)
    file.add_vocab_size(VOCABULARY)
    file.add_tokenizer_model("llama")
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    file.add_token_list(texts + [f"t{number}" for number in range(VOCABULARY - len(texts))])
    file.add_token_scores([0.0] * VOCABULARY)
    file.add_token_types([2, 3, 3, *[6] * 256, *[1] * (VOCABULARY - 259)])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    for name in ("token_embd", "output"):
        file.add_tensor(f"{name}.weight", np.zeros((VOCABULARY, hidden), np.float16))
    file.add_tensor("output_norm.weight", np.zeros(hidden, np.float32))
    rows = {"attn_q": hidden, "attn_k": KV_HEADS * WIDTH, "attn_v": KV_HEADS * WIDTH, "attn_output": hidden,
            "ffn_gate": hidden, "ffn_up": hidden, "ffn_down": hidden}
    for layer in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"blk.{layer}.{name}.weight", np.zeros(hidden, np.float32))
        for name, count in rows.items():
            file.add_tensor(f"blk.{layer}.{name}.weight", np.zeros((count, hidden), np.float16))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


write("model.gguf", 6)
write("draft.gguf", 4)
asked = xllamacpp.CommonParams()
asked.model.path = "model.gguf"
asked.n_ctx, asked.n_parallel, asked.warmup, asked.verbosity = 2048, 1, False, 4
asked.cache_type_k = asked.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
asked.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
asked.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
asked.speculative.draft.mparams.path = "draft.gguf"
xllamacpp.Server(asked)
os._exit(0)
PYTHON
timeout 120 "$folder/venv/bin/python" serve.py > log.txt 2>&1 || { tail -20 log.txt; exit 1; }
echo "xllamacpp $("$folder/venv/bin/pip" list 2> /dev/null | awk '/xllamacpp/ {print $2}')"
grep "llama_kv_cache: size" log.txt
grep -q "2048 cells,   6 layers.*K (q8_0): .*V (q8_0): " log.txt
grep -q "2048 cells,   4 layers.*K (f16): .*V (f16): " log.txt
