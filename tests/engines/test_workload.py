"""What engines hold for a workload: figures that their logs printed, and the reasons that add up."""

import json
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.engines import ENGINES, engine_of
from kvcalc.engines.request import Available
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.pool import capacity
from kvcalc.engines.workload import EngineCache, side_by_side, workload_cache
from kvcalc.errors import KvcalcError, UnsupportedError
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.report.formats import PRINTERS
from kvcalc.spec.catalog import load, shipped

SERVING = [name for name in ENGINES if engine_of(name).hold is not None]


def held(engine: str, model: str, tokens: int, batch: int = 1, **more: Any) -> EngineCache:
    version, kv_dtype = more.pop("version", None), more.pop("kv_dtype", None)
    spec = load(model)
    asked = Asked(context_tokens=tokens, batch_size=batch, kv_dtype=kv_dtype or "bf16", **more)
    workload, _ = choose_workload(spec, asked)
    return workload_cache(engine, spec, workload, kv_dtype, version)


@pytest.mark.parametrize(
    ("engine", "model", "tokens", "options", "num_bytes"),
    [
        # "16.0 GiB KV cache is needed" for Llama-3.1-8B at 131,072 tokens.
        ("vllm", "llama-3.1-8b", 131072, {"version": "0.10.2"}, 17179869184),
        # Gemma-3-27B on 0.10.2 at 4096 tokens: 90,000 blocks and concurrency 50.05 were logged, that
        # is 1798 blocks of 10 * 131,072 bytes a request.
        ("vllm", "gemma-3-27b", 4096, {"version": "0.10.2"}, 2356674560),
        # 132,608 tokens in 69,524,783,104 bytes: NVIDIA/TensorRT-LLM issue 1400.
        ("tensorrt-llm", "llama-2-7b", 132608, {"kv_dtype": "fp16"}, 69524783104),
        # llama_kv_cache size = 112.00 MiB, 1024 cells, 28 layers.
        ("llama.cpp", "llama-3.2-3b", 1024, {}, 117440512),
        # KV self size = 544.00 MiB, 8192 cells of q8_0; 8000 tokens take as many cells.
        ("llama.cpp", "llama-3-8b", 8000, {"kv_dtype": "q8_0"}, 570425344),
        # 1024.00 MiB for 8192 cells: the window of 4096 is not applied.
        ("llama.cpp", "mistral-7b-v0.1", 8192, {}, 1073741824),
        # R and S of one sequence, 50.25 MiB, and 8 layers of 131,072 cells, 1152.00 MiB in q4_0.
        ("llama.cpp", "qwen3.5-9b", 131072, {"kv_dtype": "q4_0"}, 1207959552 + 52690944),
    ],
)  # fmt: skip
def test_bytes_as_logged(
    engine: str, model: str, tokens: int, options: dict[str, Any], num_bytes: int
) -> None:
    assert held(engine, model, tokens, **options).bytes == num_bytes
    assert held(engine, model, tokens, 3, **options).bytes == 3 * num_bytes


def test_sglang_on_four_ranks_prints_8_23_gb_of_k_and_of_v() -> None:
    """Qwen3-235B-A22B, 367,404 tokens: https://github.com/vllm-project/vllm/issues/21348."""
    cache = held("sglang", "qwen3-235b-a22b", 367404, layout=Layout(4))
    assert len(cache.per_device_bytes) == 4
    assert f"{cache.per_device_bytes[0] / 2 / (1 << 30):.2f}" == "8.23"
    assert cache.waste == ()


def test_a_latent_is_on_every_rank() -> None:
    """DeepSeek-V3: 61 layers * 576 * 2 bytes a token, whole on each of 8 ranks."""
    cache = held("sglang", "deepseek-v3", 1000, layout=Layout(8))
    assert cache.logical_bytes == 70272000
    assert [(waste.cause, waste.bytes) for waste in cache.waste] == [("replication", 491904000)]


def test_the_reasons_of_gemma_3_27b_in_vllm() -> None:
    """The capacity report's own waste for this request: 52 window layers in six groups of 10."""
    result = capacity(
        load("gemma-3-27b"),
        VllmFlags(available=Available.exactly(1 << 36), max_model_len=131072),
    )
    expected = {w.cause: w.bytes for w in result.waste if w.per_request}
    cache = held("vllm", "gemma-3-27b", 131072)
    assert {waste.cause: waste.bytes for waste in cache.waste} == expected
    assert cache.bytes == result.pool.bytes_per_request


def test_pools_of_sglang_grow_together() -> None:
    """gpt-oss-20b, 100 tokens: 80 window slots would not hold them, so both pools are sized 125."""
    cache = held("sglang", "gpt-oss-20b", 100)
    # 12 layers each of 8 heads of 64, K and V in bf16: 2048 bytes a token and layer.
    assert cache.bytes == 12 * 125 * 2048 + 12 * 100 * 2048
    assert [(w.cause, w.bytes) for w in cache.waste] == [
        ("full pool for the window's sake", 12 * 25 * 2048)
    ]


