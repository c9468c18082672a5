"""Random layer stacks, sized by SGLang's own functions and by kvcalc.

Each line of sglang_computed.jsonl holds a stack, flags, and what DefaultPoolConfigurator or
HybridSWAPoolConfigurator of that release answered on a CPU, after _handle_max_mamba_cache where there
are states: tokens of the full pool, of the window pool (of one rank), slots of states.
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.pool import capacity
from kvcalc.memory.layout import Layout
from kvcalc.spec.loader import load_spec_text

HEAD = (
    "name: random\nsource: none\nhidden_size: 4096\nvocab_size: 32000\ntie_word_embeddings: true\n"
)
CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "sglang_computed.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["flags"]["engine_version"])
def test_the_pools_are_sglangs(case: dict[str, Any]) -> None:
    flags = dict(case["flags"])
    for name in ("window_ratio", "state_ratio"):
        if name in flags:
            flags[name] = Fraction(flags[name])
    layout = Layout(flags.pop("tensor_parallel", 1), flags.pop("pipeline_parallel", 1))
    memory = Available.exactly(case["available"])
    result = capacity(
        load_spec_text(HEAD + case["layers"]), SglangFlags(available=memory, layout=layout, **flags)
    )
    cells = {cache.name: cache.cells for cache in result.caches}
    assert result.pool.tokens == case["tokens"]
    assert case["window"] in (None, cells.get("window"))
    assert case["states"] == cells.get("states")
