"""``--format table``: fitted and coloured on a terminal, plain and whole elsewhere.

A table that is too wide gives up, in this order: room between its columns, titles in one line,
drawings, long sentences in one line; then each row becomes a record. It never gives up a number or a
row's name, and words of a file cannot steer the terminal.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

from kvcalc.errors import one_line
from kvcalc.frozen import frozen
from kvcalc.report.cells import Bar, Cell, Tone, Toned, words
from kvcalc.report.sheet import Answer, Group, Line, Points, Row, Sheet, Table, Verbatim, said

# A narrower terminal breaks the lines itself.
LEAST_WIDTH = 60
# What a column of sentences is not made narrower than, where it is as long.
_SENTENCE = 24
_CODES: dict[str, str] = {"strong": "1", "faint": "2", "good": "32", "warn": "33", "bad": "31",
                          "cyan": "36", "magenta": "35"}  # fmt: skip


@frozen
class Screen:
    """width: columns; None: as many as a line needs."""

    width: int | None
    coloured: bool

    def paint(self, text: str, tone: str) -> str:
        """Text in a tone, where there are colours."""
        if not (self.coloured and tone and text):
            return text
        return f"\x1b[{_CODES[tone]}m{text}\x1b[0m"


def on_terminal() -> bool:
    """Whether the answer goes to a person's terminal."""
    return sys.stdout.isatty()


def screen() -> Screen:
    """What stdout is; ``COLUMNS`` bounds the width elsewhere, too."""
    terminal = on_terminal()
    bounded = terminal or "COLUMNS" in os.environ
    coloured = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    if not bounded:
        return Screen(None, coloured)
    from shutil import get_terminal_size

    return Screen(max(LEAST_WIDTH, get_terminal_size().columns), coloured)


def render(answer: Answer, quiet: bool) -> Iterator[str]:
    """One sheet after the other."""
    on = screen()
    for number, sheet in enumerate(answer.sheets()):
        lines = [line.rstrip() for line in _sheet(sheet, quiet, on)]
        yield ("\n" if number else "") + "\n".join(lines) + "\n"


