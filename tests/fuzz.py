"""Files that nobody would write, given to the command line: ``python -m tests.fuzz [MINUTES] [KIND...]``.

Sound files of every kind that kvcalc reads are broken at random (hypothesis chooses where and how, so
that what fails is made small) and asked about. Whatever is in them, a command ends with status 0, 1 or
2, prints no traceback and no internal error, prints JSON where JSON was asked for, and takes under 2
seconds of processor time and 300 MB. ``tests/test_fuzz.py`` runs a short round.
"""

import contextlib
import io
import json
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from kvcalc.cli.app import main
from kvcalc.spec import catalog

MAX_SECONDS = 2
MAX_BYTES = 250 << 20

# Values that readers trip over; as YAML, and as JSON where they are some.
ODD = (
    "0", "-1", "1", "2", "3", "7", "65536", "134217728", "1000000000000000", "99999999999999999999",
    "1e400", "0.5", "true", "null", "[]", "{}", '""', '"x"', '"\\ud800"', '"a\\nb"', "[1, 2]", "[[]]",
    '{"a": 1}', "~", "NaN", "010", "1:30", "&a [*a]", "<<: *a", "!!python/none", "'", "\t", "\x00",
    "\u202e", "\u2028", "- ", "? ", "| ", "\ufeff", "[" * 200, "'[red]'", "'=1+1'", "'::error::x'",
)  # fmt: skip
SPECS = (
    "llama-3-8b",
    "gemma-3-1b",
    "deepseek-v3",
    "qwen3-next-80b-a3b",
    "gpt-oss-20b",
    "zamba2-2.7b",
)
CONFIG: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 128, "vocab_size": 1000, "tie_word_embeddings": False,
    "max_position_embeddings": 2048,
}  # fmt: skip
QUANTIZED: tuple[dict[str, Any], ...] = (
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False},
    {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"},
    {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]},
    {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.0.self_attn"]},
    {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["re:.*head"],
     "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
         "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}}}},
)  # fmt: skip
POLICY = """\
budgets:
  - {models: [serving/, "!small"], context: 32k, batch: 8, gpu: h100-80gb, engine: vllm}
  - {models: "*", context: 8k, cache: 16GiB, weights: 80GB, kv_dtype: fp8}
tolerances: {weight_bytes: 1%, all: 0.5%}
workload: {context: 32k, batch: 32, kv_dtype: fp8}
"""
SMALL = catalog.find("gemma-3-1b").read_text("utf-8")
LENGTHS = (
    "prompt,output\n100,20\n5000,1\n0,7\n",
    "length,count\n1024,5\n8192,1\n",
    '{"prompt": 1200, "output": 300}\n{"usage": {"prompt_tokens": 5, "completion_tokens": 6}}\n',
    "17\n18\n19\n",
)


def ask(*arguments: str) -> None:
    """Run one command here and hold it to what is promised. Raises AssertionError."""
    _run(arguments)


def status(*arguments: str) -> object:
    """The exit status of a command, held to the same."""
    return _run(arguments)[0]


def said(*arguments: str) -> str:
    """What a command wrote to stdout and stderr, held to the same."""
    return _run(arguments)[1]


def _run(arguments: tuple[str, ...]) -> tuple[object, str]:
    out, err = io.BytesIO(), io.BytesIO()
    streams = [io.TextIOWrapper(each, "utf-8", write_through=True) for each in (out, err)]
    streams[1].reconfigure(errors="backslashreplace")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = time.process_time()
    status: object = None
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            main(list(arguments))
        except SystemExit as stop:
            status = stop.code or 0
    seconds = time.process_time() - before
    said = err.getvalue().decode("utf-8", "replace")
    shown = f"kvcalc {' '.join(arguments)}: status {status}, {seconds:.1f} s\n{said[-2000:]}"
    answer = out.getvalue()
    assert status in (0, 1, 2), shown
    assert "Traceback" not in said, shown
    assert b"internal error" not in answer + err.getvalue(), shown
    assert seconds < MAX_SECONDS, shown
    # What it adds: tests before it, in the same process, may have taken more than the bound already.
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert added * 1024 < MAX_BYTES, f"memory: {added} KiB more: {shown}"
    assert len(answer) < 4 << 20, f"{len(answer)} bytes: {shown}"
    if "json" in arguments and answer:
        json.loads(answer.decode("utf-8"))
    return status, answer.decode("utf-8") + said


# ---------------------------------------------------------------- breaking

Change = tuple[int, int, str]
CHANGES = st.lists(
    st.tuples(st.integers(0, 4000), st.integers(0, 5), st.sampled_from(ODD)), min_size=1, max_size=6
)


def broken_text(text: str, changes: list[Change]) -> str:
    """Lines left out, doubled, indented, and values in them replaced."""
    lines = text.splitlines()
    for where, how, value in changes:
        if not lines:
            break
        index = where % len(lines)
        line = lines[index]
        head, colon, tail = line.partition(":")
        if how == 0:
            del lines[index]
        elif how == 1:
            lines.insert(index, line)
        elif how == 2:
            lines[index] = f" {line}"
        elif how == 3 and "," in tail:
            parts = tail.split(",")
            spot = where // len(lines) % len(parts)
            name, inner, _ = parts[spot].partition(":")
            parts[spot] = f"{name}{inner} {value}"
            lines[index] = f"{head}:{','.join(parts)}"
        else:
            lines[index] = f"{head}{colon} {value}"
    return "\n".join(lines) + "\n"


def broken_value(plain: Any, changes: list[Change]) -> Any:
    """A JSON value with values at random places replaced, left out, or put in."""
    for where, how, text in changes:
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        spots = list(_spots(plain))
        holder, key = spots[where % len(spots)]
        if how == 0 and isinstance(holder, dict):
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[text] = value
        else:
            holder[key] = value
        if not plain:
            break
    return plain


def _spots(plain: Any) -> Any:
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain)
    for key, value in list(pairs):
        yield plain, key
        if isinstance(value, dict | list):
            yield from _spots(value)


