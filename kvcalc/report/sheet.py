"""What an answer says to people: a title, parts (lines and tables of cells) and notes.

How a cell is written is a format's business (``kvcalc/report/cells.py`` has the cells).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kvcalc.frozen import changed, frozen
from kvcalc.report.cells import Bar, Cell, Number, Tone


@frozen
class Column:
    """title: what people read over it; None: people do not read it. key: its name in csv; empty: it is
    not there. wraps: its words may take several lines where there is no room.

    kind, of: for ``rows_of``, what its cells are, and what of an item they say; without ``of`` it is
    the item's attribute under the key.
    """

    title: str | None
    key: str = ""
    kind: Callable[[Any], "Cell"] | None = None
    of: Callable[[Any], Any] | None = None
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

    def shown(self) -> list[int]:
        """The columns that people read."""
        return [index for index, column in enumerate(self.columns) if column.title is not None]

    def told(self) -> list[tuple[int, Column]]:
        """Those of them that are no drawings."""
        return [(index, self.columns[index]) for index in self.shown() if not self.drawn(index)]

    def drawn(self, index: int) -> bool:
        """Whether a column holds nothing but bars."""
        return all(isinstance(row.cells[index], Bar | None) for row in self.rows)

    def is_right(self, index: int) -> bool:
        """Whether a column's cells stand to the right: numbers do."""
        if self.columns[index].right:
            return True
        filled = [row.cells[index] for row in self.rows if row.cells[index] not in (None, "")]
        return bool(filled) and all(isinstance(cell, Number) for cell in filled)


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

    def for_people(self) -> Iterator[Part]:
        """The parts that people read; a table may be there for csv alone."""
        return (each for each in self.parts if not isinstance(each, Table) or each.shown())


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
    cut = tuple(changed(row, cells=tuple(row.cells[index] for index in used)) for row in kept)
    return Table(part, tuple(columns[index] for index in used), cut, **more)


def for_csv(*keys: str) -> tuple[Column, ...]:
    """Columns that people do not read."""
    return tuple(Column(None, key) for key in keys)


def rows_of(columns: Sequence[Column], items: Iterable[Any], **more: Any) -> tuple[Row, ...]:
    """A row for each item, a cell for each column; what an item has not is an empty cell."""
    return tuple(Row(tuple(_cell(column, item) for column in columns), **more) for item in items)


def _cell(column: Column, item: Any) -> Cell:
    if column.of is not None:
        value = column.of(item)
    else:
        value = item[column.key] if isinstance(item, dict) else getattr(item, column.key)
    return value if value is None or column.kind is None else column.kind(value)


def said(point: str | Point) -> str:
    """A point as people read it."""
    if isinstance(point, str):
        return point
    return f"{point.before} {point.name}: {', '.join(point.said)}"
