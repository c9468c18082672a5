"""What SGLang prints when it starts.

The messages are those of srt/mem_cache/memory_pool.py (KVCache, MambaPool), swa_memory_pool.py,
srt/model_executor/model_runner.py and pool_configurator.py, srt/managers/scheduler.py and
entrypoints/engine.py in the wheels of 0.5.3 to 0.5.23. What it calls GB is 2^30 bytes, two decimals of it.
"""

import re

from kvcalc.logs.dialect import Dialect, Message, Take, pairs, scalar
from kvcalc.logs.facts import Said, Start, number, printed
from kvcalc.logs.lines import LogLine
from kvcalc.units import GIB

FLAGS = {
    "context_length": "--context-length", "tp_size": "--tp-size", "pp_size": "--pp-size",
    "dp_size": "--dp-size", "ep_size": "--ep-size",
    "kv_cache_dtype": "--kv-cache-dtype", "dtype": "--dtype",
    "page_size": "--page-size", "mem_fraction_static": "--mem-fraction-static",
    "max_total_tokens": "--max-total-tokens", "max_running_requests": "--max-running-requests",
    "max_mamba_cache_size": "--max-mamba-cache-size", "mamba_ssm_dtype": "--mamba-ssm-dtype",
    "swa_full_tokens_ratio": "--swa-full-tokens-ratio",
    "mamba_full_memory_ratio": "--mamba-full-memory-ratio",
    "disable_radix_cache": "--disable-radix-cache", "quantization": "--quantization",
    "enable_dp_attention": "--enable-dp-attention",
    "disable_hybrid_swa_memory": "--disable-hybrid-swa-memory",
    "speculative_algorithm": "--speculative-algorithm",
    "speculative_num_draft_tokens": "--speculative-num-draft-tokens",
    "dsa_decode_backend": "--dsa-decode-backend", "nsa_decode_backend": "--nsa-decode-backend",
}  # fmt: skip
_OPTIONS = {option: name for name, option in FLAGS.items()} | {
    "--model-path": "model_path", "--model": "model_path", "--tp": "tp_size", "--pp": "pp_size",
    "--dp": "dp_size", "--ep": "ep_size", "--tensor-parallel-size": "tp_size",
    "--pipeline-parallel-size": "pp_size", "--data-parallel-size": "dp_size",
}  # fmt: skip


def put(start: Start, name: str, text: str, line: int, *, sure: bool = True) -> None:
    """One argument, under its name in ServerArgs."""
    value = scalar(text)
    if value is None or value is False:
        return
    if name == "model_path":
        if isinstance(value, str) and (start.model is None or sure):
            start.model = Said(value, line)
        return
    if name in FLAGS and not (name == "dtype" and value == "auto"):
        start.say(FLAGS[name], value, line, sure=sure)


