"""llama.cpp's file of towers: kvcalc's against what its converter wrote of small models."""

import json

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.gguf.projector import projector_format, projector_tensors
from kvcalc.memory.towers import tower_groups
from tests.gguf.projectors_measured import TABLE

_MODELS = json.loads(TABLE.read_text())["models"]


@pytest.mark.parametrize("model", _MODELS)
def test_the_file_holds_what_the_converter_wrote(model: str) -> None:
    spec = spec_from_config(_MODELS[model]["config"], model, "measured").spec
    found: dict[str, list[int]] = {}
    for group in tower_groups(spec):
        for tensor in group.tensors:
            stored = projector_format(spec, tensor)
            total = found.setdefault(stored.name.upper(), [0, 0])
            total[0] += group.count * projector_tensors(spec, tensor)
            total[1] += group.count * stored.tensor(tensor.shape)
    assert found == _MODELS[model]["types"]
