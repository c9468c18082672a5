"""The functions of ``import kvcalc`` that ask a model: it may be a spec, a name or a path.

They take what the command line takes (``"8k"``, ``"80GiB"``) and raise a KvcalcError for every error
that a caller can make.
"""

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack, get_args

from kvcalc.api.arguments import (
    Model,
    WorkloadWords,
    asked_of,
    dtypes_of,
    known,
    layout_of,
    renamed,
    spec_of,
    tokens,
    whole,
)
from kvcalc.errors import UsageError
from kvcalc.memory import cache
from kvcalc.memory.cache import CacheFunction
from kvcalc.memory.estimate import Estimate, answer, choose_workload
from kvcalc.memory.workload import Workload
from kvcalc.spec import variants
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.deployment.fit import Fit
    from kvcalc.dtypes import CacheDtypes
    from kvcalc.engines.result import CapacityResult
    from kvcalc.spec.variants import AttentionChoice

# The numbers of a capacity request that may be 0; every other is at least 1.
_FROM_ZERO = ("compute_capability", "speculative_tokens", "mtp_layers")


def estimate(
    model: Model, workload: Workload | None = None, **words: Unpack[WorkloadWords]
) -> Estimate:
    """Parameters, weights, cache and workspace of a model for a workload.

    workload: a whole one, such as another answer's; otherwise the words of ``WorkloadWords``.
    Raises UsageError for impossible options and UnsupportedError, which names the tensor, where a
    number format or a parallel layout does not fit the model; a name or path raises as ``load``.

    >>> estimate("llama-3-8b", context_tokens="8k").cache.bytes
    1073741824
    """
    spec = spec_of(model)
    return answer(spec, *_workload("estimate", spec, workload, words))


def explain(model: Model, workload: Workload | None = None, **words: Unpack[WorkloadWords]) -> str:
    """What ``kvcalc explain`` prints. Raises as ``estimate`` does."""
    from kvcalc.report.answers import explanation

    spec = spec_of(model)
    return explanation.render(spec, *_workload("explain", spec, workload, words))


def _workload(
    function: str, spec: ModelSpec, workload: Workload | None, words: WorkloadWords
) -> tuple[Workload, tuple[str, ...]]:
    """The workload that was asked about, and what was assumed of it."""
    if workload is not None:
        if words:
            raise UsageError(
                f"give {function} a workload or its words ({', '.join(words)}), not both"
            )
        return workload, ()
    given = renamed(words)
    known(function, given, WorkloadWords.__annotations__)
    return choose_workload(spec, asked_of(given))


def cache_function(
    model: Model, dtypes: "CacheDtypes | str", tensor: int = 1, **old: int
) -> CacheFunction:
    """One sequence's cache as a function of its tokens, on one of ``tensor`` ranks.

    dtypes: ``"fp8"`` or ``"q8_0:bf16"`` (keys : values), too. Raises UnsupportedError where a number
    format or a number of ranks does not fit a tensor.

    >>> cache_function("llama-3-8b", "fp8").at(8192)
    536870912
    """
    given = {"tensor": tensor} | renamed(old)
    known("cache_function", given, {"tensor": int})
    return cache.cache_function(spec_of(model), dtypes_of(dtypes), whole("tensor", given["tensor"]))


def with_attention(model: Model, choice: "AttentionChoice") -> tuple[ModelSpec, tuple[str, ...]]:
    """The model with all its softmax and latent attention replaced, and how that was derived.

    Raises UnsupportedError when the model has no attention that the choice could replace.
    """
    if choice not in variants.CHOICES:
        raise UsageError(f"an attention is one of {', '.join(variants.CHOICES)}, not {choice!r}")
    return variants.with_attention(spec_of(model), choice)


def fit(
    model: Model, gpu: str, workload: Workload | None = None, **words: Unpack[WorkloadWords]
) -> "Fit":
    """Whether a workload fits an accelerator, how far it goes, and what to change: ``kvcalc fit``.

    gpu: a name of the catalogue, such as ``h100-80gb``. Raises NotFoundError for another.
    """
    from kvcalc.deployment.fit import FitRequest, Planner
    from kvcalc.deployment.hardware import find

    spec = spec_of(model)
    asked, _ = _workload("fit", spec, workload, words)
    return Planner(spec).fit(find(str(gpu)), FitRequest(workload=asked))


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
    flags = renamed(flags)
    layout = layout_of({name: flags.pop(name) for name in ("tensor", "pipeline") if name in flags})
    fields_of = {item.name: item.type for item in fields(CapacityRequest)}
    for name, value in flags.items():
        if name not in fields_of:
            raise UsageError(f"capacity has no {name}; it takes {', '.join(fields_of)}")
        if name in ("max_model_len", "encoder_tokens", "ctx_size", "tokens"):
            flags[name] = tokens(name, value)
        elif value is not None and int in (fields_of[name], *get_args(fields_of[name])):
            whole(name, value, least=0 if name in _FROM_ZERO else 1)
    memory = None
    if available is not None:
        try:
            memory = Available.parse(str(available))
        except ValueError as error:
            raise UsageError(f"available: {error}") from None
    module, words = ENGINES[engine]
    loaded = import_module(module)
    request = CapacityRequest(available=memory, **{"layout": layout} | flags)
    request.only(words, loaded.FLAGS)
    result: CapacityResult = loaded.capacity(spec_of(model), request)
    return result
