"""What mlx-lm's caches take for one prompt, kind by kind. It allocates while it runs: no pool.

A prompt cache's file (save_prompt_cache of mlx-lm 0.32.2, models/cache.py) has each cache's state: the
whole buffers, not the tokens alone. Run on CPU: 787,257 bytes of file for 786,432 of buffers after 300
tokens of a small Llama, 657,034 for 655,360 of a Gemma 3.

A batch (generate.py, BatchGenerator) pads its prompts to the longest: run there, prompts of 300 and 10
tokens held 1,572,864 bytes, two times the 786,432 of the longer alone (Llama), 1,310,720 (Gemma 3),
313,344 (Mamba 2).
"""

from collections.abc import Iterator

from kvcalc.buffers import Grown, Rotating, Sliced
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.mlx.admission import most_held
from kvcalc.engines.mlx.flags import MlxFlags
from kvcalc.engines.mlx.setup import cache_dtypes, resolve
from kvcalc.engines.result import Cache, CapacityResult, Pool
from kvcalc.errors import UsageError
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.cache import CacheFunction, cache_function, tensor_bytes
from kvcalc.memory.inventory import CacheGroup
from kvcalc.mlx.classes import RELEASE
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor
from kvcalc.units import MAX_TOKENS


def capacity(spec: ModelSpec, request: MlxFlags) -> CapacityResult:
    """The caches of one prompt of ``max_model_len`` tokens, and the longest that a memory holds.

    Raises UsageError where the model's longest is not known and none is asked for.
    """
    tokens = request.max_model_len or spec.max_position_embeddings
    if not tokens:
        raise UsageError(f"{spec.name} states no longest context: say --max-model-len")
    found, function = resolve(spec, request)
    dtypes = cache_dtypes(request)
    longest = None
    if request.available is not None:
        longest = _longest(function, request.available.bytes)
    total = function.at(tokens)
    return CapacityResult(
        engine="mlx",
        version=request.engine_version or RELEASE,
        model=spec.name,
        pool=Pool(
            available_bytes=request.available.bytes if request.available else None,
            tokens=tokens,
            bytes_per_request=most_held(function, tokens),
            estimated_max_model_len=longest,
            bytes=total,
        ),
        max_model_len=tokens,
        logical_bytes_per_request=cache_function(spec, CacheDtypes()).most(tokens),
        caches=tuple(_caches(found, dtypes, tokens)),
        rules=(
            "KV cache: buffers of every token, in steps of 256 (models/cache.py, KVCache)",
            "a prompt is read 2,048 tokens at a time, the last one alone (generate.py, generate_step)",
        ),
        notes=(
            *found.assumptions,
            f"{function.prefill_peak(tokens):,} bytes at the peak of the prefill",
            f"{total:,} bytes of arrays in a prompt cache's file (mlx_lm.cache_prompt): the buffers as "
            "they stand, the padding too; its header and lengths, a few KiB, on top",
        ),
    )


def _longest(function: CacheFunction, memory: int) -> int:
    """The longest prompt whose caches stay within so many bytes; 0 where none does."""
    low, high = 0, MAX_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        if most_held(function, middle) <= memory:
            low = middle
        else:
            high = middle - 1
    return low


def _caches(found: Accounting, dtypes: CacheDtypes, tokens: int) -> Iterator[Cache]:
    for group in found.groups:
        parts = {"k": 0, "v": 0, "r": 0, "s": 0}
        for tensor in group.tensors:
            rows = tensor.extent.positions(tokens, 0)
            parts[_side(tensor)] += rows * tensor_bytes(tensor, dtypes) * len(group.layers)
        recurrent = group.slot == "recurrent"
        yield Cache(
            name=f"{group.block} {group.mechanism}",
            type="recurrent" if recurrent else "attention",
            layers=len(group.layers),
            cells=_cells(group, tokens),
            k_bytes=None if recurrent else parts["k"],
            v_bytes=None if recurrent else parts["v"],
            r_bytes=parts["r"] if recurrent else None,
            s_bytes=parts["s"] if recurrent else None,
            bytes=sum(parts.values()),
        )


def _side(tensor: CacheTensor) -> str:
    if tensor.name.startswith(("conv", "token_shift")):
        return "r"
    if tensor.role == "value" or tensor.name in ("value", "rope_key", "index_values"):
        return "v"
    kept = isinstance(tensor.extent, Grown | Rotating | Sliced)
    return "k" if kept else "s"


def _cells(group: CacheGroup, tokens: int) -> int | None:
    rows = [tensor.extent.positions(tokens, 0) for tensor in group.tensors
            if isinstance(tensor.extent, Grown | Rotating | Sliced)]  # fmt: skip
    return max(rows, default=None)
