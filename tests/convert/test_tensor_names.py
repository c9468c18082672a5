"""The table of module paths holds what the command that writes it finds."""

import json

import pytest

from tests.convert.tensor_names import TABLE, names_of_type


@pytest.mark.parametrize("model_type", ["qwen3_moe", "phi3"])
def test_the_table_is_what_transformers_has(model_type: str) -> None:
    pytest.importorskip("transformers")
    entries = json.loads(TABLE.read_text("utf-8"))
    written = next(entry["names"] for entry in entries if model_type in entry["types"])
    assert names_of_type(model_type) == written, "run python -m tests.convert.tensor_names"
