"""Public config.json files against the total of their published safetensors index.

Each row: the model, the repository that holds both files, the index's total_size, what else the
checkpoint holds (beside, what) and the config. A config that kvcalc does not account for is refused.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import UnsupportedError
from kvcalc.memory.weights import ledger

ROWS = json.loads(Path(__file__).with_name("published_totals.json").read_text("utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_bytes_are_those_of_the_index(row: dict[str, Any]) -> None:
    if "refused" in row:
        with pytest.raises(UnsupportedError, match=row["refused"]):
            spec_from_config(row["config"], "model", "config.json")
        return
    spec = spec_from_config(row["config"], "model", "config.json").spec
    # A tower that is counted is beside nothing.
    beside = 0 if spec.towers else row.get("beside", 0)
    assert ledger(spec, spec.own_dtype).bytes == row["total"] - beside


# Files of mlx-community by the total_size of their indices, as exo's model cards have it (github.com/
# exo-explore/exo, resources/inference_model_cards), less the vision tower as transformers 5.23 builds it.
_MLX = (
    ("nemotron-3-nano", "mlx-4bit", 17_775_342_336),
    ("nemotron-3-nano", "mlx-5bit", 21_721_476_864),
    ("nemotron-3-nano", "mlx-6bit", 25_667_611_392),
    ("nemotron-3-nano", "mlx-8bit", 33_559_880_448),
    ("nemotron-3-nano", "mlx-mxfp4", 16_788_808_704),
    ("llama-3.1-70b", "mlx-4bit", 39_688_355_840),
    ("llama-3.1-70b", "mlx-8bit", 74_964_549_632),
    ("llama-3.1-70b", "bf16", 141_107_412_992),
    ("qwen3.5-27b", "mlx-4bit", 16_054_266_848 - 921_460_192),
    ("qwen3.5-27b", "mlx-8bit", 29_500_943_328 - 921_460_192),
    ("qwen3.5-397b-a17b", "mlx-8bit", 422_032_580_192 - 912_020_960),
)


@pytest.mark.parametrize(("model", "dtype", "total"), _MLX)
def test_bytes_of_mlx_types_are_those_of_the_index(model: str, dtype: str, total: int) -> None:
    assert ledger(kvcalc.load(model), dtype).bytes == total
