"""What every engine is asked: memory, release, layout. Its own flags are fields of a subclass."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.flags import flags_of, option_of
from kvcalc.errors import UsageError
from kvcalc.memory.asked_beside import Draft
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


# vLLM 0.33 config/cache.py, MambaDType; SGLang 0.5.23 srt/configs/mamba_utils.py, mamba2_state_dtype.
_STATES = ("fp32", "bf16", "fp16")


def _state(word: str) -> str | None:
    """A format of recurrent states in its one spelling; None for ``auto``, the engine's own."""
    if word == "auto":
        return None
    try:
        found = CacheDtypes.parse("bf16", word).state
    except ValueError as error:
        raise UsageError(f"--state-dtype: {error}") from None
    if found not in _STATES:
        raise UsageError(
            f"--state-dtype {word}: engines keep recurrent states in {', '.join(_STATES)}; without "
            "--engine the need of any format is"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class CapacityRequest:
    """What was asked, in the words of the command line; an engine adds its flags, None its default.

    available: memory for the cache on each device; None where the engine is sized otherwise.
    model_dtype: the model's own format, which an ``auto`` cache takes. layout: the devices; one
    replica of several is asked about. compute_capability: the GPU's, 90 for 9.0; 0 for one of
    another vendor, None when not known. eager: no CUDA graphs. draft: the model that drafts.
    """

    available: Available | None = None
    engine_version: str | None = None
    model_dtype: str = "bf16"
    layout: Layout = field(default_factory=Layout)
    compute_capability: int | None = None
    eager: bool = False
    draft: Draft | None = None

    def __post_init__(self) -> None:
        for name, ranks in (("tensor", self.layout.tensor), ("pipeline", self.layout.pipeline)):
            if ranks < 1:
                raise UsageError(f"{name} must be at least 1")
        word: str | None = getattr(self, "state_dtype", None)
        if word is not None:
            object.__setattr__(self, "state_dtype", _state(word))

    @classmethod
    def of(cls, words: str, given: Mapping[str, Any], **common: Any) -> Self:
        """The engine's request with the flags that were given.

        words: the engine, as sentences name it. given: flag -> value, None where it was not said.
        common: fields that every engine has. Raises UsageError for a flag that the engine has not.
        """
        own = flags_of(cls)
        said = {name: value for name, value in given.items() if value is not None}
        foreign = [option_of(name) for name in said if name not in own]
        if foreign:
            has = ", ".join(sorted(map(option_of, own)))
            takes = f"it takes {has}" if has else "it has no flags of its own"
            raise UsageError(f"{words} has no {' or '.join(foreign)}; {takes}")
        return cls(**common, **said)
