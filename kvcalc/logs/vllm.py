"""What vLLM prints when it starts, from 0.2 to 0.33.

The messages are those of vllm/v1/core/kv_cache_utils.py and kv_cache_planning.py, v1/worker/gpu_worker.py,
v1/engine/core.py, engine/llm_engine.py, worker/worker.py, config/model.py, config/scheduler.py and
model_executor/models/config.py in the wheels of 0.11.0 to 0.33.0; earlier ones were read in public logs.
Two decimals of GiB are printed, of which a last zero may be dropped.
"""

import re

from kvcalc.logs.dialect import Dialect, Message, Take, pairs, scalar
from kvcalc.logs.facts import Figure, Said, Start, number, printed
from kvcalc.logs.lines import LogLine
from kvcalc.units import GIB

# The line of kv_cache_utils.py that prints the size -> the release, where the log does not say it: in the
# wheels; 1319 in a public log that says both (vllm issue 40691). 0.25.0 prints at 2146, too.
PRINTED_AT = {
    1087: "0.11.0", 1286: "0.12.0", 1305: "0.14.0", 1307: "0.16.0", 1316: "0.18.0", 1319: "0.19.0",
    1711: "0.20.0", 1733: "0.22.0", 1744: "0.23.0", 2146: "0.24.0", 2177: "0.26.0", 2235: "0.27.0",
    1869: "0.28.0", 2032: "0.29.0", 2395: "0.30.0", 2464: "0.31.0", 2327: "0.32.0", 1147: "0.33.0",
}  # fmt: skip
# As the engine spells them: what decides its pool. value: as ``vllm serve`` spells it.
FLAGS = {
    "max_model_len": "--max-model-len", "max_seq_len": "--max-model-len",
    "tensor_parallel_size": "--tensor-parallel-size", "tp": "--tensor-parallel-size",
    "pipeline_parallel_size": "--pipeline-parallel-size", "pp": "--pipeline-parallel-size",
    "data_parallel_size": "--data-parallel-size",
    "decode_context_parallel_size": "--decode-context-parallel-size",
    "enable_expert_parallel": "--enable-expert-parallel",
    "gpu_memory_utilization": "--gpu-memory-utilization",
    "kv_cache_dtype": "--kv-cache-dtype", "dtype": "--dtype", "block_size": "--block-size",
    "max_num_batched_tokens": "--max-num-batched-tokens", "max_num_seqs": "--max-num-seqs",
    "enable_prefix_caching": "--enable-prefix-caching", "enforce_eager": "--enforce-eager",
    "quantization": "--quantization", "attention_backend": "--attention-backend",
    "async_scheduling": "--async-scheduling", "num_gpu_blocks_override": "--num-gpu-blocks-override",
    "disable_hybrid_kv_cache_manager": "--disable-hybrid-kv-cache-manager",
    "mamba_ssm_cache_dtype": "--mamba-ssm-cache-dtype",
    "kv_cache_memory_bytes": "--kv-cache-memory-bytes", "cpu_offload_gb": "--cpu-offload-gb",
    "enable_lora": "--enable-lora", "language_model_only": "--language-model-only",
}  # fmt: skip
_OPTIONS = {option: name for name, option in reversed(FLAGS.items())} | {
    "-tp": "tensor_parallel_size", "-pp": "pipeline_parallel_size", "-dp": "data_parallel_size",
    "-q": "quantization", "--model": "model", "--dcp": "decode_context_parallel_size",
    "-dcp": "decode_context_parallel_size", "--pp-partition": "pp_partition",
    "--speculative-config": "speculative_config",
    "--kv-cache-memory": "kv_cache_memory_bytes", "--gpu_memory_utilization": "gpu_memory_utilization",
}  # fmt: skip


def put(start: Start, name: str, text: str, line: int, *, sure: bool = True) -> None:
    """One argument, under the name that ``non-default args`` has for it."""
    value = scalar(text)
    if value is None or (name == "quantization" and value == "auto"):
        return
    if name == "speculative_config":
        speculation(start, text, line)
        return
    if name in ("model", "model_tag"):
        said = start.model
        if isinstance(value, str) and (said is None or sure):
            start.model = Said(value, line)
        return
    name = {"max_seq_len": "max_model_len", "tp": "tensor_parallel_size",
            "pp": "pipeline_parallel_size"}.get(name, name)  # fmt: skip
    if name == "dtype" and isinstance(value, str):
        value = value.removeprefix("torch.")
        if value == "auto":
            return
    if name == "max_model_len" and isinstance(value, str):
        short = re.fullmatch(r"(\d+)(?:\.(\d+))?([kKmM])", value)
        if short is None or short[2]:
            return
        value = int(short[1]) * (1024 if short[3] in "KM" else 1000) ** (
            1 if short[3] in "kK" else 2
        )
    if name == "pp_partition" and re.fullmatch(r"\d{1,4}(,\d{1,4})*", text):
        start.say("VLLM_PP_LAYER_PARTITION", text, line, sure=sure)
    if name in FLAGS:
        start.say(FLAGS[name], value, line, sure=sure)


