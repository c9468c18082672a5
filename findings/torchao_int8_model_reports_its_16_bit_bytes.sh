#!/usr/bin/env bash
# torchao 0.18.0: a model quantised to 8 bits reports the bytes that it had in 16.
#
# One would guess that `sum(p.nbytes for p in model.parameters())` (and transformers' get_memory_footprint(), which is
# that sum) halves when quantize_ has made the weights int8. The tensor that stands in a weight's place says that
# it is bfloat16: element_size() is 2 and nbytes the old number, though the bytes behind it are half.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy
"$folder/venv/bin/pip" install -q --no-deps "torchao==0.18.0"
"$folder/venv/bin/python" - 2> /dev/null <<'PYTHON'
from importlib.metadata import version

import torch
from torchao.quantization import Int8WeightOnlyConfig, quantize_

model = torch.nn.Sequential(torch.nn.Linear(1024, 4096, bias=False), torch.nn.Linear(4096, 1024, bias=False))
model = model.to(torch.bfloat16)
before = sum(weight.nbytes for weight in model.parameters())
quantize_(model, Int8WeightOnlyConfig())
after = sum(weight.nbytes for weight in model.parameters())
weight = model[0].weight
parts = {name: getattr(weight, name) for name in weight.tensor_data_names}
held = {name: (str(part.dtype), part.nbytes) for name, part in parts.items()}
print("torchao", version("torchao"), "bytes before and after:", before, after, weight.dtype, weight.element_size(),
      "the first weight's own:", held)
assert before == after == 16_777_216 and weight.element_size() == 2, (before, after)
assert held["qdata"] == ("torch.int8", 4_194_304), held
PYTHON