def bar(part: int, whole: int, width: int) -> str:
    """A proportion as a bar of eighth blocks; anything above zero shows."""
    if whole <= 0 or part <= 0:
        return ""
    eighths = max(1, (part * width * 8 + whole // 2) // whole)
    full, rest = divmod(eighths, 8)
    if not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
        return "#" * max(1, full)
    return "█" * full + " ▏▎▍▌▋▊▉"[rest].strip()


def _sheet(sheet: Sheet, quiet: bool, on: Screen) -> Iterator[str]:
    first = True
    if sheet.title:
        yield from _sentence(sheet.title, sheet.subtitle, "", on)
        first = False
    for part in sheet.for_people():
        if not first and not part.close:
            yield ""
        first = False
        match part:
            case Line(text, lead, tone):
                yield from _sentence(lead, text, tone, on)
            case Table():
                if part.caption:
                    yield from _sentence("", part.caption, "", on)
                yield from _table(part, on)
            case Points(points, heading, tone):
                if heading:
                    yield from _sentence(heading, "", "", on)
                for point in points:
                    yield from _point(said(point), on, tone)
            case Verbatim(lines):
                yield from map(one_line, lines)
    if sheet.notes and not quiet:
        yield from () if first else ("",)
        for note in sheet.notes:
            yield from _point(note, on)
    if sheet.closing:
        yield from () if first else ("",)
        yield from _sentence(sheet.closing, "", "", on)


def _sentence(lead: str, text: str, tone: Tone, on: Screen) -> Iterator[str]:
    """A line, or several; its lead stands out."""
    lead, text = one_line(lead), one_line(text)
    gap = " " if lead.endswith(":") else "  "
    whole = f"{lead}{gap}{text}" if lead and text else lead or text
    for number, line in enumerate(_wrapped(whole, on.width)):
        if number == 0 and lead and line.startswith(lead):
            yield on.paint(lead, "strong") + on.paint(line[len(lead) :], tone)
        else:
            yield on.paint(line, tone if text else "strong")


def _point(text: str, on: Screen, tone: Tone = "faint") -> Iterator[str]:
    for number, line in enumerate(_wrapped(one_line(text), on.width and on.width - 2)):
        yield on.paint(f"{'  ' if number else '- '}{line}", tone)


def _wrapped(text: str, width: int | None) -> list[str]:
    """Lines of at most ``width``; the words of a line keep the spaces between them."""
    if width is None or cells_of(text) <= width:
        return [text]
    from textwrap import wrap

    indent = " " * (len(text) - len(text.lstrip()))
    return wrap(text, width, break_on_hyphens=False, subsequent_indent=indent) or [""]


def cells_of(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


@frozen
class _Layout:
    """columns: which are shown. widths: of each of them. gap: spaces between two."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    gap: int


def _table(table: Table, on: Screen) -> Iterator[str]:
    texts = [[_text(cell, row, not index) for index, cell in enumerate(row.cells)]
             for row in table.rows]  # fmt: skip
    layout = _layout(table, texts, on.width)
    if layout is None:
        yield from _records(table, texts, on)
        return
    right = {index for index in layout.columns if table.is_right(index)}
    head = list(_head(table, layout, right, on)) if table.headed else []
    if not table.grouped[0]:
        yield from head
    for number, (row, cells) in enumerate(zip(table.rows, texts, strict=True)):
        if row.group is not None:
            yield from ("",) if number else ()
            yield from _group(row.group, on)
            yield from head
        pieces = [
            _wrapped(cells[index], width)
            for index, width in zip(layout.columns, layout.widths, strict=True)
        ]
        yield from _lines(
            pieces, [_tone(row, index) for index in layout.columns], layout, right, on
        )


def _group(group: Group, on: Screen) -> Iterator[str]:
    """What the rows under it are about."""
    yield from _sentence(group.name, f"{group.was}  {group.where}".strip(), "faint", on)
    for line, tone in group.lines:
        yield from (on.paint(piece, tone) for piece in _wrapped(one_line(f"  {line}"), on.width))


def _head(table: Table, layout: _Layout, right: set[int], on: Screen) -> Iterator[str]:
    titles = [one_line(table.columns[index].title or "") for index in layout.columns]
    broken = [_wrapped(title, width) for title, width in zip(titles, layout.widths, strict=True)]
    tallest = max(map(len, broken))
    # Titles stand on the last line of their head.
    lines = [[*[""] * (tallest - len(title)), *title] for title in broken]
    yield from _lines(lines, ["strong"] * len(titles), layout, right, on)


def _text(cell: Cell, row: Row, first: bool) -> str:
    text = (
        bar(cell.part, cell.whole, cell.width) if isinstance(cell, Bar) else one_line(words(cell))
    )
    return "  " * row.depth + text if first else text


def _tone(row: Row, index: int) -> str:
    match row.cells[index]:
        case Bar(colour=colour):
            return colour
        case Toned(tone=tone):
            return tone
        case _:
            return row.tone


def _layout(table: Table, texts: list[list[str]], width: int | None) -> _Layout | None:
    """The columns and their widths; None where no layout of columns has room."""
    every = table.shown()
    plain = [index for index in every if not table.drawn(index)]
    for columns, wraps in ((every, False), (plain, False), (plain, True)):
        natural, least = _widths(table, texts, columns, wraps)
        if width is None:
            return _Layout(tuple(columns), tuple(natural), 2)
        for gap in (2, 1):
            room = width - gap * (len(columns) - 1)
            if sum(natural) <= room:
                return _Layout(tuple(columns), tuple(natural), gap)
        if sum(least) <= room:
            return _Layout(tuple(columns), tuple(_shared(natural, least, room)), gap)
    return None


def _widths(
    table: Table, texts: list[list[str]], columns: Sequence[int], wraps: bool
) -> tuple[list[int], list[int]]:
    """What each column takes in one line, and what it can do with: its title in several lines, and
    its sentences where ``wraps``.
    """
    natural, least = [], []
    for index in columns:
        title = one_line(table.columns[index].title or "") if table.headed else ""
        held = max((cells_of(cells[index]) for cells in texts), default=0)
        word = max(map(cells_of, title.split()), default=0)
        natural.append(max(held, cells_of(title)))
        if wraps and table.columns[index].wraps:
            longest = max((cells_of(w) for cells in texts for w in cells[index].split()), default=0)
            held = min(held, max(_SENTENCE, min(longest, 2 * _SENTENCE)))
        least.append(max(held, word))
    return natural, least


def _shared(natural: list[int], least: list[int], room: int) -> list[int]:
    """The room dealt out: what is over the least goes where more is needed."""
    over = room - sum(least)
    needs = [most - few for most, few in zip(natural, least, strict=True)]
    total = sum(needs) or 1
    return [few + min(need, over * need // total) for few, need in zip(least, needs, strict=True)]


def _lines(
    pieces: list[list[str]], tones: list[str], layout: _Layout, right: set[int], on: Screen
) -> Iterator[str]:
    """The lines of one row: as many as its tallest cell."""
    for number in range(max(map(len, pieces), default=0)):
        line = []
        dealt = zip(layout.columns, layout.widths, tones, pieces, strict=True)
        for index, width, tone, lines in dealt:
            text = lines[number] if number < len(lines) else ""
            space = " " * (width - cells_of(text))
            painted = on.paint(text, tone)
            line.append(space + painted if index in right else painted + space)
        yield (" " * layout.gap).join(line)


def _records(table: Table, texts: list[list[str]], on: Screen) -> Iterator[str]:
    """Each row as its name, and under it what stood beside it, with the titles."""
    assert on.width is not None
    if table.headed and table.columns[0].title and not table.grouped[0]:
        yield on.paint(one_line(table.columns[0].title), "strong")
    for number, (row, cells) in enumerate(zip(table.rows, texts, strict=True)):
        if row.group is not None:
            yield from ("",) if number else ()
            yield from _group(row.group, on)
        yield from (
            on.paint(line, _tone(row, 0) or "strong") for line in _wrapped(cells[0], on.width)
        )
        fields = [
            f"{one_line(column.title)}: {text}" if table.headed and column.title else text
            for column, text, cell in zip(table.columns[1:], cells[1:], row.cells[1:], strict=True)
            if column.title is not None and text and not isinstance(cell, Bar)
        ]
        line = ""
        for field in fields:
            if line and len(line) + len(field) + 5 > on.width:
                yield from _wrapped(f"  {line}", on.width)
                line = ""
            line += f"   {field}" if line else field
        if line:
            yield from _wrapped(f"  {line}", on.width)
