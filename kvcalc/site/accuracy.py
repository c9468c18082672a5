"""The accuracy pages beside the engines as data: what was logged, what was predicted, the verdict."""

import re
from functools import cache
from pathlib import Path
from typing import Literal, cast

from kvcalc import engines
from kvcalc.frozen import frozen
from kvcalc.site.text import cells

Verdict = Literal["exact", "in range", "consistent", "another"]
_PAGE = Path(engines.__file__).with_name("ACCURACY.md")
_COLUMNS = ["log", "model", "asked", "figure", "logged", "kvcalc", "verdict", "assumed"]


@frozen
class Figure:
    """One figure of a log. predicted: one number, or the two ends of a range. cells: the row as the
    page has it, in the order of its columns."""

    logged: float
    predicted: tuple[float, ...]
    verdict: Verdict
    cells: tuple[str, ...]

    @property
    def model(self) -> str:
        return self.cells[1]


@cache
def introduction() -> str:
    """What the page says before the engines."""
    return _sections()[""]


@cache
def section(engine: str) -> str:
    """What it says of an engine, as Markdown; empty where it has none. engine: in its own words."""
    return _sections().get(engine, "")


@cache
def figures(engine: str) -> tuple[Figure, ...]:
    """The figures of an engine's logs."""
    found = [_figure(cells(line)) for line in section(engine).splitlines() if line[:1] == "|"]
    return tuple(one for one in found if one is not None)


@cache
def of_model(name: str) -> tuple[tuple[str, Figure], ...]:
    """(engine, figure) of every log of a shipped model."""
    return tuple(
        (engine, one) for engine in _sections() for one in figures(engine) if one.model == name
    )


@cache
def _sections() -> dict[str, str]:
    """Heading -> text below it; what stands before the first is of none."""
    parts = re.split(r"^## (.+)$", _PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return {"": parts[0].partition("\n")[2], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def _figure(row: list[str]) -> Figure | None:
    if len(row) != len(_COLUMNS) or row == _COLUMNS or row[0].startswith("-"):
        return None
    try:
        logged = _number(row[4])
        predicted = tuple(_number(word) for word in row[5].split(" to "))
    except ValueError:
        return None
    known = row[6] in ("exact", "in range", "consistent")
    return Figure(logged, predicted, cast(Verdict, row[6]) if known else "another", tuple(row))


def _number(words: str) -> float:
    return float(words.replace(",", "").removesuffix(" MiB").removesuffix(" GiB"))
