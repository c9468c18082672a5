"""What engines and accelerators have room for: ``fit``, ``capacity``, ``traffic``."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from kvcalc.api.arguments import (
    Model,
    Tokens,
    WorkloadWords,
    asked_of,
    drafting_of,
    engine_name,
    found_of,
    known,
    layout_of,
    lora_of,
    named,
    question_of,
    renamed,
    several,
    tokens,
    whole,
    word,
)
from kvcalc.deployment.allocation import CapacityQuestion, capacity_answer
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.estimation import of_requests
from kvcalc.deployment.question import FitQuestion, fit_answer
from kvcalc.deployment.where import Where, listed
from kvcalc.engines import ENGINES, NEED, SERVING, engine_of
from kvcalc.engines.flags import Flag, flags_of
from kvcalc.engines.media import served_media
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.traffic import TrafficAnswer, traffic_of
from kvcalc.errors import UsageError
from kvcalc.frozen import changed
from kvcalc.memory.layout import Layout
from kvcalc.memory.lengths import Lengths, open_lengths
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.model import ModelSpec
from kvcalc.tiers.answer import Tiers, tiers
from kvcalc.tiers.question import TierQuestion
from kvcalc.units import parse_memory, parse_speed

if TYPE_CHECKING:
    from kvcalc.deployment.question import FitAnswer
    from kvcalc.engines.llama_cpp.files import LocalFiles
    from kvcalc.engines.llama_cpp.local import LocalFit

Share = Fraction | float | str | None
Size = int | str | None
Speed = int | float | str | None


class LocalWords(TypedDict, total=False):
    """Flags of llama.cpp, as ``kvcalc fit`` has them."""

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


class EngineWords(LocalWords, total=False):
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
    limit_mm_per_prompt: str | Mapping[str, Any] | None
    mm_processor_kwargs: str | Mapping[str, Any] | None
    mm_encoder_tp_mode: str | None
    mm_processor_cache_gb: int | None
    tokens: Tokens
    state_ratio: Share
    window_ratio: Share
    ctx_size: Tokens
    max_kv_size: Tokens
    quantized_kv_start: int | None
    compute_capability: int | None
    tensor: int
    pipeline: int
    data: int
    expert: bool


class ServerWords(TypedDict, total=False):
    """How a server is run: its share of the memory, its step, which towers it loads, and how it bounds an
    image. eager: no CUDA graphs. limit_mm_per_prompt, mm_processor_kwargs: an object or JSON,
    ``'{"image": 4, "video": 0}'``, ``'{"max_pixels": 1003520}'``. mm_encoder_tp_mode: ``weights`` or
    ``data``, whether ranks divide the towers."""

    memory_utilization: Share
    max_num_batched_tokens: Tokens
    max_num_seqs: int | None
    eager: bool
    language_model_only: bool
    limit_mm_per_prompt: str | Mapping[str, Any] | None
    mm_encoder_tp_mode: str | None
    mm_processor_kwargs: str | Mapping[str, Any] | None


class FitWords(WorkloadWords, ServerWords, LocalWords, total=False):
    """A workload, its devices, and how what runs it is set. data: replicas of the attention. expert: whole
    experts over all."""

    data: int
    expert: bool


def fit(
    model: Model,
    gpu: str | Sequence[str] | None = None,
    workload: Workload | None = None,
    *,
    gpu_memory: Size = None,
    ram: Size = None,
    reserve: Size = None,
    engine: str | None = None,
    engine_version: str | None = None,
    **words: Unpack[FitWords],
) -> "FitAnswer":
    """Whether a workload fits an accelerator, how far it goes, and what to change: ``kvcalc fit``.

    engine: None takes llama.cpp for a GGUF type, a GGUF file, ``ram`` or a flag of llama.cpp's, mlx for an
    mlx type or a Mac, else vLLM, as the command does. gpu: a name of the catalogue, such as
    ``h100-80gb``, or several; or gpu_memory, ``"80GiB"``. ram, reserve: memory beside the devices, and what
    something else holds on each (llama.cpp).

    The answer is a ``Fit``; of llama.cpp, which places tensors one by one, a ``LocalFit``, or where no type
    was named ``LocalFiles``; of another engine of files ``Choices``. Raises as the command refuses, in its
    words: NotFoundError for an unknown name, UnsupportedError for what the engine does not run, UsageError
    for what says nothing of it.
    """
    given = renamed(words)
    known("fit", given, FitWords.__annotations__, fit.__kwdefaults__ or ())
    question = _question(
        (_name(model),), given, gpu, gpu_memory, ram, reserve, engine, engine_version
    )
    if isinstance(model, ModelSpec):
        question = changed(question, found=found_of(model))
    return fit_answer(question if workload is None else _of(workload, question, words))


def _name(model: Model) -> str:
    found = named(model)
    return found.name if isinstance(found, ModelSpec) else found


def _of(workload: Workload, question: FitQuestion, words: Mapping[str, Any]) -> FitQuestion:
    """The question about a whole workload. words: what else was said of it, which is refused."""
    twice = [word for word in words if word in (*WorkloadWords.__annotations__, "data", "expert")]
    if twice:
        raise UsageError(f"give fit a workload or its words ({', '.join(twice)}), not both")
    asked = changed(
        question.asked, context_tokens=workload.context_tokens, batch_size=workload.batch_size,
        encoder_tokens=workload.encoder_tokens, beams=workload.beams, dtype=workload.dtype,
        state_dtype=workload.cache.state, layout=workload.layout,
    )  # fmt: skip
    layout, stated = workload.layout, workload.cache.kv_name
    where = changed(question.where, tensor=layout.tensor, pipeline=layout.pipeline)
    return changed(
        question, asked=asked, where=where, workload=workload,
        # A workload says a format always; bf16 is what nothing said comes to.
        kv_dtype=None if stated == "bf16" else stated,
    )  # fmt: skip


def _question(
    models: tuple[str, ...], given: dict[str, Any], gpu: str | Sequence[str] | None,
    gpu_memory: Size, ram: Size, reserve: Size, engine: str | None, engine_version: str | None,
) -> FitQuestion:  # fmt: skip
    """What was asked, as far as it is no whole workload. Raises UsageError for values that are none."""
    where = _where(given, gpu, gpu_memory, ram, reserve)
    if where.memory is None and not where.gpus and where.ram is None:
        raise UsageError("say an accelerator: gpu, a name, or gpu_memory, a size")
    share, requests = given.get("memory_utilization"), given.get("max_num_seqs")
    return FitQuestion(
        models=models, where=where, asked=asked_of(given),
        kv_dtype=word("kv_dtype", given.get("kv_dtype")), drafting=drafting_of(given),
        lora=lora_of(given), engine=None if engine is None else engine_name(engine),
        engine_version=engine_version, utilization=_share("memory_utilization", share, most=1),
        max_num_batched_tokens=tokens("max_num_batched_tokens", given.get("max_num_batched_tokens")),
        max_num_seqs=None if requests is None else whole("max_num_seqs", requests),
        eager=bool(given.get("eager")), media=served_media(given),
        flags=_values({name: given.get(name) for name in LocalWords.__annotations__}),
    )  # fmt: skip


def which(
    models: str | Sequence[str],
    gpu: str | Sequence[str] | None = None,
    *,
    gpu_memory: Size = None,
    engine: str | None = None,
    engine_version: str | None = None,
    **words: Unpack[FitWords],
) -> Choices:
    """Which models fit, in which format of the weights, how far: ``kvcalc fit 'qwen*'``.

    models: names, patterns, paths and folders. engine: None takes llama.cpp for a GGUF type, mlx for
    an mlx type or a Mac, else vLLM. Raises as ``fit`` does, where no model could be asked about.
    """
    given = renamed(words)
    known("which", given, FitWords.__annotations__, which.__kwdefaults__ or ())
    names = [models] if isinstance(models, str) else list(models) if _is_list(models) else []
    if not names or not all(isinstance(each, str) for each in names):
        raise UsageError(f"models are names, patterns or paths, not {models!r}")
    question = _question(tuple(names), given, gpu, gpu_memory, None, None, engine, engine_version)
    answer = fit_answer(changed(question, several=True))
    assert isinstance(answer, Choices)
    return answer


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def capacity(
    model: Model,
    engine: str = SERVING,
    *,
    available: Size = None,
    gpu: str | Sequence[str] | None = None,
    gpu_memory: Size = None,
    devices: int | None = None,
    ram: Size = None,
    reserve: Size = None,
    memory_utilization: Share = None,
    engine_version: str | None = None,
    context_tokens: Tokens = None,
    dtype: str | None = None,
    model_dtype: str = "bf16",
    eager: bool = False,
    draft: Model | None = None,
    lora_rank: int | None = None,
    max_loras: int | None = None,
    lora_modules: Sequence[str] | str = (),
    fully_sharded_loras: bool = False,
    **flags: Unpack[EngineWords],
) -> "CapacityResult | LocalFit | LocalFiles":
    """What an engine allocates and how much fits: ``kvcalc capacity``.

    available: memory for the cache on one device, as bytes or ``"20GiB"``; or a gpu, what is left of
    which is worked out. devices: equal ones without a name, ram, reserve: of llama.cpp's whole table, a
    ``LocalFit``. context_tokens: the longest request, under any engine's word for it. draft: a model that
    drafts. flags: the engine's own, and the ranks. Raises UsageError for a flag that the engine has not
    and UnsupportedError for what it cannot run.
    """
    given = renamed(flags)
    known("capacity", given, EngineWords.__annotations__, capacity.__kwdefaults__ or ())
    where = _where(given, gpu, gpu_memory, ram, reserve)
    lora = {"lora_rank": lora_rank, "max_loras": max_loras, "lora_modules": lora_modules,
            "fully_sharded_loras": fully_sharded_loras}  # fmt: skip
    said = {name: value for name, value in given.items() if name not in _DEVICES}
    question = CapacityQuestion(
        where=changed(where, unnamed=0 if devices is None else whole("devices", devices)),
        engine=engine_name(engine),
        engine_version=engine_version,
        available=_available(available),
        utilization=_share("memory_utilization", memory_utilization, most=1),
        dtype=word("dtype", dtype),
        eager=eager,
        model_dtype=model_dtype,
        context_tokens=tokens("context_tokens", context_tokens),
        layout=layout_of(given),
        flags=_values(said),
        draft=None if draft is None else named(draft),
        lora=lora_of(lora),
    )
    return capacity_answer(partial(found_of, model), question)


def traffic(
    model: Model,
    lengths: Lengths | str | Path,
    *,
    engine: str = NEED,
    engine_version: str | None = None,
    block_size: int | None = None,
    available: Size = None,
    prefix_tokens: Tokens = None,
    set_fields: Sequence[str] | str = (),
    **words: Unpack[WorkloadWords],
) -> TrafficAnswer:
    """What real requests hold: ``kvcalc traffic``. lengths: as read, or the file that has them.
    set_fields: changes of the model, as ``estimate`` takes them. Raises as the command refuses."""
    question = question_of(
        traffic, None, words, engine=engine_name(engine), engine_version=engine_version,
        set_fields=several("set_fields", set_fields),
    )  # fmt: skip
    prefix = tokens("prefix_tokens", prefix_tokens)
    asked = of_requests(
        question, available=_size("available", available), prefix_tokens=prefix,
        block_size=None if block_size is None else whole("block_size", block_size),
    )  # fmt: skip
    found = found_of(model)
    return traffic_of(found, _lengths(lengths, prefix is not None), asked)


def sessions(
    model: Model,
    engine: str = SERVING,
    *,
    engine_version: str | None = None,
    host: Size = None,
    disk: Size = None,
    link: Speed = None,
    disk_link: Speed = None,
    context_tokens: Tokens = None,
    chunk_tokens: Tokens = None,
    block_size: int | None = None,
    kv_dtype: str | None = None,
    state_dtype: str | None = None,
    tensor: int = 1,
    pipeline: int = 1,
    lengths: Lengths | str | Path | None = None,
) -> Tiers:
    """What sessions cost in RAM and on disk, and how many fit: ``kvcalc tiers``.

    host, disk: memory for them, of all ranks together. link, disk_link: speeds in GB/s, between GPU and
    host, host and disk. lengths: real sessions, as ``traffic`` takes them. Raises as the command refuses.

    >>> sessions("llama-3-8b", host="200GiB", context_tokens="32k").tiers[0].sessions
    50
    """
    question = TierQuestion(
        engine=engine, engine_version=engine_version,
        asked=Asked(
            context_tokens=tokens("context_tokens", context_tokens),
            state_dtype=word("state_dtype", state_dtype),
            layout=Layout(whole("tensor", tensor), whole("pipeline", pipeline)),
        ),
        kv_dtype=word("kv_dtype", kv_dtype), chunk_tokens=tokens("chunk_tokens", chunk_tokens),
        block_tokens=None if block_size is None else whole("block_size", block_size),
        host_bytes=_size("host", host), disk_bytes=_size("disk", disk),
        link=_speed("link", link), disk_link=_speed("disk_link", disk_link),
        lengths=None if lengths is None else _lengths(lengths),
    )  # fmt: skip
    return tiers(found_of(model), question)


def _lengths(given: Lengths | str | Path, count_prompts: bool = False) -> Lengths:
    return given if isinstance(given, Lengths) else open_lengths(str(given), count_prompts)


def _speed(name: str, value: Speed) -> Fraction | None:
    """Bytes a second. Raises UsageError."""
    try:
        return None if value is None else parse_speed(str(value))
    except ValueError as error:
        raise UsageError(f"{name} {value}: {error}") from None


_DEVICES = ("tensor", "pipeline", "data", "expert")


def _flags() -> dict[str, Flag]:
    """Every engine's flags."""
    return {
        word: flag for name in ENGINES for word, flag in flags_of(engine_of(name).flags).items()
    }


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags and their values. Raises UsageError."""
    flags = _flags()
    return {name: _value(name, value, flags) for name, value in given.items()}


def _value(name: str, value: Any, flags: dict[str, Flag]) -> Any:
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


def _where(
    given: Mapping[str, Any], gpu: str | Sequence[str] | None, gpu_memory: Size, ram: Size,
    reserve: Size,
) -> Where:  # fmt: skip
    """The devices that were named, and their ranks. Raises UsageError."""
    layout = layout_of(given)
    return Where(
        gpus=listed(several("gpu", gpu)), memory=None if gpu_memory is None else str(gpu_memory),
        tensor=layout.tensor if "tensor" in given else None, pipeline=layout.pipeline,
        ram=_size("ram", ram), reserve=_size("reserve", reserve),
    )  # fmt: skip


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
