"""Tiers beyond the GPU: the rules of each engine, with numbers worked out by hand from its source."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvcalc.cli.app import main
from kvcalc.convert.locate import load
from kvcalc.errors import KvcalcError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.tiers import TIERED, plan_of
from kvcalc.tiers.question import TierQuestion

Capture = pytest.CaptureFixture[str]


def asked(capsys: Capture, line: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stopped:
        main(["tiers", *line.split(), "--format", "json"])
    return int(stopped.value.code or 0), json.loads(capsys.readouterr().out)


# What stands for each: the line; unit tokens, bytes of a unit on all ranks, units, sessions, flag.
BY_HAND = [
    # 16 tokens of 2 * 32 layers * 8 heads * 128 * 2 bytes: 2 MiB; 200 GiB / 2 MiB; 32k / 16 a session.
    ("llama-3-8b --host 200GiB --context 32k", 16, 2097152, 102400, 50, "--kv-offloading-size 200"),
    # Two ranks of 4 heads: as many bytes side by side.
    ("llama-3-8b --host 200GiB --context 32k --tp 2", 16, 2097152, 102400, 50,
     "--kv-offloading-size 200"),
    # 16 ranks of one head each, 8 of which are copies: twice the bytes.
    ("llama-3-8b --host 200GiB --context 32k --tp 16", 16, 4194304, 51200, 25,
     "--kv-offloading-size 200"),
    ("llama-3-8b --host 200GiB --context 32k --chunk 64", 64, 8388608, 25600, 50,
     "--kv-offloading-size 200"),
    # 61 layers * 16 tokens * 576 * 2 bytes = 1,124,352, aligned up to 275 pages of 4,096; stored once.
    ("deepseek-v3 --host 100GiB --context 128k --tp 8", 16, 1126400, 95325, 11,
     "--kv-offloading-size 100"),
    # GLM-5's and DeepSeek-V3.2's index keys are equal on all ranks, too: 61 * 64 * (1,152 + 132), aligned.
    ("deepseek-v3.2 --host 100GiB --context 128k --tp 8", 64, 5013504, 21416, 10,
     "--kv-offloading-size 100"),
    # Before 0.27 each of 8 ranks has its own: 8,994,816 is 2,196 pages. Before 0.23 without alignment.
    ("deepseek-v3 --host 100GiB --context 128k --tp 8 --engine-version 0.26.0", 16, 8994816, 11937, 1,
     "--kv-offloading-size 100"),
    ("deepseek-v3 --host 100GiB --context 128k --engine-version 0.22.0", 16, 1124352, 95498, 11,
     "--kv-offloading-size 100"),
    # 256 tokens of 128 KiB; max_local_cpu_size is of a rank.
    ("llama-3-8b --engine lmcache --host 5GiB --context 2k", 256, 33554432, 160, 20,
     "max_local_cpu_size: 5"),
    ("llama-3-8b --engine lmcache --host 10GiB --context 2k --tp 2", 256, 33554432, 320, 40,
     "max_local_cpu_size: 5"),
    # 200e9 // 131,072 = 1,525,878 slots // 64 + 1.
    ("llama-3-8b --engine sglang --host 200GB --block-size 64 --context 8k", 64, 8388608, 23842, 186,
     "--hicache-size 200"),
    # 576 * 2 * 61 bytes a token, on the first rank alone since 0.5.20: 100e9 // 70,272 + 1.
    ("deepseek-v3 --engine sglang --host 100GB --tp 8 --context 1k", 1, 70272, 1423042, 1389,
     "--hicache-size 100"),
    ("deepseek-v3 --engine sglang --host 100GB --tp 8 --context 1k --engine-version 0.5.18", 1, 562176,
     170766, 166, "--hicache-size 12"),
    ("llama-3-8b --engine tensorrt-llm --host 200GiB --context 32k", 32, 4194304, 51200, 50,
     "kv_cache_config.host_cache_size: 214748364800"),
    # The latents are whole on every rank, and every rank stores them.
    ("deepseek-v3 --engine tensorrt-llm --host 80GiB --tp 8 --context 4k", 32, 17989632, 4774, 37,
     "kv_cache_config.host_cache_size: 10737418240"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "tokens", "num_bytes", "units", "sessions", "flag"), BY_HAND)
def test_a_host_tier(
    capsys: Capture, line: str, tokens: int, num_bytes: int, units: int, sessions: int, flag: str
) -> None:
    status, found = asked(capsys, line)
    (host,) = found["tiers"]
    assert status == 0
    assert (host["unit_tokens"], host["unit_bytes"]) == (tokens, num_bytes)
    assert (host["num_units"], host["sessions"], host["flag"]) == (units, sessions, flag)


def test_windows_keep_what_they_reach_back_over(capsys: Capture) -> None:
    # Gemma 3 27B: 52 window layers in 6 groups of 10 slots, 10 full ones in one; windows of 1,024.
    _, found = asked(capsys, "gemma-3-27b --host 100GiB --disk 1TiB --context 128k --tp 2")
    host, disk = found["tiers"]
    assert host["session_units"] == 131072 // 16 + 6 * 64
    # 10 slots of 16 tokens * 16 heads * 2 * 128 * 2 bytes, over both ranks.
    assert (host["unit_bytes"], host["num_units"]) == (2621440 // 2, 81920)
    assert (disk["num_units"], disk["flag"]) == (838860, None)
    # LMCache stores them whole: 62 layers of every token.
    _, found = asked(capsys, "gemma-3-27b --engine lmcache --host 100GiB --context 128k")
    assert found["tiers"][0]["session_bytes"] == 131072 * 62 * 16 * 2 * 128 * 2


def test_a_session_moves_at_the_links_speed(capsys: Capture) -> None:
    line = "llama-3-8b --host 100GiB --disk 1TiB --context 8k --link 32 --disk-link 2.5"
    _, found = asked(capsys, line)
    # 1 GiB.
    assert found["gpu"]["transfer_seconds"] == 1073741824 / 32e9
    assert [tier["move_seconds"] for tier in found["tiers"]] == [
        1073741824 / 32e9, 1073741824 / 2.5e9,
    ]  # fmt: skip


def test_sessions_of_a_file(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "lengths.csv").write_text("1000\n2000\n3000\n")
    _, found = asked(capsys, f"llama-3-8b --host 1GiB --lengths {tmp_path}/lengths.csv")
    (host,) = found["tiers"]
    # 62 + 125 + 187 chunks of 2 MiB; 512 hold 512 * 3 / 374 of them.
    assert (found["num_requests"], host["requests_bytes"], host["requests"]) == (3, 784334848, 4)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("llama-3-8b --engine tensorrt-llm --disk 1TiB", "has no disk tier"),
        ("llama-3-8b --engine ollama", "of vllm, sglang, lmcache, tensorrt-llm tiers are known"),
        ("llama-3-8b --chunk 100", "whole blocks of 16 tokens: 96 is"),
        ("llama-3-8b --engine lmcache --chunk 100", "96 can be its chunk"),
        ("llama-3-8b --engine sglang --chunk 64", "--block-size says how many"),
        ("llama-3-8b --host 1MiB", "does not hold one chunk of 2.00 MiB: 2.00 MiB or more would"),
        ("llama-3-8b --engine sglang --host 0.5GiB", "or more would"),
        ("llama-3-8b --link fast", "write it in GB/s"),
        ("llama-3-8b --disk-link 5", "say how large that is"),
        ("llama-3-8b --engine-version 0.11.0", "0.12 and later have it"),
        ("gpt-oss-20b --engine sglang", "pools of windows, states or index keys"),
        ("jamba-1.5-mini --engine lmcache", "how LMCache stores"),
        ("t5-small", "vLLM"),
        ("llama-3-8b --pp 2", "ask with --tp alone"),
    ],
)
def test_what_is_refused(capsys: Capture, line: str, said: str) -> None:
    status, found = asked(capsys, line)
    assert status == 2
    assert said in found["error"]["message"]


MODELS = {name: load(name) for name in ("llama-3-8b", "qwen3-0.6b", "deepseek-v2-lite")}


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(MODELS)), engine=st.sampled_from(sorted(TIERED)),
    tokens=st.integers(0, 300_000), size=st.integers(1, 10**13), tensor=st.sampled_from((1, 2, 4)),
)  # fmt: skip
def test_laws(name: str, engine: str, tokens: int, size: int, tensor: int) -> None:
    workload = Workload(context_tokens=8192, layout=Layout(tensor, 1))
    try:
        plan = plan_of(engine)(MODELS[name], TierQuestion(engine=engine, workload=workload))
    except KvcalcError:
        return
    for tier in plan.tiers:
        # More tokens never take fewer units; what is kept is no more than there is, and what is lost
        # is less than a unit.
        assert tier.units(tokens) <= tier.units(tokens + 1)
        assert 0 <= tokens - tier.kept(tokens) < (tier.unit_tokens or tokens + 1)
        # A tier holds no more than fits, but for a page of SGLang's.
        assert (tier.count(size) - (engine == "sglang")) * tier.unit_bytes <= size
        assert tier.count(tier.least) >= 1
        assert engine == "sglang" or tier.count(tier.least - 1) == 0
