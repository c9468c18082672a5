"""Machines, sizes and flags as the library is told them, read and refused as the command line does."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypedDict

from kvcalc.api.arguments import layout_of, several, tokens, whole, word
from kvcalc.deployment.where import Where, listed
from kvcalc.engines import ENGINES, engine_of
from kvcalc.engines.flags import Flag, flags_of
from kvcalc.errors import UsageError
from kvcalc.units import parse_memory

Share = Fraction | float | str | None
Size = int | str | None


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


def where_of(
    given: Mapping[str, Any], gpu: str | Sequence[str] | None, gpu_memory: Size, ram: Size,
    reserve: Size, gpus: str | None = None,
) -> Where:  # fmt: skip
    """The devices that were named, and their ranks. Raises UsageError."""
    layout = layout_of(given)
    return Where(
        gpus=listed(several("gpu", gpu)), every=None if gpus is None else str(gpus),
        memory=None if gpu_memory is None else str(gpu_memory),
        tensor=layout.tensor if "tensor" in given else None, pipeline=layout.pipeline,
        ram=size_of("ram", ram), reserve=size_of("reserve", reserve),
    )  # fmt: skip


def size_of(name: str, value: Size) -> int | None:
    """Bytes of a size, a number or text. Raises UsageError."""
    try:
        return None if value is None else parse_memory(str(value))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def share_of(name: str, value: Share, most: int | None = None) -> Fraction | None:
    """A share, exact. Raises UsageError."""
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


def _flags() -> dict[str, Flag]:
    """Every engine's flags."""
    return {
        word: flag for name in ENGINES for word, flag in flags_of(engine_of(name).flags).items()
    }


def values_of(given: Mapping[str, Any]) -> dict[str, Any]:
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
        return share_of(name, value)
    if flag.kind == "format":
        return word(name, value)
    return value
