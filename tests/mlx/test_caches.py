"""--engine mlx: to the byte of what mlx-lm's caches hold after generate_step's prefill."""

import json
from functools import cache
from typing import Any

import pytest

from kvcalc.buffers import Grown, Rotating, Sliced
from kvcalc.convert.hf import spec_from_config
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.mlx import ENGINE
from kvcalc.engines.mlx.admission import most_held
from kvcalc.engines.mlx.caches import Setup, accounting
from kvcalc.engines.mlx.flags import MlxFlags
from kvcalc.engines.request import Available
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.cache import compile_groups
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load
from kvcalc.spec.model import ModelSpec
from tests.mlx.measured import CONFIGS, FILE, MAX_KV_SIZE

ENTRIES = {entry["name"]: entry["config"] for entry in json.loads(CONFIGS.read_text("utf-8"))}


@cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))["models"]
    return found


def caches(spec: ModelSpec, kv_dtype: str = "bf16", setup: Setup | None = None) -> Any:
    dtypes = CacheDtypes.parse(kv_dtype)
    return compile_groups(accounting(spec, dtypes, None, setup).groups, dtypes)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_class_to_the_byte(name: str) -> None:
    """After the prompt, and the most at the end of a step of it, for prompts of 1 to 4,500 tokens."""
    spec = spec_from_config(ENTRIES[name], name, "config.json").spec
    measured = table()[name]["caches"]
    function = caches(spec)
    lengths = {int(length): each for length, each in measured.items() if length.isdigit()}
    assert {n: [function.at(n), function.prefill_peak(n)] for n in lengths} == lengths
    small = caches(spec, setup=Setup(max_kv_size=MAX_KV_SIZE))
    for length, each in measured["max_kv_size"].items():
        assert [small.at(int(length)), small.prefill_peak(int(length))] == each
    for bits in (8, 4):
        for length, each in measured[f"kv_bits_{bits}"].items():
            assert quantised(spec, bits, int(length)) == each


def quantised(spec: ModelSpec, bits: int, length: int) -> list[int] | None:
    """None where mlx-lm is said to fail."""
    try:
        function = caches(spec, f"mlx-{bits}bit", Setup(quantized_start=0))
    except UnsupportedError:
        return None
    return [function.at(length), function.prefill_peak(length)]


def test_buffers_step_by_step() -> None:
    # As seen on mlx-lm 0.32.2: gemma3_text with windows of 128 holds 1,000 positions after a prompt of
    # 1,000 and 128 after the next token; 2,500 tokens under a window of 512: 2,048, 962, then 512.
    assert Grown().stages(2500) == (2048, 2560, 2560)
    assert Rotating(128).stages(1001) == (0, 1000, 128)
    assert Rotating(512).stages(2500) == (2048, 962, 512)
    assert Rotating(640).positions(8, 0) == 263
    assert Rotating(4096).stages(5096) == (4096, 5094, 4096)
    assert Sliced(512).stages(564) == (0, 768, 768)
    assert Grown(since=5000).positions(4999, 0) == 0
    assert Grown(until=5000).positions(5000, 0) == 0


def test_literal_figures() -> None:
    # Llama-3.1-8B: 1,024 positions of 131,072 bytes for 1,000 tokens.
    llama = caches(load("llama-3.1-8b"))
    assert llama.at(1000) == 134_217_728
    # DeepSeek-V2-Lite expands its latent: 16 heads of 192 and 128, 27 layers; V3's is 576 wide.
    assert caches(load("deepseek-v2-lite")).at(256) == 27 * 16 * (192 + 128) * 2 * 256
    assert caches(load("deepseek-v3")).at(256) == 61 * 576 * 2 * 256
    # V3.2's index key of 128 lies there twice.
    assert caches(load("deepseek-v3.2")).at(256) == 61 * (576 + 2 * 128) * 2 * 256


def test_quantised_from_5000_tokens_on() -> None:
    # 8 bits: 68 bytes for 64 values; 16 bits until a step ends at 5,000 tokens or more.
    function = caches(load("llama-3.1-8b"), "mlx-8bit")
    assert function.at(4999) == 5120 * 131_072
    assert function.at(5000) == 5120 * 69_632
    assert function.prefill_peak(5000) == 5120 * 131_072
    assert function.prefill_peak(8000) == 6144 * 131_072
    assert function.prefill_peak(100_000) == 100_096 * 69_632


