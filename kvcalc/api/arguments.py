"""What the library's functions take: the words of the command line, read and refused as it does."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike, fsdecode
from typing import Any, TypedDict
from warnings import warn

from kvcalc.convert.beside import Drafting, Lora
from kvcalc.convert.locate import locate
from kvcalc.deployment.estimation import EstimateQuestion
from kvcalc.dtypes import CacheDtypes, state_dtype
from kvcalc.engines import ENGINES
from kvcalc.errors import UsageError
from kvcalc.file_types import weight_dtype
from kvcalc.frozen import changed
from kvcalc.media.asked import MediaWords
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.words import near
from kvcalc.units import MAX_TOKENS, parse_tokens

Model = ModelSpec | str | PathLike[str]
Tokens = int | str | None


class WorkloadWords(TypedDict, total=False):
    """A workload, word by word; what is left out takes the model's, as on the command line.

    context_tokens, encoder_tokens: a number or ``"8k"``. batch_size: sequences. beams: per sequence.
    dtype, kv_dtype, state_dtype: number formats of weights, cache (``"q8_0:bf16"``: keys and values)
    and recurrent states. tensor, pipeline: ranks. images, audio, video: what those options take
    (``"4x1920x1080"``, ``"30s"``, ``"60s@2fps"``), or several of them. draft: a model that drafts, as
    a spec, a name or a path. mtp_layers: multi-token-prediction layers loaded to draft.
    speculative_tokens: of a step.
    lora_rank, max_loras, lora_modules: adapters, their number, the layers that they change;
    fully_sharded_loras: vLLM's ranks divide all of them.
    """

    context_tokens: Tokens
    batch_size: int
    encoder_tokens: Tokens
    beams: int
    dtype: str | None
    kv_dtype: str
    state_dtype: str | None
    tensor: int
    pipeline: int
    images: str | Sequence[str]
    audio: str | Sequence[str]
    video: str | Sequence[str]
    draft: Model | None
    mtp_layers: int | None
    speculative_tokens: int | None
    lora_rank: int | None
    max_loras: int | None
    lora_modules: Sequence[str] | str
    fully_sharded_loras: bool


# Words of the release before and of the command line, and what they are called here.
RENAMED = {
    "tensor_parallel": "tensor",
    "pipeline_parallel": "pipeline",
    "tensor_ranks": "tensor",
    "data_parallel": "data",
    "tp": "tensor",
    "pp": "pipeline",
    "dp": "data",
    "expert_parallel": "expert",
}


def renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments with today's names; a name of the release before still counts, and warns."""
    found = dict(given)
    for old, new in RENAMED.items():
        if old in found:
            if new in found:
                raise UsageError(f"{old} is now {new}: give one of them")
            warn(f"{old} is now {new}", DeprecationWarning, stacklevel=4)
            found[new] = found.pop(old)
    return found


def known(
    function: str, given: Mapping[str, Any], words: Mapping[str, Any], more: Iterable[str] = ()
) -> None:
    """Refuse words that a function does not have. more: its own parameters. Raises UsageError."""
    for name in given:
        if name not in words:
            names = (*words, *more)
            hint = near(name, names) or f"; it takes {', '.join(names)}"
            raise UsageError(f"{function} has no {name}{hint}")


# What is mostly not said: one object for it, so that questions are compared at once.
_PLAIN = EstimateQuestion()
_DRAFTS = frozenset(("draft", "mtp_layers", "speculative_tokens"))
_ADAPTERS = frozenset(("lora_rank", "max_loras", "lora_modules", "fully_sharded_loras"))
_MEDIA = frozenset(("images", "audio", "video"))
_RANKS = frozenset(("tensor", "pipeline", "data", "expert"))


def asked_of(given: Mapping[str, Any]) -> Asked:
    """A workload as far as it was said. Raises UsageError for values that make no sense."""
    return Asked(
        context_tokens=tokens("context_tokens", given.get("context_tokens")),
        batch_size=whole("batch_size", given.get("batch_size", 1)),
        encoder_tokens=tokens("encoder_tokens", given.get("encoder_tokens")),
        beams=whole("beams", given.get("beams", 1)),
        dtype=word("dtype", given.get("dtype"), weight_dtype),
        kv_dtype=word("kv_dtype", given.get("kv_dtype")) or "bf16",
        state_dtype=word("state_dtype", given.get("state_dtype"), state_dtype),
        layout=layout_of(given),
        put=media_of(given),
    )


def drafting_of(given: Mapping[str, Any]) -> Drafting:
    """What drafts, as it was said. Raises UsageError."""
    if _DRAFTS.isdisjoint(given):
        return _PLAIN.drafting
    draft = given.get("draft")
    layers, drafted = (
        None if (value := given.get(name)) is None else whole(name, value, least=0)
        for name in ("mtp_layers", "speculative_tokens")
    )
    return Drafting(None if draft is None else named(draft), layers, drafted)


def named(model: Model) -> str | ModelSpec:
    """A model: a spec, or its name. Raises UsageError."""
    if isinstance(model, (str, ModelSpec)):
        return model
    if isinstance(model, PathLike):
        return fsdecode(model)
    raise UsageError(f"a model is a spec, a name or a path, not {model!r}")


