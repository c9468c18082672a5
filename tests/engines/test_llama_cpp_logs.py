"""What llama.cpp's own log printed, replayed: flags in, MiB to the printed digit out.

Each case is one pasted log. ``assumed`` names an input that the log does not show; no size is
fitted. URLs stand where the log was posted; logs without one were read in pastes.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.pool import capacity
from kvcalc.engines.result import Cache
from kvcalc.report.cells import Mebibytes, words
from kvcalc.spec.catalog import locate
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.set_fields import with_fields


@dataclass(frozen=True)
class Log:
    """model and flags, then one tuple per cache line: cells, layers, then the sizes as printed.

    (cells, streams, layers, total MiB, first MiB, second MiB): K and V, or R and S; None: not in
    the excerpt.
    """

    id: str
    model: str
    flags: dict[str, Any]
    caches: tuple[tuple[int, int | None, int, str, str | None, str | None], ...]
    url: str = ""
    assumed: str = ""
    set: tuple[str, ...] = field(default=())


Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
Q4 = {"cache_type_k": "q4_0", "cache_type_v": "q4_0"}

SLOTS = {"parallel": 4, "kv_unified": True}

LOGS = [
    Log("069", "qwen2.5-32b", {"ctx_size": 32768, **Q8},
        ((32768, 1, 64, "4352.00", "2176.00", "2176.00"),),
        "https://github.com/ggml-org/llama.cpp/issues/11200"),
    Log("072", "qwen3.6-27b", {"ctx_size": 4096, "parallel": 3, "kv_unified": True},
        ((3, None, 48, "448.88", "16.88", "432.00"),),
        "https://github.com/ggml-org/llama.cpp/pull/23792",
        "--ctx-size: only the recurrent cache is in the excerpt, and it does not depend on it"),
    Log("074", "open-llama-3b", {"ctx_size": 512}, ((512, 1, 26, "162.50", None, None),)),
    Log("075", "qwen3.6-27b", {"ctx_size": 131072, "parallel": 4, "kv_unified": True, **Q8},
        ((131072, 1, 16, "4352.00", "2176.00", "2176.00"),
         (4, None, 48, "598.50", "22.50", "576.00"))),
    # Qwen3.8-27B has Qwen3.6-27B's dimensions; two draft tokens to roll back, an MTP context.
    Log("077", "qwen3.6-27b", {"ctx_size": 8192, "speculative_tokens": 2, "mtp_layers": 1},
        ((8192, 1, 16, "512.00", None, None), (1, None, 48, "448.88", "16.88", "432.00"),
         (8192, 1, 1, "32.00", None, None))),
    Log("079", "qwen3.5-9b", {"ctx_size": 8192, "parallel": 4, "kv_unified": True},
        ((8192, 1, 8, "256.00", None, None), (4, None, 24, "201.00", "9.00", "192.00"))),
    # A GGUF from before MLA support: keys of 192 and values of 128 for each of the 16 heads.
    Log("082", "deepseek-v2-lite", {"ctx_size": 16384, "parallel": 8},
        ((2048, 8, 27, "4320.00", "2592.00", "1728.00"),),
        set=("cache_layout=expanded",)),
    Log("084", "gemma-4-e4b", {"ctx_size": 32768},
        ((32768, 1, 4, "512.00", None, None), (1024, 1, 20, "40.00", None, None))),
    Log("087", "llama-3.2-3b", {"ctx_size": 1024}, ((1024, 1, 28, "112.00", "56.00", "56.00"),)),
    Log("087", "qwen3-1.7b", {"ctx_size": 1024}, ((1024, 1, 28, "112.00", "56.00", "56.00"),)),
    Log("088", "mistral-7b-v0.1", {"ctx_size": 8192},
        ((8192, 1, 32, "1024.00", "512.00", "512.00"),)),
    Log("090", "llama-3.1-405b", {"ctx_size": 4096},
        ((4096, 1, 126, "2016.00", "1008.00", "1008.00"),)),
    Log("091", "qwen3-235b-a22b", {"ctx_size": 4096},
        ((4096, 1, 94, "752.00", "376.00", "376.00"),)),
    Log("093", "gpt-oss-20b", {"ctx_size": 16384, "parallel": 8, "ubatch": 384},
        ((2048, 8, 12, "384.00", None, None), (512, 8, 12, "96.00", None, None)),
        assumed="--ubatch: 512 window cells need one of at most 384"),
    Log("101", "deepseek-r1", {"ctx_size": 32768, **Q8},
        ((32768, 1, 61, "1166.62", "1166.62", None),),
        "https://github.com/ikawrakow/ik_llama.cpp/pull/259"),
    Log("108", "qwen3.5-9b", {"ctx_size": 131072, **Q4},
        ((131072, 1, 8, "1152.00", "576.00", "576.00"), (1, None, 24, "50.25", None, None))),
    Log("113", "qwen3.5-35b-a3b", {"ctx_size": 4096},
        ((1, None, 30, "62.81", "2.81", "60.00"),),
        assumed="--ctx-size: only the recurrent cache is in the excerpt"),
    Log("119", "qwen3-235b-a22b", {"ctx_size": 40960, **Q8},
        ((40960, 1, 94, "3995.00", "1997.50", "1997.50"),)),
    Log("201", "gpt-oss-20b", {"ctx_size": 8192, "ubatch": 128, **Q8},
        ((8192, 1, 12, "102.00", "51.00", "51.00"), (256, 1, 12, "3.19", "1.59", "1.59")),
        assumed="--ubatch, from 256 window cells"),
    Log("202", "gemma-2-2b", {"ctx_size": 8192, **SLOTS},
        ((8192, 1, 13, "416.00", "208.00", "208.00"),)),
    Log("203", "gemma-4-e4b", {"ctx_size": 32768, "swa_full": True},
        ((32768, 1, 4, "512.00", "256.00", "256.00"), (32768, 1, 20, "1280.00", None, None))),
    Log("204", "gpt-oss-120b", {"ctx_size": 65535, **SLOTS},
        ((65536, 1, 18, "2304.00", None, None), (1024, 1, 18, "36.00", None, None))),
    Log("205", "gpt-oss-20b", {"ctx_size": 131072, "ubatch": 2048},
        ((131072, 1, 12, "3072.00", "1536.00", "1536.00"), (2304, 1, 12, "54.00", "27.00", "27.00")),
        assumed="--ubatch, from 2304 window cells"),
    Log("206", "gemma-4-12b", {"ctx_size": 8192, **SLOTS, **Q8},
        ((8192, 1, 8, "68.00", None, None), (4608, 1, 40, "765.00", None, None))),
    Log("207", "phi-3-mini-4k", {"ctx_size": 4096},
        ((4096, 1, 32, "1536.00", "768.00", "768.00"),),
        assumed="model, from 1536 MiB"),
    Log("208", "gpt-oss-20b", {"ctx_size": 131072},
        ((131072, 1, 12, "3072.00", "1536.00", "1536.00"), (768, 1, 12, "18.00", None, None))),
    Log("209", "llama-3.2-1b", {"ctx_size": 1024},
        ((1024, 1, 16, "32.00", "16.00", "16.00"),)),
    Log("210", "qwen3.5-9b", {"ctx_size": 135168, **SLOTS},
        ((135168, 1, 8, "4224.00", "2112.00", "2112.00"), (4, None, 24, "201.00", "9.00", "192.00"))),
    Log("211", "qwen3.5-9b", {"ctx_size": 8192},
        ((8192, 1, 8, "256.00", None, None), (1, None, 24, "50.25", "2.25", "48.00"))),
    Log("212", "qwen3-8b", {"ctx_size": 8192},
        ((8192, 1, 36, "1152.00", None, None),)),
    Log("213", "qwen3-8b", {"ctx_size": 8192, **Q8},
        ((8192, 1, 36, "612.00", None, None),)),
    Log("214", "qwen3.5-9b", {"ctx_size": 16384, "parallel": 64},
        ((256, 64, 8, "512.00", "256.00", "256.00"), (64, None, 24, "3216.00", None, None))),
    Log("215", "qwen3.6-27b", {"ctx_size": 262144, **SLOTS},
        ((262144, 1, 16, "16384.00", None, None), (4, None, 48, "598.50", None, None)),
        "https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/1862"),
    Log("216", "minimax-m2.5", {"ctx_size": 65536, **Q8},
        ((65536, 1, 62, "8432.00", "4216.00", "4216.00"),)),
    Log("217", "minimax-m2.5", {"ctx_size": 65536, "cache_type_k": "q8_0", "cache_type_v": "q4_0"},
        ((65536, 1, 62, "6448.00", "4216.00", "2232.00"),)),
    Log("218", "minimax-m2.5", {"ctx_size": 196608, "cache_type_k": "q8_0", "cache_type_v": "q4_0"},
        ((196608, 1, 62, "19344.00", "12648.00", "6696.00"),)),
    Log("219", "minimax-m2.5", {"ctx_size": 65536, **Q4},
        ((65536, 1, 62, "4464.00", "2232.00", "2232.00"),)),
    Log("220", "glm-4.5-air", {"ctx_size": 131072, "ubatch": 4096},
        ((131072, 1, 46, "23552.00", "11776.00", "11776.00"),)),
    Log("221", "gemma-4-26b", {"ctx_size": 262144, **Q8},
        ((262144, 1, 5, "2720.00", "1360.00", "1360.00"), (1536, 1, 25, "159.38", "79.69", "79.69"))),
    Log("222", "qwen3.5-35b-a3b", {"ctx_size": 65536},
        ((65536, 1, 10, "1280.00", None, None), (1, None, 30, "62.81", None, None)),
        assumed="model"),
    Log("223", "qwen3.5-35b-a3b", {"ctx_size": 200704},
        ((200704, 1, 10, "3920.00", None, None), (1, None, 30, "62.81", None, None))),
    Log("224", "lfm2-8b-a1b", {"ctx_size": 65536, **Q8},
        ((65536, 1, 6, "408.00", None, None),)),
    Log("225", "qwen3.5-4b", {"ctx_size": 4096},
        ((1, None, 24, "50.25", "2.25", "48.00"),),
        assumed="which Qwen3.5"),
    # Qualcomm's NPU, in llama.cpp's own documentation.
    Log("226", "olmoe-1b-7b", {"ctx_size": 8192, **Q8},
        ((8192, 1, 16, "544.00", "272.00", "272.00"),),
        "https://github.com/ggml-org/llama.cpp/blob/master/docs/backend/snapdragon/README.md"),
    Log("227", "qwen3.5-4b", {"ctx_size": 131072},
        ((131072, 1, 8, "4096.00", "2048.00", "2048.00"),)),
    Log("228", "qwen3.5-4b", {"ctx_size": 131072, **Q4},
        ((131072, 1, 8, "1152.00", "576.00", "576.00"),)),
    Log("229", "qwen3.6-27b", {"ctx_size": 177152},
        ((177152, 1, 16, "11072.00", "5536.00", "5536.00"),), assumed="model"),
    Log("230", "mistral-7b-v0.1", {"ctx_size": 4096}, ((4096, 1, 32, "512.00", "256.00", "256.00"),),
        assumed="which Mistral 7B"),
    Log("231", "qwen3.5-9b", {"ctx_size": 262144, **Q8},
        ((262144, 1, 8, "4352.00", "2176.00", "2176.00"),), assumed="model"),
    Log("232", "qwen3.6-35b-a3b", {"ctx_size": 32768}, ((32768, 1, 10, "640.00", None, None),)),
    Log("233", "qwen3.6-35b-a3b", {"ctx_size": 65536, **Q8},
        ((65536, 1, 10, "680.00", "340.00", "340.00"),), assumed="model"),
    # Qwen3.8-27B has Qwen3.6-27B's dimensions.
    Log("234", "qwen3.6-27b", {"ctx_size": 32768, **SLOTS, **Q8},
        ((32768, 1, 16, "1088.00", None, None),)),
    Log("235", "qwen3.6-27b", {"ctx_size": 262144, **Q8},
        ((262144, 1, 16, "8704.00", "4352.00", "4352.00"),)),
    Log("236", "tinyllama-1.1b", {"ctx_size": 256}, ((256, 1, 22, "5.50", "2.75", "2.75"),)),
    Log("237", "gemma-4-12b", {"ctx_size": 32768}, ((32768, 1, 8, "512.00", "256.00", "256.00"),),
        assumed="model"),
    Log("238", "gemma-4-e4b", {"ctx_size": 65536, **Q8},
        ((65536, 1, 4, "544.00", "272.00", "272.00"), (1024, 1, 20, "21.25", "10.62", "10.62"))),
    # Ollama's own lines, as one report adds them up.
    Log("239", "qwen3-8b", {"ctx_size": 40960}, ((40960, 1, 36, "5760.00", None, None),)),
    Log("240", "qwen3-14b", {"ctx_size": 16384}, ((16384, 1, 40, "2560.00", None, None),)),
    Log("241", "qwen2.5-3b", {"ctx_size": 16384}, ((16384, 1, 36, "576.00", None, None),)),
    Log("242", "qwen3-14b", {"ctx_size": 32768, **Q8},
        ((32768, 1, 40, "2720.00", "1360.00", "1360.00"),), assumed="model"),
    Log("243", "ling-3.0-tiny", {"ctx_size": 8192, "parallel": 2},
        ((4096, 2, 6, "54.00", "54.00", None),)),
    # One model's keys in five types.
    *(
        Log(f"244 {kind}", "llama-3.2-3b", {"ctx_size": 4096, "cache_type_k": kind},
            ((4096, 1, 28, total, keys, "224.00"),))
        for kind, total, keys in (
            ("fp16", "448.00", "224.00"), ("bf16", "448.00", "224.00"), ("q8_0", "343.00", "119.00"),
            ("q4_0", "287.00", "63.00"), ("q4_1", "294.00", "70.00"),
        )
    ),
]  # fmt: skip

# The size of the micro-batch or of the context was worked out from the log's own cells.
INFERRED = [
    Log("245", "gpt-oss-20b", {"ctx_size": 131072, "ubatch": 2048},
        ((131072, 1, 12, "3072.00", "1536.00", "1536.00"), (2304, 1, 12, "54.00", "27.00", "27.00")),
        assumed="model, --ubatch-size"),
    Log("070", "qwen2.5-7b", {"ctx_size": 2048}, ((2048, 1, 28, "112.00", "56.00", "56.00"),),
        "https://github.com/JamePeng/llama-cpp-python/pull/1", "--ctx-size"),
    Log("071", "deepseek-v4-flash",
        {"ctx_size": 64000, "ubatch": 4096, "cache_type_k": "bf16", "cache_type_v": "bf16"},
        ((64000, 1, 0, "0.00", "0.00", "0.00"), (4352, 1, 43, "182.75", None, None)),
        "https://github.com/ggml-org/llama.cpp/issues/27680", "--ubatch"),
    Log("085", "gemma-4-e4b", {"ctx_size": 102400, "ubatch": 1024},
        ((102400, 1, 4, "1600.00", None, None), (1536, 1, 20, "60.00", None, None)),
        assumed="--ubatch"),
    Log("096", "gemma-4-12b",
        {"ctx_size": 8192, "parallel": 4, "kv_unified": True, "ubatch": 2048},
        ((8192, 1, 8, "128.00", None, None), (6144, 1, 40, "1920.00", None, None)),
        assumed="--ubatch"),
    Log("102", "deepseek-r1", {"ctx_size": 80000}, ((80128, 1, 61, "5369.91", "5369.91", "0.00"),),
        assumed="--ctx-size"),
    Log("105", "deepseek-v4-flash", {"ctx_size": 1048576, "ubatch": 8192},
        ((8448, 1, 43, "354.75", "354.75", "0.00"),),
        "https://github.com/ggml-org/llama.cpp/issues/27872", "--ubatch"),
    Log("117", "qwen3-235b-a22b", {"ctx_size": 16384, **Q8},
        ((16384, 1, 94, "1598.00", "799.00", "799.00"),), assumed="--ctx-size"),
    Log("121", "qwen3-235b-a22b", {"ctx_size": 64000, **Q8},
        ((64000, 1, 94, "6242.19", "3121.09", "3121.09"),), assumed="--ctx-size"),
]  # fmt: skip


def mib(num_bytes: int | None) -> str | None:
    """As C's ``%.2f`` prints it: the exact value, ties to even."""
    return None if num_bytes is None else f"{num_bytes / (1 << 20):.2f}"


