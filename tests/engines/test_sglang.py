"""SGLang's rules beyond the pasted logs: budgets, ratios, ranks, refusals."""

from fractions import Fraction
from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.pool import capacity
from kvcalc.errors import KvcalcError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import locate

GIB = 1 << 30


def run(model: str, **flags: Any) -> CapacityResult:
    common = {name: flags.pop(name) for name in ("available", "layout") if name in flags}
    common |= {"engine_version": flags.pop("engine_version", None)}
    return capacity(locate(model).spec, SglangFlags.of("SGLang", flags, **common))


def test_memory_is_divided_between_states_and_tokens() -> None:
    """Qwen3.6-27B in 20 GiB, ratio 0.9. A state is 48 * (10,240 * 3 * 2 + 48 * 128 * 128 * 4) =
    153,944,064 bytes. 0.9 / 1.9 of 21,474,836,480 less one padding state holds 65 of them; the rest,
    11,314,528,256 bytes, holds 172,646 tokens of 65,536.
    """
    result = run("qwen3.6-27b", available=Available.exactly(20 * GIB))
    states = next(cache for cache in result.caches if cache.name == "states")
    assert states.cells == 65
    assert states.bytes == 66 * 153_944_064
    assert result.pool.tokens == 172_646


def test_the_state_ratio_moves_the_border() -> None:
    """At a ratio of 0.1, 21,474,836,480 / 11 less a state holds 11 states."""
    result = run("qwen3.6-27b", available=Available.exactly(20 * GIB), state_ratio=Fraction(1, 10))
    assert next(c.cells for c in result.caches if c.name == "states") == 11


def test_a_stated_number_of_states_without_a_radix_cache() -> None:
    result = run("qwen3.6-27b", available=Available.exactly(20 * GIB), max_num_seqs=8,
                 prefix_caching=False)  # fmt: skip
    assert next(c.cells for c in result.caches if c.name == "states") == 8
    # (21,474,836,480 - 9 * 153,944,064) // 65,536
    assert result.pool.tokens == 306_539


def test_a_rounded_memory_gives_a_range() -> None:
    """5.98GiB is 5.975 to 5.985 GiB; llama-3-8b takes 131,072 bytes a token."""
    result = run("llama-3-8b", available=Available.parse("5.98GiB"))
    assert result.pool.tokens == 48_988
    assert result.pool_range is not None
    assert [pool.tokens for pool in result.pool_range] == [48_947, 49_029]


def test_draft_layers_widen_a_token() -> None:
    """deepseek-v3 with its MTP layer: 61 + 1 layers of 1152 bytes, 1 GiB: 15,033 tokens."""
    result = run("deepseek-v3", available=Available.exactly(GIB), mtp_layers=1)
    assert result.pool.bytes_per_block == 62 * 1152
    assert result.pool.tokens == 15_033


def test_only_layers_with_an_indexer_are_billed_for_it() -> None:
    """GLM-5.2, fp8: 78 * 656 + 21 * 132 = 53,940 bytes a token, in pages of 64."""
    result = run("glm-5.2", tokens=64_000, kv_dtype="fp8_e4m3")
    assert result.pool.block_tokens == 64
    assert result.pool.bytes_per_block == 64 * 53_940


def test_shared_layers_are_given_slots_all_the_same() -> None:
    """gemma-4-e4b: 42 layers, 7 of them full; 18 read another layer's cache."""
    result = run("gemma-4-e4b", tokens=4096)
    assert sum(group.layers for group in result.groups) == 42
    assert any(waste.cause.startswith("slots of layers") for waste in result.waste)


def test_windows_without_a_pool_are_kept_whole() -> None:
    """gemma-2-9b is not among SGLang's hybrid models: all 42 layers of 8192 bytes for every token."""
    result = run("gemma-2-9b", tokens=1000)
    assert result.pool.bytes_per_block == 42 * 8192
    assert any("gemma2" in note for note in result.notes)


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("llama-3-8b", {}, "--available"),
        ("llama-3-8b", {"tokens": 1, "ctx_size": 4096}, "SGLang has no --ctx-size"),
        ("llama-3-8b", {"tokens": 1, "kv_dtype": "q8_0"}, "--kv-dtype q8_0"),
        ("llama-3-8b", {"tokens": 1, "layout": Layout(3)}, "cannot be divided among 3"),
        ("t5-small", {"tokens": 1}, "not accounted for"),
        ("deepseek-v4-flash", {"tokens": 1}, "not accounted for"),
        ("qwen3.6-27b", {"available": Available.exactly(1 << 20)}, "does not hold one state"),
    ],
)
def test_refusals(model: str, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(KvcalcError, match=message):
        run(model, **flags)


def test_what_is_not_accounted_for_is_named() -> None:
    """The window pool of requests in flight, pools before 0.5.7, a pool of no page."""
    memory = Available.exactly(20 * GIB)
    with pytest.raises(KvcalcError, match="requests in flight"):
        run("gpt-oss-20b", available=memory, prefix_caching=False, max_num_seqs=8)
    with pytest.raises(KvcalcError, match=r"0\.5\.7"):
        run("gpt-oss-20b", available=memory, engine_version="0.5.4")
    with pytest.raises(KvcalcError, match="holds no page"):
        run("llama-3-8b", available=Available.exactly(1000))
    assert run("gpt-oss-20b", tokens=4096, engine_version="0.5.4").pool.tokens == 4096


@pytest.mark.parametrize(
    ("version", "tokens"),
    [("0.5.12", 15_279), ("0.5.13.post1", 15_279), ("v0.5.14", 15_033), ("0.5", 15_033)],
)
def test_draft_layers_are_counted_since_0_5_14(version: str, tokens: int) -> None:
    """deepseek-v3 in 1 GiB: 61 layers of 1152 bytes before, 62 with its MTP layer."""
    result = run("deepseek-v3", available=Available.exactly(GIB), mtp_layers=1,
                 engine_version=version)  # fmt: skip
    assert result.pool.tokens == tokens


def test_layers_left_over_go_to_the_last_ranks() -> None:
    """61 layers on 4 ranks: 15, 15, 15, 16; up to 0.5.5 the last has them all. 1152 bytes each."""
    for version, layers in (("0.5.23", 16), ("0.5.5", 16)):
        result = run("deepseek-v3", available=Available.exactly(GIB), layout=Layout(1, 4),
                     engine_version=version)  # fmt: skip
        assert result.pool.tokens == GIB // (layers * 1152)
    older = run("deepseek-v2", available=Available.exactly(GIB), layout=Layout(1, 7),
                engine_version="0.5.5")  # fmt: skip
    assert older.pool.tokens == GIB // (12 * 1152)  # 60 layers: 8 each, and 4 more