def _arguments(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    for name, value in pairs(found["rest"]):
        put(start, name, value, line.number)


def _version(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.version = Said(found["version"], line.number)


def _kv(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """#tokens, then K and V or both together. A second line of the same kind is the draft's."""
    which = (found["which"] or "").strip() or "full"
    start.figures.append(
        printed("tokens", found["tokens"], line.number, of=which, writer=line.writer)
    )
    for group, quantity in (("k", "k_bytes"), ("v", "v_bytes"), ("kv", "bytes")):
        if found[group] is not None:
            start.figures.append(
                printed(
                    quantity,
                    found[group],
                    line.number,
                    unit=GIB,
                    digits=2,
                    of=which,
                    writer=line.writer,
                )
            )
    if found["dtype"]:
        start.say("kv_cache_torch_dtype", found["dtype"].removeprefix("torch."), line.number)


def _states(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("max_mamba_cache_size", int(found["slots"]), line.number)
    for group, quantity, of in (
        ("conv", "r_bytes", "states"), ("ssm", "s_bytes", "states"), ("draft", "s_bytes", "draft states"),
    ):  # fmt: skip
        if found[group] is not None:
            start.figures.append(
                printed(
                    quantity,
                    found[group],
                    line.number,
                    unit=GIB,
                    digits=2,
                    of=of,
                    writer=line.writer,
                )
            )


def _windows(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """The tokens of the full and of the window pool."""
    start.figures.append(
        printed("tokens", found["full"], line.number, of="full", writer=line.writer)
    )
    start.figures.append(
        printed("tokens", found["window"], line.number, of="window", writer=line.writer)
    )


def _window_pool(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.figures.append(
        printed(
            "bytes",
            found["size"],
            line.number,
            unit=GIB,
            digits=2,
            of="full + window",
            writer=line.writer,
        )
    )
    _windows(start, found, line)


def _total(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.figures.append(printed("tokens", found[1], line.number, of="total", writer=line.writer))
    for name, value in pairs(found[0]):
        if name == "max_running_requests":
            start.say("max_running_requests", int(number(value)), line.number)
        if name == "context_len":
            start.say("context_len", int(number(value)), line.number)


def _memory(name: str) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        figure = printed(name, found[1], line.number, unit=GIB, digits=2, writer=line.writer)
        start.memory.setdefault(name, figure)

    return take


def _loaded(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    for name, group in (("weights", "usage"), ("left after loading", "left")):
        if found[group] is not None:
            figure = printed(
                name, found[group], line.number, unit=GIB, digits=2, writer=line.writer
            )
            start.memory.setdefault(name, figure)
    if found["type"]:
        start.dims.setdefault("class", Said(found["type"], line.number))


_N = r"(\d(?:[\d,]*\d)?)"
_M = Message
MESSAGES = (
    _M("server_args=", r"server_args=(?P<rest>(?:ServerArgs\(|\{).*)", _arguments, begins=True),
    _M(
        "sglang version",
        r"sglang version\s*[:=]?\s*v?(?P<version>\d[\w.+-]*)",
        _version,
        proves=False,
    ),
    _M("sglang: ", r"(?:^|\s)sglang: v?(?P<version>\d[\w.+-]*)", _version, proves=False),
    _M(
        "Load weight begin. avail mem=",
        r"Load weight begin\. avail mem=([\d.]+) GB",
        _memory("free before loading"),
    ),
    _M(
        "Load weight end. ",
        r"Load weight end\.(?:.*?type=(?P<type>\w+))?.*?avail mem=(?P<left>[\d.]+) GB"
        r"(?:, mem usage=(?P<usage>-?[\d.]+) GB)?",
        _loaded,
    ),
    _M(
        "#tokens: ",
        r"(?:KV Cache|(?P<which>[\w ]{0,20})KV cache) (?:is )?allocated\.(?: dtype: (?P<dtype>[\w.]+),)? ?"
        r"#tokens: (?P<tokens>\d+), (?:K size: (?P<k>[\d.]+) GB,? V size: (?P<v>[\d.]"
        r"+) GB|KV size: (?P<kv>[\d.]+) GB)",
        _kv,
        cuts=True,
    ),
    _M(
        "Mamba Cache is allocated.",
        r"Mamba Cache is allocated\. (?:max_mamba_cache_size|size): (?P<slots>\d+), "
        r"conv_state size: (?P<conv>[\d.]+) ?GB,? ssm_state size: (?P<ssm>[\d.]+) ?GB"
        r"(?: ?intermediate_ssm_state_cache size: (?P<draft>[\d.]+) ?GB)?",
        _states,
        cuts=True,
    ),
    _M(
        "full_layer_tokens=",
        r"full_layer_tokens=(?P<full>\d+), swa_layer_tokens=(?P<window>\d+)",
        _windows,
        cuts=True,
    ),
    _M(
        "SWAKVPool mem usage",
        r"SWAKVPool mem usage: (?P<size>[\d.]+) GB, swa size: (?P<window>\d+), full size: (?P<full>\d+)",
        _window_pool,
        cuts=True,
    ),
    _M("max_total_num_tokens=", r"max_total_num_tokens=(\d+), .*(?:context_len=\d+)?", _total),
    _M(
        "Memory pool end. avail mem=",
        r"Memory pool end\. avail mem=([\d.]+) GB",
        _memory("left after the pools"),
    ),
    _M(
        "Capture cuda graph end",
        r"Capture cuda graph end\..*?mem usage=([\d.]+) GB",
        _memory("CUDA graphs"),
    ),
)

DIALECT = Dialect(
    name="sglang",
    words="SGLang",
    messages=MESSAGES,
    commands=("sglang.launch_server", "sglang serve", "--mem-fraction-static"),
    options=_OPTIONS,
    put=put,
)
