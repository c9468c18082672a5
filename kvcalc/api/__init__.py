"""The functions of ``import kvcalc`` that ask a model: it may be a spec, a name or a path.

They take what the command line takes (``"8k"``, ``"80GiB"``) and raise a KvcalcError for every error
that a caller can make.
"""

from typing import TYPE_CHECKING, Unpack

from kvcalc.api.arguments import (
    Model,
    WorkloadWords,
    dtypes_of,
    found_of,
    known,
    renamed,
    said_of,
    spec_of,
    whole,
    workload_of,
)
from kvcalc.errors import UsageError
from kvcalc.memory import cache
from kvcalc.memory.cache import CacheFunction
from kvcalc.memory.estimate import Estimate, answer
from kvcalc.memory.towers import only_of
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.dtypes import CacheDtypes


def estimate(
    model: Model, workload: Workload | None = None, *, only: str | None = None,
    **words: Unpack[WorkloadWords],
) -> Estimate:  # fmt: skip
    """Parameters, weights, cache and workspace of a model for a workload.

    workload: a whole one, such as another answer's; otherwise the words of ``WorkloadWords``.
    only: ``"language"`` leaves out towers and projectors. Of a path whose weights are there (a checkpoint,
    a GGUF file) they are what its files hold, unless a dtype says otherwise.
    Raises UsageError for impossible options and UnsupportedError, which names the tensor, where a
    number format or a parallel layout does not fit the model; a name or path raises as ``load``.

    >>> estimate("llama-3-8b", context_tokens="8k").cache.bytes
    1073741824
    """
    found = found_of(model)
    alone, said = only_of(found.spec, only)
    stored = None if said else found.weights
    if workload is None and stored is not None and words.get("dtype") is None:
        words["dtype"] = "checkpoint"
    asked, notes = workload_of("estimate", found.spec, workload, words, where=said_of(model))
    return answer(alone, asked, (*notes, *said, *found.assumptions), stored=stored)


def explain(model: Model, workload: Workload | None = None, **words: Unpack[WorkloadWords]) -> str:
    """What ``kvcalc explain`` prints. Raises as ``estimate`` does."""
    from kvcalc.report.answers import explanation

    spec = spec_of(model)
    return explanation.render(spec, *workload_of("explain", spec, workload, words))


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


def with_attention(model: Model, choice: str) -> tuple[ModelSpec, tuple[str, ...]]:
    """The model with all its softmax and latent attention replaced, and how that was derived.

    choice: ``mha``, ``gqa``, ``mqa``, ``mla``; ``gqa:4`` has 4 KV heads, ``mla:512`` a latent of 512.
    Raises UnsupportedError when the model has no attention that the choice could replace.
    """
    from kvcalc.spec import variants

    if not isinstance(choice, str):
        raise UsageError(f"an attention is one of {', '.join(variants.CHOICES)}, not {choice!r}")
    return variants.with_attention(spec_of(model), choice)