def run(log: Log) -> tuple[Cache, ...]:
    spec = locate(log.model).spec
    if log.set:
        names = [name for name, block in spec.blocks.items() if block.attention is not None]
        changes = tuple(f"blocks.{name}.attention.{change}" for name in names for change in log.set)
        spec = with_fields(spec, changes)
    return capacity(spec, LlamaCppFlags(**log.flags)).caches


def check(log: Log) -> None:
    found = run(log)
    for cells, streams, layers, total, first, second in log.caches:
        same = [
            cache
            for cache in found
            if (cache.cells, cache.streams, cache.layers) == (cells, streams, layers)
            and mib(cache.bytes) == total
        ]
        assert same, f"{log.id}: {cells} cells, {layers} layers, {total} MiB not in {found}"
        cache = same[0]
        one, two = (
            (cache.r_bytes, cache.s_bytes)
            if cache.type == "recurrent"
            else (cache.k_bytes, cache.v_bytes)
        )
        assert first is None or mib(one) == first
        assert second is None or mib(two) == second


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.id}-{log.model}")
def test_sizes_as_logged(log: Log) -> None:
    check(log)


@pytest.mark.parametrize("log", INFERRED, ids=lambda log: f"{log.id}-{log.model}")
def test_sizes_as_logged_with_an_inferred_flag(log: Log) -> None:
    check(log)


