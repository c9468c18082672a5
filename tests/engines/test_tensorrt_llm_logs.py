"""What TensorRT-LLM's log printed, replayed: tokens or free memory in, blocks and GiB out.

``assumed`` names what the log does not show; in such a case the figure confirms the rule only for
that assumption. URLs stand where the log was posted.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.pool import capacity
from kvcalc.spec.catalog import locate


@dataclass(frozen=True, kw_only=True)
class Log:
    """One log: its inputs (available as printed), and the figures as printed."""

    id: str
    model: str
    flags: dict[str, Any]
    available: str | None = None
    tokens: int | None = None
    blocks: int | None = None
    num_bytes: int | None = None
    gib: str | None = None
    url: str = ""
    assumed: str = ""


LOGS = (
    Log(id="159", model="llama-2-7b", url="https://github.com/NVIDIA/TensorRT-LLM/issues/1400",
        flags={"tokens": 132608, "block_size": 128, "kv_dtype": "fp16"},
        tokens=132608, num_bytes=69524783104),
    Log(id="160", model="llama-2-7b", available="70.48GiB", assumed="KV format",
        flags={"block_size": 64, "kv_dtype": "fp8"}, blocks=4060, tokens=259840, gib="63.44"),
    Log(id="161", model="qwen2.5-0.5b", available="8.73GiB",
        flags={"kv_dtype": "fp16", "memory_utilization": Fraction(1, 4)}, tokens=190656),
    Log(id="161", model="qwen2.5-0.5b", flags={"tokens": 190656, "kv_dtype": "fp16"}, gib="2.18"),
    Log(id="165", model="llama-3.1-8b", url="https://github.com/NVIDIA/TensorRT-LLM/issues/6294",
        flags={"tokens": 860308, "kv_dtype": "fp8"}, tokens=860320, gib="52.51"),
    Log(id="166", model="tinyllama-1.1b", assumed="model, from 22,528 bytes a token",
        url="https://github.com/triton-inference-server/tutorials/pull/150",
        flags={"tokens": 3731744, "kv_dtype": "fp16"}, blocks=116617, gib="78.30"),
    Log(id="168", model="qwen2.5-0.5b", url="https://github.com/NVIDIA/TensorRT-LLM/issues/1188",
        flags={"tokens": 395776, "kv_dtype": "fp16", "block_size": 64}, gib="4.53"),
    Log(id="169", model="deepseek-v3", assumed="model, KV format",
        flags={"tokens": 16576, "kv_dtype": "fp8", "block_size": 64}, gib="0.54"),
    # Qwen3-Reranker-0.6B has Qwen3-0.6B's dimensions.
    Log(id="171", model="qwen3-0.6b", flags={"tokens": 643136}, tokens=643136, gib="68.69"),
    Log(id="172", model="llama-3.1-8b", available="17.83GiB", assumed="KV format",
        flags={"kv_dtype": "fp8", "engine_version": "0.17"}, blocks=8219, tokens=263008),
    Log(id="172", model="llama-3.1-8b", flags={"tokens": 263008, "kv_dtype": "fp8"}, gib="16.05"),
    Log(id="173", model="llama-3.1-8b", assumed="model, from 131,072 bytes a token",
        flags={"tokens": 220480, "block_size": 64}, gib="26.91"),
    Log(id="174", model="gemma-7b", available="63.62GiB",
        assumed="model and fp8, from 229,376 bytes a token; 0.99 of the free memory",
        flags={"kv_dtype": "fp8", "block_size": 64, "engine_version": "0.12",
               "memory_utilization": Fraction(99, 100)}, blocks=4607, tokens=294848),
    Log(id="174", model="gemma-7b", assumed="model and fp8",
        flags={"tokens": 294848, "kv_dtype": "fp8", "block_size": 64}, gib="62.99"),
    Log(id="175", model="qwen2.5-32b", available="1.42GiB",
        assumed="model, from 262,144 bytes a token",
        flags={"block_size": 64, "engine_version": "0.10"}, blocks=82, tokens=5248),
    Log(id="175", model="qwen2.5-32b", assumed="model",
        flags={"tokens": 5248, "block_size": 64}, gib="1.28"),
)  # fmt: skip


def run(log: Log) -> CapacityResult:
    memory = Available.parse(log.available) if log.available else None
    return capacity(locate(log.model).spec, TensorrtLlmFlags(available=memory, **log.flags))


def gib(num_bytes: int | None) -> str:
    """As the log prints it."""
    return f"{(num_bytes or 0) / (1 << 30):.2f}"


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.id}-{log.model}")
def test_figures_as_logged(log: Log) -> None:
    result = run(log)
    least, most = result.pool_range or (result.pool, result.pool)
    if log.tokens is not None:
        assert (least.tokens or 0) <= log.tokens <= (most.tokens or 0)
    if log.blocks is not None:
        assert (least.num_blocks or 0) <= log.blocks <= (most.num_blocks or 0)
    if log.num_bytes is not None:
        assert result.pool.bytes == log.num_bytes
    if log.gib is not None:
        assert gib(result.pool.bytes) == log.gib
