"""What SGLang's log printed, replayed: tokens in, GB to the printed digit out (GB is 2^30 there).

--tokens is the log's own "#tokens"; --max-num-seqs its max_mamba_cache_size. ``assumed`` names what
the log does not show; in such a case the figure confirms the rule only for that assumption.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.result import Cache, CapacityResult
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.pool import capacity
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import locate


@dataclass(frozen=True)
class Log:
    """sizes: name of a cache -> GB as printed: (K, V), (KV,) or, for states, (conv, ssm)."""

    id: str
    model: str
    flags: dict[str, Any]
    sizes: dict[str, tuple[str, ...]]
    url: str = ""
    assumed: str = ""


def tp(ranks: int) -> dict[str, int]:
    return {"layout": Layout(ranks)}


LOGS = [
    Log("123", "qwen3-235b-a22b", {"tokens": 367404, **tp(4)}, {"full": ("8.23", "8.23")},
        "https://github.com/vllm-project/vllm/issues/21348"),
    Log("124", "qwen2.5-0.5b", {"tokens": 20480}, {"full": ("0.12", "0.12")}),
    Log("131", "qwen3-0.6b", {"tokens": 104273}, {"full": ("5.57", "5.57")}),
    # Qwen3.8-27B has Qwen3.6-27B's dimensions.
    Log("135", "qwen3.6-27b", {"tokens": 228520, "kv_dtype": "fp8_e4m3", "max_num_seqs": 360},
        {"full": ("3.49", "3.49"), "states": ("0.99", "50.77")}),
    Log("138", "gpt2", {"tokens": 248479, "kv_dtype": "fp16"}, {"full": ("4.27", "4.27")}),
    Log("139", "kimi-k2.5", {"tokens": 209413}, {"full": ("13.71",)}),
    Log("148", "qwen3.6-27b", {"tokens": 403904, "max_num_seqs": 154},
        {"full": ("12.33", "12.33"), "states": ("0.43", "21.80")}),
    Log("151", "glm-5", {"tokens": 314304, **tp(8)}, {"full+index": ("29.32",)}),
    Log("181", "kimi-k2.5", {"tokens": 2454421}, {"full": ("160.63",)}),
    # GB300: raw fp8 rows, as TRT-LLM's kernels take them.
    Log("PR 30531", "glm-5.2",
        {"tokens": 3002752, "kv_dtype": "fp8_e4m3", "compute_capability": 103, **tp(4)},
        {"full+index": ("133.40",)}, "https://github.com/sgl-project/sglang/pull/30531"),
    # Gemma-4-12B: two pools, each with an fp8 scale per 16 elements.
    Log("182", "gemma-4-12b", {"tokens": 765776, "kv_dtype": "fp4_e2m1"},
        {"full": ("1.64", "1.64"), "window": ("26.29", "26.29")}),
    # full_layer_tokens=375360, swa_layer_tokens=300288: the line of the windows' 39 layers.
    Log("PR 18039", "mimo-v2-flash", {"tokens": 375360, "block_size": 64, **tp(4)},
        {"window": ("8.38", "5.59")}, "https://github.com/sgl-project/sglang/pull/18039"),
]  # fmt: skip

ASSUMED = [
    Log("125", "deepseek-v3", {"tokens": 524288, "kv_dtype": "fp8_e4m3"}, {"full": ("17.16",)},
        assumed="KV dtype"),
    Log("127", "glm-5", {"tokens": 131072, "kv_dtype": "fp8_e4m3"}, {"full+index": ("7.51",)},
        assumed="model, KV dtype"),
    Log("128", "glm-5", {"tokens": 262144, "kv_dtype": "fp8_e4m3"}, {"full+index": ("15.01",)},
        assumed="model, KV dtype"),
    Log("129", "qwen3.5-9b", {"tokens": 327310, "max_num_seqs": 186, **tp(2)},
        {"full": ("2.50", "2.50"), "states": ("0.10", "4.38")}, assumed="model size"),
    Log("130", "qwen3.6-27b",
        {"tokens": 171008, "max_num_seqs": 43, "state_dtype": "bf16", "mtp_layers": 1,
         "speculative_tokens": 2},
        {"full": ("5.22", "5.22"), "draft": ("0.33", "0.33"), "states": ("0.12", "3.09"),
         "draft states": ("", "2.11")}, assumed="state dtype bf16, two draft tokens"),
    Log("133", "nemotron-3-nano", {"tokens": 1557504, "max_num_seqs": 8, **tp(4)},
        {"full": ("2.23", "2.23"), "states": ("0.00", "0.10")}, assumed="model size"),
    Log("137", "deepseek-v3", {"tokens": 274934}, {"full": ("17.99",)}, assumed="model"),
    Log("144", "lfm2-700m", {"tokens": 473854, "max_num_seqs": 85292},
        {"full": ("2.71", "2.71"), "states": ("4.88", "0.00")}, assumed="model size"),
    Log("145", "qwen2.5-32b", {"tokens": 46611, **tp(4)}, {"full": ("1.42", "1.42")},
        assumed="model"),
    Log("146", "deepseek-v3.2", {"tokens": 4636736, "kv_dtype": "fp8_raw", **tp(8)},
        {"full+index": ("186.50",)}, assumed="model, raw fp8 rows"),
    Log("149", "granite-4.0-h-micro", {"tokens": 399740, "max_num_seqs": 38},
        {"full": ("1.52", "1.52"), "states": ("0.03", "2.74")}, assumed="model size"),
    Log("152", "mixtral-8x7b", {"tokens": 356458}, {"full": ("21.76", "21.76")},
        assumed="model"),
    Log("183", "nemotron-3-nano",
        {"tokens": 19644177, "max_num_seqs": 2211, "kv_dtype": "fp8_e4m3", **tp(4)},
        {"full": ("14.05", "14.05"), "states": ("0.44", "24.84")}, assumed="model size"),
    # Kimi-K2.6 has K2.5's dimensions.
    Log("184", "kimi-k2.5", {"tokens": 76416, "block_size": 128}, {"full": ("5.01",)},
        assumed="pages of 128 on Ascend"),
    Log("185", "qwen3.6-27b", {"tokens": 270000, "max_num_seqs": 5, "kv_dtype": "fp8_e4m3"},
        {"full": ("4.12", "4.12"), "states": ("0.02", "0.84")}, assumed="model"),
    Log("186", "qwen3.6-27b", {"tokens": 499968, "max_num_seqs": 20, "kv_dtype": "fp8_e4m3"},
        {"full": ("7.63", "7.63")}, assumed="model, KV dtype"),
    Log("246", "qwen3.5-27b", {"tokens": 535124}, {"full": ("16.33", "16.33")}, assumed="model size"),
    Log("247", "qwen3-32b", {"tokens": 281216, "kv_dtype": "fp8_e5m2", "block_size": 64},
        {"full": ("17.17", "17.17")}, assumed="which model of 32B, pages of 64"),
    Log("248", "qwen3-8b", {"tokens": 430067}, {"full": ("29.53", "29.53")}, assumed="model"),
    Log("249", "glm-4.7-flash", {"tokens": 383872}, {"full": ("19.36",)},
        assumed="pages of one token, on Ascend"),
    # Qwen3.8-27B and its module, on two ranks.
    Log("250", "qwen3.6-27b",
        {"tokens": 262144, "kv_dtype": "fp8_e4m3", "mtp_layers": 1, "speculative_tokens": 7, **tp(2)},
        {"full": ("2.00", "2.00"), "draft": ("0.13", "0.13")}, assumed="model"),
]  # fmt: skip


def run(model: str, **flags: Any) -> CapacityResult:
    return capacity(locate(model).spec, SglangFlags(**flags))


def gb(num_bytes: int | None) -> str:
    """As Python's ``:.2f`` prints it in the log."""
    return f"{(num_bytes or 0) / (1 << 30):.2f}"