# A model that the log names only by its dimensions; no other field of it plays a part here.
STACK = """
name: {name}
source: {source}
hidden_size: 2048
vocab_size: 32000
tie_word_embeddings: true
blocks:
  full:
    attention: {{kind: gqa, num_attention_heads: 16, num_key_value_heads: {heads}, head_dim: 128}}
  window:
    attention: {{kind: gqa, num_attention_heads: 16, num_key_value_heads: {heads}, head_dim: 128,
      sliding_window: {window}}}
layers:
  - {{repeat: {full}, blocks: [full]}}
  - {{repeat: {windows}, blocks: [window]}}
"""


def stack(full: int, windows: int, window: int, heads: int) -> ModelSpec:
    text = STACK.format(name="stack", source="the log", full=full, windows=windows,
                        window=window, heads=heads)  # fmt: skip
    return load_spec_text(text)


def test_083_13_full_and_39_window_layers_of_2_heads() -> None:
    caches = capacity(stack(13, 39, 2048, 2), LlamaCppFlags(ctx_size=32768)).caches
    assert [(c.cells, c.layers, mib(c.k_bytes), mib(c.v_bytes), mib(c.bytes)) for c in caches] == [
        (32768, 13, "208.00", "208.00", "416.00"),
        (2560, 39, "48.75", "48.75", "97.50"),
    ]


