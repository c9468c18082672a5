"""onnxruntime-genai: the buffers that its runtime stated for small random models, replayed.

tests/engines/onnxruntime_genai.json is written by `python -m tests.engines.onnxruntime_genai_measured`.
"""

import json
import re
from functools import cache
from math import prod
from typing import Any

import pytest

import kvcalc
from kvcalc.convert.hf import spec_from_config
from kvcalc.engines.onnxruntime_genai.buffers import kept_of
from kvcalc.engines.onnxruntime_genai.flags import OnnxruntimeGenaiFlags
from kvcalc.engines.onnxruntime_genai.models import RELEASE, RUNS
from kvcalc.engines.workload import workload_cache
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.convert.measured import drawn
from tests.engines import onnxruntime_genai_measured as measured


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(measured.FILE.read_text("utf-8"))
    return found


def test_the_table_is_of_the_release_that_is_known() -> None:
    assert table()["onnxruntime-genai"] == measured.RELEASE == RELEASE
    assert {*RUNS, "lfm2"} == set(table()["models"])


@pytest.mark.parametrize("model_type", sorted(RUNS))
def test_buffers_of_small_models(model_type: str) -> None:
    """Keys, layer by layer: the runtime's [sequences, KV heads, rows, width] in float32."""
    for label, row in table()["models"][model_type].items():
        values = drawn(model_type, 0) | {"max_position_embeddings": 64}
        sizes = {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
        values |= {name: size for name, size in sizes.items() if values.get(name) is not None}
        if found := re.search(r"window (\d+)", label):
            window = int(found[1])
            values |= {"sliding_window": window, "max_position_embeddings": max(64, 4 * window)}
        spec = spec_from_config(values, model_type, "").spec
        runs = ((1000, 1, 1), (250, 2, 1)) if "300" in label else measured.RUNS
        kept = kept_of(spec, OnnxruntimeGenaiFlags(kv_dtype="fp32"))
        for (longest, sequences, beams), buffers in zip(runs, row["runs"], strict=True):
            if beams > 1:
                continue
            assert row["shares"]
            held = sorted(
                (one.taken(longest, 1) * sequences, one.row_bytes // 2)
                for one in kept
                for _ in one.layers
            )
            stated = sorted(
                (shape[0] * shape[2], 4 * shape[1] * shape[3]) for shape, dtype in buffers["past_key_names"]
                if dtype == "float32"
            )  # fmt: skip
            assert held == stated
            assert buffers["past_key_names"] == buffers["present_key_names"]
            total = sum(4 * prod(shape) for side in ("key", "value")
                        for shape, _ in buffers[f"past_{side}_names"])  # fmt: skip
            assert sum(rows * 2 * size for rows, size in held) == total


def test_all_of_max_length_is_allocated() -> None:
    """llama-3-8b: 32 layers * 2 * 8 * 128 * 4 = 262,144 bytes a token, of 8,192 where nothing is said."""
    found = workload_cache(
        "onnxruntime-genai", load("llama-3-8b"), Workload(context_tokens=100), "fp32"
    )
    assert found.bytes == 26_214_400
    pool = kvcalc.capacity("llama-3-8b", "onnxruntime-genai", kv_dtype="fp32").pool
    assert (pool.tokens, pool.bytes) == (8192, 2_147_483_648)
    pool = kvcalc.capacity(
        "llama-3-8b", "onnxruntime-genai", available="1GiB", kv_dtype="fp16", max_num_seqs=4
    ).pool
    assert pool.estimated_max_model_len == 2048


def test_a_window_has_16_rows_more() -> None:
    """mistral-7b-v0.1: 32 layers of 4,112 rows."""
    found = workload_cache(
        "onnxruntime-genai", load("mistral-7b-v0.1"), Workload(context_tokens=32768), "fp32"
    )
    assert found.bytes == 32 * 4112 * 2 * 8 * 128 * 4


def test_what_was_not_seen_is_refused() -> None:
    spec = load("llama-3-8b")
    with pytest.raises(UsageError, match=r"--kv-dtype int8: .*fp32 for a CPU"):
        kept_of(spec, OnnxruntimeGenaiFlags(kv_dtype="int8"))
    with pytest.raises(UnsupportedError, match="follows the execution provider"):
        kept_of(load("mistral-7b-v0.1"), OnnxruntimeGenaiFlags(kv_dtype="fp16"))
    with pytest.raises(UsageError, match="at most 32"):
        workload_cache("onnxruntime-genai", spec, Workload(context_tokens=8, batch_size=33), "fp32")
    with pytest.raises(UnsupportedError, match="beams"):
        workload_cache("onnxruntime-genai", spec, Workload(context_tokens=8, beams=2), "fp32")
    with pytest.raises(KvcalcError, match="no model of model_type 't5'"):
        kept_of(load("t5-base"), OnnxruntimeGenaiFlags(kv_dtype="fp32"))
    with pytest.raises(KvcalcError, match=r"accounted for in 0\.18\.0"):
        kept_of(spec, OnnxruntimeGenaiFlags(kv_dtype="fp32", engine_version="0.9"))
