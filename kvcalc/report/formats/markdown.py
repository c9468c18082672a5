"""``--format markdown``: GitHub's tables, for a pull request, an issue or a page.

Nothing that an answer says is markup: a name may hold ``|``, ``<``, ``@`` or a line break.
"""

import re
from collections.abc import Iterator

from kvcalc.report.cells import Bytes, Cell, Code, printable, words
from kvcalc.report.sheet import Answer, Column, Group, Line, Point, Points, Sheet, Table, Verbatim

_MARKUP = frozenset("\\`*_[]|~@#$")
# A backslash does not end these: GitHub looks for people and issues in what was rendered. A space of no
# width after the sign does, as Renovate's sanitizeMarkdown writes it.
_CALLS = re.compile(r"\\@(?=\w)|\\#(?=\d)")


def render(answer: Answer, quiet: bool) -> Iterator[str]:
    """A section for each sheet."""
    for number, sheet in enumerate(answer.sheets()):
        text = "\n".join(_sheet(sheet, quiet)).strip()
        yield ("\n" if number else "") + text + "\n"


def text(words: str) -> str:
    """Words as text in a line or a cell."""
    words = printable(words)
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    words = "".join(f"\\{c}" if c in _MARKUP else c for c in words)
    return _CALLS.sub(r"\g<0>&#8203;", words)


def code(words: str) -> str:
    """Words of a file as code in a cell, whatever stands in them."""
    if not words:
        return ""
    words = printable(words)
    # A backtick or a bar would end the code or the cell, even within it.
    return f"`{words}`".replace("|", "\\|") if "`" not in words else text(words)


def _sheet(sheet: Sheet, quiet: bool) -> Iterator[str]:
    if sheet.mark:
        yield f"<!-- {sheet.mark} -->"
    if sheet.heading:
        yield f"### {text(sheet.heading)}"
    if sheet.title:
        yield f"### {text(sheet.title)}" + (f": {text(sheet.subtitle)}" if sheet.subtitle else "")
    for part in sheet.for_people():
        if not part.close:
            yield ""
        match part:
            case Line(said, lead):
                yield " ".join(filter(None, (f"**{text(lead)}**" if lead else "", text(said))))
            case Table():
                yield from _table(part)
            case Points(points, heading):
                if heading:
                    yield from (f"**{text(heading)}**", "")
                yield from map(_point, points)
            case Verbatim(lines):
                # A fence longer than any in the text, so that nothing in it ends it.
                fence = "`" * max(3, 1 + max(map(_ticks, lines), default=0))
                yield from (f"{fence}text", *map(printable, lines), fence)
    if sheet.notes and not quiet:
        yield ""
        yield from (f"- {text(note)}" for note in sheet.notes)
    if sheet.closing and not sheet.heading:
        yield from ("", f"**{text(sheet.closing)}**")


def _ticks(line: str) -> int:
    """How many backticks the line begins with."""
    return len(line.lstrip()) - len(line.lstrip().lstrip("`"))


def _point(point: str | Point) -> str:
    if isinstance(point, str):
        return f"- {text(point)}"
    write = code if point.code else text
    name = code(point.name) if point.code else f"**{text(point.name)}**"
    return f"- {point.before} {name}: {', '.join(map(write, point.said))}"


def _table(table: Table) -> Iterator[str]:
    columns = table.told()
    name, said = table.grouped
    if table.caption:
        yield from (f"**{text(table.caption)}**", "")
    titles = [text(column.title or "") for _, column in columns]
    rules = ["---:" if table.is_right(index) else "---" for index, _ in columns]
    if name:
        titles, rules = [name, *titles, said], ["---", *rules, "---"]
    yield f"| {' | '.join(titles)} |".replace("|  |", "| |").replace("|  |", "| |")
    yield f"|{'|'.join(rules)}|"
    for row in table.rows[: table.most]:
        cells = [_cell(row.cells[index], column) for index, column in columns]
        if row.tone == "strong":
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        if name:
            cells = [_group(row.group), *cells, _lines(row.group)]
        yield f"| {' | '.join(cells)} |"
    if len(table.rows) > table.most:
        yield from ("", f"and {len(table.rows) - table.most:,} more")


def _group(group: Group | None) -> str:
    return "" if group is None else f"**{text(group.name)}**{text(group.was)}"


def _lines(group: Group | None) -> str:
    return "" if group is None else "<br>".join(code(line) for line, _ in group.lines)


def _cell(cell: Cell, column: Column) -> str:
    match cell:
        case Code(said):
            return code(said)
        case Bytes(value) if column.key and value >= 1024:
            # There is room here for the whole number, too.
            return f"{words(cell)} ({value:,})"
        case _:
            return text(words(cell))
