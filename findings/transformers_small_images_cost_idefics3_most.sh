#!/usr/bin/env bash
# transformers 5.23.0: Idefics3 makes more tokens of a thumbnail than of a photograph.
#
# Every image is scaled, up or down, to the same longest side before it is cut into tiles. A square thumbnail of
# 224 x 224 becomes 4 x 4 tiles and the whole (17 x 169 = 2,873 places); a 4000 x 3000 photograph 4 x 3 and the
# whole (2,197). A budget made from "small images are cheap" is too small.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy pillow "transformers==5.23.0"
"$folder/venv/bin/python" - <<'PYTHON'
import transformers
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

processor = Idefics3ImageProcessorPil()
tiles = {}
for width, height in ((224, 224), (4000, 3000)):
    tiles[f"{width}x{height}"] = processor.get_number_of_image_patches(height, width, {})[0]
print("transformers", transformers.__version__, "tiles of Idefics3's default settings:", tiles)
assert tiles == {"224x224": 17, "4000x3000": 13}, tiles
PYTHON
