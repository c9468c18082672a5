"""What engines and accelerators have room for: ``fit``, ``capacity``, ``traffic``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict, Unpack

from kvcalc.api.arguments import (
    Model,
    Tokens,
    WorkloadWords,
    asked_of,
    known,
    layout_of,
    renamed,
    said_of,
    spec_of,
    tokens,
    whole,
    with_adapters,
    word,
    workload_of,
)
from kvcalc.deployment.answer import Fit, FitRequest
from kvcalc.deployment.capacity import Question
from kvcalc.deployment.capacity import capacity as allocate
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.fit import fit as ask
from kvcalc.deployment.hardware import Accelerator, find, of_size
from kvcalc.deployment.needless import check_served, needless_eager, refuse_needless
from kvcalc.deployment.planner import Planner
from kvcalc.deployment.which import engine_for
from kvcalc.deployment.which import which as answer
from kvcalc.engines import ENGINES, NEED, SERVING, engine_of
from kvcalc.engines.flags import Flag, flags_of
from kvcalc.engines.media import ServedMedia, check_items, served_media, served_part
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.traffic import TrafficAnswer, TrafficQuestion, traffic_of
from kvcalc.errors import UsageError
from kvcalc.media.asked import MediaWords
from kvcalc.memory.asked_beside import NOTHING, Draft
from kvcalc.memory.lengths import Lengths, open_lengths
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.model import ModelSpec
from kvcalc.units import parse_memory

Share = Fraction | float | str | None
Size = int | str | None


class FitWords(WorkloadWords, total=False):
    """A workload and its devices. data: replicas of the attention. expert: whole experts over all."""

    data: int
    expert: bool


class EngineWords(TypedDict, total=False):
    """Flags of engines, as ``kvcalc capacity`` has them; each engine refuses those it has not."""

    max_model_len: Tokens
    kv_dtype: str | None
    attention_backend: str | None
    state_dtype: str | None
    pipeline_partition: tuple[int, ...] | None
    decode_context_parallel: int | None
    block_size: int | None
    prefix_caching: bool | None
    hybrid_manager: bool | None
    max_num_batched_tokens: Tokens
    max_num_seqs: int | None
    speculative_tokens: int | None
    mtp_layers: int | None
    async_scheduling: bool | None
    encoder_tokens: Tokens
    language_model_only: bool | None
    limit_mm_per_prompt: str | None
    mm_processor_kwargs: str | None
    mm_encoder_tp_mode: str | None
    mm_processor_cache_gb: int | None
    tokens: Tokens
    state_ratio: Share
    window_ratio: Share
    ctx_size: Tokens
    parallel: int | None
    ubatch: int | None
    cache_type_k: str | None
    cache_type_v: str | None
    cache_type_k_draft: str | None
    cache_type_v_draft: str | None
    kv_unified: bool | None
    swa_full: bool | None
    flash_attn: str | None
    n_gpu_layers: str | None
    n_cpu_moe: int | None
    cpu_moe: bool | None
    override_tensor: str | None
    tensor_split: str | None
    split_mode: str | None
    main_gpu: int | None
    kv_offload: bool | None
    max_kv_size: Tokens
    quantized_kv_start: int | None
    compute_capability: int | None
    tensor: int
    pipeline: int
    data: int
    expert: bool


def fit(
    model: Model,
    gpu: str | None = None,
    workload: Workload | None = None,
    *,
    gpu_memory: Size = None,
    engine: str | None = None,
    engine_version: str | None = None,
    memory_utilization: Share = None,
    max_num_batched_tokens: Tokens = None,
    max_num_seqs: int | None = None,
    eager: bool = False,
    language_model_only: bool = False,
    limit_mm_per_prompt: str | None = None,
    mm_encoder_tp_mode: str | None = None,
    **words: Unpack[FitWords],
) -> Fit:
    """Whether a workload fits an accelerator, how far it goes, and what to change: ``kvcalc fit``.

    engine: None takes mlx for an mlx type or a Mac, else vLLM, as the command does.
    gpu: a name of the catalogue, such as ``h100-80gb``, or gpu_memory, ``"80GiB"``. data, expert:
    replicas of the attention, and whole experts on each rank. language_model_only, limit_mm_per_prompt
    (JSON, ``'{"image": 4, "video": 0}'``), mm_encoder_tp_mode (``weights`` or ``data``): which towers a
    server loads, and whether ranks divide them. Raises NotFoundError for an unknown name,
    UnsupportedError for what the engine does not run, UsageError for one that places a model layer by
    layer (llama.cpp), whose question is ``which``.
    """
    spec = spec_of(model)
    asked, _ = workload_of(
        "fit", spec, workload, words, FitWords.__annotations__ | (fit.__kwdefaults__ or {}),
        said_of(model),
    )  # fmt: skip
    device = _device(gpu, gpu_memory)
    if device is None:
        raise UsageError("say an accelerator: gpu, a name, or gpu_memory, a size")
    name, _ = engine_for(asked.dtype, device) if engine is None else (_engine(engine), "")
    refuse_needless(
        name, {"memory_utilization": memory_utilization, "max_num_seqs": max_num_seqs,
               "max_num_batched_tokens": max_num_batched_tokens, "eager": eager},
    )  # fmt: skip
    _refuse_placed(name, "" if engine else f", as {asked.dtype} is its type")
    asked = replace(asked, beside=with_adapters(asked.beside, spec, words, name))
    flags = (language_model_only, limit_mm_per_prompt, mm_encoder_tp_mode)
    media, spec, asked, left = _served(name, engine_version, spec, asked, *flags)
    request = _request(
        asked, name, engine_version, memory_utilization, max_num_batched_tokens, max_num_seqs,
        eager, words,
    )  # fmt: skip
    request = replace(request, media=media, notes=(*needless_eager(name, eager), *left))
    return ask(Planner(spec), device, request)


def _refuse_placed(engine: str, why: str) -> None:
    """Raise UsageError for an engine that is asked by ``which``. why: it was chosen."""
    if engine_of(engine).placed is not None:
        raise UsageError(
            f"{engine_of(engine).words} places a model layer by layer{why}: kvcalc.which says whether and "
            "how far it fits"
        )


def _served(
    engine: str, version: str | None, spec: ModelSpec, asked: Workload, language_only: bool,
    limits: str | None, mode: str | None,
) -> tuple[ServedMedia, ModelSpec, Workload, tuple[str, ...]]:  # fmt: skip
    """Which media a server takes; the model and the workload with what it then loads, and the notes."""
    given = {
        "language_model_only": language_only,
        "limit_mm_per_prompt": limits,
        "mm_encoder_tp_mode": mode,
    }
    media = served_media(given)
    check_served(engine, media)
    check_items(asked.media, media)
    spec, left = served_part(spec, media, engine_of(engine).words, version)
    layout = replace(asked.layout, towers_whole=media.towers_whole)
    return media, spec, replace(asked, layout=layout), left


def _request(
    workload: Workload, engine: str, version: str | None, share: Share, step_tokens: Tokens,
    step_requests: int | None, eager: bool, words: Mapping[str, Any],
) -> FitRequest:  # fmt: skip
    """How the engine is run. words: what was said of the workload."""
    return FitRequest(
        workload=workload, engine=engine, engine_version=version,
        utilization=_share("memory_utilization", share, most=1),
        max_num_batched_tokens=tokens("max_num_batched_tokens", step_tokens),
        max_num_seqs=None if step_requests is None else whole("max_num_seqs", step_requests),
        eager=eager, kv_stated=words.get("kv_dtype") is not None,
    )  # fmt: skip


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def which(
    models: str | Sequence[str],
    gpu: str | None = None,
    *,
    gpu_memory: Size = None,
    engine: str | None = None,
    engine_version: str | None = None,
    memory_utilization: Share = None,
    max_num_batched_tokens: Tokens = None,
    max_num_seqs: int | None = None,
    eager: bool = False,
    **words: Unpack[FitWords],
) -> Choices:
    """Which models fit, in which format of the weights, how far: ``kvcalc fit 'qwen*'``.

    models: names, patterns, paths and folders. engine: None takes llama.cpp for a GGUF type, mlx for
    an mlx type or a Mac, else vLLM. Raises as ``fit`` does, where no model could be asked about.
    """
    given = renamed(words)
    known("which", given, FitWords.__annotations__ | (which.__kwdefaults__ or {}))
    device = _device(gpu, gpu_memory)
    if device is None:
        raise UsageError("say an accelerator: gpu, a name, or gpu_memory, a size")
    asked = asked_of(given)
    name, why = engine_for(asked.dtype, device) if engine is None else (_engine(engine), "")
    request = _request(
        Workload(context_tokens=0), name, engine_version, memory_utilization,
        max_num_batched_tokens, max_num_seqs, eager, given,
    )  # fmt: skip
    named = [models] if isinstance(models, str) else list(models) if _is_list(models) else []
    if not named or not all(isinstance(each, str) for each in named):
        raise UsageError(f"models are names, patterns or paths, not {models!r}")
    return answer(named, device, asked, request, why)


def capacity(
    model: Model,
    engine: str = SERVING,
    *,
    available: Size = None,
    gpu: str | None = None,
    gpu_memory: Size = None,
    memory_utilization: Share = None,
    engine_version: str | None = None,
    dtype: str | None = None,
    model_dtype: str = "bf16",
    eager: bool = False,
    draft: Model | None = None,
    lora_rank: int | None = None,
    max_loras: int | None = None,
    lora_modules: Sequence[str] | str = (),
    fully_sharded_loras: bool = False,
    **flags: Unpack[EngineWords],
) -> CapacityResult:
    """What an engine allocates and how much fits: ``kvcalc capacity``.

    available: memory for the cache on one device, as bytes or ``"20GiB"``; or a gpu, what is left of
    which is worked out. draft: a model that drafts. flags: the engine's own, and the ranks. Raises
    UsageError for a flag that the engine has not and UnsupportedError for what it cannot run.
    """
    given = renamed(flags)
    known("capacity", given, EngineWords.__annotations__ | (capacity.__kwdefaults__ or {}))
    layout = layout_of(given)
    said = {name: value for name, value in given.items() if name not in _DEVICES}
    lora = {"lora_rank": lora_rank, "max_loras": max_loras, "lora_modules": lora_modules,
            "fully_sharded_loras": fully_sharded_loras}  # fmt: skip
    question = Question(
        engine=_engine(engine),
        engine_version=engine_version,
        available=_available(available),
        device=_device(gpu, gpu_memory),
        utilization=_share("memory_utilization", memory_utilization, most=1),
        dtype=word("dtype", dtype),
        eager=eager,
        model_dtype=model_dtype,
        layout=layout,
        flags={name: _value(name, value, _flags()) for name, value in said.items()},
        draft=None if draft is None else Draft(spec_of(draft)),
        adapters=with_adapters(NOTHING, spec_of(model), lora, _engine(engine)).adapters,
        largest_item=_largest_item(spec_of(model), model, said),
    )
    return allocate(spec_of(model), question)


def traffic(
    model: Model,
    lengths: Lengths | str | Path,
    *,
    engine: str = NEED,
    engine_version: str | None = None,
    block_size: int | None = None,
    available: Size = None,
    prefix_tokens: Tokens = None,
    **words: Unpack[WorkloadWords],
) -> TrafficAnswer:
    """What real requests hold: ``kvcalc traffic``. lengths: as read, or the file that has them."""
    given = renamed(words)
    known("traffic", given, WorkloadWords.__annotations__ | (traffic.__kwdefaults__ or {}))
    for name in ("context_tokens", "batch_size", "beams", "dtype"):
        if name in given:
            raise UsageError(f"{name} says nothing beside lengths: leave it out")
    kv_dtype = word("kv_dtype", given.pop("kv_dtype", None))
    question = TrafficQuestion(
        engine=_engine(engine),
        engine_version=engine_version,
        asked=asked_of(given),
        kv_dtype=kv_dtype,
        block_size=None if block_size is None else whole("block_size", block_size),
        available=_size("available", available),
        prefix_tokens=tokens("prefix_tokens", prefix_tokens),
    )
    read = lengths if isinstance(lengths, Lengths) else open_lengths(str(lengths))
    return traffic_of(spec_of(model), read, question)


def _largest_item(spec: ModelSpec, model: Model, given: Mapping[str, Any]) -> int | None:
    """Tokens of the largest image that the model's processor makes."""
    if not spec.towers:
        return None
    from kvcalc.convert.media import with_media

    put = MediaWords(processor=served_media(given).processor)
    return with_media(Asked(put=put), spec, said_of(model))[0].largest_item


