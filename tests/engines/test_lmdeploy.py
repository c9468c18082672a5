"""lmdeploy's PyTorch engine: what its own classes answered for shipped models, replayed.

tests/engines/lmdeploy.json is written by `python -m tests.engines.lmdeploy_measured`.
"""

import json
from functools import cache
from typing import Any

import pytest

from kvcalc.engines.lmdeploy.block import block_bytes, kept_of, slot_bytes
from kvcalc.engines.lmdeploy.flags import LmdeployFlags
from kvcalc.engines.lmdeploy.models import RELEASE
from kvcalc.engines.lmdeploy.pool import capacity
from kvcalc.engines.request import Available
from kvcalc.engines.workload import workload_cache
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.engines import lmdeploy_measured as measured

# Windows, indexers and DeepSeek-V4: refused by name.
REFUSED = {
    "deepseek-v3.2", "deepseek-v4-flash", "deepseek-v4-pro", "gemma-2-27b", "gemma-2-2b", "gemma-2-9b",
    "gemma-3-12b", "gemma-3-1b", "gemma-3-270m", "gemma-3-27b", "gemma-3-4b", "glm-5", "glm-5.1", "glm-5.2",
    "kimi-k2.5", "mistral-7b-v0.1", "phi-3-medium-4k", "phi-3-mini-4k",
}  # fmt: skip


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(measured.FILE.read_text("utf-8"))
    return found


def test_the_table_is_of_the_release_that_is_known() -> None:
    assert table()["lmdeploy"] == measured.RELEASE == RELEASE
    assert len(table()["models"]) == 104
    assert not any("fails" in row for row in table()["models"].values())


def test_what_is_refused_is_what_has_a_window_or_caches_of_its_operators() -> None:
    for name in REFUSED:
        with pytest.raises(UnsupportedError):
            kept_of(load(name), LmdeployFlags())
    windows = {name for name, row in table()["models"].items() if row["window"] > 0}
    # A window as long as the model's longest is none.
    assert windows - REFUSED <= {"phi-3.5-mini", "phi-4", "phi-4-mini"}


def test_blocks_of_every_model_format_and_number_of_ranks() -> None:
    """86 models, 5 formats, 1, 2 and 16 ranks, to the byte; what it refuses is refused."""
    for name, row in table()["models"].items():
        if name in REFUSED:
            continue
        spec = load(name)
        assert slot_bytes(kept_of(spec, LmdeployFlags())) == row["states"]
        for ranks, sizes in row["blocks"].items():
            for word, size in zip(measured.POLICIES, sizes, strict=True):
                flags = LmdeployFlags(kv_dtype=word, layout=Layout(int(ranks)))
                if isinstance(size, str) or (row["states"] and ranks != "1"):
                    with pytest.raises(UnsupportedError):
                        kept_of(spec, flags)
                else:
                    assert block_bytes(kept_of(spec, flags), 64) == size, (name, ranks, word)


def test_pools_of_every_model() -> None:
    """Three free memories each, with the batches, steps and formats that were drawn."""
    for name, row in table()["models"].items():
        for free, batch, step, word, found in () if name in REFUSED else row["pools"]:
            flags = LmdeployFlags(
                available=Available.exactly(free),
                max_num_seqs=batch,
                max_num_batched_tokens=step,
                kv_dtype=word,
            )
            if isinstance(found, str):
                with pytest.raises(UsageError, match="does not do"):
                    capacity(load(name), flags)
            else:
                assert capacity(load(name), flags).pool.num_blocks == found[0]


def test_values_of_mla_have_scales_and_no_bytes() -> None:
    """deepseek-v3 in int4: 61 layers of 64 * (288 + 4) and 256 bytes of scales for no values."""
    assert (
        block_bytes(kept_of(load("deepseek-v3"), LmdeployFlags(kv_dtype="int4")), 64) == 61 * 18_944
    )


def test_policies_have_numbers() -> None:
    """--quant-policy 8 is int8, 42 turbo_quant."""
    spec = load("llama-3-8b")
    for number, word in (("8", "int8"), ("42", "turbo_quant"), ("0", "auto"), ("fp8_e4m3", "fp8")):
        flags = (LmdeployFlags(kv_dtype=number), LmdeployFlags(kv_dtype=word))
        assert block_bytes(kept_of(spec, flags[0]), 64) == block_bytes(kept_of(spec, flags[1]), 64)


def test_the_need_and_its_blocks() -> None:
    """llama-3-8b, 65 tokens: two blocks of 8,388,608 bytes."""
    found = workload_cache("lmdeploy", load("llama-3-8b"), Workload(context_tokens=65))
    assert (found.bytes, found.logical_bytes) == (16_777_216, 8_519_680)


def test_what_makes_no_sense_is_refused() -> None:
    spec, memory = load("llama-3-8b"), Available.exactly(2 << 30)
    with pytest.raises(UsageError, match=r"--max-num-seqs .*1,024 on H100"):
        capacity(spec, LmdeployFlags(available=memory))
    with pytest.raises(UsageError, match="fewer with --max-num-batched-tokens"):
        capacity(spec, LmdeployFlags(available=memory, max_num_seqs=128))
    with pytest.raises(UsageError, match="int4, turbo_quant"):
        kept_of(spec, LmdeployFlags(kv_dtype="q4"))
    with pytest.raises(KvcalcError, match="query heads evenly"):
        kept_of(spec, LmdeployFlags(layout=Layout(3)))
    with pytest.raises(KvcalcError, match=r"accounted for in 0\.18\.0"):
        kept_of(spec, LmdeployFlags(engine_version="0.9.0"))
    with pytest.raises(KvcalcError, match="no class of its PyTorch engine"):
        kept_of(load("t5-base"), LmdeployFlags())
