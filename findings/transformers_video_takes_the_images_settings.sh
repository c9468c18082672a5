#!/usr/bin/env bash
# transformers 5.23.0: a folder without video_preprocessor_config.json has its video sized by the images' file.
#
# One would guess that a processor whose file is missing has its class's own settings. The loader takes
# preprocessor_config.json instead, whose bounds are of images: two minutes of video at one frame a second,
# 1280 x 720, make 180 tokens by the class, 7,200 by the images' file, 11,400 by the file that Qwen3-VL has
# for it. Qwen2.5-VL's repository has the images' file alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy pillow "transformers==5.23.0"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
from pathlib import Path

import transformers
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor


def settings(shortest_edge: int, longest_edge: int) -> dict:
    size = {"shortest_edge": shortest_edge, "longest_edge": longest_edge}
    return {"size": size, "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}


images = {"preprocessor_config.json": settings(65_536, 16_777_216)}
video = {"video_preprocessor_config.json": settings(4_096, 25_165_824)}
processors = {"the class's": Qwen3VLVideoProcessor()}
for name, files in {"the images' file": images, "both files": images | video}.items():
    model = Path(name.replace(" ", "_"))
    model.mkdir()
    for file, values in files.items():
        (model / file).write_text(json.dumps(values))
    processors[name] = Qwen3VLVideoProcessor.from_pretrained(model)
tokens = {
    name: processor.get_num_of_video_patches(120, 720, 1280) // 4 for name, processor in processors.items()
}
print("transformers", transformers.__version__, "tokens of 120 frames of 1280 x 720:", tokens)
assert tokens == {"the class's": 180, "the images' file": 7200, "both files": 11400}, tokens
PYTHON
