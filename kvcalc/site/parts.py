"""Pieces that several kinds of page have: tables of links, facts, the layers of a model explained."""

from collections.abc import Iterable, Sequence
from typing import Any

from kvcalc.site.frame import text
from kvcalc.units import format_bytes

# A cell that is HTML already, or words; a number stands to the right.
Cell = str | int | None


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], numbers: str = "") -> str:
    """Rows of HTML. numbers: ``n`` for each column of numbers, ``-`` for the others."""
    right = [sign == "n" for sign in numbers.ljust(len(heads), "-")]

    def cell(value: Cell, number: bool, first: bool) -> str:
        said = f"{value:,}" if isinstance(value, int) else value or ""
        about = ' class="n"' if number else ""
        return f'<th scope="row"{about}>{said}</th>' if first else f"<td{about}>{said}</td>"

    titles = "".join(
        f'<th scope="col"{" class=n" if number else ""}>{text(head)}</th>'
        for head, number in zip(heads, right, strict=True)
    ).replace("class=n", 'class="n"')
    lines = "\n".join(
        f"<tr>{''.join(cell(each, right[i], not i) for i, each in enumerate(row))}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{titles}</tr></thead>\n<tbody>\n{lines}\n'
        "</tbody></table></div>\n"
    )


def facts(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Numbers that stand out. pairs: (what, the number, what is said below it)."""
    items = "".join(
        f"<div><dt>{text(what)}</dt><dd><b>{text(number)}</b>{below and f'<small>{text(below)}</small>'}"
        "</dd></div>"
        for what, number, below in pairs
    )
    return f'<dl class="facts">{items}</dl>\n'


def size(num_bytes: int) -> tuple[str, str]:
    """A number of bytes as people say it, and to the last one."""
    return format_bytes(num_bytes), f"{num_bytes:,} bytes"


def tensors(group: dict[str, Any], tokens: int) -> str:
    """The tensors that one layer of a group keeps, and what its layers keep together."""
    rows: list[tuple[Cell, ...]] = [
        (text(one["name"]), f"[{', '.join(map(str, one['shape']))}]", text(one["dtype"]),
         one["positions"], one["position_bytes"], one["bytes"])
        for one in group["tensors"]
    ]  # fmt: skip
    each, count = sum(one["bytes"] for one in group["tensors"]), group["count"]
    said = (
        f"<p>{each:,} bytes a layer × {count} = <strong>{group['bytes']:,}</strong> bytes "
        f"({format_bytes(group['bytes'])}) of {tokens:,} tokens.</p>\n"
    )
    heads = ("kept", "shape", "format", "positions", "bytes a position", "bytes")
    return table(heads, rows, "---nnn") + said
