"""Files that lie, do not end, or are no files: an error with the reason, soon and cheaply."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcalc.convert.config_file import read_json
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import CONVERTERS, TEXT_CONFIGS
from kvcalc.errors import FileError, KvcalcError, NotFoundError, SpecError
from kvcalc.reading import MAX_CONFIG_BYTES
from tests.drawn import examples


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"hidden_size": 1, "hidden_size": 2}', "has 'hidden_size' twice"),
        ('{"hidden_size": ' + "9" * 10_000 + "}", "too long"),
        ('{"model_type": "llama"} trailing', "not JSON"),
    ],
)
def test_what_is_no_json_object(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=reason):
        read_json(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"model_type": "\xff\xfe"}')
    with pytest.raises(SpecError, match="not UTF-8"):
        read_json(path)


def test_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    started = time.monotonic()
    with pytest.raises(SpecError, match=f"larger than {MAX_CONFIG_BYTES} bytes"):
        read_json(path)
    assert time.monotonic() - started < 2


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a folder"):
        read_json(tmp_path)
    pipe = tmp_path / "config.json"
    os.mkfifo(pipe)
    with pytest.raises(FileError, match="not a regular file"):
        read_json(pipe)
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    with pytest.raises(FileError):
        read_json(loop)
    with pytest.raises(NotFoundError):
        read_json(tmp_path / "absent.json")


def test_configs_inside_configs_end() -> None:
    config: dict[str, Any] = {"model_type": "gemma3"}
    for _ in range(200):
        config = {"model_type": "gemma3", "text_config": config}
    with pytest.raises(KvcalcError):
        spec_from_config(config, "model", "config.json")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**31), st.floats(), st.text(max_size=8),
    st.lists(st.one_of(st.integers(-1, 5), st.text(max_size=4)), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(-1, 9), max_size=2),
)  # fmt: skip
KEYS = st.sampled_from(
    sorted(
        """hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim vocab_size
        intermediate_size layer_types mlp_layer_types sliding_window text_config attn_config
        num_experts num_local_experts num_experts_per_tok moe_intermediate_size n_routed_experts
        kv_lora_rank q_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim n_embd n_head n_layer
        d_model num_heads num_layers encoder_layers linear_attn_config sparse_attention_config
        hybrid_override_pattern layers_block_type compress_ratios quantization_config torch_dtype
        tie_word_embeddings expand mamba_expand block_types attention_bias use_sliding_window
        rope_scaling num_nextn_predict_layers first_k_dense_replace state_size""".split()  # noqa: SIM905
    )
)


@settings(max_examples=examples(100), deadline=None)
@given(
    model_type=st.sampled_from([*CONVERTERS, *TEXT_CONFIGS]),
    change=st.dictionaries(KEYS, VALUES, max_size=6),
    inner=st.dictionaries(KEYS, VALUES, max_size=4),
)
def test_no_config_ends_in_a_traceback(
    model_type: str, change: dict[str, Any], inner: dict[str, Any]
) -> None:
    sound = {
        "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 100,
        "intermediate_size": 32,
    }  # fmt: skip
    config = {"model_type": model_type, **sound, "text_config": {**sound, **inner}, **change}
    with suppress(KvcalcError):
        spec_from_config(json.loads(json.dumps(config)), "model", "config.json")
