"""LightLLM: what its own memory managers stated for every shipped model, replayed.

tests/engines/lightllm.json is written by `python -m tests.engines.lightllm_measured`.
"""

import json
from functools import cache
from typing import Any

import pytest

import kvcalc
from kvcalc.engines.lightllm.flags import RELEASE, LightllmFlags
from kvcalc.engines.lightllm.pool import capacity
from kvcalc.engines.request import Available
from kvcalc.engines.workload import workload_cache
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load
from tests.engines import lightllm_measured as measured

# Caches of another kind, and a class that takes 192 channels of a head for 256.
REFUSED = {"deepseek-v3.2", "qwen3-next-80b-a3b", "gemma-7b"}
# Heads of 100 channels, which groups of 8 do not divide: what is stated and what is made differ.
UNEVEN = {"open-llama-3b"}


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(measured.FILE.read_text("utf-8"))
    return found


def refused(name: str, kind: str) -> bool:
    return name in REFUSED or (name in UNEVEN and kind != "None")


def test_the_table_is_of_the_release_that_is_known() -> None:
    assert table()["lightllm"] == measured.RELEASE == RELEASE
    assert len(table()["models"]) == 95


def test_every_shipped_model_that_its_classes_were_made_for() -> None:
    """The bytes of a token in 3 formats on 1, 2 and 16 ranks."""
    for name, row in table()["models"].items():
        for ranks, cells in row["cells"].items():
            for kind, cell in zip(measured.FORMATS, cells, strict=True):
                request = LightllmFlags(tokens=1, kv_dtype=kind, layout=Layout(tensor=int(ranks)))
                if refused(name, kind) or isinstance(cell, str):
                    with pytest.raises(UnsupportedError):
                        capacity(load(name), request)
                else:
                    found = capacity(load(name), request).pool
                    assert found.bytes_per_block == cell, (name, kind, ranks)


def test_every_memory() -> None:
    """Its tokens, and the bytes of its buffers."""
    pools = 0
    for name, row in table()["models"].items():
        for pool in row["pools"]:
            if pool is None or refused(name, pool[0]):
                continue
            kind, ranks, left, tokens, taken = pool
            memory, layout = Available.exactly(left), Layout(tensor=ranks)
            request = LightllmFlags(available=memory, kv_dtype=kind, layout=layout)
            found = capacity(load(name), request).pool
            assert (found.tokens, found.bytes) == (tokens, taken), name
            pools += 1
    assert pools == 179


def test_a_window_is_a_mask() -> None:
    """gpt-oss-20b keeps 24 layers of 4,096 tokens, 2 * 8 * 64 values each."""
    found = workload_cache("lightllm", load("gpt-oss-20b"), Workload(context_tokens=4096))
    assert found.bytes == 24 * 4096 * 2048


def test_what_makes_no_sense_is_refused() -> None:
    spec = load("llama-3-8b")
    with pytest.raises(UsageError, match="say how large"):
        capacity(spec, LightllmFlags())
    with pytest.raises(UsageError, match="has auto, int8kv and int4kv"):
        capacity(spec, LightllmFlags(tokens=9, kv_dtype="fp8"))
    with pytest.raises(UnsupportedError, match="reads its scales from a file"):
        capacity(spec, LightllmFlags(tokens=9, kv_dtype="fp8kv_sph"))
    with pytest.raises(UsageError, match="holds no token of 131,072 bytes"):
        capacity(spec, LightllmFlags(available=Available.exactly(1000)))
    with pytest.raises(UnsupportedError, match="8 KV heads evenly: not over 16 ranks"):
        capacity(spec, LightllmFlags(tokens=9, layout=Layout(tensor=16)))
    with pytest.raises(UnsupportedError, match=r"accounted for in 1\.2\.0"):
        capacity(spec, LightllmFlags(tokens=9, engine_version="1.1.0"))


def test_the_pool_is_said_once() -> None:
    with pytest.raises(UsageError, match="give one of them"):
        kvcalc.capacity("llama-3-8b", "lightllm", available="10GiB", tokens=5)
