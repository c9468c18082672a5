"""What vLLM printed, replayed: figures from public logs beside the model and the flags.

Available memory is printed with two decimals, so a log holds when a number of bytes that prints so
gives exactly the logged figure. Inputs that a log does not give stand under ``assumed``; no number
is fitted where that is empty. Logs without an address were read in public pastes.

Not reproduced, and why:

vllm-003  178,880 tokens from 8.11 GiB (Qwen3-235B-A22B, TP 4): one rank's memory gives 180,816 to
          181,040. vLLM takes the rank with the least memory. That the paste shows another's is our
          reading of it, not proven; so for the next three.
          https://github.com/vllm-project/vllm/issues/21348
vllm-021  81,536 tokens from 8.69 GiB (DeepSeek-R1-Distill-Qwen-14B, TP 2): 94,848 to 94,960, the
          same. https://github.com/vllm-project/vllm/issues/13061
vllm-055  53,763 blocks from 152.98 GiB (GLM-5.3, TP 8): 53,804 to 53,808, the same.
PP 2, PP 4  Llama-3.1-8B on 0.19.0 (llm-d-planner): 67,207 and 141,079 blocks, where one
          rank's 66.54 and 69.80 GiB give at least 68,131 and 142,940, the same.
vllm-005  TPU, whose block is not known. https://github.com/vllm-project/tpu-inference/pull/223
vllm-017  Qwen3.8-27B-FP8 and a DFlash draft, 11.15 GiB for 65,536 tokens: 214,135, and with the draft of
          Qwen3.6's shape no format, batch or number of draft tokens makes them. A sibling's draft is a
          DFlash2, whose config is not public. https://github.com/noonghunna/club-3090/issues/1086
vllm-028, -030  Qwen3.8-Flash-Next, whose index and n-gram caches are not accounted for.
vllm-035  TPU pages of a block size that the log does not give.
vllm-041  DeepSeek-V4-Flash, 11.04 GiB for 1,048,576 tokens: a block of 1,051,776 bytes fits both
          lines, and needs 17,582 to 17,585 tokens in flight, which is no known default.
vllm-042  GLM-5.1 on ROCm, 13.6 GiB for 202,752 tokens: 72,023 bytes a token, of no known layout.
vllm-048  Gemma-4-31B with MTP: only with 8,226 to 8,241 tokens in flight.
vllm-032 to -034, -057, -067, -068  too little is given: no length, no memory or no model.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.pool import capacity
from kvcalc.memory.asked_beside import Draft
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load
from kvcalc.units import GIB

ISSUES = "https://github.com/vllm-project/vllm/issues"
CLUB = "https://github.com/noonghunna/club-3090"
MTP3 = {"speculative_tokens": 3, "mtp_layers": 1, "prefix_caching": True}


@dataclass(frozen=True, kw_only=True)
class Log:
    """One log: its inputs, and the figures as printed."""

    id: str
    model: str
    flags: dict[str, Any]
    url: str = ""
    assumed: str = ""
    available: str | None = None
    tokens: int | None = None
    blocks: int | None = None
    cpu_blocks: int | None = None  # V0: 4 GiB of swap space in blocks
    concurrency: str | None = None
    needed_gib: str | None = None
    estimate: int | None = None
    block: int | None = None
    padding_layers: int | None = None


LOGS = (
    Log(id="vllm-002", model="llama-3.1-8b", url=f"{ISSUES}/10517",
        flags={"engine_version": "0.6.4", "max_model_len": 29000}, available="2.89GiB",
        tokens=23648, blocks=1478, cpu_blocks=2048, concurrency="0.82"),
    Log(id="vllm-004", model="qwen3-30b-a3b", url=f"{ISSUES}/34076",
        flags={"engine_version": "0.15.2rc1.dev93", "max_model_len": 262144,
               "layout": Layout(1, 2), "pipeline_partition": (16, 32)},
        available="3.18GiB", needed_gib="24.0", estimate=34736),
    Log(id="vllm-006", model="mistral-small-4", url="https://github.com/kaito-project/kaito/issues/2132",
        flags={"engine_version": "0.24.0", "max_model_len": 1048576}, assumed="version",
        available="17.39GiB", needed_gib="22.5", estimate=810208),
    Log(id="vllm-008", model="llama-4-scout", url=f"{ISSUES}/16118", assumed="model, TP",
        flags={"engine_version": "0.8.3", "layout": Layout(8), "max_model_len": 1048576},
        needed_gib="24.0"),
    Log(id="vllm-012", model="qwen3.6-27b", url=f"{CLUB}/pull/594", assumed="draft tokens",
        flags={"engine_version": "0.24", "layout": Layout(2), "kv_dtype": "fp8",
               "max_model_len": 262144, "max_num_batched_tokens": 8192, "max_num_seqs": 2, **MTP3},
        available="5.33GiB", tokens=300220, concurrency="1.15"),
    Log(id="vllm-013", model="qwen3.6-27b", url=f"{CLUB}/issues/642", assumed="KV format, draft tokens",
        flags={"engine_version": "0.24", "layout": Layout(2), "kv_dtype": "fp8",
               "max_model_len": 262144, **MTP3},
        available="11.05GiB", tokens=623873, concurrency="2.38"),
    Log(id="vllm-014", model="qwen3.6-27b", url=f"{CLUB}/issues/295",
        flags={"engine_version": "0.22", "layout": Layout(2), "kv_dtype": "fp8_e5m2",
               "max_model_len": 262144, "max_num_batched_tokens": 8192, "max_num_seqs": 2, **MTP3},
        tokens=620944, concurrency="2.37"),
    Log(id="vllm-015", model="qwen3.6-27b", url=f"{CLUB}/issues/294",
        flags={"engine_version": "0.22", "layout": Layout(2), "kv_dtype": "fp8_e5m2",
               "max_model_len": 262144, "max_num_batched_tokens": 8192, "max_num_seqs": 2, **MTP3},
        tokens=622408, concurrency="2.37"),
    Log(id="vllm-020", model="gpt-oss-120b", url="https://github.com/alvarobartt/hf-mem/issues/60",
        assumed="a version before 0.20.1", flags={"engine_version": "0.11.2"},
        available="5.38GiB", tokens=78384),
    Log(id="vllm-023", model="qwen3-30b-a3b", url=f"{ISSUES}/17469",
        flags={"engine_version": "0.8.5", "layout": Layout(4), "max_model_len": 8192},
        tokens=198784, concurrency="24.27"),
    Log(id="vllm-026", model="deepseek-coder-6.7b", url=f"{ISSUES}/5248",
        flags={"engine_version": "0.4.3", "layout": Layout(2), "kv_dtype": "fp16"},
        cpu_blocks=1024),
    Log(id="vllm-031", model="deepseek-v4-flash", url=f"{ISSUES}/44376",
        assumed="one batch of 16,384 tokens in flight",
        flags={"engine_version": "0.22", "layout": Layout(2), "kv_dtype": "fp8_ds_mla",
               "max_model_len": 30000, "block_size": 256, "max_num_batched_tokens": 16384},
        available="5.44GiB", needed_gib="6.66", estimate=13528),
    Log(id="glm-5.2 TP 8", model="glm-5.2", assumed="0.23: every layer builds an indexer",
        flags={"engine_version": "0.23", "layout": Layout(8), "kv_dtype": "fp8_ds_mla",
               "max_model_len": 262144},
        available="28.74GiB", tokens=502016),
    Log(id="deepseek-v4-flash MTP", model="deepseek-v4-flash",
        assumed="0.22 or 0.23, one batch of 4,096 tokens in flight",
        flags={"engine_version": "0.22", "max_model_len": 1048576, "speculative_tokens": 1,
               "mtp_layers": 1, "max_num_batched_tokens": 4096},
        available="14.45GiB", tokens=2765705, concurrency="2.64"),
    Log(id="vllm-036", model="gpt-oss-120b", url="https://github.com/vllm-project/vllm/pull/29303",
        flags={"engine_version": "0.11.2", "speculative_tokens": 1, "mtp_layers": 1},
        padding_layers=17),
    Log(id="vllm-036 after", model="gpt-oss-120b",
        url="https://github.com/vllm-project/vllm/pull/29303",
        flags={"engine_version": "0.12.0", "speculative_tokens": 1, "mtp_layers": 1},
        padding_layers=1),
    Log(id="vllm-038", model="qwen3.5-9b", url="https://github.com/vllm-project/vllm/pull/37467",
        assumed="which Qwen3.5", flags={"engine_version": "0.19.0"}, block=528),
    Log(id="vllm-039", model="nemotron-nano-9b-v2", url=f"{ISSUES}/24280",
        flags={"engine_version": "0.10.2"}, block=672),
    Log(id="vllm-040", model="llama-3.1-8b",
        flags={"engine_version": "0.10.2", "max_model_len": 131072}, assumed="version",
        needed_gib="16.0"),
    Log(id="vllm-043", model="llama-4-scout", assumed="version",
        flags={"engine_version": "0.19.0", "layout": Layout(8), "max_model_len": 10485760},
        available="88.38GiB", needed_gib="240.0", estimate=3861424),
    Log(id="vllm-044", model="qwen3.5-27b", assumed="model",
        flags={"engine_version": "0.24.0", "kv_dtype": "fp8", "max_model_len": 262144,
               "prefix_caching": True},
        available="8.45GiB", tokens=265157, concurrency="1.01", needed_gib="8.33"),
    Log(id="vllm-045", model="qwen3.5-27b", assumed="model",
        flags={"engine_version": "0.24.0", "kv_dtype": "turboquant_4bit_nc",
               "max_model_len": 262144, "prefix_caching": True},
        available="8.77GiB", tokens=518589, concurrency="1.98", block=3072),
    Log(id="vllm-046", model="gemma-2-9b", url=f"{ISSUES} (test_oot_registration_embedding)",
        assumed="a batch of at least 4,097 tokens",
        flags={"engine_version": "0.9.1", "kv_dtype": "fp16", "max_model_len": 8192},
        available="1.64GiB", needed_gib="2.63", estimate=5088),
    Log(id="vllm-049", model="gemma-3-27b",
        flags={"engine_version": "0.10.2", "max_model_len": 4096, "max_num_batched_tokens": 8192},
        available="109.86GiB", tokens=205696, concurrency="50.05", padding_layers=8),
    Log(id="vllm-050", model="mimo-v2-flash", flags={"engine_version": "0.24.0"},
        assumed="version", padding_layers=6),
    Log(id="vllm-052", model="deepseek-v3",
        flags={"engine_version": "0.11.2", "layout": Layout(8), "max_model_len": 8192,
               "block_size": 64},
        available="41.6GiB", tokens=635648, concurrency="77.59"),
    Log(id="vllm-053", model="qwen3.6-27b", assumed="model, KV format, draft tokens",
        flags={"engine_version": "0.24", "kv_dtype": "fp8", "max_model_len": 262144,
               "prefix_caching": True, "speculative_tokens": 2, "mtp_layers": 1},
        available="48.6GiB", tokens=1394129, concurrency="5.32", padding_layers=3),
    Log(id="vllm-059", model="llama-2-70b",
        flags={"engine_version": "0.1.7", "layout": Layout(8)}, cpu_blocks=6553),
    Log(id="vllm-061", model="phi-3.5-mini",
        flags={"engine_version": "0.6.3", "max_model_len": 4096},
        blocks=2153, cpu_blocks=682, concurrency="8.41"),
    Log(id="vllm-062", model="qwen3-30b-a3b", url=f"{ISSUES}/25350", assumed="model",
        flags={"engine_version": "0.10.2", "kv_dtype": "fp8", "max_model_len": 100000},
        available="10.55GiB", tokens=230528, concurrency="2.31"),
    Log(id="vllm-063", model="qwen3-30b-a3b", url=f"{ISSUES}/25350", assumed="model",
        flags={"engine_version": "0.10.2", "kv_dtype": "fp8", "max_model_len": 221000},
        available="5.59GiB", needed_gib="10.12", estimate=122080),
    Log(id="vllm-064", model="minimax-m2", url="https://github.com/guqiong96/Lvllm/issues/35",
        assumed="model", flags={"engine_version": "0.15.0"}, available="12.57GiB", tokens=53136),
    Log(id="vllm-065", model="qwen3.5-122b-a10b", assumed="KV format, MTP layer, prefix caching",
        flags={"engine_version": "0.19.0", "kv_dtype": "fp8", "max_model_len": 262144,
               "speculative_tokens": 1, "mtp_layers": 1, "prefix_caching": True},
        available="24.05GiB", tokens=482080, concurrency="6.42"),
    Log(id="vllm-066", model="mistral-small-24b", assumed="model",
        flags={"engine_version": "0.12.0", "layout": Layout(2), "max_model_len": 100000},
        available="52.36GiB", tokens=686320, concurrency="6.86"),
    # Measured elsewhere: block sizes that vLLM logged for these models.
    Log(id="qwen3.6-35b fp8", model="qwen3.6-35b-a3b",
        flags={"engine_version": "0.24.0", "kv_dtype": "fp8"}, block=2096),
    Log(id="qwen3.5-27b tp2 fp8", model="qwen3.5-27b",
        flags={"engine_version": "0.24.0", "kv_dtype": "fp8", "layout": Layout(2)}, block=1568),
    Log(id="qwen3.5-27b tp2 fp8 mtp", model="qwen3.5-27b", block=1600,
        flags={"engine_version": "0.24.0", "kv_dtype": "fp8", "layout": Layout(2),
               "speculative_tokens": 2, "mtp_layers": 1}),
    Log(id="kimi-linear tp2", model="kimi-linear-48b-a3b", block=960,
        flags={"engine_version": "0.12.0", "layout": Layout(2)}),
    Log(id="qwen3.5-4b", model="qwen3.5-4b", url=f"{ISSUES}/40696", block=528,
        flags={"engine_version": "0.19.1", "prefix_caching": True, "max_model_len": 1024}),
    # Startups of 0.19.0 on two and four stages, another of which had less memory than was printed.
    Log(id="llm-d-planner PP 2", model="llama-3.1-8b", tokens=1075312, concurrency="131.26",
        url="https://github.com/llm-d-incubation/llm-d-planner",
        flags={"engine_version": "0.19.0", "layout": Layout(1, 2), "max_model_len": 8192}),
    Log(id="llm-d-planner PP 4", model="llama-3.1-8b", tokens=2257264, concurrency="275.54",
        url="https://github.com/llm-d-incubation/llm-d-planner",
        flags={"engine_version": "0.19.0", "layout": Layout(1, 4), "max_model_len": 8192}),
    # Read in 2026: logs without an address stand in public repositories' notes and tests.
    Log(id="vllm-140", model="mistral-small-24b", available="52.36GiB", tokens=686320,
        concurrency="6.86", assumed="model, version",
        flags={"engine_version": "0.12.0", "layout": Layout(2), "max_model_len": 100000}),
    Log(id="vllm-101", model="qwen3-8b", available="19.36GiB", tokens=140960, concurrency="3.44",
        flags={"engine_version": "0.19.1", "max_model_len": 40960}),
    Log(id="vllm-102", model="qwen3-1.7b", available="17.23GiB", tokens=161280,
        concurrency="39.38", assumed="model, from 114,688 bytes a token, version",
        flags={"engine_version": "0.19.0", "max_model_len": 4096}),
    Log(id="vllm-103", model="llama-3.1-70b", available="20.16GiB", tokens=132128,
        concurrency="16.13", assumed="model, from 163,840 bytes a token on each of 2, version",
        flags={"engine_version": "0.16.0", "max_model_len": 8192, "layout": Layout(2)}),
    # Qwen3.8-27B has Qwen3.6-27B's dimensions.
    Log(id="vllm-104", model="qwen3.6-27b", tokens=160085, concurrency="39.08", block=784,
        flags={"engine_version": "0.28.0", "max_model_len": 4096, "prefix_caching": True}),
    Log(id="vllm-105", model="qwen3.6-27b", tokens=1400832, concurrency="42.75", block=784,
        assumed="model, version",
        flags={"engine_version": "0.28.0", "max_model_len": 32768, "prefix_caching": True}),
    Log(id="vllm-106", model="glm-4-9b", available="63.82GiB", tokens=1673040,
        flags={"engine_version": "0.19.2rc1.dev100"}),
    # Up to 0.11.0 every rank printed its own size.
    Log(id="vllm-107 rank 0", model="qwen3-235b-a22b", available="9.73GiB", tokens=217104,
        concurrency="6.63", assumed="model, version",
        flags={"engine_version": "0.10.2", "layout": Layout(8), "max_model_len": 32768}),
    Log(id="vllm-107 rank 1", model="qwen3-235b-a22b", available="9.71GiB", tokens=216656,
        concurrency="6.61", assumed="model, version",
        flags={"engine_version": "0.10.2", "layout": Layout(8), "max_model_len": 32768}),
    Log(id="vllm-108", model="qwen3-8b", available="34.65GiB", tokens=252288,
        concurrency="15.40", assumed="model; blocks of 128 on Ascend, version",
        flags={"engine_version": "0.18.0", "max_model_len": 16384, "block_size": 128}),
    Log(id="vllm-109", assumed="version",
        model="qwen2.5-3b", available="0.73GiB", tokens=21328, concurrency="1.30",
        flags={"engine_version": "0.21.0", "max_model_len": 16384}),
    Log(id="vllm-110", assumed="version",
        model="qwen3-4b", available="17.57GiB", tokens=283392, concurrency="69.19",
        flags={"engine_version": "0.20.1", "kv_dtype": "turboquant_k8v4", "max_model_len": 4096}),
    Log(id="vllm-111", assumed="version", model="llama-3.1-8b", available="56.21GiB", tokens=460496,
        concurrency="3.51", flags={"engine_version": "0.28.0", "max_model_len": 131072}),
    Log(id="vllm-112", model="qwen3.5-27b", url=f"{ISSUES}/40691", tokens=290864,
        concurrency="33.04", flags={"engine_version": "0.19.0", "max_model_len": 32768}),
    Log(id="vllm-113", assumed="version",
        model="qwen3-14b", url="https://github.com/LMCache/LMCache/issues/1739",
        available="6.51GiB", tokens=42656, concurrency="1.30",
        flags={"engine_version": "0.11.0", "max_model_len": 32768}),
    Log(id="vllm-114", model="qwen2.5-32b", available="0.58GiB", needed_gib="1.0", estimate=2368,
        flags={"engine_version": "0.24.0", "max_model_len": 4096}, assumed="version"),
    # On Intel's GPUs attention reads blocks of 64. Qwen3.8-27B, four draft tokens.
    Log(id="vllm-115", assumed="version",
        model="qwen3.6-27b", available="6.91GiB", needed_gib="9.5", estimate=91520,
        flags={"engine_version": "0.28.0", "max_model_len": 131072, "speculative_tokens": 4,
               "mtp_layers": 1, "prefix_caching": True, "block_size": 64}),
    Log(id="vllm-116", assumed="version", model="qwen3.6-27b", available="8.12GiB", estimate=109824,
        flags={"engine_version": "0.28.0", "max_model_len": 131072, "speculative_tokens": 4,
               "mtp_layers": 1, "prefix_caching": True, "block_size": 64}),
    Log(id="vllm-117", assumed="version", model="qwen3-32b", available="1.25GiB", needed_gib="10.0",
        flags={"engine_version": "0.9.0", "max_model_len": 40960}),
    # Qwen3-VL-2B's language model is Qwen3-1.7B's.
    Log(id="vllm-118", model="qwen3-1.7b", available="13.69GiB", needed_gib="28.0",
        estimate=128128, assumed="which Qwen3-VL, from 114,688 bytes a token, version",
        flags={"engine_version": "0.11.0", "max_model_len": 262144}),
    Log(id="vllm-119", model="qwen2.5-1.5b", available="0.47GiB", tokens=17520,
        concurrency="17.11", assumed="model, from 28,672 bytes a token, version",
        flags={"engine_version": "0.24.0", "max_model_len": 1024}),
    Log(id="vllm-120", model="qwen2.5-1.5b", available="0.67GiB", tokens=25008,
        concurrency="24.42", assumed="model, as 119, version",
        flags={"engine_version": "0.24.0", "max_model_len": 1024}),
    Log(id="vllm-121", model="qwen2.5-1.5b", available="0.2GiB", needed_gib="0.22",
        estimate=7440, assumed="model, as 119, version",
        flags={"engine_version": "0.24.0", "max_model_len": 8192}),
    Log(id="vllm-122", model="gpt-oss-120b", available="4.06GiB", needed_gib="4.79",
        estimate=109776, assumed="version, batch of 8192",
        flags={"engine_version": "0.10.2", "max_model_len": 131072,
               "max_num_batched_tokens": 8192}),
    Log(id="vllm-123", model="qwen3-8b", available="2.40GiB", needed_gib="5.62", estimate=17472,
        assumed="model, from 147,456 bytes a token, version",
        flags={"engine_version": "0.24.0", "max_model_len": 40960}),
    Log(id="vllm-124", assumed="version",
        model="minimax-m2.7", available="24.85GiB", needed_gib="48.44",
        estimate=105056, flags={"engine_version": "0.19.0", "max_model_len": 204800}),
    # Qwen2.5-VL-7B's language model is Qwen2.5-7B's.
    Log(id="vllm-125", assumed="version",
        model="qwen2.5-7b", available="6.11GiB", needed_gib="6.3", estimate=114432,
        flags={"engine_version": "0.9.2", "max_model_len": 118000}),
    Log(id="vllm-126", model="qwen2.5-7b", available="0.09GiB", needed_gib="0.22", estimate=1664,
        assumed="model, from 57,344 bytes a token, version",
        flags={"engine_version": "0.24.0", "max_model_len": 4096}),
    Log(id="vllm-127", model="qwen2.5-14b", available="1.87GiB", needed_gib="3.0", estimate=10224,
        assumed="model, from 196,608 bytes a token, version",
        flags={"engine_version": "0.15.0", "max_model_len": 16384}),
    Log(id="vllm-128", model="qwen3-coder-480b", available="48.66GiB", needed_gib="62.0",
        estimate=205728, url="https://github.com/vllm-project/recipes/pull/12",
        flags={"engine_version": "0.10.1.dev101", "max_model_len": 262144}),
    Log(id="vllm-129", model="qwen3-coder-480b", available="55.65GiB", needed_gib="62.0",
        estimate=235296, url="https://github.com/vllm-project/recipes/pull/12",
        flags={"engine_version": "0.10.1.dev101", "max_model_len": 262144}),
    Log(id="vllm-130", model="qwen3.6-27b", available="4.99GiB", tokens=302921,
        concurrency="2.31", url="https://github.com/mitchross/talos-argocd-proxmox/pull/1995",
        assumed="version",
        flags={"engine_version": "0.28.0", "max_model_len": 131072, "layout": Layout(2),
               "kv_dtype": "fp8", "max_num_batched_tokens": 8192, "prefix_caching": True}),
    Log(id="vllm-131", model="gemma-3-1b", available="25.39GiB", tokens=950864,
        concurrency="461.21", padding_layers=2, assumed="model, from 2 padding layers of 9.09 %, version",
        flags={"engine_version": "0.14.0", "max_model_len": 2048,
               "max_num_batched_tokens": 8192}),
    Log(id="vllm-132", model="minimax-m3", tokens=237312, concurrency="28.97", assumed="version",
        flags={"engine_version": "0.24.0", "max_model_len": 8192, "layout": Layout(2)}),
    Log(id="vllm-133", model="qwen3.6-35b-a3b", padding_layers=3, assumed="model, MTP layer, version",
        flags={"engine_version": "0.21.0", "speculative_tokens": 1, "mtp_layers": 1}),
    Log(id="vllm-134", model="qwen3.6-35b-a3b", block=2128, assumed="model, two draft tokens, version",
        flags={"engine_version": "0.20.0", "speculative_tokens": 2, "mtp_layers": 1,
               "kv_dtype": "fp8"}),
    # Read on 30 November 2026.
    Log(id="vllm-141", model="qwen3.6-35b-a3b", url=f"{CLUB}/issues/652",
        available="6.01GiB", tokens=569878, concurrency="4.35",
        flags={"engine_version": "0.24.0", "kv_dtype": "fp8", "max_model_len": 131072,
               "max_num_batched_tokens": 8192, "max_num_seqs": 1, "prefix_caching": True}),
    Log(id="vllm-142", model="qwen3.6-27b", url=f"{CLUB}/issues/602",
        available="5.23GiB", tokens=289661, concurrency="1.10", assumed="draft tokens, batch, version",
        flags={"engine_version": "0.24.0", "layout": Layout(2), "kv_dtype": "int8_per_token_head",
               "max_model_len": 262144, "max_num_batched_tokens": 8192, "max_num_seqs": 2, **MTP3}),
    Log(id="vllm-143", model="qwen3.6-27b", url=f"{CLUB}/issues/104", assumed="no draft, version",
        available="9.84GiB", tokens=619202, concurrency="2.36",
        flags={"engine_version": "0.20.2", "layout": Layout(2), "kv_dtype": "fp8_e5m2",
               "max_model_len": 262144, "max_num_batched_tokens": 8192, "max_num_seqs": 2,
               "prefix_caching": True}),
    Log(id="vllm-145", model="qwen3.6-27b", url=f"{CLUB}/issues/91", tokens=619479, concurrency="2.36",
        flags={"engine_version": "0.20.1", "layout": Layout(2), "kv_dtype": "fp8_e5m2",
               "max_model_len": 262144, "max_num_batched_tokens": 8192, "max_num_seqs": 2, **MTP3}),
    Log(id="vllm-144", model="qwen3-0.6b", url="https://github.com/vllm-project/vllm/pull/24577",
        available="69.66GiB", tokens=652144, concurrency="159.21", assumed="version",
        flags={"engine_version": "0.10.2", "max_model_len": 4096}),
)  # fmt: skip


def run(log: Log, memory: Available) -> CapacityResult:
    return capacity(load(log.model), VllmFlags(available=memory, **log.flags))


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.id)
def test_vllm_prints_what_kvcalc_says(log: Log) -> None:
    memory = Available.parse(log.available or "400GiB")
    result = run(log, memory)
    least, most = result.pool_range or (result.pool, result.pool)
    if log.tokens is not None or log.blocks is not None:
        pools = [_with_blocks(log, result, number) for number in _candidates(log, result)]
        exact = [
            pool
            for pool in pools
            if log.tokens in (None, pool.tokens) and log.blocks in (None, pool.num_blocks)
        ]
        assert exact, (least.tokens, most.tokens)
        if log.concurrency is not None:
            assert log.concurrency in {f"{float(pool.max_concurrency):.2f}" for pool in exact}
    if log.needed_gib is not None:
        assert str(round(result.pool.bytes_per_request / GIB, 2)) == log.needed_gib
    if log.estimate is not None:
        assert log.estimate in _estimates(log, memory, result)
    if log.block is not None:
        assert result.pool.block_tokens == log.block
    if log.padding_layers is not None:
        assert sum(group.padding_layers for group in result.groups) == log.padding_layers
    if log.cpu_blocks is not None:
        assert 4 * GIB // result.pool.bytes_per_block == log.cpu_blocks


def _with_blocks(log: Log, result: CapacityResult, number: int) -> Pool:
    return run(log, Available.exactly(number * result.pool.bytes_per_block)).pool


def _candidates(log: Log, result: CapacityResult) -> range:
    """Block counts that the printed memory allows; any near the tokens where none is printed."""
    if log.available:
        least, most = result.pool_range or (result.pool, result.pool)
        return range(least.num_blocks, most.num_blocks + 1)
    if log.blocks is not None:
        return range(log.blocks, log.blocks + 1)
    assert log.tokens is not None
    middle = result.pool.num_blocks * log.tokens // result.pool.tokens
    return range(max(1, middle - 3), middle + 4)


def _estimates(log: Log, memory: Available, result: CapacityResult) -> set[int]:
    """Estimates of memories that print as logged, at steps smaller than a block."""
    step = max(1, min(result.pool.bytes_per_block // 4, (memory.most - memory.least) // 8))
    return {
        run(log, Available.exactly(size)).pool.estimated_max_model_len
        for size in range(memory.least, memory.most + 1, step)
    }


def test_016_dflash_before_its_windows() -> None:
    """vllm-016 (https://github.com/noonghunna/club-3090/issues/46): Qwen3.6-27B in INT4, and its DFlash,
    five layers of 8 KV heads of 128, on two RTX 4090 with a build of 0.20.1. 9.74 GiB make blocks of 816
    tokens, 67,728 of them, and 1.06 requests of 180,000, where all five are full attention, as that
    release's class has them, and 5 or 6 tokens are drafted; the windows of its config would make 73,440."""
    config = {
        "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "hidden_size": 5120,
        "intermediate_size": 17408, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "num_hidden_layers": 5, "vocab_size": 248320, "max_position_embeddings": 262144,
        "layer_types": ["sliding_attention"] * 4 + ["full_attention"], "sliding_window": 2048,
        "use_sliding_window": True, "max_window_layers": 5, "num_target_layers": 64, "block_size": 16,
        "tie_word_embeddings": False, "attention_bias": False,
        "dflash_config": {"mask_token_id": 248070, "target_layer_ids": [1, 16, 31, 46, 61]},
    }  # fmt: skip
    draft = Draft(spec_from_config(config, "draft", "config.json").spec)
    found = {}
    for version in ("0.20.0", "0.25.0"):
        flags = VllmFlags(
            available=Available.parse("9.74GiB"), engine_version=version, layout=Layout(2),
            max_model_len=180000, draft=draft, speculative_tokens=5, prefix_caching=True,
            max_num_batched_tokens=8192,
        )  # fmt: skip
        pool = capacity(load("qwen3.6-27b"), flags).pool
        found[version] = (pool.block_tokens, pool.tokens, f"{float(pool.max_concurrency or 0):.2f}")
    assert found["0.20.0"] == (816, 67728, "1.06")
    assert found["0.25.0"][1] > 200_000


# llm-d-incubation/llm-d-planner, accuracy/results/v0.19.0 (Apache-2.0): vLLM 0.19.0 on H100-80GB,
# max_num_batched_tokens 8192. (model, flags, KV memory, tokens, blocks, concurrency)
STARTUPS = (
    ("deepseek-v2-lite", {}, "43.61GiB", 1505552, 94097, "183.78"),
    ("gemma-2-2b", {}, "66.47GiB", 670160, 83770, "81.73"),
    ("gemma-3-12b", {}, "47.72GiB", 130304, 48867, "15.88"),
    ("granite-3.1-2b", {}, "69.28GiB", 908048, 56753, "110.85"),
    ("granite-3.1-8b", {}, "58.66GiB", 384432, 24027, "46.93"),
    ("llama-3.1-8b", {"kv_dtype": "fp8"}, "58.11GiB", 952032, 59502, "116.21"),
    ("llama-3.1-8b", {"model_dtype": "fp32"}, "42.80GiB", 175296, 10956, "21.40"),
    ("llama-3.1-8b", {"max_model_len": 32768}, "58.11GiB", 476016, 29751, "14.53"),
    ("llama-3.1-8b", {"layout": Layout(4)}, "67.44GiB", 2209792, 138112, "269.75"),
    ("phi-4", {}, "46.08GiB", 241568, 15098, "29.49"),
    ("mistral-small-24b", {}, "28.19GiB", 184752, 11547, "22.55"),
    ("mixtral-8x7b", {"layout": Layout(2)}, "28.44GiB", 465936, 29121, "56.88"),
    ("gpt-oss-20b", {"layout": Layout(2)}, "59.32GiB", 2591776, 323972, "316.07"),
    ("qwen2.5-7b", {"kv_dtype": "fp8"}, "58.53GiB", 2192000, 137000, "267.58"),
    ("qwen2.5-7b", {"layout": Layout(4)}, "67.34GiB", 5043280, 315205, "615.63"),
    # Other lengths, and quantised weights, which leave more memory.
    ("qwen2.5-7b", {}, "64.64GiB", 1210304, 75644, "147.74"),
    ("qwen2.5-7b", {}, "64.64GiB", 1210272, 75642, "147.74"),
    ("llama-3.1-8b", {}, "58.11GiB", 476000, 29750, "58.11"),
    ("llama-3.1-8b", {}, "64.61GiB", 529248, 33078, "64.61"),
    ("llama-3.1-8b", {"model_dtype": "fp16"}, "58.11GiB", 476016, 29751, "58.11"),
    ("llama-3.1-8b", {"model_dtype": "fp16"}, "64.60GiB", 529200, 33075, "64.60"),
    ("llama-3.1-8b", {"max_model_len": 2048}, "58.11GiB", 476016, 29751, "232.43"),
    ("llama-3.1-8b", {"max_model_len": 4096}, "58.11GiB", 476016, 29751, "116.21"),
    ("llama-3.1-8b", {"max_model_len": 16384}, "58.11GiB", 476016, 29751, "29.05"),
    ("llama-3.1-8b", {"layout": Layout(2)}, "63.76GiB", 1044688, 65293, "127.53"),
    ("qwen2.5-7b", {}, "58.53GiB", 1096000, 68500, "133.79"),
    ("qwen2.5-7b", {"max_model_len": 16384}, "58.53GiB", 1095968, 68498, "66.89"),
    ("qwen2.5-7b", {"max_model_len": 32768}, "58.53GiB", 1096000, 68500, "33.45"),
    ("qwen2.5-7b", {"max_model_len": 2048}, "58.53GiB", 1096000, 68500, "535.16"),
    ("qwen2.5-7b", {"max_model_len": 4096}, "58.53GiB", 1096000, 68500, "267.58"),
    ("qwen2.5-7b", {"layout": Layout(2)}, "63.84GiB", 2390592, 149412, "291.82"),
)


@pytest.mark.parametrize(
    ("model", "flags", "memory", "tokens", "blocks", "concurrency"),
    STARTUPS,
    ids=[f"{model} {'-'.join(map(str, flags.values()))}" for model, flags, *_ in STARTUPS],
)
def test_startups_of_0_19(
    model: str, flags: dict[str, Any], memory: str, tokens: int, blocks: int, concurrency: str
) -> None:
    flags = {
        "engine_version": "0.19.0",
        "max_model_len": 8192,
        "max_num_batched_tokens": 8192,
        **flags,
    }
    spec = load(model)
    result = capacity(spec, VllmFlags(available=Available.parse(memory), **flags))
    least, most = result.pool_range or (result.pool, result.pool)
    assert least.num_blocks <= blocks <= most.num_blocks
    exact = Available.exactly(blocks * result.pool.bytes_per_block)
    pool = capacity(spec, VllmFlags(available=exact, **flags)).pool
    assert pool.tokens == tokens
    assert f"{float(pool.max_concurrency):.2f}" == concurrency
