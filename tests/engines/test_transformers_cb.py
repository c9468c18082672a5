"""transformers' continuous batching: what its own classes answered, replayed.

tests/engines/transformers_cb.json is written by `python -m tests.engines.transformers_cb_measured`.
"""

import json
from functools import cache
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import TEXT_CONFIGS
from kvcalc.engines.request import Available
from kvcalc.engines.transformers_cb.flags import TransformersCbFlags
from kvcalc.engines.transformers_cb.models import RELEASE, RUNS, UNDIVIDED
from kvcalc.engines.transformers_cb.pages import paged
from kvcalc.engines.transformers_cb.pool import capacity
from kvcalc.engines.workload import EngineCache, workload_cache
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.convert.measured import drawn, inside
from tests.engines import transformers_cb_measured as measured


def held(model: str, tokens: int) -> EngineCache:
    return workload_cache("transformers-cb", load(model), Workload(context_tokens=tokens))


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(measured.FILE.read_text("utf-8"))
    return found


def test_the_table_is_of_the_release_that_is_known() -> None:
    assert table()["transformers"] == measured.RELEASE == RELEASE
    assert len(table()["small"]) == 200
    runs = {
        name for name, rows in table()["small"].items() if not any("fails" in row for row in rows)
    }
    assert runs == {*RUNS, "jetmoe"}, "its heads are a mixture's, which is not accounted for"
    assert all(row["same"] for name in RUNS for row in table()["small"][name])


@pytest.mark.parametrize("model_type", sorted(RUNS))
def test_small_models_of_every_type_that_runs(model_type: str) -> None:
    """In fp32, pages of 4 tokens: the bytes of a sector, the layers of a kind, sectors of prompts."""
    for seed, row in enumerate(table()["small"][model_type]):
        values = (inside if model_type in TEXT_CONFIGS else drawn)(model_type, seed)
        spec = spec_from_config(values, model_type, "").spec
        found = paged(spec, TransformersCbFlags(kv_dtype="bf16", block_size=measured.PAGE))
        kinds = [
            ("sliding_attention" if kind.window else "full_attention", kind.layers)
            for kind in found.kinds
        ]
        assert dict(kinds) == row["layers"]
        assert found.sector_bytes == row["sector_bytes"]
        assert [found.sectors(tokens) for tokens in measured.LENGTHS] == row["sectors"]
        assert (model_type not in UNDIVIDED) == row["divides_heads"]


@pytest.mark.parametrize("name", measured.SHIPPED)
def test_shipped_models_at_true_size(name: str) -> None:
    spec, row = load(name), table()["shipped"][name]
    for ranks, sector_bytes, counts in row["held"]:
        if ranks > 1 and spec.model_type in UNDIVIDED:
            continue
        found = paged(spec, TransformersCbFlags(layout=Layout(ranks)))
        held = [
            [found.sectors(tokens, each) for each in measured.REQUESTS]
            for tokens in measured.TRUE_LENGTHS
        ]
        assert (found.sector_bytes, held) == (sector_bytes, counts)
    for memory, backend, batch, requests, ahead, pool in row["pools"]:
        flags = TransformersCbFlags(
            available=Available.exactly(memory), attention_backend=backend, max_num_batched_tokens=batch,
            max_num_seqs=requests, async_scheduling=ahead,
        )  # fmt: skip
        if pool is None:
            with pytest.raises(UsageError, match="leaves no sector"):
                capacity(spec, flags)
        else:
            assert capacity(spec, flags).pool.num_blocks == pool[1]


def test_a_request_of_one_token_takes_a_sector_of_each_kind() -> None:
    """gemma-3-1b: lcm(22, 4) pages of 262,144 bytes are 11 MiB, twice."""
    found = held("gemma-3-1b", 1)
    assert found.bytes == 23_068_672


def test_layers_that_share_have_pages() -> None:
    """gemma-3n-e2b: 10 of its 30 layers read another's keys and values, and are laid out."""
    spec = load("gemma-3n-e2b")
    found = paged(spec, TransformersCbFlags())
    assert {kind.window: kind.layers for kind in found.kinds} == {512: 24, None: 6}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("deepseek-v3", "latents"),
        ("qwen3-next-80b-a3b", "neither full nor sliding"),
        ("gemma-4-e2b", "several widths"),
        ("falcon-7b", "its length"),
        ("pythia-410m", "another way"),
        ("t5-base", "not run here"),
    ],
)
def test_what_does_not_run_is_refused_by_name(model: str, said: str) -> None:
    with pytest.raises(KvcalcError, match=said):
        held(model, 128)


def test_what_is_not_said_or_not_read_is_refused() -> None:
    spec = load("llama-3-8b")
    memory = Available.exactly(20 << 30)
    with pytest.raises(
        UsageError, match=r"is not said.*flash_attention_2, flash_attention_3, sdpa"
    ):
        capacity(spec, TransformersCbFlags(available=memory))
    with pytest.raises(UsageError, match="in the model's format"):
        paged(spec, TransformersCbFlags(kv_dtype="fp8"))
    with pytest.raises(UsageError, match="at least 4"):
        paged(spec, TransformersCbFlags(block_size=2))
    with pytest.raises(KvcalcError, match=r"accounted for in 5\.24\.0"):
        paged(spec, TransformersCbFlags(engine_version="5.20.0"))
    with pytest.raises(KvcalcError, match="that divides 8, not 3"):
        paged(spec, TransformersCbFlags(layout=Layout(3)))