def lora_of(given: Mapping[str, Any]) -> Lora:
    """The adapters, as they were said. Raises UsageError."""
    if _ADAPTERS.isdisjoint(given):
        return _PLAIN.lora
    modules, (rank, count) = given.get("lora_modules"), (
        None if (value := given.get(name)) is None else whole(name, value)
        for name in ("lora_rank", "max_loras")
    )  # fmt: skip
    words = modules.split(",") if isinstance(modules, str) else several("lora_modules", modules)
    stripped = tuple(word.strip() for word in words if word.strip())
    return Lora(rank, count, stripped, bool(given.get("fully_sharded_loras")))


def media_of(given: Mapping[str, Any]) -> MediaWords:
    """What is put in, as it was said. Raises UsageError."""
    if _MEDIA.isdisjoint(given):
        return _PLAIN.asked.put
    images, audio, video = (
        several(name, given.get(name, ())) for name in ("images", "audio", "video")
    )
    return MediaWords(images=images, audio=audio, video=video)


def question_of(
    function: Callable[..., Any], workload: Workload | None, words: Mapping[str, Any], **more: Any
) -> EstimateQuestion:
    """What a function was asked about a model, as ``kvcalc estimate`` is. words: of ``WorkloadWords``.
    more: the rest of the question. Raises UsageError."""
    name = function.__name__
    if workload is not None:
        if words:
            raise UsageError(f"give {name} a workload or its words ({', '.join(words)}), not both")
        return EstimateQuestion(workload=workload, **more)
    given = renamed(words)
    known(name, given, WorkloadWords.__annotations__, function.__kwdefaults__ or ())
    return EstimateQuestion(
        asked=asked_of(given), kv_dtype=word("kv_dtype", given.get("kv_dtype")),
        drafting=drafting_of(given), lora=lora_of(given), **more,
    )  # fmt: skip


def with_largest(found: Found, question: EstimateQuestion) -> EstimateQuestion:
    """The same with the model's largest image, which whoever is asked next about the answer's workload may
    have to hold."""
    if question.workload is not None or question.asked.put or not found.spec.towers:
        return question
    from kvcalc.convert.media import with_media

    return changed(question, asked=with_media(question.asked, found.spec, found.path)[0])


def engine_name(name: str, *more: str) -> str:
    """The name of an engine. more: other words that are meant. Raises UsageError."""
    if name not in ENGINES and name not in more:
        raise UsageError(f"an engine is one of {', '.join((*ENGINES, *more))}, not {name!r}")
    return name


def attention_of(choice: Any) -> str:
    """An attention in place of a model's own. Raises UsageError."""
    from kvcalc.spec.variants import CHOICES, attention_word

    if not isinstance(choice, str):
        raise UsageError(f"an attention is one of {', '.join(CHOICES)}, not {choice!r}")
    return attention_word(choice)


def several(name: str, value: Any) -> tuple[str, ...]:
    """Words that may be one alone. Raises UsageError."""
    if value is None or value == ():
        return ()
    if isinstance(value, (str, int)):
        return (str(value),)
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"{name} is a word or a list of words, not {value!r}")
    return tuple(str(one) for one in value)


def layout_of(given: Mapping[str, Any]) -> Layout:
    """The devices that were asked for."""
    if _RANKS.isdisjoint(given):
        return _PLAIN.asked.layout
    tensor, pipeline, data = (
        whole(name, given.get(name, 1)) for name in ("tensor", "pipeline", "data")
    )
    return Layout(tensor, pipeline, data, bool(given.get("expert", False)))


def found_of(model: Model) -> Found:
    """A model, which may be a spec, and what was assumed to find it. Raises as ``load`` does."""
    name = named(model)
    return Found(name, "") if isinstance(name, ModelSpec) else locate(name)


def spec_of(model: Model) -> ModelSpec:
    """The spec of a model, which may be a spec. Raises as ``load`` does."""
    return model if isinstance(model, ModelSpec) else found_of(model).spec


def dtypes_of(value: CacheDtypes | str) -> CacheDtypes:
    """Number formats of a cache, which may be a name. Raises UsageError."""
    if isinstance(value, str):
        return CacheDtypes.parse(value)
    if isinstance(value, CacheDtypes):
        return value
    raise UsageError(f"dtypes is a number format, such as 'bf16', or CacheDtypes, not {value!r}")


def tokens(name: str, value: Tokens) -> int | None:
    """A token count, a number or text. Raises UsageError."""
    if isinstance(value, str):
        try:
            return parse_tokens(value)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
    if value is None:
        return None
    value = whole(name, value, " or text such as '8k'", least=0)
    if value > MAX_TOKENS:
        raise UsageError(f"{name}: {value} is more tokens than any cache can hold (at most 2^40)")
    return value


def whole(name: str, value: int, otherwise: str = "", least: int = 1) -> int:
    """A whole number. Raises UsageError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{name} is a whole number{otherwise}, not {value!r}")
    if value < least:
        raise UsageError(f"{name} must be at least {least}, not {value}")
    return value


def word(name: str, value: str | None, read: Callable[[str], str] | None = None) -> str | None:
    """The name of a number format. read: refuses one that is none. Raises UsageError."""
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} is the name of a number format, such as 'bf16', not {value!r}")
    return value if value is None or read is None else read(value)