MODELS = ("llama-3-8b", "gemma-3-27b", "gpt-oss-120b", "qwen3.6-27b", "kimi-linear-48b-a3b",
          "deepseek-v3.2", "deepseek-v4-flash", "nemotron-3-nano", "gemma-4-e4b", "falcon-7b",
          "bert-base-uncased", "whisper-tiny", "mamba-2.8b", "minimax-m3")  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SERVING)
@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 1), (2, 3)])
def test_the_reasons_add_up(name: str, model: str, tp: int, pp: int) -> None:
    """A law: the need, and every cause, is what is held; groups and devices hold the same."""
    try:
        cache = held(name, model, 5001, 3, layout=Layout(tp, pp))
    except KvcalcError:
        # refused by name; the law is about what is answered
        return
    assert cache.bytes == cache.logical_bytes + sum(waste.bytes for waste in cache.waste)
    assert cache.bytes == sum(slab.bytes for slab in cache.groups) * tp * 3 + cache.rest_bytes
    assert cache.bytes == sum(cache.per_device_bytes)
    assert len(cache.per_device_bytes) == tp * pp
    assert all(waste.why for waste in cache.waste)


@pytest.mark.parametrize("name", SERVING)
def test_slope_and_fixed_bytes(name: str) -> None:
    """llama-3-8b: 131,072 bytes a token in every engine, nothing fixed."""
    cache = held(name, "llama-3-8b", 4096)
    assert (cache.bytes_per_token, cache.fixed_bytes_per_sequence) == (131072, 0)


def test_who_does_not_support_the_model_says_so() -> None:
    spec = load("t5-small")
    rows = side_by_side(spec, choose_workload(spec, Asked(context_tokens=512))[0])
    assert [row.engine for row in rows] == list(ENGINES)
    refusals = {row.engine: row.refusal for row in rows if row.bytes is None}
    assert set(refusals) == {*ENGINES} - {"logical", "transformers"}
    assert "vLLM 0.33.0 has no class for model_type t5" in str(refusals["vllm"])
    assert "t5-small" in str(refusals["sglang"])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", *arguments])
    return int(stop.value.code or 0), capsys.readouterr().out


def test_json_of_one_engine(capsys: pytest.CaptureFixture[str]) -> None:
    status, out = run(capsys, "gemma-3-27b", "--context", "128k", "--batch", "2",
                      "--engine", "vllm", "--format", "json")  # fmt: skip
    result = json.loads(out)
    assert status == 0
    cache = result["cache"]
    assert (result["engine"], cache["bytes"]) == ("vllm", 38603325440)
    assert sum(group["bytes"] for group in cache["groups"]) == cache["bytes"]
    assert cache["bytes"] == cache["logical_bytes"] + sum(w["bytes"] for w in result["waste"])
    assert sum(group["padding_layers"] for group in cache["groups"]) == 8
    assert result["total_bytes"] == result["weights"]["bytes"] + cache["bytes"]


@pytest.mark.parametrize("format", PRINTERS)
@pytest.mark.parametrize("engine", ["all", "sglang"])
def test_every_format(capsys: pytest.CaptureFixture[str], engine: str, format: str) -> None:
    status, out = run(
        capsys, "gemma-3-1b", "--context", "32k", "--engine", engine, "--format", format
    )
    assert status == 0
    assert "windows kept whole" in out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--engine", "sglang", "--kv-dtype", "q8_0"), 2),
        (("--engine", "llama.cpp", "--tp", "2"), 2),
        (("--engine", "llama.cpp", "--state-dtype", "bf16"), 2),
        (("--engine", "all", "--engine-version", "0.10"), 2),
        (("--engine", "vllm", "--context", "0"), 2),
        (("--engine", "vllm", "--kv-dtype", "turboquant_4bit_nc"), 0),
    ],
)
def test_status(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int
) -> None:
    assert run(capsys, "llama-3-8b", *arguments)[0] == status


def test_a_convolution_of_one_tap_keeps_no_column(tmp_path: Path) -> None:
    """K - 1 = 0 columns: states alone, 48 x 128 x 128 fp32 numbers in each of three slots."""
    path = tmp_path / "one.yaml"
    text = shipped()["qwen3.8-27b"].read_text("utf-8")
    path.write_text(text.replace("linear_conv_kernel_dim: 4", "linear_conv_kernel_dim: 1"), "utf-8")
    (states,) = [
        each for each in kvcalc.estimate(path, engine="sglang").to_dict()["cache"]["groups"]
        if each["mechanism"] == "gated_deltanet"
    ]  # fmt: skip
    assert [each["shape"] for each in states["tensors"]] == [[1, 3, 3_145_728]]
    with pytest.raises(UnsupportedError, match="one tap"):
        kvcalc.estimate(path, engine="exllamav3")
