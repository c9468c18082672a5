"""What onnxruntime-genai allocates for a generation: `python -m tests.engines.onnxruntime_genai_measured`.

In a virtual environment with onnxruntime-genai, onnxruntime, onnx_ir, torch and transformers. Its own
builder
exports small random models of the types that it has, which its runtime then runs on the CPU; every
buffer of
the cache states its shape and format, before and after the first tokens. A minute; the output is
tests/engines/onnxruntime_genai.json.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.convert.measured import drawn
from tests.engines.releases import Sources

FILE = Path(__file__).with_name("onnxruntime_genai.json")
# What of its release says what changed (tests/engines/releases.py).
SOURCES = Sources(
    package="onnxruntime_genai",
    functions=("models/quantization/quant_config.py", "models/builders/base.py"),
)
RELEASE = "0.18.0"
TYPES = (
    "ernie4_5", "gemma2", "gpt_oss", "granite", "lfm2", "llama", "mistral", "olmo", "phi3", "qwen2",
    "qwen3",
)  # fmt: skip
# max_length, sequences, beams; a prompt of 4 tokens and 3 more.
RUNS = ((60, 1, 1), (17, 3, 1), (40, 1, 2))
WINDOWS = (5, 20, 31, 300)
PROMPT, STEPS = [3, 5, 7, 9], 3


def _saved(model_type: str, folder: Path, window: int | None) -> None:
    """A small random model and a tokenizer of as many words."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

    given = {name: value for name, value in drawn(model_type, 0).items() if name != "model_type"}
    # Its kernels take heads whose width 16 divides, and its builder the published keys.
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    given |= {name: size for name, size in sizes.items() if given.get(name) is not None}
    given |= {
        "max_position_embeddings": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if window is not None:
        given |= {"sliding_window": window, "max_position_embeddings": max(64, 4 * window)}
    config = CONFIG_MAPPING[model_type](**given)
    if model_type in ("phi3", "phimoe"):
        config.original_max_position_embeddings = 64
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    words = {f"w{number}": number for number in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="w1", eos_token="w2", pad_token="w0"
    ).save_pretrained(folder)


def measure(model_type: str, precision: str, window: int | None = None) -> dict[str, Any]:
    """The buffers of one small model's runs, or what its export or its run fails at."""
    runs = RUNS if window is None or window < 32 else ((1000, 1, 1), (250, 2, 1))
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place) / "model", Path(place) / "onnx"
        try:
            _saved(model_type, source, window)
            command = [
                sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(out),
                "-p", precision, "-e", "cpu", "-c", str(Path(place) / "c"),
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            if done.returncode:
                return {"fails": done.stderr.strip().splitlines()[-1][:160]}
            settings = json.loads((out / "genai_config.json").read_text("utf-8"))
            shares = settings["search"]["past_present_share_buffer"]
            return {"shares": shares, "runs": [_tried(str(out), *run) for run in runs]}
        except Exception as error:  # what it fails at is the answer
            return {"fails": f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]}


def _tried(folder: str, *run: int) -> dict[str, Any]:
    try:
        return _run(folder, *run)
    except Exception as error:  # what it fails at is the answer
        said = " ".join(str(error).split())
        return {"fails": said.split("Status Message: ")[-1][:120]}


def _run(folder: str, longest: int, sequences: int, beams: int) -> dict[str, list[Any]]:
    """Name of a buffer's kind -> [shape, format] of each layer's, in their order."""
    import numpy
    import onnxruntime_genai as og

    model = og.Model(folder)
    options = og.GeneratorParams(model)
    options.set_search_options(
        max_length=longest, batch_size=sequences, num_beams=beams, do_sample=False
    )
    generator = og.Generator(model, options)
    generator.append_tokens(numpy.array([PROMPT] * sequences, dtype=numpy.int32))
    for _ in range(STEPS):
        if not generator.is_done():
            generator.generate_next_token()
    found: dict[str, list[Any]] = {}
    decoder = json.loads((Path(folder) / "genai_config.json").read_text("utf-8"))["model"][
        "decoder"
    ]
    for side in ("inputs", "outputs"):
        for key, name in decoder[side].items():
            if "%d" not in name:
                continue
            for layer in range(decoder["num_hidden_layers"]):
                ask = generator.get_input if side == "inputs" else generator.get_output
                try:
                    tensor = ask(name.replace("%d", str(layer)))
                except Exception:  # a layer without that buffer
                    continue
                found.setdefault(key, []).append([list(tensor.shape), str(tensor.dtype)])
    found["tokens"] = [int(generator.token_count())]
    return found


def section() -> str:
    """Its runtime's buffers, small models."""
    table = json.loads(FILE.read_text("utf-8"))
    lines = [
        "## onnxruntime-genai", "",
        f"It logs no sizes. onnxruntime-genai {table['onnxruntime-genai']} exported and ran small "
        f"random models "
        f"on a CPU on {table['measured']}, and stated the shape of every buffer. The tests hold kvcalc "
        f"to all "
        "(`tests/engines/test_onnxruntime_genai.py`, written by `python -m "
        "tests.engines.onnxruntime_genai_measured`); rows of the first layers' keys:", "",
        "| model_type | export | max_length | sequences | rows of each layer |",
        "|---|---|---:|---:|---|",
    ]  # fmt: skip
    for name, exports in table["models"].items():
        for label, row in exports.items():
            buffers = row["runs"][0]["past_key_names"]
            rows = ", ".join(str(shape[2]) for shape, _ in buffers)
            longest = 1000 if "300" in label else 60
            lines.append(f"| {name} | {label} | {longest} | {buffers[0][0][0]} | {rows} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    warnings.simplefilter("ignore")
    assert version("onnxruntime-genai") == RELEASE, f"this is {version('onnxruntime-genai')}"
    names = sys.argv[1:] or list(TYPES)
    found = {name: {"fp32": measure(name, "fp32")} for name in names}
    found["llama"]["int4"] = measure("llama", "int4")
    for window in WINDOWS:
        found["mistral"][f"fp32, window {window}"] = measure("mistral", "fp32", window)
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in found.items()]
    date = datetime.now(UTC).date().isoformat()
    FILE.write_text(
        f'{{"onnxruntime-genai": "{RELEASE}", "measured": "{date}", "models": {{\n' + ",\n".join(lines)
        + "\n}}\n", "utf-8",
    )  # fmt: skip


if __name__ == "__main__":
    main()