def _arguments(start: Start, text: str, line: int, *, sure: bool = True) -> None:
    start.dims.setdefault("arguments", Said(True, line))
    drafts = re.search(r"speculative_config['\"]?\s*[=:]\s*(None|.{0,600})", text)
    own = text
    if drafts is not None and drafts[1] != "None":
        speculation(start, drafts[1], line)
        own = text[: drafts.start()] + _after_braces(text[drafts.start() :])
    for name, value in pairs(own):
        put(start, name, value, line, sure=sure)


def _after_braces(text: str) -> str:
    """What follows the first bracketed value of a text."""
    depth = 0
    for place, sign in enumerate(text):
        if sign in "({":
            depth += 1
        elif sign in ")}":
            depth -= 1
            if depth <= 0:
                return text[place + 1 :]
    return ""


def speculation(start: Start, text: str, line: int) -> None:
    found = re.search(r"num_spec(?:ulative)?_tokens['\"]?\s*[=:]\s*(\d+)", text)
    method = re.search(r"method['\"]?\s*[=:]\s*['\"]?([\w-]+)", text)
    model = re.search(r"\bmodel['\"]?\s*[=:]\s*['\"]?([\w./@:-]+)", text)
    if found is not None:
        start.say("num_speculative_tokens", int(found[1]), line)
    if method is not None:
        start.say("speculative_method", method[1], line)
    if model is not None:
        start.say("speculative_model", model[1], line)


