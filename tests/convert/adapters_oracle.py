"""What peft puts beside the linear layers of every class: ``python -m tests.convert.adapters_oracle``.

One drawn config of each model_type is built on the meta device, and given adapters of rank 4 by peft
0.21.2 (beside accelerate and psutil, which it imports): once for ``all-linear``, and once for each name
of a linear layer. tests/convert/adapters.json holds the parameters that came to be, by type; the tests
replay it without torch. A name that kvcalc refuses, and a type that no draw builds, are left out.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from kvcalc.convert.adapters import linear_layers
from kvcalc.convert.config import class_defaults
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import CONVERTERS
from tests.convert.class_defaults import is_of_this_release
from tests.convert.draws import draw

TABLE = Path(__file__).with_name("adapters.json")
RANK, SEEDS = 4, 6


def main() -> None:
    found = {}
    for model_type in filter(is_of_this_release, CONVERTERS):
        try:
            found[model_type] = _of_type(model_type)
        except Exception as error:
            print(f"{model_type}: {str(error)[:100]}")
    rows = ",\n".join(f'"{name}": {json.dumps(row)}' for name, row in found.items() if row)
    TABLE.write_text(f"{{\n{rows}\n}}\n", "utf-8")


def _of_type(model_type: str) -> dict[str, Any]:
    """Seed of the draw, parameters of all linear layers, and of each name."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    from tests.convert.oracle import build

    fields = class_defaults()[model_type]["defaults"]
    for seed in range(SEEDS):
        values = draw(model_type, seed, fields)
        try:
            model = build(values).to(torch.bfloat16)
        except Exception:
            continue
        names: Counter[str] = Counter()
        for path, module in model.named_modules():
            if isinstance(module, torch.nn.Linear | Conv1D):
                names[path.rpartition(".")[2]] += RANK * sum(module.weight.shape)
        known = linear_layers(spec_from_config(values, "drawn", "drawn").spec)
        whole: int | None
        try:
            chosen = LoraConfig(r=RANK, target_modules="all-linear")
            changed = get_peft_model(model, chosen, low_cpu_mem_usage=True)
            whole = sum(
                each.numel() for path, each in changed.named_parameters() if "lora_" in path
            )
        except Exception:
            whole = None
        return {"seed": seed, "all": whole, "names": {n: names[n] for n in known if n in names}}
    return {}


if __name__ == "__main__":
    main()
