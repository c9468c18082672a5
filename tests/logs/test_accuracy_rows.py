"""Every log behind ACCURACY.md, written again from its facts: no row is lost, and each figure agrees."""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.read import answer_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "engines"))

import test_llama_cpp_logs as llama_cpp
import test_sglang_logs as sglang
import test_tensorrt_llm_logs as tensorrt_llm
import test_vllm_logs as vllm

TORCH = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
# Flags of kvcalc -> arguments of vLLM.
VLLM = {
    "max_model_len": "max_model_len", "kv_dtype": "kv_cache_dtype", "block_size": "block_size",
    "prefix_caching": "enable_prefix_caching", "max_num_batched_tokens": "max_num_batched_tokens",
    "max_num_seqs": "max_num_seqs", "state_dtype": "mamba_ssm_cache_dtype",
}  # fmt: skip


def read(lines: list[str], model: str, flags: str | None = None) -> LogAnswer:
    return answer_of(["\n".join(lines).encode()], model=model, flags=flags)


def held(answer: LogAnswer, wanted: set[tuple[str, str]]) -> None:
    """wanted: (quantity, what was printed)."""
    found = {(each.quantity, round(float(each.logged), 2)) for each in answer.observations}
    assert found >= {(quantity, float(printed)) for quantity, printed in wanted}
    wrong = [each for each in answer.observations if each.agrees is False]
    assert not wrong, wrong


def vllm_lines(log: vllm.Log) -> tuple[list[str], str | None]:
    """What that release prints, with its flags."""
    flags: dict[str, Any] = dict(log.flags)
    layout = flags.get("layout", vllm.Layout())
    told = {VLLM[name]: value for name, value in flags.items() if name in VLLM}
    # What a test takes for granted of a log is said: the defaults of its request.
    told.setdefault("kv_cache_dtype", "auto")
    told |= {"tensor_parallel_size": layout.tensor, "pipeline_parallel_size": layout.pipeline,
             "dtype": TORCH[flags.get("model_dtype", "bf16")]}  # fmt: skip
    version = flags.get("engine_version", "0.33.0")
    if flags.get("speculative_tokens"):
        told["speculative_config"] = {
            "method": "mtp",
            "num_speculative_tokens": flags["speculative_tokens"],
        }
    lines = [f"vLLM API server version {version}", f"INFO [utils.py:273] non-default args: {told}"]
    if log.block is not None:
        lines.append(
            f"INFO [x.py:1] Setting attention block size to {log.block} tokens to ensure that"
        )
    if log.padding_layers is not None:
        lines.append(
            f"WARNING Add {log.padding_layers} padding layers, may waste at most 9.09% KV cache memory"
        )
    if log.available is not None:
        lines.append(f"INFO Available KV cache memory: {log.available.removesuffix('GiB')} GiB")
    if log.tokens is not None:
        lines.append(f"INFO GPU KV cache size: {log.tokens:,} tokens")
    if log.blocks is not None or log.cpu_blocks is not None:
        lines.append(
            f"INFO # GPU blocks: {log.blocks or 507}, # CPU blocks: {log.cpu_blocks or 2048}"
        )
    if log.concurrency is not None:
        length = flags.get("max_model_len", 4096)
        lines.append(
            f"INFO Maximum concurrency for {length:,} tokens per request: {log.concurrency}x"
        )
    if log.needed_gib is not None:
        have = (log.available or "1.0GiB").removesuffix("GiB")
        estimate = f" the estimated maximum model length is {log.estimate}." if log.estimate else ""
        lines.append(
            "ValueError: To serve at least one request with the model's max seq len "
            f"({flags['max_model_len']}), "
            f"({log.needed_gib} GiB KV cache is needed, which is larger than the available KV cache memory "
            f"({have} GiB). Based on the available memory,{estimate} Try"
        )
    more = [f"--mtp-layers {flags['mtp_layers']}"] if "mtp_layers" in flags else []
    if "pipeline_partition" in flags:
        more.append("--pp-partition " + ",".join(map(str, flags["pipeline_partition"])))
    return lines, " ".join(more) or None