_DEVICES = ("tensor", "pipeline", "data", "expert")


def _flags() -> dict[str, Flag]:
    """Every engine's flags."""
    return {
        word: flag for name in ENGINES for word, flag in flags_of(engine_of(name).flags).items()
    }


def _value(name: str, value: Any, flags: dict[str, Flag]) -> Any:
    """A flag's value. Raises UsageError."""
    flag = flags.get(name)
    if flag is None or value is None:
        return value
    if flag.kind == "tokens":
        return tokens(name, value)
    if flag.kind == "number":
        return whole(name, value, least=flag.least)
    if flag.kind == "share":
        return _share(name, value)
    if flag.kind == "format":
        return word(name, value)
    return value


def _engine(name: str) -> str:
    if name not in ENGINES:
        raise UsageError(f"an engine is one of {', '.join(ENGINES)}, not {name!r}")
    return name


def _device(gpu: str | None, gpu_memory: Size) -> Accelerator | None:
    if gpu is not None and gpu_memory is not None:
        raise UsageError("give gpu or gpu_memory, not both")
    if gpu is not None:
        return find(str(gpu))
    if gpu_memory is None:
        return None
    return of_size(str(gpu_memory))


def _available(value: Size) -> Available | None:
    try:
        return None if value is None else Available.parse(str(value))
    except ValueError as error:
        raise UsageError(f"available: {error}") from None


def _size(name: str, value: Size) -> int | None:
    try:
        return None if value is None else parse_memory(str(value))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _share(name: str, value: Share, most: int | None = None) -> Fraction | None:
    if value is None:
        return None
    try:
        share = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{name} is a number such as 0.9, not {value!r}") from None
    if share <= 0 or (most is not None and share > most):
        raise UsageError(f"{name} is above 0{'' if most is None else f' and at most {most}'}, "
                         f"not {value}")  # fmt: skip
    return share
