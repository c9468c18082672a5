"""The table of class defaults is that of transformers 5.23.0: every type has a row; some are read here,
all of them before a release (``pytest -m sweep``)."""

import json

import pytest

pytest.importorskip("transformers")

import transformers

from kvcalc.convert.hf import TRANSFORMERS
from kvcalc.convert.model_types import CONVERTERS, PARTS, TEXT_CONFIGS
from tests.convert.class_defaults import FILE, class_defaults, read, text

AGAIN = "python -m tests.convert.class_defaults writes it again"
# One of each kind of class: plain, a text_config's, latents, states, an encoder.
READ = ("llama", "gemma3_text", "deepseek_v3", "qwen3_next", "t5")

pytestmark = [
    pytest.mark.hf,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        transformers.__version__ != TRANSFORMERS,
        reason="the table names one release of transformers",
    ),
]


def test_every_type_has_a_row() -> None:
    table = json.loads(FILE.read_text("utf-8"))
    assert list(table) == sorted({*CONVERTERS, *TEXT_CONFIGS, *PARTS}), AGAIN
    assert FILE.read_text("utf-8") == text(table), AGAIN


@pytest.mark.parametrize("model_type", READ)
def test_a_row_is_its_class(model_type: str) -> None:
    table = json.loads(FILE.read_text("utf-8"))
    assert json.loads(json.dumps(read(model_type))) == table[model_type], AGAIN


@pytest.mark.sweep
def test_table_is_up_to_date() -> None:
    assert FILE.read_text("utf-8") == text(class_defaults()), AGAIN
