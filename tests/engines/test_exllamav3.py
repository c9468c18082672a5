"""exllamav3: the sizes that its own classes stated for every shipped model, replayed.

tests/engines/exllamav3.json is written by `python -m tests.engines.exllamav3_measured`.
"""

import json
from functools import cache
from typing import Any

import pytest

import kvcalc
from kvcalc.engines.exllamav3.flags import Exllamav3Flags
from kvcalc.engines.exllamav3.models import RELEASE
from kvcalc.engines.exllamav3.pool import capacity
from kvcalc.engines.request import Available
from kvcalc.engines.workload import EngineCache, workload_cache
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.engines import exllamav3_measured as measured

# A class that reads another architecture's name than the checkpoints bear, and caches not accounted for.
REFUSED = {"deepseek-v4-flash", "deepseek-v4-pro", "internlm3-8b", "kimi-k2.5"}


def held(model: str, tokens: int) -> EngineCache:
    return workload_cache("exllamav3", load(model), Workload(context_tokens=tokens))


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(measured.FILE.read_text("utf-8"))
    return found


def _bytes(name: str, paged: bool, **flags: Any) -> int:
    found = capacity(load(name), Exllamav3Flags(tokens=measured.TOKENS, **flags))
    return sum(one.bytes for one in found.caches if one.name.startswith("pages") == paged)


def test_the_table_is_of_the_release_that_is_known() -> None:
    assert table()["exllamav3"] == measured.RELEASE == RELEASE
    assert len(table()["models"]) == 134
    assert not any("fails" in row for row in table()["models"].values())


def test_every_shipped_model_that_its_classes_were_built_for() -> None:
    """4 formats of a cache of 4,096 tokens, 4 numbers of slots: 1,040 sizes to the byte."""
    words = {None: "fp16", (4, 4): "q4", (8, 4): "q8:q4", (6, 5): "q6:q5"}
    for name, row in table()["models"].items():
        if name in REFUSED:
            with pytest.raises(UnsupportedError):
                _bytes(name, True)
            continue
        found = [_bytes(name, True, kv_dtype=words[bits]) for bits in measured.FORMATS]
        assert found == row["formats"], name
        states = [
            _bytes(
                name,
                False,
                max_num_seqs=slots,
                speculative_tokens=drafts,
                state_dtype="fp32" if wide else None,
            )
            for slots, drafts, wide in measured.STATES
        ]
        assert states == row["states"], name


def test_the_slots_of_states_come_off_the_memory() -> None:
    """qwen3.6-27b: 16 slots are 2,494,783,488 bytes, a page of 16 layers 256 * 65,536."""
    found = kvcalc.capacity("qwen3.6-27b", "exllamav3", available="10GiB", max_model_len=8192)
    assert found.pool.num_blocks == 491
    assert (found.pool.tokens, found.pool.bytes_per_block) == (125_696, 16_777_216)
    assert found.pool.max_concurrency == 15


def test_a_window_is_a_mask_but_for_gpt_oss() -> None:
    """gemma-3-1b keeps 26 layers of 8,192 tokens; gpt-oss-20b 12 of them, and 12 rings of 768."""
    gemma = held("gemma-3-1b", 8192)
    assert gemma.bytes == 26 * 8192 * 1024
    oss = held("gpt-oss-20b", 8192)
    assert oss.bytes == 12 * (8192 + 768) * 2048


def test_what_makes_no_sense_is_refused() -> None:
    spec = load("llama-3-8b")
    with pytest.raises(UsageError, match="a multiple of 256: 768 or 1024"):
        capacity(spec, Exllamav3Flags(tokens=1000))
    with pytest.raises(UsageError, match="2 to 8 bits"):
        capacity(spec, Exllamav3Flags(tokens=1024, kv_dtype="fp8"))
    with pytest.raises(UsageError, match="say how large"):
        capacity(spec, Exllamav3Flags())
    with pytest.raises(UsageError, match="holds no page beside 16 slots"):
        capacity(load("qwen3.6-27b"), Exllamav3Flags(available=Available.exactly(1 << 30)))
    with pytest.raises(KvcalcError, match="no class for model_type 't5'"):
        held("t5-base", 128)
    with pytest.raises(KvcalcError, match=r"accounted for in 1\.6\.5"):
        capacity(spec, Exllamav3Flags(tokens=1024, engine_version="1.0.0"))
