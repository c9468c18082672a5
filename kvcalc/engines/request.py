"""The question that ``kvcalc capacity`` puts to an engine: memory, and the engine's own flags."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from fractions import Fraction

from kvcalc.errors import UsageError
from kvcalc.memory.layout import Layout
from kvcalc.units import format_bytes, parse_bytes, parse_memory


@dataclass(frozen=True)
class Available:
    """Memory for the cache on one device: as stated, and what it may have been rounded from.

    least, most: the smallest and the largest number of bytes that a log would print so. A number of
    bytes is exact; ``5.98GiB`` is anything from 5.975 up to 5.985 GiB.
    """

    bytes: int
    least: int
    most: int

    @classmethod
    def exactly(cls, num_bytes: int) -> "Available":
        return cls(num_bytes, num_bytes, num_bytes)

    @classmethod
    def parse(cls, text: str) -> "Available":
        """Read a size. Raises ValueError when the text is none.

        Engines print two decimals and some drop a last zero, so ``24.0GiB`` is 24.00 rounded. A
        size without a decimal point is meant as it stands.
        """
        num_bytes = parse_memory(text)
        match = re.fullmatch(r"\s*[0-9_]+\.([0-9]+)\s*([A-Za-z]+)\s*", text)
        if match is None:
            return cls.exactly(num_bytes)
        half = Fraction(parse_bytes(f"1{match[2]}"), 2 * 10 ** max(2, len(match[1])))
        return cls(num_bytes, max(0, -int((half - num_bytes) // 1)), int((num_bytes + half) // 1))

    @property
    def exact(self) -> bool:
        return self.least == self.most

    def __str__(self) -> str:
        shown = format_bytes(self.bytes)
        return shown if self.exact else f"{shown} ({self.least:,} to {self.most:,} bytes)"


# Fields that every engine understands, and those whose option is spelt otherwise.
_COMMON = (
    "available", "engine_version", "model_dtype", "layout", "compute_capability",
)  # fmt: skip
_SPELT = {
    "encoder_tokens": "--encoder-context",
    "decode_context_parallel": "--dcp",
    "pipeline_partition": "--pp-partition",
}


def option(name: str) -> str:
    """How the command line spells a field of ``CapacityRequest``."""
    return _SPELT.get(name, "--" + name.replace("_", "-"))


@dataclass(frozen=True, kw_only=True)
class CapacityRequest:
    """What was asked, in the words of the command line. None: the engine's default holds.

    available: memory for the cache on each device; None where --tokens or --ctx-size sizes it.
    kv_dtype: None or "auto" is the model's own format, model_dtype. encoder_tokens: most tokens of
    one request's encoder input. pipeline_partition: layers of each pipeline rank, where stated.
    hybrid_manager: False bills windows as full attention. memory_utilization: the share of
    ``available`` that is taken, where the engine's log states what is free (TensorRT-LLM).
    compute_capability: the GPU's, 90 for 9.0; 0 for one of another vendor, None when not known.
    state_ratio, window_ratio: how an engine with several pools divides the memory (SGLang).
    """

    available: Available | None = None
    engine_version: str | None = None
    max_model_len: int | None = None
    encoder_tokens: int | None = None
    kv_dtype: str | None = None
    state_dtype: str | None = None
    model_dtype: str = "bf16"
    compute_capability: int | None = None
    layout: Layout = field(default_factory=Layout)
    decode_context_parallel: int | None = None
    pipeline_partition: tuple[int, ...] | None = None
    block_size: int | None = None
    prefix_caching: bool | None = None
    hybrid_manager: bool | None = None
    memory_utilization: Fraction | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    speculative_tokens: int | None = None
    mtp_layers: int | None = None
    async_scheduling: bool | None = None
    tokens: int | None = None
    state_ratio: Fraction | None = None
    window_ratio: Fraction | None = None
    ctx_size: int | None = None
    parallel: int | None = None
    ubatch: int | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    kv_unified: bool | None = None
    swa_full: bool | None = None

    def __post_init__(self) -> None:
        for name, ranks in (("tensor", self.layout.tensor), ("pipeline", self.layout.pipeline)):
            if ranks < 1:
                raise UsageError(f"{name} must be at least 1")

    def only(self, engine: str, flags: Collection[str]) -> None:
        """Refuse flags that the engine does not have. flags: names of this class's fields."""
        names = [item.name for item in fields(self) if item.name not in _COMMON]
        foreign = [name for name in names if getattr(self, name) is not None and name not in flags]
        if foreign:
            has = ", ".join(sorted(option(name) for name in flags))
            raise UsageError(f"{engine} has no {' or '.join(map(option, foreign))}; it takes {has}")
