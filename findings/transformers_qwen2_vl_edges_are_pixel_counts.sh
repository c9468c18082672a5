#!/usr/bin/env bash
# transformers 5.23.0: size.shortest_edge and size.longest_edge of Qwen2-VL's processor are numbers of pixels.
#
# In other processors the two keys are lengths of sides. Here they bound the *area*: the class's own 1,003,520
# makes 1,230 tokens of a 4000 x 3000 image, the published 12,845,056 makes 15,301 of it. The config.json of the
# model says nothing about either, so a count of tokens without the processor's file is off by up to twelve.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy pillow "transformers==5.23.0"
"$folder/venv/bin/python" - <<'PYTHON'
import transformers
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

tokens = {}
for longest_edge in (1_003_520, 12_845_056):
    height, width = smart_resize(3000, 4000, 28, min_pixels=3136, max_pixels=longest_edge)
    tokens[longest_edge] = height * width // 28**2
print("transformers", transformers.__version__, "tokens of 4000 x 3000 by longest_edge:", tokens)
assert tokens == {1_003_520: 1230, 12_845_056: 15301}, tokens
PYTHON
