"""llama.cpp's rules beyond the pasted logs: refusals, flags, DeepSeek-V4, what is wasted."""

from typing import Any

import pytest

from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.pool import capacity
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import locate

MIB = 1 << 20


def run(model: str, **flags: Any) -> CapacityResult:
    common = {name: flags.pop(name) for name in ("available", "layout") if name in flags}
    common |= {"engine_version": flags.pop("engine_version", None)}
    return capacity(locate(model).spec, LlamaCppFlags.of("llama.cpp", flags, **common))


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("llama-3-8b", {"cache_type_k": "q3_k"}, "--cache-type-k"),
        ("llama-3-8b", {"kv_dtype": "fp8"}, "llama.cpp has no --kv-dtype"),
        ("llama-3-8b", {"layout": Layout(2)}, "no --tp"),
        ("llama-3-8b", {"mtp_layers": 1}, "has no MTP layers"),
        ("deepseek-v3", {"cache_type_k": "q8_0"}, "--cache-type-v q8_0"),
        ("open-llama-3b", {"cache_type_k": "q8_0"}, "a head of 100"),  # 100 is not 32 * n
    ],
)
def test_refusals_say_what_helps(model: str, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(model, ctx_size=4096, **flags)


@pytest.mark.parametrize("model", ["bart-base", "recurrentgemma-2b", "xlstm-7b"])
def test_models_it_has_no_cache_for_are_named(model: str) -> None:
    with pytest.raises(UnsupportedError, match=r"llama\.cpp"):
        run(model, ctx_size=4096)


def test_full_windows_keep_every_cell() -> None:
    """--swa-full: 52 window layers of gemma-3-27b at 32,768 cells, 52 * 16 KiB each."""
    caches = run("gemma-3-27b", ctx_size=32768, swa_full=True).caches
    assert [(c.cells, c.bytes) for c in caches] == [
        (32768, 32768 * 10 * 8192),
        (32768, 32768 * 52 * 8192),
    ]


def test_a_mistral_window_is_not_used() -> None:
    """llama.cpp's llama architecture has no window: 8 x 128 K and V in f16 for all 32,768 cells."""
    result = run("mistral-7b-v0.1", ctx_size=32768)
    assert result.pool.bytes == 32768 * 32 * 4096
    assert any("has no window" in note for note in result.notes)


def test_deepseek_v4_lists_every_cache() -> None:
    """DeepSeek-V4-Flash, 65,536 cells, f16: 21 CSA, 20 HCA and 2 window layers, 512 wide.

    43 * 768 * 1024 window; 21 * 16,384 * 1024 CSA; 20 * 512 * 1024 HCA; 21 * 16,384 * 256 index;
    f32 states: 21 * 8 * 1024 * 4 * 2, 20 * 128 * 512 * 4 * 2, 21 * 8 * 256 * 4 * 2.
    """
    sizes = {cache.name: cache.bytes for cache in run("deepseek-v4-flash", ctx_size=65536).caches}
    assert sizes == {
        "raw": 0,
        "raw (window)": 33816576,
        "csa": 352321536,
        "hca": 10485760,
        "index": 88080384,
        "csa compressor state": 1376256,
        "hca compressor state": 10485760,
        "index compressor state": 344064,
    }


def test_an_indexer_has_a_cache_of_its_own() -> None:
    """GLM-5.2: 78 latents of 576 and 21 index keys of 128 in f16 at 4096 cells."""
    caches = run("glm-5.2", ctx_size=4096).caches
    assert [(c.type, c.layers, c.bytes) for c in caches] == [
        ("attention", 78, 4096 * 78 * 1152),
        ("indexer", 21, 4096 * 21 * 256),
    ]


def test_t5_keeps_its_decoders_own_keys_and_values() -> None:
    """T5-base: 12 layers, 12 heads of 64; 512 cells of K and V in f16 are 18 MiB."""
    (cache,) = run("t5-base", ctx_size=512).caches
    assert (cache.layers, cache.cells, cache.bytes) == (12, 512, 18 * MIB)


def test_the_longest_context_for_a_memory() -> None:
    """llama-3-8b: 131,072 bytes a cell in f16, so 1 GiB holds 8192 cells."""
    result = run("llama-3-8b", ctx_size=4096, available=Available.exactly(1 << 30))
    assert result.pool.estimated_max_model_len == 8192
    assert result.pool.bytes == 512 * MIB


def test_waste_says_why() -> None:
    """1024 cells asked for 3 slots are 3 * 512: 512 cells of 131,072 bytes too many."""
    (waste,) = run("llama-3-8b", ctx_size=1024, parallel=3).waste
    assert (waste.cause, waste.bytes) == ("cells padded to 256", 512 * 131072)


def test_some_architectures_cannot_roll_states_back() -> None:
    """llm_arch_supports_rs_rollback: Qwen3.5 and LFM2 can, Qwen3-Next and Jamba cannot."""

    def rows(model: str) -> int:
        states = [
            cache for drafts in (0, 3)
            for cache in run(model, ctx_size=4096, speculative_tokens=drafts).caches
            if cache.type == "recurrent"
        ]  # fmt: skip
        return states[1].bytes // states[0].bytes

    models = ("qwen3.5-9b", "lfm2-1.2b", "qwen3-next-80b-a3b", "jamba-1.5-mini")
    assert [rows(model) for model in models] == [4, 4, 1, 1]


def test_minicpm3_keeps_keys_and_values_of_every_head() -> None:
    """62 layers, 40 heads of 64 + 32 for K and 64 for V, f16: 4096 cells are 1860 and 1240 MiB."""
    (cache,) = run("minicpm3-4b", ctx_size=4096).caches
    assert (cache.k_bytes, cache.v_bytes) == (1860 * MIB, 1240 * MIB)


@pytest.mark.parametrize("model", ["gpt-neo-125m", "zamba2-2.7b", "longcat-flash"])
def test_models_without_an_architecture_are_refused(model: str) -> None:
    with pytest.raises(UnsupportedError, match="no architecture"):
        run(model, ctx_size=4096)
