"""Public config.json files against the total of their published safetensors index.

Each row: the model, the repository that holds both files, the index's total_size, what else the
checkpoint holds (beside, what) and the config. A config that kvcalc does not account for is refused.
"""

import json
from pathlib import Path
from typing import Any

import pytest

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
    assert ledger(spec, spec.own_dtype).bytes == row["total"] - row.get("beside", 0)
