"""What transformers refuses to build, kvcalc refuses: invalid.json, replayed without transformers."""

import json
from typing import Any

import pytest

from kvcalc.convert.hf import TRANSFORMERS, spec_from_config
from kvcalc.convert.model_types import CONVERTERS, SINCE
from kvcalc.errors import KvcalcError
from tests.convert.invalid import EXCEPTED, FILE, answers, valid

TABLE: dict[str, Any] = json.loads(FILE.read_text("utf-8"))


def test_the_table_is_of_the_release_and_of_every_type() -> None:
    assert TABLE["transformers"] == TRANSFORMERS
    assert {*CONVERTERS} - TABLE.keys() <= SINCE.keys()
    assert sum(len(TABLE[name]) for name in CONVERTERS if name in TABLE) >= 2000


@pytest.mark.parametrize("model_type", [name for name in CONVERTERS if TABLE.get(name)])
def test_what_the_library_refuses_is_refused(model_type: str) -> None:
    values = valid(model_type)
    spec_from_config(values, "drawn", "test")
    for key, other in TABLE[model_type]:
        if (model_type, key) in EXCEPTED:
            continue
        assert not answers(values | {key: other}), f"{key} = {other} was answered"


@pytest.mark.parametrize(
    ("model_type", "change", "said"),
    [
        ("llama", {"head_dim": 17}, "heads of 17 rotate as a whole"),
        ("llama", {"hidden_size": 65}, "refuses 65, which is no multiple of 8 heads"),
        ("llama", {"max_position_embeddings": None}, "LlamaConfig refuses: leave it out"),
        ("jamba", {"attn_layer_offset": 3}, "3 is not below attn_layer_period, 3"),
        ("led", {"attention_window": 5}, "5 is odd"),
        ("internlm3", {"mlp_bias": True, "attention_bias": False}, "or in none"),
    ],
)
def test_the_reason_is_said(model_type: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(KvcalcError, match=said):
        spec_from_config(valid(model_type) | change, "drawn", "test")


def test_a_head_that_rotates_in_part_may_be_odd() -> None:
    # modeling_rope_utils.py, validate_rope: the odd width is rounded up and fits in the head.
    values = valid("llama") | {"head_dim": 17, "rope_parameters": {"partial_rotary_factor": 0.5}}
    assert spec_from_config(values, "drawn", "test")
