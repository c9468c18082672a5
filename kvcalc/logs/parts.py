"""What every engine's answer has of a start."""

from typing import Any

from kvcalc.logs.facts import Start
from kvcalc.spec.catalog import Found

_WORDS = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "tensorrt-llm": "TensorRT-LLM",
    "llama.cpp": "llama.cpp",
}


def parts_of(start: Start, found: Found) -> dict[str, Any]:
    """Engine, release, model and flags, as fields of the answer."""
    return {
        "engine": start.engine,
        "words": start.wrapper or _WORDS[start.engine],
        "version": None if start.version is None else str(start.version.value),
        "model": found.spec.name,
        "source": found.spec.source,
        "path": found.path,
        "flags": {_name(flag): said.value for flag, said in start.flags.items()},
    }


def _name(flag: str) -> str:
    """``--max-model-len`` as the engine's own arguments spell it: ``max_model_len``."""
    return flag.lstrip("-").replace("-", "_")
