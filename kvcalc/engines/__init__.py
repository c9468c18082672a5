"""How serving engines account for a cache: what they allocate, and what their logs will say of it.

The frame that every engine shares:

* ``request.CapacityRequest`` is the question: memory and flags, in the words of the command line;
* each engine is one module (or package) with ``FLAGS``, the request's fields that the engine has,
  and ``capacity(spec, request) -> CapacityResult``;
* ``result.CapacityResult`` is the answer: the pool as the engine's log states it, the layer groups
  or the caches that make it up, what is wasted and why, and which rules were applied. What an
  engine does not have is None.

An engine starts from the model's inventory (kvcalc.memory.inventory): which tensors a layer keeps
and what tensor parallelism divides are the mechanism's; pages, padding and block counts are the
engine's. Each rule names the function of the engine's source that it follows. ``capacity`` raises
UsageError for flags that make no sense and UnsupportedError for what it cannot account for.
"""

# --engine -> (module, the name the engine goes by in sentences).
ENGINES: dict[str, tuple[str, str]] = {
    "vllm": ("kvcalc.engines.vllm", "vLLM"),
    "sglang": ("kvcalc.engines.sglang", "SGLang"),
    "tensorrt-llm": ("kvcalc.engines.tensorrt_llm", "TensorRT-LLM"),
    "llama.cpp": ("kvcalc.engines.llama_cpp", "llama.cpp"),
}
