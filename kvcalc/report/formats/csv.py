"""``--format csv``: a line for each row of the answer's tables, for spreadsheets and scripts.

The columns are the same whatever the model: ``Sheet.keys``. Integers are whole; a quotient has six
decimals. A cell of words that a spreadsheet would take for a formula gets an apostrophe before it.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

from kvcalc.errors import UsageError, one_line
from kvcalc.report.cells import plain
from kvcalc.report.sheet import Answer, Shared, Sheet, Table

CHUNK_ROWS = 4096
# OWASP, "CSV Injection": what spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(answer: Answer, quiet: bool) -> Iterator[str]:
    """Text in chunks, the header first. Notes are no rows."""
    found = records(answer.sheets()) if answer.records is None else answer.records()
    texts = _Texts()
    # A quarter of the time of the csv module's writer: numbers need no look.
    lines = (
        _template(len(row)) % tuple([c if c.__class__ is int else texts[c] for c in row])
        for row in found
    )
    while chunk := "".join(islice(lines, CHUNK_ROWS)):
        yield chunk


@cache
def _template(columns: int) -> str:
    return ",".join(["%s"] * columns) + "\n"


class _Texts(dict[object, str]):
    """Words, and what rows share, as they stand in a line: the last that were asked for."""

    def __missing__(self, cell: object) -> object:
        if isinstance(cell, Shared):
            text = ",".join(field(c) if isinstance(c, str) else str(c) for c in cell.cells)
        elif isinstance(cell, str):
            text = field(cell)
        else:
            return cell
        if len(self) == 1024:
            self.clear()
        self[cell] = text
        return text


def field(text: str) -> str:
    """Words as they stand in a line: safe, and in quotes where they have a comma or a quote (RFC 4180)."""
    text = safe(text)
    if "," not in text and '"' not in text:
        return text
    return '"' + text.replace('"', '""') + '"'


def safe(text: str) -> str:
    """Words that no spreadsheet runs, in one line."""
    text = one_line(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def records(sheets: Sequence[Sheet]) -> Iterator[Sequence[object]]:
    """The header, then a record for each row of the tables. Raises UsageError where there is none."""
    keys = sheets[0].keys
    if not keys:
        raise UsageError("--format csv: this answer is no table")
    yield keys
    for sheet in sheets:
        for part in sheet.parts:
            if isinstance(part, Table):
                for record in _rows(sheet, part):
                    yield [record.get(key, "") for key in keys]


def _rows(sheet: Sheet, table: Table) -> Iterator[dict[str, object]]:
    model = sheet.title
    for row in table.rows:
        model = model if row.group is None else row.group.name
        record: dict[str, object] = {"model": model, "part": row.part or table.part}
        for column, cell in zip(table.columns, row.cells, strict=True):
            if column.key:
                record[column.key] = plain(cell)
        yield record