def check(log: Log) -> None:
    caches = {cache.name: cache for cache in run(log.model, **log.flags).caches}
    for name, printed in log.sizes.items():
        if name == "full+index":
            # DSATokenToKVPool prints latents and index keys as one size.
            total = caches["full"].bytes + caches["index keys"].bytes
            assert (gb(total),) == printed
            continue
        cache: Cache = caches[name]
        if len(printed) == 1:
            assert (gb(cache.bytes),) == printed
        elif cache.type == "recurrent":
            shown = (gb(cache.r_bytes), gb(cache.s_bytes))
            assert all(want in ("", have) for want, have in zip(printed, shown, strict=True)), shown
        else:
            assert (gb(cache.k_bytes), gb(cache.v_bytes)) == printed


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.id}-{log.model}")
def test_sizes_as_logged(log: Log) -> None:
    check(log)


@pytest.mark.parametrize("log", ASSUMED, ids=lambda log: f"{log.id}-{log.model}")
def test_sizes_as_logged_with_an_assumption(log: Log) -> None:
    check(log)


def test_140_half_of_the_kv_heads_on_each_of_two_ranks() -> None:
    """Qwen3.8-27B NVFP4 on two RTX 5090, fp8 cache: 454,112 tokens, K 3.46 and V 3.46 GB.

    https://github.com/noonghunna/club-3090/issues/1261. Its draft's 1.08 GB of K are not replayed:
    the drafter's dimensions are not known.
    """
    full = run("qwen3.6-27b", tokens=454112, kv_dtype="fp8_e4m3", layout=Layout(2)).caches[0]
    assert (gb(full.k_bytes), gb(full.v_bytes)) == ("3.46", "3.46")