@pytest.mark.parametrize(
    ("model", "kv_dtype", "says"),
    [
        ("gemma-3-27b", "mlx-8bit", "class gemma3 fails with --kv-bits"),
        ("deepseek-v3", "mlx-4bit", "latent attention takes no quantised cache"),
        ("llama-3.1-8b", "q8_0", "mlx-8bit"),
        ("llama-3.1-8b", "mlx-8bit:bf16", "keys and values alike"),
        ("t5-base", "bf16", "no class of mlx-lm"),
        ("glm-5.2", "bf16", "an indexer in every layer"),
    ],
)
def test_refusals(model: str, kv_dtype: str, says: str) -> None:
    with pytest.raises(KvcalcError, match=says):
        caches(load(model), kv_dtype)


def test_what_nobody_measured_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"0\.32\.2"):
        accounting(load("llama-3.1-8b"), CacheDtypes(), "0.31.0")
    with pytest.raises(UsageError, match="state-dtype"):
        accounting(load("qwen3.5-27b"), CacheDtypes(state="bf16"))
    with pytest.raises(UnsupportedError, match="divides a model among devices"):
        ENGINE.check_layout(Layout(tensor=2))
    with pytest.raises(UnsupportedError, match="devices"):
        ENGINE.allocated(load("llama-3.1-8b"), MlxFlags(max_model_len=10, layout=Layout(tensor=2)))


def test_weights_that_it_does_not_run_are_refused() -> None:
    for model, dtype in (
        ("deepseek-v3", "checkpoint"),
        ("qwen3-32b", "q4_k_m"),
        ("qwen3-32b", "fp8"),
    ):
        with pytest.raises(UnsupportedError, match=r"--dtype bf16, or one "):
            ENGINE.check_weights(load(model), dtype)
    for model, dtype in (
        ("gpt-oss-20b", "checkpoint"),
        ("qwen3-32b", "mlx-4bit"),
        ("qwen3-32b", "bf16"),
    ):
        ENGINE.check_weights(load(model), dtype)


def test_notes_say_what_the_class_does() -> None:
    assert "no windows: layers that need the last 4096" in " ".join(
        accounting(load("mistral-7b-v0.1"), CacheDtypes()).assumptions
    )
    assert any("slices of those of every position" in note
               for note in accounting(load("jamba-1.5-mini"), CacheDtypes()).assumptions)  # fmt: skip
    ignored = accounting(load("llama-3.1-8b"), CacheDtypes(), None, Setup(max_kv_size=128))
    assert any("--max-kv-size is ignored" in note for note in ignored.assumptions)


def test_capacity_and_the_longest_prompt() -> None:
    spec = load("qwen3-32b")
    asked = MlxFlags(max_model_len=8192, available=Available.exactly(2_147_483_648))
    found = ENGINE.allocated(spec, asked)
    # 64 layers, 8 heads of 128: 262,144 bytes a position, 8,192 of them.
    assert found.pool.bytes == 8192 * 262_144
    assert found.pool.estimated_max_model_len == 8192
    assert [each.cells for each in found.caches] == [8192]


def test_the_most_at_any_shorter_length() -> None:
    function = caches(load("gemma-3-1b"))
    lengths = (1, 513, 2048, 2049, 2050, 2600, 4096, 4097, 5000, 6144)
    brute = {
        top: max(max(function.at(n), function.prefill_peak(n)) for n in range(1, top + 1))
        for top in lengths
    }
    assert {top: most_held(function, top) for top in lengths} == brute


@pytest.mark.parametrize(
    ("model_type", "arrays"), [("llama", 786_432), ("gemma3_text", 655_360), ("mamba2", 156_672)]
)
def test_a_prompt_caches_file_holds_the_buffers_whole(model_type: str, arrays: int) -> None:
    """save_prompt_cache of mlx-lm 0.32.2 after 300 tokens: bytes of the file's arrays."""
    config = next(each for each in ENTRIES.values() if each["model_type"] == model_type)
    spec = spec_from_config(config, "small", "config.json").spec
    found = ENGINE.allocated(spec, MlxFlags(max_model_len=300))
    assert any(note.startswith(f"{arrays:,} bytes of arrays") for note in found.notes)