@pytest.mark.parametrize("log", vllm.LOGS, ids=lambda log: log.id)
def test_vllm(log: vllm.Log) -> None:
    lines, flags = vllm_lines(log)
    answer = read(lines, log.model, flags)
    wanted = {(name, str(value)) for name, value in (
        ("tokens", log.tokens), ("num_blocks", log.blocks), ("block_tokens", log.block),
        ("padding_layers", log.padding_layers), ("max_concurrency", log.concurrency),
        ("cpu_blocks", log.cpu_blocks),
    ) if value is not None}  # fmt: skip
    if log.needed_gib and log.estimate:
        wanted.add(("estimated_max_model_len", str(log.estimate)))
    if log.cpu_blocks is not None and log.blocks is None:
        assert any(each.quantity == "cpu_blocks" and each.agrees for each in answer.observations)
        return
    held(answer, wanted)


@pytest.mark.parametrize("row", vllm.STARTUPS, ids=lambda row: f"{row[0]}-{row[4]}")
def test_vllm_0_19(row: tuple[Any, ...]) -> None:
    model, more, memory, tokens, _, concurrency = row
    flags = {
        "engine_version": "0.19.0",
        "max_model_len": 8192,
        "max_num_batched_tokens": 8192,
        **more,
    }
    log = vllm.Log(
        id="0.19",
        model=model,
        flags=flags,
        available=memory,
        tokens=tokens,
        concurrency=concurrency,
    )
    lines, more_flags = vllm_lines(log)
    answer = read(lines, model, more_flags)
    held(answer, {("tokens", str(tokens)), ("max_concurrency", concurrency)})


@pytest.mark.parametrize(
    "log", [*sglang.LOGS, *sglang.ASSUMED], ids=lambda log: f"{log.id}-{log.model}"
)
def test_sglang(log: sglang.Log) -> None:
    flags = dict(log.flags)
    told = [f"tp_size={flags['layout'].tensor}" if "layout" in flags else "tp_size=1"]
    told += [f"kv_cache_dtype='{flags.get('kv_dtype', 'auto')}'", f"dtype='{TORCH['bf16']}'"]
    told += [f"page_size={flags['block_size']}"] if "block_size" in flags else []
    told += [f"mamba_ssm_dtype='{flags['state_dtype']}'"] if "state_dtype" in flags else []
    if flags.get("speculative_tokens"):
        told += [
            "speculative_algorithm='NEXTN'",
            f"speculative_num_draft_tokens={flags['speculative_tokens']}",
        ]
    lines = [f"[2026-01-01 00:00:00] server_args=ServerArgs(model_path='x', {', '.join(told)})"]
    if "states" in log.sizes:
        conv, ssm = log.sizes["states"]
        draft = log.sizes.get("draft states", ("", ""))[1]
        more = f" intermediate_ssm_state_cache size: {draft}GB" if draft else ""
        lines.append(f"Mamba Cache is allocated. max_mamba_cache_size: {flags['max_num_seqs']}, "
                     "conv_state size: "
                     f"{conv}GB, ssm_state size: {ssm}GB{more}")  # fmt: skip
    if set(log.sizes) == {"window"}:
        windows = flags["tokens"] * 4 // 5
        lines.append("Use sliding window memory pool. "
                     f"full_layer_tokens={flags['tokens']}, swa_layer_tokens={windows}")  # fmt: skip
    count = 0
    for name, sizes in log.sizes.items():
        if "states" in name:
            continue
        tokens = flags["tokens"] if name != "window" else flags["tokens"] * 4 // 5
        shown = (
            f"KV size: {sizes[0]} GB"
            if len(sizes) == 1
            else f"K size: {sizes[0]} GB, V size: {sizes[1]} GB"
        )
        lines.append(f"[TP0] KV Cache is allocated. #tokens: {tokens}, {shown}")
        count += len(sizes)
    gpu = "gb300" if flags.get("compute_capability") == 103 else None
    answer = answer_of(["\n".join(lines).encode()], model=log.model, gpu=gpu)
    sizes = [each for each in answer.observations if each.quantity.endswith("bytes")]
    assert len(sizes) >= len({size for each in log.sizes.values() for size in each if size}) // 2
    assert all(each.agrees for each in sizes), sizes


