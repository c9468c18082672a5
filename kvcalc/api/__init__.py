"""The functions of ``import kvcalc`` that ask a model: it may be a spec, a name or a path.

They take what the command line takes (``"8k"``, ``"80GiB"``) and raise a KvcalcError for every error
that a caller can make.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack, overload

from kvcalc.api.arguments import (
    Model,
    WorkloadWords,
    attention_of,
    dtypes_of,
    engine_name,
    found_of,
    known,
    question_of,
    renamed,
    several,
    spec_of,
    whole,
    with_largest,
)
from kvcalc.deployment.estimation import EstimateAnswer, estimate_answer, workload_answer
from kvcalc.engines import ALL, NEED
from kvcalc.memory import cache
from kvcalc.memory.cache import CacheFunction
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.dtypes import CacheDtypes


@overload
def estimate(
    model: Model, workload: Workload | None = None, *, only: str | None = None,
    attention: str | None = None, set_fields: Sequence[str] | str = (),
    **words: Unpack[WorkloadWords],
) -> Estimate: ...  # fmt: skip
@overload
def estimate(
    model: Model, workload: Workload | None = None, *, engine: str,
    engine_version: str | None = None, gpu: str | Sequence[str] | None = None,
    only: str | None = None, attention: str | None = None, set_fields: Sequence[str] | str = (),
    **words: Unpack[WorkloadWords],
) -> EstimateAnswer: ...  # fmt: skip
def estimate(
    model: Model, workload: Workload | None = None, *, engine: str = NEED,
    engine_version: str | None = None, gpu: str | Sequence[str] | None = None,
    only: str | None = None, attention: str | None = None, set_fields: Sequence[str] | str = (),
    **words: Unpack[WorkloadWords],
) -> EstimateAnswer:  # fmt: skip
    """Parameters, weights, cache and workspace of a model for a workload: ``kvcalc estimate``.

    workload: a whole one, such as another answer's; otherwise the words of ``WorkloadWords``.
    only: ``"language"`` leaves out towers and projectors. attention: what if it had this one.
    set_fields: ``"blocks.decoder.attention.num_key_value_heads=4"``. Of a path whose weights are there
    (a checkpoint, a GGUF file) they are what its files hold, unless a dtype says otherwise.

    The answer is an ``Estimate``: the need, or what a library keeps where that is the engine. Of an
    engine with blocks it is an ``EngineEstimate``, of ``"all"`` an ``AllEngines``. gpu: the devices whose
    kernels decide an engine's formats.
    Raises UsageError for impossible options and UnsupportedError, which names the tensor, where a
    number format or a parallel layout does not fit the model; a name or path raises as ``load``.

    >>> estimate("llama-3-8b", context_tokens="8k").cache.bytes
    1073741824
    """
    found = found_of(model)
    question = question_of(
        estimate, workload, words, engine=engine_name(engine, ALL), engine_version=engine_version,
        attention=None if attention is None else attention_of(attention),
        set_fields=several("set_fields", set_fields), only=only, gpus=several("gpu", gpu),
    )  # fmt: skip
    return estimate_answer((found,), with_largest(found, question))[0]


def explain(model: Model, workload: Workload | None = None, **words: Unpack[WorkloadWords]) -> str:
    """What ``kvcalc explain`` prints, of a model, or of a mechanism or a part of a spec by its name.

    Raises as ``estimate`` does.
    """
    from kvcalc.report.answers import explanation, mechanisms

    section = mechanisms.find(model) if isinstance(model, str) else None
    if section is not None:
        return section.render()
    found = found_of(model)
    question = with_largest(found, question_of(explain, workload, words))
    return explanation.render(found.spec, *workload_answer(found, question))


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

    return variants.with_attention(spec_of(model), attention_of(choice))