def broken_bytes(data: bytes, changes: list[Change]) -> bytes:
    """Numbers of eight bytes and single bytes replaced, a part left out, the end cut off."""
    for where, how, value in changes:
        spot = where % max(1, len(data))
        number = len(value) << (8 * (where % 8))
        if how == 0:
            data = data[:spot]
        elif how == 1:
            data = data[:spot] + data[spot + 4 :]
        elif how == 2:
            data = data[:spot] + value.encode("utf-8", "replace") + data[spot:]
        elif how == 3:
            data = data[:spot] + struct.pack("<Q", number & (1 << 64) - 1) + data[spot + 8 :]
        else:
            data = data[:spot] + bytes([len(value) % 256]) + data[spot + 1 :]
    return data


# ---------------------------------------------------------------- kinds of files


def gguf() -> bytes:
    """A llama of two layers: keys and tensor infos, with room for the data left out."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = {"block_count": 2, "embedding_length": 64, "feed_forward_length": 128, "context_length": 512,
            "attention.head_count": 4, "attention.head_count_kv": 2, "vocab_size": 96}  # fmt: skip
    body = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for key, value in keys.items():
        body += text(f"llama.{key}") + struct.pack("<II", 4, value)
    body += text("tokenizer.ggml.token_type") + struct.pack("<IIQ3i", 9, 5, 3, 1, 2, 3)
    shapes = {"token_embd.weight": (64, 96), "output_norm.weight": (64,), "output.weight": (64, 96)}
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in (
            ("attn_norm", (64,)), ("attn_q", (64, 64)), ("attn_k", (64, 32)), ("attn_v", (64, 32)),
            ("attn_output", (64, 64)), ("ffn_norm", (64,)), ("ffn_gate", (64, 128)),
            ("ffn_up", (64, 128)), ("ffn_down", (128, 64)),
        )}  # fmt: skip
    offset, infos = 0, b""
    for name, shape in shapes.items():
        infos += text(name) + struct.pack("<I", len(shape))
        infos += struct.pack(f"<{len(shape)}QIQ", *shape, 0, offset)
        size = 4
        for length in shape:
            size *= length
        offset += size
    return b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(keys) + 2) + body + infos


def safetensors_header() -> dict[str, Any]:
    """The tensors of CONFIG's model, in bf16."""
    shapes = {"model.embed_tokens.weight": (1000, 64), "model.norm.weight": (64,),
              "lm_head.weight": (1000, 64)}  # fmt: skip
    for layer in range(2):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in (
            ("input_layernorm", (64,)), ("self_attn.q_proj", (64, 64)), ("self_attn.k_proj", (32, 64)),
            ("self_attn.v_proj", (32, 64)), ("self_attn.o_proj", (64, 64)),
            ("post_attention_layernorm", (64,)), ("mlp.gate_proj", (128, 64)),
            ("mlp.up_proj", (128, 64)), ("mlp.down_proj", (64, 128)),
        )}  # fmt: skip
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        offsets = [offset, offset + size]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": offsets}
        offset += size
    return header


