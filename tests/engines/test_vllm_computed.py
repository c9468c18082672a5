"""Random layer stacks, laid out by vLLM's own functions and by kvcalc.

Each line of vllm_computed.jsonl holds a stack, flags, and what get_kv_cache_configs of that release
(get_kv_cache_config in 0.10.2) answered on a CPU, given KVCacheSpec objects for the same layers: the
number of blocks, the size and the concurrency that it logs, and, asked again with ``short`` bytes,
the need and the longest request of its error. ``answer`` is null where vLLM refuses the stack.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.pool import capacity
from kvcalc.errors import UnsupportedError
from kvcalc.memory.layout import Layout
from kvcalc.spec.loader import load_spec_text
from kvcalc.units import GIB

HEAD = (
    "name: random\nsource: none\nhidden_size: 4096\nvocab_size: 32000\ntie_word_embeddings: true\n"
)
CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "vllm_computed.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["version"])
def test_the_plan_is_vllms(case: dict[str, Any]) -> None:
    spec = load_spec_text(HEAD + case["layers"])

    def ask(num_bytes: int) -> Any:
        memory = Available.exactly(num_bytes)
        flags = {"engine_version": case["version"], **case["flags"]}
        layout = Layout(flags.pop("tensor_parallel", 1), flags.pop("pipeline_parallel", 1))
        return capacity(spec, VllmFlags(available=memory, layout=layout, **flags)).pool

    answer = case["answer"]
    if answer is None:
        with pytest.raises(UnsupportedError):
            ask(case["available"])
        return
    pool = ask(case["available"])
    assert (pool.num_blocks, pool.tokens) == (answer["blocks"], answer["tokens"])
    assert float(pool.max_concurrency) == pytest.approx(float(answer["concurrency"]), rel=1e-9)
    if "short" in answer:
        short = ask(answer["short"])
        assert round(short.bytes_per_request / GIB, 2) == float(answer["needed_gib"])
        assert short.estimated_max_model_len == answer["longest"]
