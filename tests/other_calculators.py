"""Asks other calculators on the package index: ``python -m tests.other_calculators FOLDER [MODEL...]``.

FOLDER holds <model>/config.json, as published, for the models below; OTHER_CALCULATORS.md says what
the answers mean. Each calculator is installed in an environment of its own and is asked through the
function that its command calls, with the fields that the command would read: none of them needs
the hub for that. Prints one line an answer; it is not a test, and pytest does not collect it.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import kvcalc

# Positions: 128k, or the longest that the model has positions for. Whisper: 1500 encoder frames.
MODELS = {
    "llama-2-7b": 4096, "llama-3.1-8b": 131072, "mistral-7b-v0.1": 32768, "gemma-3-27b": 131072,
    "gpt-oss-120b": 131072, "deepseek-v3": 131072, "qwen3-next-80b-a3b": 131072,
    "nemotron-3-nano": 131072, "whisper-large-v3": 448,
}  # fmt: skip
ENCODER_TOKENS = {"whisper-large-v3": 1500}

# What each is asked; c: the config, t: the tokens, path: the config's file.
QUESTIONS = {
    "hf-mem==0.5.6": """
from hf_mem.safetensors.kv_cache import compute_safetensors_kv_cache_size
print(compute_safetensors_kv_cache_size(c.get("text_config", c), "BF16", t))
""",
    "aiconfigurator==0.12.0": """
from aiconfigurator_core.sdk import common, config
from aiconfigurator_core.sdk.models import get_model
asked = config.ModelConfig(tp_size=1, pp_size=1, moe_tp_size=1, moe_ep_size=1,
                           kvcache_quant_mode=common.KVCacheQuantMode.bfloat16)
model = get_model(str(path.parent), asked, "vllm")
print(int(model.get_kvcache_bytes_per_sequence(t)))
""",
    "vramcalc==0.1.2": """
from vramcalc.arch import Arch
from vramcalc.memory import kv_cache
print(kv_cache(Arch.from_config(c), 1, t, 2))
""",
    "kvfit==0.3.0": """
from kvfit.architectures import estimate_cache
print(int(sum(part.bytes for part in estimate_cache(c, context_tokens=t).components)))
""",
    "llm-mem==0.1.1": """
from llm_mem import llm_memory_calculator as module
module.hf_hub_download = lambda **asked: str(path)
said = module.LLMMemoryCalculator().calculate_kv_cache_memory(t, "local", "float16")
print(said if isinstance(said, str) else round(said * 10**9))
""",
}
HEAD = """
import json, sys
from pathlib import Path
path, t = Path(sys.argv[1]), int(sys.argv[2])
c = json.loads(path.read_text("utf-8"))
"""


def ours(path: Path, model: str) -> int:
    """What kvcalc answers for the same file and tokens."""
    return kvcalc.estimate(
        kvcalc.load(path),
        context_tokens=MODELS[model],
        encoder_tokens=ENCODER_TOKENS.get(model),
    ).cache.bytes


def answer(python: Path, question: str, path: Path, tokens: int) -> str:
    """Bytes, or the last line of the error."""
    done = subprocess.run(
        [python, "-c", HEAD + question, path.resolve(), str(tokens)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1]


def main(folder: Path, models: list[str]) -> None:
    expected = {model: ours(folder / model / "config.json", model) for model in models}
    for model, found in expected.items():
        print(f"kvcalc {model} {found}")
    for package, question in QUESTIONS.items():
        with tempfile.TemporaryDirectory() as place:
            venv.create(place, with_pip=True)
            python = Path(place, "bin", "python")
            subprocess.run([python, "-m", "pip", "install", "-q", package], check=True)
            for model in models:
                path = folder / model / "config.json"
                said = answer(python, question, path, MODELS[model])
                ratio = f" {int(said) / expected[model]:.4g}x" if said.isdigit() else ""
                print(f"{package} {model} {said}{ratio}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(MODELS))
