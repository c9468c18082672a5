"""Small models as each method's own library stores them, beside kvcalc's reading of their configs.

``python -m tests.convert.quantized_oracle`` wrote the table with the releases that each row names.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import UnsupportedError
from kvcalc.memory.weights import ledger
from tests.convert.quantized_models import MODELS

ROWS = json.loads(Path(__file__).with_name("quantized.json").read_text("utf-8"))
METHODS = sorted({row["method"] for row in ROWS})


def of(method: str) -> list[dict[str, Any]]:
    return [row for row in ROWS if row["method"] == method]


@pytest.mark.parametrize("method", METHODS)
def test_bytes_are_those_of_the_method_s_library(method: str) -> None:
    wrong = []
    for row in of(method):
        config = {**MODELS[row["model"]], "quantization_config": row["config"]}
        name = f"{row['model']}, {row['name']}"
        if "refused" in row:
            with pytest.raises(UnsupportedError) as caught:
                spec_from_config(config, "model", "config.json")
            assert row["refused"] in str(caught.value), name
            continue
        spec = spec_from_config(config, "model", "config.json").spec
        found = ledger(spec, spec.own_dtype).bytes
        if found != row["total"]:
            wrong.append(f"{name}: {found}, its library {row['total']}")
    assert not wrong


def test_the_table_has_every_method_and_few_refusals() -> None:
    assert len(METHODS) == 11
    assert len([row for row in ROWS if "refused" not in row]) >= 230
    # What is refused is refused for what it is.
    reasons = {row["refused"] for row in ROWS if "refused" in row}
    assert all(len(reason) > 12 for reason in reasons)