def test_097_laguna_a_million_tokens_in_q4_0() -> None:
    caches = capacity(stack(12, 36, 512, 8), LlamaCppFlags(ctx_size=1048576, **Q4)).caches
    assert [(c.cells, c.layers, mib(c.k_bytes), mib(c.v_bytes), mib(c.bytes)) for c in caches] == [
        (1048576, 12, "6912.00", "6912.00", "13824.00"),
        (1024, 36, "20.25", "20.25", "40.50"),
    ]


@pytest.mark.parametrize(
    ("parallel", "cells", "total"),
    [
        (3, 512, "27.00"),  # 1024 / 3 = 341, padded to 512: half as much again as was asked for
        (4, 256, "18.00"),  # 1024 / 4 = 256 exactly
    ],
)
def test_100_padding_per_sequence(parallel: int, cells: int, total: str) -> None:
    """gemma-3-270m, --ctx-size 1024: https://github.com/unslothai/unsloth/pull/7530."""
    spec = locate("gemma-3-270m").spec
    result = capacity(spec, LlamaCppFlags(ctx_size=1024, parallel=parallel))
    # The context is shorter than the window, so both caches have its cells.
    assert {(cache.cells, cache.streams) for cache in result.caches} == {(cells, parallel)}
    assert sum(cache.layers for cache in result.caches) == 18
    assert mib(result.pool.bytes) == total


