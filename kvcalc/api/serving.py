"""What engines and accelerators have room for: ``fit``, ``capacity``, ``traffic``."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kvcalc import dtypes
from kvcalc.api.arguments import (
    Model,
    Tokens,
    WorkloadWords,
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
from kvcalc.api.devices import LocalWords, Share, Size, share_of, size_of, values_of, where_of
from kvcalc.deployment.allocation import CapacityQuestion, capacity_answer
from kvcalc.deployment.estimation import of_requests
from kvcalc.engines import NEED, SERVING
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.traffic import TrafficAnswer, traffic_of
from kvcalc.errors import UsageError
from kvcalc.file_types import weight_dtype
from kvcalc.frozen import changed
from kvcalc.memory.layout import Layout
from kvcalc.memory.lengths import Lengths, open_lengths
from kvcalc.memory.workload import Asked
from kvcalc.tiers.answer import Tiers, tiers
from kvcalc.tiers.question import TierQuestion
from kvcalc.units import parse_speed

if TYPE_CHECKING:
    from kvcalc.engines.llama_cpp.files import LocalFiles
    from kvcalc.engines.llama_cpp.local import LocalFit

Speed = int | float | str | None


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
    where = where_of(given, gpu, gpu_memory, ram, reserve)
    lora = {"lora_rank": lora_rank, "max_loras": max_loras, "lora_modules": lora_modules,
            "fully_sharded_loras": fully_sharded_loras}  # fmt: skip
    said = {name: value for name, value in given.items() if name not in _DEVICES}
    question = CapacityQuestion(
        where=changed(where, unnamed=0 if devices is None else whole("devices", devices)),
        engine=engine_name(engine),
        engine_version=engine_version,
        available=_available(available),
        utilization=share_of("memory_utilization", memory_utilization, most=1),
        dtype=word("dtype", dtype, weight_dtype),
        eager=eager,
        model_dtype=model_dtype,
        context_tokens=tokens("context_tokens", context_tokens),
        layout=layout_of(given),
        flags=values_of(said),
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
        question, available=size_of("available", available), prefix_tokens=prefix,
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
            state_dtype=word("state_dtype", state_dtype, dtypes.state_dtype),
            layout=Layout(whole("tensor", tensor), whole("pipeline", pipeline)),
        ),
        kv_dtype=word("kv_dtype", kv_dtype), chunk_tokens=tokens("chunk_tokens", chunk_tokens),
        block_tokens=None if block_size is None else whole("block_size", block_size),
        host_bytes=size_of("host", host), disk_bytes=size_of("disk", disk),
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


def _available(value: Size) -> Available | None:
    try:
        return None if value is None else Available.parse(str(value))
    except ValueError as error:
        raise UsageError(f"available: {error}") from None