@pytest.mark.parametrize("log", tensorrt_llm.LOGS, ids=lambda log: f"{log.id}-{log.model}")
def test_tensorrt_llm(log: tensorrt_llm.Log) -> None:
    flags = dict(log.flags)
    lines = (
        [f"TensorRT-LLM version: {flags['engine_version']}.0"] if "engine_version" in flags else []
    )
    told = [f"dtype='{flags['kv_dtype']}'"] if "kv_dtype" in flags else []
    share = flags.get("memory_utilization")
    more = [f"free_gpu_memory_fraction={float(share)}"] if isinstance(share, Fraction) else []
    lines.append(f"[TRT-LLM] KvCacheConfig({', '.join([*more, 'enable_block_reuse=True'])})")
    lines.append(
        f"trtllm-serve x --kv_cache_dtype {flags['kv_dtype']}" if told else "trtllm-serve x"
    )
    if log.available is not None:
        lines.append("Memory usage when calculating max tokens in paged kv cache: total: "
                     f"79.10 GiB, available: {log.available.removesuffix('GiB')} GiB")  # fmt: skip
    if "block_size" in flags:
        lines.append(f"[TensorRT-LLM][INFO] Number of tokens per block: {flags['block_size']}.")
    if log.blocks is not None:
        lines.append(
            f"[TensorRT-LLM][INFO] Number of blocks in KV cache primary pool: {log.blocks}"
        )
    tokens = log.tokens or flags.get("tokens")
    if log.gib is not None and log.available is None:
        lines.append(
            f"[MemUsageChange] Allocated {log.gib} GiB for max tokens in paged KV cache ({tokens})."
        )
    elif tokens:
        lines.append(f"[TensorRT-LLM][INFO] Using {tokens} tokens in paged KV cache.")
    if log.num_bytes is not None:
        lines.append(f"[TensorRT-LLM][INFO] Allocate {log.num_bytes} bytes for k/v cache. ")
    answer = read(lines, log.model)
    held(
        answer,
        {
            (name, str(value))
            for name, value in (("tokens", tokens), ("num_blocks", log.blocks))
            if value
        },
    )


@pytest.mark.parametrize(
    "log",
    [each for each in (*llama_cpp.LOGS, *llama_cpp.INFERRED) if not each.set],
    ids=lambda log: f"{log.id}-{log.model}",
)
def test_llama_cpp(log: llama_cpp.Log) -> None:
    flags = dict(log.flags)
    context = {"n_ctx": flags["ctx_size"], "n_seq_max": flags.get("parallel", 1),
               "n_ubatch": flags.get("ubatch", 512),
               "kv_unified": str(flags.get("kv_unified", False)).lower(),
               "n_rs_seq": flags.get("speculative_tokens", 0)}  # fmt: skip
    lines = [f"llama_context: {name}  = {value}" for name, value in context.items()]
    lines += ["llama-server -m x.gguf --swa-full"] if flags.get("swa_full") else []
    types = {letter: flags.get(f"cache_type_{letter}", "f16") for letter in "kv"}
    drafting = {1} if flags.get("mtp_layers") else set()
    for cells, streams, layers, total, first, second in log.caches:
        if streams is None:
            rest = f"R (f32):  {first or '0.00'} MiB, S (f32):  {second or '0.00'} MiB"
            lines.append(
                f"llama_memory_recurrent: size = {total} MiB ( {cells} cells,  {layers} layers, "
                f" {cells} seqs), {rest}"
            )
            continue
        k, v = ("f16", "f16") if layers in drafting else (types["k"], types["v"])
        rest = f"K ({k}):  {first or '0.00'} MiB, V ({v}):  {second or '0.00'} MiB"
        lines.append(
            f"llama_kv_cache: size = {total} MiB ( {cells} cells,  {layers} layers, "
            f" {streams}/{streams} seqs), {rest}"
        )
    answer = read(lines, log.model)
    totals = [each for each in answer.observations if each.quantity == "bytes"]
    assert len(totals) == len(log.caches)
    assert all(each.agrees for each in totals), totals
    told = [each for each in answer.observations if each.quantity != "bytes" and each.logged]
    assert all(each.agrees for each in told), told