def test_073_bert_keeps_nothing_since_llama_cpp_stopped_allocating_for_it() -> None:
    """A miss: an older build printed 9.00 MiB for bge-small-en (12 layers, 384 wide, 512 cells).

    Today's llama_model::create_memory makes no cache for BERT; the 9.00 MiB were never needed.
    """
    result = capacity(locate("all-minilm-l6-v2").spec, LlamaCppFlags(ctx_size=512))
    assert result.caches == ()
    assert result.pool.bytes == 0


def test_110_the_first_mla_build_kept_a_v_that_is_gone() -> None:
    """A miss: DeepSeek-R1, 131,072 cells of q4_0, printed K 2470.50 and V 2196.00 MiB.

    Since llama_kv_cache leaves V out for MLA (has_v = !is_mla) the K part is all there is.
    """
    (cache,) = capacity(locate("deepseek-r1").spec, LlamaCppFlags(ctx_size=131072, **Q4)).caches
    assert (mib(cache.k_bytes), cache.v_bytes, mib(cache.bytes)) == ("2470.50", 0, "2470.50")


def test_draft_tokens_need_rows_to_roll_back() -> None:
    """Four draft tokens: five times the rows of one sequence, 748.12 MiB (Qwen3.6-27B)."""
    caches = capacity(
        locate("qwen3.6-27b").spec, LlamaCppFlags(ctx_size=8192, speculative_tokens=4)
    ).caches
    assert mib(caches[1].bytes) == "748.12"


def test_the_report_rounds_as_the_log_does() -> None:
    """1166.625 MiB is printed 1166.62, 448.875 is printed 448.88: C rounds a tie to the even digit."""
    assert words(Mebibytes(1166_625 * (1 << 20) // 1000)) == "1,166.62 MiB"
    assert words(Mebibytes(448_875 * (1 << 20) // 1000)) == "448.88 MiB"