def spec(folder: Path, pick: int, changes: list[Change]) -> None:
    text = catalog.find(SPECS[pick % len(SPECS)]).read_text("utf-8")
    file = folder / "model.yaml"
    file.write_text(broken_text(text, changes), "utf-8", "surrogatepass")
    ask("check", str(folder), "--format", ("json", "github", "sarif", "junit")[pick % 4])
    engine = ("logical", "vllm", "sglang", "transformers")[pick % 4]
    ask("estimate", str(file), "--context", "8k", "--engine", engine, "--format", "json")
    ask("explain", str(file))


def policy(folder: Path, pick: int, changes: list[Change]) -> None:
    (folder / "gemma-3-1b.yaml").write_text(SMALL, "utf-8")
    (folder / "kvcalc.yaml").write_text(broken_text(POLICY, changes), "utf-8", "surrogatepass")
    ask("check", str(folder), "--format", ("json", "text", "gitlab", "markdown")[pick % 4])


def config(folder: Path, pick: int, changes: list[Change]) -> None:
    plain = json.loads(json.dumps(CONFIG))
    if pick % 4:
        plain["quantization_config"] = json.loads(json.dumps(QUANTIZED[pick % len(QUANTIZED)]))
    file = folder / "config.json"
    file.write_text(json.dumps(broken_value(plain, changes)), "utf-8")
    ask("estimate", str(file), "--format", "json")
    ask("import", str(folder), "--quiet")
    ask("check", str(folder), "--format", "json")


def header_of_gguf(folder: Path, pick: int, changes: list[Change]) -> None:
    file = folder / "model.gguf"
    file.write_bytes(broken_bytes(gguf(), changes[: 1 + pick % 6]))
    ask("estimate", str(file), "--format", "json")
    ask("import", str(file), "--quiet")


def header_of_safetensors(folder: Path, pick: int, changes: list[Change]) -> None:
    plain = safetensors_header()
    data = json.dumps(broken_value(plain, changes) if pick % 2 else plain).encode()
    data = struct.pack("<Q", len(data)) + data
    (folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    (folder / "model.safetensors").write_bytes(data if pick % 2 else broken_bytes(data, changes))
    ask("estimate", str(folder), "--format", "json")
    ask("import", str(folder / "model.safetensors"), "--quiet")
    ask("report", str(folder), "-o", str(folder / "page.html"), "--quiet")


def lengths(folder: Path, pick: int, changes: list[Change]) -> None:
    text = LENGTHS[pick % len(LENGTHS)].encode()
    file = folder / "lengths"
    file.write_bytes(broken_bytes(text, changes) if pick % 2 else broken_text(
        text.decode(), changes).encode("utf-8", "surrogatepass"))  # fmt: skip
    ask("estimate", "llama-3-8b", "--lengths", str(file), "--format", "json")


KINDS: dict[str, Callable[[Path, int, list[Change]], None]] = {
    "spec": spec, "policy": policy, "config": config, "gguf": header_of_gguf,
    "safetensors": header_of_safetensors, "lengths": lengths,
}  # fmt: skip


def round_of(kind: str, examples: int, start: int = 0) -> None:
    """So many broken files of a kind. Raises AssertionError with the smallest that fails."""

    @seed(start)
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(st.integers(0, 1000), CHANGES)
    def one(pick: int, changes: list[Change]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            KINDS[kind](Path(folder), pick, changes)

    one()


if __name__ == "__main__":
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    kinds = sys.argv[2:] or list(KINDS)
    end, start = time.monotonic() + 60 * minutes, time.time_ns() % 10**9
    while time.monotonic() < end:
        for each in kinds:
            round_of(each, 50, start)
        print(f"seed {start}: {', '.join(kinds)}: nothing", flush=True)
        start += 1
