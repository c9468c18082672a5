"""Exact quantities: token counts and byte sizes, read as people write them and printed without loss.

A token count may carry ``k`` (1024) or ``m`` (1024 * 1024): ``128k`` is 131072 tokens.
A byte size may carry a binary unit (KiB, MiB, GiB, TiB) or a decimal one (kB, MB, GB, TB);
the two are never mixed up, and a bare ``G`` is refused because it could be either.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_BYTE_UNITS = {
    "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip
_TOKENS = r"(0|[1-9][0-9]*)([kKmM]?)"
_SIZE = r"(0|[1-9][0-9]*)(?:\.([0-9]+))?\s*([A-Za-z]*)"

# No model and no machine comes near; a larger number is a typing error, not a question.
MAX_TOKENS = 1 << 40
MAX_BYTES = 1 << 60


def parse_tokens(text: str) -> int:
    """Read a token count: ``8192``, ``8k`` (= 8192), ``1m`` (= 1048576).

    Raises ValueError with a message for people when the text is not a token count.
    """
    match = re.fullmatch(_TOKENS, text.strip().replace("_", ""))
    if match is None:
        raise ValueError(
            f"'{text}' is not a token count: write 8192, 8k (= 8192), 128k or 1m (k = 1024)"
        )
    number = int(match[1]) * {"": 1, "k": KIB, "m": MIB}[match[2].lower()]
    if number > MAX_TOKENS:
        raise ValueError(f"'{text}' is more tokens than any cache can hold (at most 2^40)")
    return number


def parse_bytes(text: str) -> int:
    """Read a byte size: ``80GiB`` (80 * 2^30), ``80GB`` (80 * 10^9), ``1073741824``.

    A fraction is exact (``5.98GiB``) and rounds down to a whole byte.
    Raises ValueError when the unit is missing its base (``80G``) or the text is no size.
    """
    match = re.fullmatch(_SIZE, text.strip().replace("_", ""))
    unit = match[3].lower() if match else ""
    if match is not None and unit in {"k", "m", "g", "t"}:
        raise ValueError(
            f"'{text}' is ambiguous: write {unit.upper()}iB (binary) or {unit.upper()}B"
        )
    if match is None or (unit and unit not in _BYTE_UNITS) or (match[2] and not unit):
        raise ValueError(f"'{text}' is not a size: write 80GiB, 80GB or a number of bytes")
    fraction = match[2] or ""
    scaled = int(match[1] + fraction) * _BYTE_UNITS.get(unit, 1)
    number: int = scaled // 10 ** len(fraction)
    if number > MAX_BYTES:
        raise ValueError(f"'{text}' is larger than any memory (at most 2^60 bytes)")
    return number


def parse_memory(text: str) -> int:
    """Read the size of a memory, as ``parse_bytes``, where a bare ``24`` is not 24 bytes.

    Raises ValueError, too, for a number without a unit that is below 2^20; 0 is nothing in any unit.
    """
    number = text.strip().replace("_", "")
    if number.isdecimal() and 0 < int(number) < MIB:
        # Nobody has a terabyte on one device yet: thousands are what nvidia-smi prints.
        unit = "GiB" if int(number) < KIB else "MiB"
        raise ValueError(
            f"'{text}' has no unit: write {number}{unit}, or {number}B where bytes are meant"
        )
    return parse_bytes(text)


def parse_speed(text: str) -> "Fraction":
    """Read a speed in GB/s, which are 10^9 bytes a second: ``55``, ``3.5 GB/s``. Raises ValueError."""
    from fractions import Fraction

    number = text.strip().lower().removesuffix("gb/s").strip()
    whole, _, rest = number.partition(".")
    if not (whole + rest).isdecimal() or not (whole + rest).isascii() or len(number) > 12:
        raise ValueError("write it in GB/s, such as 55 or 3.5")
    speed = Fraction(number) * 10**9
    if not speed:
        raise ValueError("nothing moves at that speed")
    return speed


def format_bytes(num_bytes: int) -> str:
    """Print bytes in the largest binary unit that keeps a number of at least 1: ``1.00 GiB``."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(num_bytes) >= unit:
            # Integer arithmetic: two decimals, rounded half up, exact for any size.
            hundredths = (abs(num_bytes) * 100 + unit // 2) // unit
            sign = "-" if num_bytes < 0 else ""
            return f"{sign}{hundredths // 100}.{hundredths % 100:02d} {name}"
    return f"{num_bytes} B"


def format_as_logged(num_bytes: int) -> str:
    """Print bytes as an engine's log does: ``f"{num_bytes / (1 << 30):.2f}"``, where ties go to even.

    5.625 GiB is ``5.62 GiB``.
    """
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(num_bytes) >= unit:
            hundredths, rest = divmod(abs(num_bytes) * 100, unit)
            hundredths += 2 * rest + hundredths % 2 > unit
            sign = "-" if num_bytes < 0 else ""
            return f"{sign}{hundredths // 100}.{hundredths % 100:02d} {name}"
    return f"{num_bytes} B"


def format_count(number: int) -> str:
    """Print a parameter count as people say it: ``8.03 B``, ``124.44 M``."""
    for unit, name in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            hundredths = (number * 100 + unit // 2) // unit
            return f"{hundredths // 100}.{hundredths % 100:02d} {name}"
    return str(number)


def format_tokens(tokens: int) -> str:
    """Print a token count with k or m where that is exact: ``131072`` is ``128k``, ``18964`` ``18,964``."""
    for unit, name in ((MIB, "m"), (KIB, "k")):
        if tokens and tokens % unit == 0:
            return f"{tokens // unit}{name}"
    return f"{tokens:,}" if tokens >= 10000 else str(tokens)
