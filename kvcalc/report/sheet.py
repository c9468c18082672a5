"""What an answer says to people, as typed cells: how a cell is written is a format's business.

A sheet has a title, parts (lines and tables) and notes. A cell is a number with its meaning, never a
number in words: the terminal prints ``Bytes(1 << 30)`` as 1.00 GiB, csv as 1073741824. A plain string
is words; None is an empty cell.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

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


@frozen
class Column:
    """title: what people read over it; None: people do not read it. key: its name in csv; empty: it is
    not there. wraps: its words may take several lines where there is no room."""

    title: str | None
    key: str = ""
    wraps: bool = False
    right: bool = False


@frozen
class Group:
    """What the rows from here on are about. was: its old name. where: its place, for a terminal.
    lines: what else is said of it, each with its tone."""

    name: str
    was: str = ""
    where: str = ""
    lines: tuple[tuple[str, Tone], ...] = ()


@frozen
class Row:
    """cells: one for each column. depth: how far the first one is below the row over it. part: in
    csv, where it is not the table's: such as a sum beside the rows that it adds up. group: begins
    here; a table has it in no row or in the first and where it changes."""

    cells: tuple[Cell, ...]
    tone: Tone = ""
    depth: int = 0
    part: str = ""
    group: Group | None = None


@frozen
class Table:
    """part: the table's name in csv. headed: whether its titles are worth a line. close: no blank line
    before it. most: rows that a page shows. grouped: what its groups are, and what their lines say."""

    part: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    headed: bool = True
    close: bool = False
    most: int = 2_000
    grouped: tuple[str, str] = ("", "")


@frozen
class Line:
    """A sentence; lead: its first words, which stand out. close: no blank line before it."""

    text: str
    lead: str = ""
    tone: Tone = ""
    close: bool = False


@frozen
class Point:
    """``added **name**: this, that``. code: what is said are words of a file."""

    before: str
    name: str
    said: tuple[str, ...]
    code: bool = False


@frozen
class Points:
    """Sentences under a heading, a dash before each."""

    points: tuple[str | Point, ...]
    heading: str = ""
    tone: Tone = "faint"
    close: bool = False


@frozen
class Verbatim:
    """Text laid out by hand, such as equations: its lines stay as they are."""

    lines: tuple[str, ...]
    close: bool = False


Part = Line | Table | Points | Verbatim


@frozen
class Sheet:
    """What is said of one model or one question.

    keys: the columns of its csv, whatever the model; every key of its tables is one of them.
    notes: what was assumed; ``--quiet`` leaves them out. closing: what a reader ends with.
    heading: what a page begins with instead. mark: by which a program finds the page again.
    """

    title: str
    subtitle: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    closing: str = ""
    heading: str = ""
    mark: str = ""


class Shared:
    """Cells of a record side by side that many others have too, as one object: formats write them once."""

    __slots__ = ("cells",)

    def __init__(self, cells: tuple[object, ...]) -> None:
        self.cells = cells


@frozen
class Answer:
    """What a command found, for whatever format: each side is made when it is asked for.

    sheets: for people. objects: for programs, a dict or a list of dicts. records: the rows of a csv
    that is too long for cells, the header first; None: those of the sheets.
    """

    sheets: Callable[[], Sequence[Sheet]]
    objects: Callable[[], Any]
    records: Callable[[], Iterator[Sequence[object]]] | None = None


def answer_of(
    sheets: Callable[[], Sequence[Sheet]], objects: Callable[[], list[dict[str, Any]]]
) -> Answer:
    """The answer for several models: one object for one of them, a list for more."""

    def one_or_more() -> Any:
        found = objects()
        return found[0] if len(found) == 1 else found

    return Answer(sheets, one_or_more)


def table(
    part: str, columns: Sequence[Column], rows: Iterator[Row] | Sequence[Row], **more: Any
) -> Table:
    """A table without the columns that are empty in every row; the first one stays."""
    kept = tuple(rows)
    used = [
        index
        for index in range(len(columns))
        if not index or any(row.cells[index] not in (None, "") for row in kept)
    ]
    cut = tuple(replace(row, cells=tuple(row.cells[index] for index in used)) for row in kept)
    return Table(part, tuple(columns[index] for index in used), cut, **more)


def said(point: str | Point) -> str:
    """A point as people read it."""
    if isinstance(point, str):
        return point
    return f"{point.before} {point.name}: {', '.join(point.said)}"


def shown(table: Table) -> list[int]:
    """The columns that people read."""
    return [index for index, column in enumerate(table.columns) if column.title is not None]


def for_people(sheet: Sheet) -> Iterator[Part]:
    """The parts that people read; a table may be there for csv alone."""
    return (part for part in sheet.parts if not isinstance(part, Table) or shown(part))


def drawn(table: Table, index: int) -> bool:
    """Whether a column holds nothing but bars."""
    return all(isinstance(row.cells[index], Bar | None) for row in table.rows)


def is_right(table: Table, index: int) -> bool:
    """Whether a column's cells stand to the right: numbers do."""
    if table.columns[index].right:
        return True
    filled = [row.cells[index] for row in table.rows if row.cells[index] not in (None, "")]
    return bool(filled) and all(isinstance(cell, Number) for cell in filled)


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