def test_143_a_budget_of_10_gib() -> None:
    """36 layers of 8 KV heads (Qwen3-8B's): 10 GiB is 72,816 tokens of a page of 16.

    The page is assumed: a page of 1 would give 72,817.
    """
    result = run("qwen3-8b", available=Available.exactly(10737418240), block_size=16)
    assert result.pool.tokens == 72816


def test_153_window_pool_of_gpt_oss() -> None:
    """gpt-oss-120b on 4 A100: full_layer_tokens 63,987, swa_layer_tokens 51,189."""
    caches = run("gpt-oss-120b", tokens=63987, layout=Layout(4)).caches
    assert [(cache.name, cache.cells) for cache in caches] == [("full", 63987), ("window", 51189)]


def test_155_cell_size_of_gemma_4_31b() -> None:
    """10 layers of 8192 bytes and 50 of 16,384 at ratio 0.8: 737,280 bytes a token."""
    result = run("gemma-4-31b", tokens=4096)
    assert [(g.layers, g.page_bytes) for g in result.groups] in (
        [(50, 16384), (10, 8192)],
        [(10, 8192), (50, 16384)],
    )
    assert result.pool.bytes_per_block == 737280


def test_187_window_pool_of_gemma_4_26b_in_fp8() -> None:
    """full 37,081 and window 29,664 tokens, 3.18 GB together."""
    caches = run("gemma-4-26b", tokens=37081, kv_dtype="fp8_e4m3").caches
    assert {cache.name: cache.cells for cache in caches} == {"full": 37081, "window": 29664}
    assert gb(sum(cache.bytes for cache in caches)) == "3.18"


def test_157_window_pool_of_gemma_4_31b_at_a_twentieth() -> None:
    """full_layer_tokens 181,760, swa_layer_tokens 9088."""
    caches = run("gemma-4-31b", tokens=181760, window_ratio=Fraction(1, 20)).caches
    assert {cache.name: cache.cells for cache in caches} == {"full": 181760, "window": 9088}
