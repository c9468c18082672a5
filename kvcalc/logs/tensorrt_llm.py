"""What TensorRT-LLM prints when it starts: the C++ runtime's lines and the PyTorch backend's.

The messages are those of cpp/tensorrt_llm/batch_manager/kvCacheManager.cpp and
trtGptModelInflightBatching.cpp, tensorrt_llm/_torch/pyexecutor/resource_manager.py and _util.py, and
llmapi/llm.py, as public logs have them.
Two decimals of GiB.
"""

import re

from kvcalc.logs.dialect import Dialect, Message, Take, pairs, scalar
from kvcalc.logs.facts import Said, Start, number, printed
from kvcalc.logs.lines import LogLine
from kvcalc.units import GIB

FLAGS = {
    "tensor_parallel_size": "--tp_size", "tp_size": "--tp_size", "pipeline_parallel_size": "--pp_size",
    "pp_size": "--pp_size", "max_seq_len": "--max_seq_len", "max_batch_size": "--max_batch_size",
    "max_num_tokens": "--max_num_tokens", "kv_cache_free_gpu_memory_fraction": "free_gpu_memory_fraction",
    "free_gpu_memory_fraction": "free_gpu_memory_fraction", "tokens_per_block": "tokens_per_block",
    "max_tokens": "max_tokens", "kv_cache_dtype": "kv_cache_dtype", "dtype": "--dtype",
}  # fmt: skip
_OPTIONS = {
    "--tp_size": "tp_size", "--pp_size": "pp_size", "--max_seq_len": "max_seq_len",
    "--max_batch_size": "max_batch_size", "--max_num_tokens": "max_num_tokens", "--model": "model",
    "--kv_cache_free_gpu_memory_fraction": "free_gpu_memory_fraction",
    "--tensor_parallel_size": "tp_size", "--kv_cache_dtype": "kv_cache_dtype",
}  # fmt: skip


def put(start: Start, name: str, text: str, line: int, *, sure: bool = True) -> None:
    """One argument, under its name in LlmArgs or KvCacheConfig."""
    value = scalar(text)
    if value is None or value == "auto":
        return
    if name == "model":
        if isinstance(value, str) and (start.model is None or sure):
            start.model = Said(value, line)
        return
    if name in FLAGS:
        start.say(FLAGS[name], value, line, sure=sure)


def _arguments(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    for name, value in pairs(found["rest"]):
        put(start, name, value, line.number)


def _version(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.version = Said(found["version"], line.number)


def _flag(name: str) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        start.say(name, int(number(found[1])), line.number)

    return take


def _figure(quantity: str, unit: int = 1, digits: int = 0) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        start.figures.append(
            printed(quantity, found[1], line.number, unit=unit, digits=digits, writer=line.writer)
        )

    return take


def _allocated(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.figures.append(
        printed("bytes", found[1], line.number, unit=GIB, digits=2, writer=line.writer)
    )
    start.figures.append(printed("tokens", found[2], line.number, writer=line.writer))


def _both(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.figures.append(printed("tokens", found[1], line.number, writer=line.writer))
    start.figures.append(printed("bytes", found[2], line.number, writer=line.writer))


def _path(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    if start.model is None:
        start.model = Said(f"{found[1]}/{found[2]}", line.number)


def _profiled(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """The PyTorch backend's account of the device, with the bytes of one token."""
    start.say("free_gpu_memory_fraction", round(float(found["share"]), 6), line.number)
    start.figures.append(printed("bytes_per_token", found["token"], line.number))
    start.memory.setdefault(
        "device", printed("device", found["total"], line.number, unit=GIB, digits=2)
    )


def _available(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.memory.setdefault("device", printed("device", found[1], line.number, unit=GIB, digits=2))
    start.figures.append(
        printed("available_bytes", found[2], line.number, unit=GIB, digits=2, writer=line.writer)
    )


_N = r"(\d(?:[\d,]*\d)?)"
_M = Message
MESSAGES = (
    _M("models--", r"models--([\w.-]+?)--([\w.-]+?)/snapshots", _path, proves=False),
    _M(
        "available KV cache memory when",
        r"available KV cache memory when calculating max tokens: [\d.]+ GiB, "
        r"fraction is set (?P<share>[\d.]+), "
        r"kv size is (?P<token>\d+)\.? device total memory (?P<total>[\d.]+) GiB",
        _profiled,
    ),
    _M(
        "TensorRT-LLM version",
        r"TensorRT-LLM version:? v?(?P<version>\d[\w.+-]*)",
        _version,
        begins=True,
    ),
    _M(
        "TensorRT-LLM] TensorRT-LLM version",
        r"TensorRT-LLM version: (?P<version>\d[\w.+-]*)",
        _version,
    ),
    _M(
        "found in the config file",
        r"Engine version (?P<version>\d[\w.+-]*) found in the config file",
        _version,
        begins=True,
    ),
    _M("LLM Args:", r"LLM Args:\s*(?P<rest>.*)", _arguments, begins=True),
    _M("KvCacheConfig(", r"(?P<rest>KvCacheConfig\(.*)", _arguments),
    _M(
        "Number of tokens per block: ",
        r"Number of tokens per block: (\d+)\.",
        _flag("tokens_per_block"),
    ),
    _M(
        "KV cache primary pool: ",
        r"(?:Number of blocks|blocks) in KV cache primary pool: (\d+)(?=\D)",
        _figure("num_blocks"),
    ),
    _M(
        "paged KV cache (",
        rf"Allocated ([\d.]+) GiB for max tokens in paged KV cache \({_N}\)",
        _allocated,
        cuts=True,
    ),
    _M(
        "Max tokens in paged KV cache:",
        rf"Max tokens in paged KV cache: {_N}\. Allocating {_N} bytes",
        _both,
        cuts=True,
    ),
    _M("Using ", rf"Using {_N} tokens in paged KV cache", _figure("tokens")),
    _M("bytes for k/v cache", rf"Allocate {_N} bytes for k/v cache", _figure("bytes")),
    _M(
        "calculating max tokens in paged kv cache",
        r"calculating max tokens in paged kv cache: total: ([\d.]+) GiB, available: ([\d.]+) GiB",
        _available,
        cuts=True,
    ),
    _M("max_tokens=", r"max_tokens=(\d+)(?=\D)", _flag("max_tokens"), proves=False),
    _M("TRTGptModel maxBatchSize:", r"TRTGptModel maxBatchSize: (\d+)", _flag("--max_batch_size")),
    _M("TRTGptModel maxSequenceLen:", r"TRTGptModel maxSequenceLen: (\d+)", _flag("--max_seq_len")),
)

DIALECT = Dialect(
    name="tensorrt-llm",
    words="TensorRT-LLM",
    messages=MESSAGES,
    commands=("trtllm-serve", "--kv_cache_free_gpu_memory_fraction"),
    options=_OPTIONS,
    put=put,
)
