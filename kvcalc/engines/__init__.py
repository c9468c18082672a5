"""How libraries and serving engines account for a cache: what they hold, what they allocate.

An engine is a package with a record, ``ENGINE`` (``engine.Engine``), and this is the only list of them:

* ``flags.py``: a dataclass of its flags, from which the options of ``kvcalc capacity`` are made;
* ``request.CapacityRequest`` is what every engine is asked beside them: memory, release, layout;
* ``result.CapacityResult`` is the answer: the pool as the engine's log states it, the layer groups
  or the caches that make it up, what is wasted and why, and which rules were applied. What an
  engine does not have is None.

An engine starts from the model's inventory (kvcalc.memory.inventory): which tensors a layer keeps
and what tensor parallelism divides are the mechanism's; pages, padding and block counts are the
engine's. Each rule names the function of the engine's source that it follows.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kvcalc.errors import UsageError

if TYPE_CHECKING:
    from kvcalc.engines.engine import AnyEngine

# --engine -> the package that has its record. In the order in which answers list them.
ENGINES: dict[str, str] = {
    "logical": "kvcalc.engines.logical",
    "transformers": "kvcalc.engines.transformers",
    "vllm": "kvcalc.engines.vllm",
    "sglang": "kvcalc.engines.sglang",
    "tensorrt-llm": "kvcalc.engines.tensorrt_llm",
    "llama.cpp": "kvcalc.engines.llama_cpp",
    "ollama": "kvcalc.engines.ollama",
    "lm-studio": "kvcalc.engines.lm_studio",
    "mlx": "kvcalc.engines.mlx",
    "transformers-cb": "kvcalc.engines.transformers_cb",
    "tpu-inference": "kvcalc.engines.tpu_inference",
    "onnxruntime-genai": "kvcalc.engines.onnxruntime_genai",
    "lmdeploy": "kvcalc.engines.lmdeploy",
    "exllamav3": "kvcalc.engines.exllamav3",
    "lightllm": "kvcalc.engines.lightllm",
}
# Other spellings.
ALIASES = {
    "mlx-lm": "mlx", "llama-cpp": "llama.cpp", "llamacpp": "llama.cpp",
    "trt-llm": "tensorrt-llm", "trtllm": "tensorrt-llm", "hf": "transformers",
    "lmstudio": "lm-studio", "vllm-tpu": "tpu-inference",
    "onnx-genai": "onnxruntime-genai", "ort-genai": "onnxruntime-genai",
}  # fmt: skip
# Whose allocator and pages are meant where no engine is named; what a mechanism needs, likewise.
SERVING, NEED = "vllm", "logical"
# The word for all of them, side by side.
ALL = "all"
# Those that were asked for.
_FOUND: dict[str, "AnyEngine"] = {}


def engine_of(name: str, option: str = "--engine") -> "AnyEngine":
    """The record of an engine. Raises UsageError for a name that none has."""
    if name not in ENGINES:
        raise UsageError(f"{option} {name}: choose from {', '.join(ENGINES)}")
    found = _FOUND.get(name)
    if found is None:
        found = _FOUND[name] = import_module(ENGINES[name]).ENGINE
    return found
