"""A few rows of the measured table, measured again: transformers still builds what the table says."""

import pytest

pytest.importorskip("transformers")

import transformers

from kvcalc.convert.hf import TRANSFORMERS
from tests.convert.measured import FILE, SECTIONS, row_of, table, text

pytestmark = [pytest.mark.hf, pytest.mark.filterwarnings("ignore")]

# Chosen for variety: heads, windows, latents, an indexer, experts, three recurrences and their
# hybrids, sharing across layers, encoders beside decoders, frames, an encoder, a model inside another.
SAMPLE = (
    ("drawn", "llama"), ("drawn", "gemma3_text"), ("drawn", "deepseek_v3"), ("drawn", "mamba2"),
    ("drawn", "qwen3_next"), ("drawn", "nemotron_h"), ("drawn", "gemma3n_text"), ("drawn", "t5"),
    ("drawn", "whisper"), ("drawn", "albert"), ("drawn", "phi4_multimodal"), ("inside", "llava"),
)  # fmt: skip


@pytest.mark.skipif(
    transformers.__version__ != TRANSFORMERS, reason="the table names one release of transformers"
)
@pytest.mark.parametrize(("section", "model_type"), SAMPLE)
def test_a_row_is_measured_again(section: str, model_type: str) -> None:
    seed = len(model_type) % 2
    assert SECTIONS[section][2](model_type, seed) == row_of(section, model_type, seed)


def test_the_table_is_written_by_its_program() -> None:
    values = table()
    assert FILE.read_text("utf-8") == text(values), "python -m tests.convert.measured writes it"
    assert values["transformers"] == TRANSFORMERS
    for section, (types, _, _) in SECTIONS.items():
        assert sorted(values[section]) == types
