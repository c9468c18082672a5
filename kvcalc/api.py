"""The functions of ``import kvcalc`` that ask a model: it may be a spec, a name or a path.

They take what the command line takes (``"8k"``, ``"80GiB"``) and raise a KvcalcError for every error
that a caller can make.
"""

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from kvcalc.convert.locate import load
from kvcalc.errors import UsageError
from kvcalc.memory import cache
from kvcalc.memory import estimate as estimates
from kvcalc.memory.cache import CacheFunction
from kvcalc.memory.estimate import Estimate
from kvcalc.spec import variants
from kvcalc.spec.model import ModelSpec
from kvcalc.units import MAX_TOKENS, parse_tokens

if TYPE_CHECKING:
    from kvcalc.deployment.fit import Fit
    from kvcalc.dtypes import CacheDtypes
    from kvcalc.engines.result import CapacityResult
    from kvcalc.spec.variants import AttentionChoice

Model = ModelSpec | str | Path
Tokens = int | str | None
# The numbers of a capacity request that may be 0; every other is at least 1.
_FROM_ZERO = ("compute_capability", "speculative_tokens", "mtp_layers")


def estimate(
    model: Model,
    *,
    context_tokens: Tokens = None,
    batch_size: int = 1,
    encoder_tokens: Tokens = None,
    beams: int = 1,
    dtype: str | None = None,
    kv_dtype: str = "bf16",
    state_dtype: str | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> Estimate:
    """Parameters, weights, cache and workspace of a model for a workload.

    Raises UsageError for impossible options and UnsupportedError, which names the tensor, where a
    number format or a parallel layout does not fit the model; a name or path raises as ``load``.

    >>> estimate("llama-3-8b", context_tokens="8k").cache.bytes
    1073741824
    """
    return estimates.estimate(
        spec_of(model),
        context_tokens=_tokens("context_tokens", context_tokens),
        encoder_tokens=_tokens("encoder_tokens", encoder_tokens),
        batch_size=_whole("batch_size", batch_size),
        beams=_whole("beams", beams),
        dtype=_word("dtype", dtype),
        kv_dtype=_word("kv_dtype", kv_dtype) or "bf16",
        state_dtype=_word("state_dtype", state_dtype),
        tensor_parallel=_whole("tensor_parallel", tensor_parallel),
        pipeline_parallel=_whole("pipeline_parallel", pipeline_parallel),
    )


def explain(
    model: Model,
    *,
    context_tokens: Tokens = None,
    encoder_tokens: Tokens = None,
    kv_dtype: str = "bf16",
    state_dtype: str | None = None,
) -> str:
    """What ``kvcalc explain`` prints. Raises as ``estimate`` does."""
    from kvcalc.report import explanation

    return explanation.explain(
        spec_of(model),
        context_tokens=_tokens("context_tokens", context_tokens),
        encoder_tokens=_tokens("encoder_tokens", encoder_tokens),
        kv_dtype=_word("kv_dtype", kv_dtype) or "bf16",
        state_dtype=_word("state_dtype", state_dtype),
    )


def cache_function(
    model: Model, dtypes: "CacheDtypes | str", tensor_ranks: int = 1
) -> CacheFunction:
    """One sequence's cache as a function of its tokens.

    dtypes: ``"fp8"`` or ``"q8_0:bf16"`` (keys : values), too. Raises UnsupportedError where a number
    format or a number of ranks does not fit a tensor.

    >>> cache_function("llama-3-8b", "fp8").at(8192)
    536870912
    """
    from kvcalc.dtypes import CacheDtypes

    if isinstance(dtypes, str):
        dtypes = CacheDtypes.parse(dtypes)
    if not isinstance(dtypes, CacheDtypes):
        raise UsageError(
            f"dtypes is a number format, such as 'bf16', or CacheDtypes, not {dtypes!r}"
        )
    return cache.cache_function(spec_of(model), dtypes, _whole("tensor_ranks", tensor_ranks))


def with_attention(model: Model, choice: "AttentionChoice") -> tuple[ModelSpec, tuple[str, ...]]:
    """The model with all its softmax and latent attention replaced, and how that was derived.

    Raises UnsupportedError when the model has no attention that the choice could replace.
    """
    if choice not in variants.CHOICES:
        raise UsageError(f"an attention is one of {', '.join(variants.CHOICES)}, not {choice!r}")
    return variants.with_attention(spec_of(model), choice)


def fit(
    model: Model,
    gpu: str,
    *,
    context_tokens: Tokens = None,
    batch_size: int = 1,
    encoder_tokens: Tokens = None,
    dtype: str | None = None,
    kv_dtype: str = "bf16",
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> "Fit":
    """Whether a workload fits an accelerator, how far it goes, and what to change: ``kvcalc fit``.

    gpu: a name of the catalogue, such as ``h100-80gb``. Raises NotFoundError for another.
    """
    from kvcalc.deployment.fit import FitRequest, Planner
    from kvcalc.deployment.hardware import find
    from kvcalc.deployment.parallelism import Layout

    spec = spec_of(model)
    workload, _ = estimates.choose_workload(
        spec,
        context_tokens=_tokens("context_tokens", context_tokens),
        encoder_tokens=_tokens("encoder_tokens", encoder_tokens),
        batch_size=_whole("batch_size", batch_size),
        dtype=_word("dtype", dtype),
        kv_dtype=_word("kv_dtype", kv_dtype) or "bf16",
        tensor_parallel=_whole("tensor_parallel", tensor_parallel),
        pipeline_parallel=_whole("pipeline_parallel", pipeline_parallel),
    )
    request = FitRequest(
        context_tokens=workload.context_tokens,
        batch_size=batch_size,
        encoder_tokens=workload.encoder_tokens,
        dtype=workload.dtype,
        cache=workload.cache,
        layout=Layout(tensor_parallel, pipeline_parallel),
    )
    return Planner(spec).fit(find(str(gpu)), request)


def capacity(
    model: Model, engine: str, *, available: int | str | None = None, **flags: Any
) -> "CapacityResult":
    """What an engine allocates and how much fits: ``kvcalc capacity``.

    engine: vllm, sglang, tensorrt-llm or llama.cpp. available: memory for the cache on one device,
    as bytes or ``"20GiB"``. flags: fields of ``kvcalc.engines.request.CapacityRequest``, which are
    the command's options, such as ``max_model_len="32k"``.
    """
    from kvcalc.engines import ENGINES
    from kvcalc.engines.request import Available, CapacityRequest

    if engine not in ENGINES:
        raise UsageError(f"an engine is one of {', '.join(ENGINES)}, not {engine!r}")
    known = {item.name: item.type for item in fields(CapacityRequest)}
    for name, value in flags.items():
        if name not in known:
            raise UsageError(f"capacity has no {name}; it takes {', '.join(known)}")
        if name in ("max_model_len", "encoder_tokens", "ctx_size", "tokens"):
            flags[name] = _tokens(name, value)
        elif value is not None and int in (known[name], *get_args(known[name])):
            _whole(name, value, least=0 if name in _FROM_ZERO else 1)
    memory = None
    if available is not None:
        try:
            memory = Available.parse(str(available))
        except ValueError as error:
            raise UsageError(f"available: {error}") from None
    module, words = ENGINES[engine]
    loaded = import_module(module)
    request = CapacityRequest(available=memory, **flags)
    request.only(words, loaded.FLAGS)
    result: CapacityResult = loaded.capacity(spec_of(model), request)
    return result


def spec_of(model: Model) -> ModelSpec:
    """The spec of a model, which may be a spec. Raises as ``load`` does."""
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, (str, Path)):
        return load(model)
    raise UsageError(f"a model is a spec, a name or a path, not {model!r}")


def _tokens(name: str, value: Tokens) -> int | None:
    if isinstance(value, str):
        try:
            return parse_tokens(value)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
    if value is None:
        return None
    value = _whole(name, value, " or text such as '8k'", least=0)
    if value > MAX_TOKENS:
        raise UsageError(f"{name}: {value} is more tokens than any cache can hold (at most 2^40)")
    return value


def _whole(name: str, value: int, otherwise: str = "", least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name} is a whole number{otherwise}, not {value!r}")
    if value < least:
        raise UsageError(f"{name} must be at least {least}, not {value}")
    return value


def _word(name: str, value: str | None) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} is the name of a number format, such as 'bf16', not {value!r}")
    return value