def _config(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    if found["version"]:
        start.version = Said(found["version"], line.number)
    _arguments(start, found["rest"], line.number)


def _version(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.version = Said(found["version"], line.number)


def _namespace(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    _arguments(start, found["rest"], line.number)


def _flag(flag: str) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        start.say(flag, int(number(found[1])), line.number)

    return take


def _constant(flag: str, value: bool) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        start.say(flag, value, line.number)

    return take


def _figure(quantity: str, digits: int = 0, unit: int = 1) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        start.figures.append(
            printed(quantity, found[1], line.number, digits=digits, unit=unit, writer=line.writer)
        )

    return take


def _gib(quantity: str, text: str, line: LogLine) -> Figure:
    return printed(quantity, text, line.number, unit=GIB, digits=2, writer=line.writer)


def _memory(**names: str) -> Take:
    """group of the pattern -> what of a device's memory it is."""

    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        for group, name in names.items():
            if found[group] is not None:
                start.memory.setdefault(name, _gib(name, found[group], line))

    return take


def _tokens(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.figures.append(printed("tokens", found[2], line.number, writer=line.writer))
    if found["at"] is not None:
        start.dims.setdefault("printed at", Said(int(found["at"]), line.number))


def _concurrency(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("--max-model-len", int(number(found[1])), line.number)
    start.figures.append(
        printed("max_concurrency", found[2], line.number, digits=2, writer=line.writer)
    )


def _blocks(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.figures.append(printed("num_blocks", found[1], line.number, writer=line.writer))
    if found[2]:
        start.figures.append(printed("cpu_blocks", found[2], line.number, writer=line.writer))


def _refused(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("--max-model-len", int(number(found[1])), line.number)
    start.figures.append(_gib("bytes_per_request", found[2], line))
    if not start.of("available_bytes"):
        start.figures.append(_gib("available_bytes", found[3], line))
    if found[4]:
        start.figures.append(printed("estimated_max_model_len", found[4], line.number))


def _too_long(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("--max-model-len", int(number(found[1])), line.number)
    start.figures.append(printed("tokens", found[2], line.number))


def _profiled(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """The first engine's and the second's account of a device, as ``name=1.23GiB`` or in words."""
    for name, text in re.findall(r"(\w+)=([\d.]+)GiB", found[0]):
        key = {"total_gpu_memory": "device", "non_torch_memory": "libraries"}.get(name)
        if name == "kv_cache_size":
            start.figures.append(_gib("available_bytes", text, line))
        elif key:
            start.memory.setdefault(key, _gib(key, text, line))
    share = re.search(r"gpu_memory_utilization=([\d.]+)", found[0])
    if share is not None:
        start.say("--gpu-memory-utilization", float(share[1]), line.number)


def _shares(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.memory.setdefault("device", _gib("device", found[1], line))
    start.say("--gpu-memory-utilization", float(found[2]), line.number)


def _desired(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.memory.setdefault("device", _gib("device", found["total"], line))
    start.say("--gpu-memory-utilization", float(found["share"]), line.number)


def _rest(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.figures.append(_gib("available_bytes", found[1], line))


def _gpu(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    if start.gpu is None:
        start.gpu = Said(found[1].strip(), line.number)


def _format(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("kv_cache_format", found[1], line.number)


def _layers(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("VLLM_PP_LAYER_PARTITION", found[1], line.number)


# Arguments of a program's own call, a line each.
_TYPED = (
    "model", "max_model_len", "max_num_seqs", "tensor_parallel_size", "gpu_memory_utilization",
    "kv_cache_dtype", "max_num_batched_tokens", "enforce_eager", "pipeline_parallel_size",
    "enable_prefix_caching",
)  # fmt: skip


def _typed(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """An argument of ``LLM(...)`` in somebody's program."""
    put(start, found["name"], found["value"].strip("\"'"), line.number, sure=False)


def _metrics(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """vllm:cache_config_info of /metrics: the whole of CacheConfig as labels."""
    labels = dict(re.findall(r'(\w+)="([^"]*)"', found[1]))
    names = {
        "block_size": "--block-size", "gpu_memory_utilization": "--gpu-memory-utilization",
        "enable_prefix_caching": "--enable-prefix-caching", "cache_dtype": "--kv-cache-dtype",
        "mamba_ssm_cache_dtype": "--mamba-ssm-cache-dtype",
    }  # fmt: skip
    for label, flag in names.items():
        value = scalar(labels.get(label, "None"))
        if value is not None:
            start.say(flag, value, line.number)
    for label, quantity in (("num_gpu_blocks", "num_blocks"), ("kv_cache_size_tokens", "tokens")):
        value = scalar(labels.get(label, "None"))
        if isinstance(value, int) and value > 0:
            start.figures.append(printed(quantity, str(value), line.number))
    held = scalar(labels.get("kv_cache_max_concurrency", "None"))
    if isinstance(held, float):
        start.figures.append(printed("max_concurrency", f"{held:.6f}", line.number, digits=6))


_N = r"(\d(?:[\d,]*\d)?)"
_M = Message
MESSAGES = (
    _M(
        "LLM engine (v",
        r"Initializing an? (?:V\d )?LLM engine \(v(?P<version>[^)\s]+)\) with config: ?(?P<rest>.*)",
        _config,
        begins=True,
        cuts=True,
    ),
    _M(
        "LLM engine with config",
        r"Initializing an LLM engine (?P<version>)with config: (?P<rest>.*)",
        _config,
        begins=True,
    ),
    _M(
        "vLLM API server version",
        r"vLLM API server version v?(?P<version>\d[\w.+-]*)",
        _version,
        begins=True,
    ),
    _M("vLLM Version", r"vLLM Version\s*:\s*v?(?P<version>\d[\w.+-]*)", _version, proves=False),
    _M("vllm version", r"vllm version\s*[:=]?\s*v?(?P<version>\d[\w.+-]*)", _version, proves=False),
    _M("vLLM version", r"vLLM version\s*[:=]?\s*v?(?P<version>\d[\w.+-]*)", _version, proves=False),
    _M("non-default args: {", r"non-default args: (?P<rest>\{.*)", _namespace, begins=True),
    _M("args: Namespace(", r"args: (?P<rest>Namespace\(.*)", _namespace, begins=True),
    _M("Using max model len", rf"Using max model len {_N}(?!\d)", _flag("--max-model-len")),
    _M(
        "Chunked prefill is enabled",
        rf"Chunked prefill is enabled with max_num_batched_tokens={_N}\.",
        _flag("--max-num-batched-tokens"),
    ),
    _M(
        "Asynchronous scheduling is",
        r"Asynchronous scheduling is enabled",
        _constant("--async-scheduling", True),
    ),
    _M(
        "Turning off hybrid kv cache manager",
        r"Turning off hybrid kv cache manager",
        _constant("--disable-hybrid-kv-cache-manager", True),
    ),
    _M(
        "Hybrid KV cache manager is disabled",
        r"Hybrid KV cache manager is disabled",
        _constant("--disable-hybrid-kv-cache-manager", True),
    ),
    _M("Model loading took", r"Model loading took (?P<size>[\d.]+) Gi?B", _memory(size="weights")),
    _M(
        "oading model weights took",
        r"oading model weights took (?P<size>[\d.]+) GB",
        _memory(size="weights"),
    ),
    _M(
        "Available KV cache memory:",
        r"Available KV cache memory: (-?[\d.]+) GiB",
        _figure("available_bytes", 2, GIB),
        cuts=True,
    ),
    _M("GPU blocks: ", rf"GPU blocks: {_N}(?:, # CPU blocks: {_N})?(?![\d,])", _blocks, cuts=True),
    _M(
        "KV cache size: ",
        r"(?:\[kv_cache_utils\.py:(?P<at>\d+)\] )?(?:GPU|XPU|CPU|NPU|HPU|TPU)(?: \+ host)? "
        rf"KV cache size: {_N} tokens",
        _tokens,
        cuts=True,
    ),
    _M(
        "Maximum concurrency for",
        rf"Maximum concurrency for {_N} tokens per request: ([\d.]+)x",
        _concurrency,
        cuts=True,
    ),
    _M(
        "To serve at least one request",
        rf"To serve at least one request with the model\S{{0,3}} max seq len \({_N}\), \("
        rf"?([\d.]+) GiB KV ?cache is needed, which "
        rf"is larger than the available KV cache memory \(([\d.]+) GiB\)(?:.{{0,120}}"
        rf"?estimated maximum model length is {_N}\.)?",
        _refused,
        cuts=True,
    ),
    _M(
        "is larger than the maximum number of tokens",
        r"max seq len \((\d+)\) is larger than the maximum number of tokens "
        r"that can be stored in KV cache \((\d+)\)",
        _too_long,
        cuts=True,
    ),
    _M(
        "Setting attention block size",
        rf"Setting attention block size to {_N} tokens",
        _figure("block_tokens"),
        cuts=True,
    ),
    _M(
        "padding layers, may waste",
        r"Add (\d+) padding layers, may waste",
        _figure("padding_layers"),
    ),
    _M("Memory profiling results:", r"Memory profiling results: .*", _profiled),
    _M(
        "can use total_gpu_memory",
        r"total_gpu_memory \(([\d.]+)GiB\) x gpu_memory_utilization \(([\d.]+)\)",
        _shares,
    ),
    _M(
        "model weights take",
        r"model weights take (?P<weights>[\d.]+)GiB; non_torch_memory takes (?P<libraries>-?[\d.]+)GiB; "
        r"PyTorch activation peak memory takes (?P<peak>-?[\d.]+)GiB",
        _memory(weights="weights", libraries="libraries", peak="activation peak"),
    ),
    _M("reserved for KV Cache is", r"reserved for KV Cache is ([\d.]+)GiB", _rest),
    _M(
        "Free memory on device",
        r"Free memory on device(?: cuda:\d+)? \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup\. "
        r"Desired GPU memory utilization is \((?P<share>[\d.]+), [\d.]+ GiB\)",
        _desired,
    ),
    _M(
        "GiB for peak activation",
        r"Actual usage is (?P<weights>[\d.]+) GiB for weight, (?P<peak>[\d.]+) GiB for peak activation, "
        r"(?P<libraries>-?[\d.]+) GiB for non-torch memory, and (?P<graphs>-?[\d.]+) "
        r"GiB for CUDAGraph memory",
        _memory(
            weights="weights", peak="activation peak", libraries="libraries", graphs="CUDA graphs"
        ),
    ),
    _M(
        "Graph capturing finished",
        r"Graph capturing finished in \d+ secs?, took (?P<graphs>-?[\d.]+) GiB",
        _memory(graphs="CUDA graphs"),
    ),
    _M(
        "Estimated CUDA graph memory",
        r"Estimated CUDA graph memory: (?P<graphs>[\d.]+) GiB",
        _memory(graphs="CUDA graphs"),
    ),
    _M(
        "VLLM_PP_LAYER_PARTITION=",
        r"VLLM_PP_LAYER_PARTITION=[\"']?(\d{1,4}(?:,\d{1,4})+)",
        _layers,
        proves=False,
    ),
    *(
        _M(
            f"{name}=",
            rf"^\s*(?P<name>{name})=(?P<value>\"[^\"]+\"|'[^']+'|[\w.]+),?$",
            _typed,
            proves=False,
        )
        for name in _TYPED
    ),
    _M("vllm-", r"\bvllm-(?P<version>\d+\.\d+\.\d+[\w.]*)[+-]", _version, proves=False),
    _M("KV cache format for", r"Using (\w+) KV cache format for \w+ backend", _format),
    _M("vllm:cache_config_info{", r"vllm:cache_config_info\{(.*)\}", _metrics, begins=True),
    _M("NVIDIA ", r"(?:GPU \d+: |Device \d+: |^)(NVIDIA [A-Z][\w -]{2,40})", _gpu, proves=False),
)

DIALECT = Dialect(
    name="vllm",
    words="vLLM",
    messages=MESSAGES,
    commands=("vllm serve", "vllm.entrypoints", "--max-model-len", "--gpu-memory-utilization"),
    options=_OPTIONS,
    put=put,
)
