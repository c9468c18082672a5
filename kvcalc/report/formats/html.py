"""``--format html``: the answer as a small page, or as a fragment that a notebook shows."""

from collections.abc import Iterator, Sequence
from html import escape

from kvcalc.report.cells import Bytes, Cell, Code, printable, words
from kvcalc.report.sheet import Answer, Column, Line, Points, Sheet, Table, Verbatim, said

_STYLE = (
    ":root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}"
    "body{max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "div.scroll{overflow-x:auto}table{border-collapse:collapse}caption,th{text-align:left}"
    "pre{overflow-x:auto}td,th{padding:.1rem .9rem .1rem 0;vertical-align:top}td.n,th.n{text-align:right;"
    "font-variant-numeric:tabular-nums;white-space:nowrap}tr.faint,ul.notes,small{opacity:.7}"
    "tr.strong{font-weight:bold}"
)


def render(answer: Answer, quiet: bool) -> Iterator[str]:
    """A page by itself, without script and without a network."""
    sheets = answer.sheets()
    title = escape(
        printable(", ".join(filter(None, (sheet.title for sheet in sheets))) or "kvcalc")
    )
    yield f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<style>{_STYLE}</style>\n"
    yield fragment(sheets, quiet) + "</html>\n"


def fragment(sheets: Sequence[Sheet], quiet: bool = False) -> str:
    """The sheets without a page around them."""
    return "".join(line + "\n" for sheet in sheets for line in _sheet(sheet, quiet))


def _text(words: str) -> str:
    return escape(printable(words))


def _sheet(sheet: Sheet, quiet: bool) -> Iterator[str]:
    yield "<section>"
    if sheet.heading:
        yield f"<h2>{_text(sheet.heading)}</h2>"
    if sheet.title:
        yield f"<h2>{_text(sheet.title)}</h2>"
    if sheet.subtitle:
        yield f"<p>{_text(sheet.subtitle)}</p>"
    for part in sheet.for_people():
        match part:
            case Line(sentence, lead):
                yield f"<p>{f'<b>{_text(lead)}</b> ' if lead else ''}{_text(sentence)}</p>"
            case Table():
                yield from _table(part)
            case Points(points, heading):
                yield f"<h3>{_text(heading)}</h3>" if heading else ""
                items = (f"<li>{_text(said(point))}</li>" for point in points)
                yield f"<ul>{''.join(items)}</ul>"
            case Verbatim(lines):
                yield "<pre>" + "\n".join(map(_text, lines)) + "</pre>"
    if sheet.notes and not quiet:
        yield f'<ul class="notes">{"".join(f"<li>{_text(note)}</li>" for note in sheet.notes)}</ul>'
    if sheet.closing and not sheet.heading:
        yield f"<p><b>{_text(sheet.closing)}</b></p>"
    yield "</section>"


def _table(table: Table) -> Iterator[str]:
    columns = table.told()
    yield '<div class="scroll"><table>'
    if table.caption:
        yield f"<caption>{_text(table.caption)}</caption>"
    right = [table.is_right(index) for index, _ in columns]
    if table.headed:
        # A cell without words heads nothing.
        heads = (
            f'<th scope="col"{_class(number)}>{_text(column.title)}</th>'
            if column.title
            else "<td></td>"
            for number, (_, column) in zip(right, columns, strict=True)
        )
        yield f"<thead><tr>{''.join(heads)}</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        if row.group is not None:
            lines = "".join(f"<br><code>{_text(line)}</code>" for line, _ in row.group.lines)
            name = (
                f"{_text(row.group.name + row.group.was)} <small>{_text(row.group.where)}</small>"
            )
            yield f'<tr><th scope="rowgroup" colspan="{len(columns)}">{name}{lines}</th></tr>'
        cells = [_cell(row.cells[index], column) for index, column in columns]
        tag = f'<th scope="row" style="padding-left:{row.depth}em">'
        pairs = zip(right[1:], cells[1:], strict=True)
        rest = (f"<td{_class(number)}>{cell}</td>" for number, cell in pairs)
        yield f"<tr{_class(row.tone)}>{tag}{cells[0]}</th>{''.join(rest)}</tr>"
    yield "</tbody></table></div>"


def _class(name: str | bool) -> str:
    """A class of the style: a row's tone, or n for a number."""
    return f' class="{name if isinstance(name, str) else "n"}"' if name else ""


def _cell(cell: Cell, column: Column) -> str:
    match cell:
        case Code(words_of_file):
            return f"<code>{_text(words_of_file)}</code>"
        case Bytes(value) if column.key and value >= 1024:
            return f"{words(cell)}<br><small>{value:,}</small>"
        case _:
            return _text(words(cell))
