"""What a cell says: a number with its meaning, never a number in words.

The terminal prints ``Bytes(1 << 30)`` as 1.00 GiB, csv as 1073741824. A plain string is words; None is
an empty cell.
"""

from typing import TYPE_CHECKING, Literal

from kvcalc.frozen import frozen
from kvcalc.units import format_as_logged, format_bytes, format_count, format_tokens

if TYPE_CHECKING:
    from fractions import Fraction

# How a line or a row stands out, where a format can show it.
Tone = Literal["", "strong", "faint", "good", "warn", "bad"]


@frozen
class Bytes:
    """Bytes in the unit that people say: ``1.00 GiB``. logged: rounded as an engine's log is."""

    value: int
    logged: bool = False


@frozen
class ExactBytes:
    """Bytes to the last one: ``1,073,741,824``; with its sign where it is a difference, and a unit
    where the column has several."""

    value: int
    signed: bool = False
    after: str = ""


@frozen
class Mebibytes:
    """Bytes as llama.cpp's log prints them: ``544.00 MiB``; C's printf rounds a tie to the even digit."""

    value: int


@frozen
class Count:
    """A whole number of things: ``8,030,261,248``; with its sign where it is a difference."""

    value: int
    signed: bool = False


@frozen
class RoundCount:
    """A number of parameters as people say it: ``8.03 B``."""

    value: int


@frozen
class Tokens:
    """A length: ``128k``."""

    value: int


@frozen
class Share:
    """``12.3 %`` of a whole."""

    part: int
    whole: int


@frozen
class Times:
    """``4x``, ``0.67x``: as few decimals as say it."""

    part: int
    whole: int


@frozen
class Decimal:
    """A quotient with two decimals and a word after it: ``2.31x``. logged: as in an engine's log."""

    value: "Fraction"
    after: str = ""
    logged: bool = False


@frozen
class Bar:
    """A proportion as a drawing: it says nothing that a number beside it does not."""

    part: int
    whole: int
    width: int = 16
    colour: Literal["cyan", "magenta"] = "cyan"


@frozen
class Shape:
    """A tensor's shape: ``[8, 8, 128, 64]``, in csv 8x8x128x64; words may follow it."""

    sizes: tuple[int, ...]
    after: str = ""


@frozen
class Code:
    """Words that a file says or a reader types."""

    text: str


@frozen
class Toned:
    """Words that stand out from their row."""

    text: str
    tone: Tone


Number = Bytes | ExactBytes | Mebibytes | Count | RoundCount | Tokens | Share | Times | Decimal
Cell = Number | Bar | Shape | Code | Toned | str | None


def words(cell: Cell) -> str:
    """A cell as people read it; a bar is a drawing and has none."""
    match cell:
        case None | Bar():
            return ""
        case str():
            return cell
        case Bytes(value, logged):
            return format_as_logged(value) if logged else format_bytes(value)
        case ExactBytes(value, signed, after):
            return (f"{value:+,}" if signed else f"{value:,}") + after
        case Count(value, signed):
            return f"{value:+,}" if signed else f"{value:,}"
        case Mebibytes(value):
            whole, rest = divmod(round(_quotient(value * 100, 1 << 20)), 100)
            return f"{whole:,}.{rest:02d} MiB"
        case RoundCount(value):
            return format_count(value)
        case Tokens(value):
            return format_tokens(value)
        case Share(part, whole):
            return percent(part, whole)
        case Times(part, whole):
            return ratio(part, whole)
        case Decimal(value, after, logged):
            return decimals(_quotient(round(value * 100), 100) if logged else value) + after
        case Shape(sizes, after):
            return f"[{', '.join(map(str, sizes))}]{after}"
        case Code(text) | Toned(text):
            return text


def printable(text: str) -> str:
    """Words in one line, without what moves a cursor or breaks a row, and without what no encoding has."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def plain(cell: Cell) -> str | int:
    """A cell as a program reads it: integers whole, quotients as decimals of six digits."""
    match cell:
        case None | Bar():
            return ""
        case Bytes(value) | Mebibytes(value) | RoundCount(value) | Tokens(value):
            return value
        case ExactBytes(value) | Count(value):
            return value
        case Share(part, whole) | Times(part, whole):
            return decimals(_quotient(part, whole), 6, "") if whole > 0 else ""
        case Decimal(value):
            return decimals(value, 6, "")
        case Shape(sizes):
            return "x".join(map(str, sizes))
        case Code(text) | Toned(text):
            return text
        case str():
            return cell


def _quotient(part: int, whole: int) -> "Fraction":
    # Few answers have one, and the module would cost every command.
    from fractions import Fraction

    return Fraction(part, whole)


def decimals(value: "Fraction", digits: int = 2, separator: str = ",") -> str:
    """``2.31``: rounded half up in integer arithmetic."""
    scaled = (abs(value) * 10**digits * 2 + 1) // 2
    whole, rest = divmod(scaled, 10**digits)
    return f"{'-' if value < 0 else ''}{whole:{separator}}.{rest:0{digits}d}"


def percent(part: int, whole: int) -> str:
    """``12.3 %``, in integer arithmetic."""
    if whole <= 0:
        return ""
    tenths = (part * 1000 + whole // 2) // whole
    return f"{tenths // 10}.{tenths % 10} %"


def ratio(part: int, whole: int) -> str:
    """``4x``, ``0.67x``: as few decimals as say it."""
    if whole <= 0:
        return "-"
    if part % whole == 0:
        return f"{part // whole}x"
    hundredths = (part * 100 + whole // 2) // whole
    return f"{hundredths // 100}.{hundredths % 100:02d}x"
