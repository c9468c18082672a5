#!/usr/bin/env bash
# compressed-tensors 0.20.1: a module that is named in "ignore" keeps none of its children out.
#
# One would guess that ignoring "model.layers.0.mlp" leaves the matrices under it alone. A name is matched as a
# whole or as a regular expression, and a parent is no Linear: its children are quantised all the same.
# Published configs name parents, and whoever counts bytes by prefix counts them in 16 bits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" numpy "transformers==5.23.0" "compressed-tensors==0.20.1"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import torch
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config


def model() -> torch.nn.Module:
    part = torch.nn.ModuleDict({"mlp": torch.nn.ModuleDict({"up": torch.nn.Linear(128, 128, bias=False)}),
                                "head": torch.nn.Linear(128, 128, bias=False)})
    return torch.nn.ModuleDict({"layer": part})


quantised = {}
for ignored in ("layer.mlp", "layer.mlp.up", "re:.*mlp.*"):
    made = model()
    config = QuantizationConfig(config_groups={"W8A16": ["Linear"]}, ignore=[ignored])
    apply_quantization_config(made, config)
    quantised[ignored] = sorted(
        name for name, child in made.named_modules() if hasattr(child, "quantization_scheme")
    )
print("compressed-tensors", version("compressed-tensors"), quantised)
assert quantised["layer.mlp"] == ["layer.head", "layer.mlp.up"], quantised
assert quantised["layer.mlp.up"] == quantised["re:.*mlp.*"] == ["layer.head"], quantised
PYTHON
