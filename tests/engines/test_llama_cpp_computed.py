"""Random small models, given to llama.cpp's own library and to kvcalc.

Each line of llama_cpp_computed.jsonl holds a config.json, flags, and the cache lines that libllama
(as vendored in llama-cpp-python 0.3.36) printed for it on a CPU: the config was turned to GGUF
metadata by llama.cpp's own conversion, and loaded without weights. A line is (A, cells, streams,
layers, MiB of K, MiB of V) or (R, cells, null, MiB of R, MiB of S); of the layers of R llama.cpp
prints the model's.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.pool import capacity
from kvcalc.engines.result import Cache

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "llama_cpp_computed.jsonl").read_text("utf-8").splitlines()
]


def printed(cache: Cache) -> list[Any]:
    def mib(num_bytes: int | None) -> str:
        return f"{(num_bytes or 0) / (1 << 20):.2f}"

    if cache.type == "recurrent":
        return ["R", cache.cells, None, mib(cache.r_bytes), mib(cache.s_bytes)]
    return ["A", cache.cells, cache.streams, cache.layers, mib(cache.k_bytes), mib(cache.v_bytes)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["config"]["model_type"])
def test_the_caches_are_llama_cpps(case: dict[str, Any]) -> None:
    spec = spec_from_config(case["config"], "drawn", "random").spec
    caches = capacity(spec, LlamaCppFlags(**case["flags"])).caches
    assert sorted(map(printed, caches), key=str) == sorted(case["caches"], key=str)
