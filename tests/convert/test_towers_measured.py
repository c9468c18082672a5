"""What transformers built of multimodal configs, replayed (towers_measured.py measured it)."""

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.memory.weights import summarise
from tests.convert.tower_draws import TYPES, draw_whole
from tests.convert.towers_measured import NUM_DRAWS, agrees, digest, table

AGAIN = "python -m tests.convert.towers_measured measures it again"


@pytest.mark.parametrize("model_type", TYPES)
def test_random_dimensions_tensor_by_tensor(model_type: str) -> None:
    rows = table()["drawn"].get(model_type, [])
    assert len(rows) == NUM_DRAWS, f"{model_type} was not measured: {AGAIN}"
    for seed, drawn, total, tensors in rows:
        config = draw_whole(model_type, seed)
        assert digest(config) == drawn, f"{model_type} is drawn otherwise now: {AGAIN}"
        spec = spec_from_config(config, "drawn", "draws").spec
        assert summarise(spec).total == total, config
        assert agrees(spec, tensors), config


WHOLE = {name: row for name, row in table()["defaults"].items() if "config" in row}


@pytest.mark.parametrize("model_type", WHOLE)
def test_the_classes_own_defaults(model_type: str) -> None:
    row = WHOLE[model_type]
    if "refused" in row:
        return
    spec = spec_from_config(row["config"], "default", "defaults").spec
    if row["kvcalc"] == "equal":
        assert summarise(spec).total == row["parameters"]
    else:
        assert spec.left_out, "what is not counted is named"
        assert summarise(spec).total == row["kvcalc"]


def test_the_table_has_none_wrong() -> None:
    counts = table()["counts"]
    assert counts["wrong"] == 0
    assert counts["equal"] >= 190
