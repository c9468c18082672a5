"""What one start of an engine says in its log: model, flags and figures, each with its line."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from kvcalc.frozen import frozen

# Quantities bear the names of ``kvcalc capacity``; those of devices' memory are inputs or stand beside.
Scalar = int | float | str | bool


@frozen
class Said:
    """A value, and the line that says it; line 0: the command line of kvcalc."""

    value: Scalar
    line: int


@frozen(kw_only=True)
class Figure:
    """A number as printed. value: exact, as printed. least, most: what it may have been rounded from.

    of: which cache or device it is of, "" where there is one. writer: the process that printed it.
    """

    quantity: str
    line: int
    value: Fraction
    least: Fraction
    most: Fraction
    of: str = ""
    writer: str = ""
    shown: str = ""


@dataclass
class Start:
    """One start of an engine. model: as the log names it. asked: --model. flags: as the engine spells them.

    memory: what a device's memory went to, in bytes, as far as the log says it. dims: what the log says
    of the model's dimensions. lines: first and last. cut: lines that end before their number.
    """

    engine: str
    first: int
    last: int = 0
    version: Said | None = None
    model: Said | None = None
    gpu: Said | None = None
    flags: dict[str, Said] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    memory: dict[str, Figure] = field(default_factory=dict)
    dims: dict[str, Said] = field(default_factory=dict)
    cut: list[tuple[int, str]] = field(default_factory=list)
    wrapper: str = ""
    asked: str = ""

    def say(self, flag: str, value: Scalar, line: int, *, sure: bool = True) -> None:
        """A flag. sure: the engine itself printed it, which holds over a command that was pasted."""
        if sure or flag not in self.flags:
            self.flags[flag] = Said(value, line)

    def value(self, flag: str) -> Scalar | None:
        found = self.flags.get(flag)
        return None if found is None else found.value

    def of(self, quantity: str) -> list[Figure]:
        return [figure for figure in self.figures if figure.quantity == quantity]


UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def number(text: str) -> Fraction:
    return Fraction(text.replace(",", "").replace("_", ""))


def printed(
    quantity: str, text: str, line: int, *, unit: int = 1, digits: int = 0, of: str = "", writer: str = "",
    how: Literal["nearest", "exact"] = "nearest",
) -> Figure:  # fmt: skip
    """A figure from its digits. digits: that the engine rounds to, some of which may be dropped (24.0).

    unit: bytes of one. how: exact for whole numbers.
    """
    value = number(text) * unit
    if how == "exact" or (not digits and "." not in text):
        return Figure(quantity=quantity, line=line, value=value, least=value, most=value, of=of,
                      writer=writer, shown=text)  # fmt: skip
    places = max(digits, len(text.partition(".")[2]))
    half = Fraction(unit, 2 * 10**places)
    return Figure(quantity=quantity, line=line, value=value, least=value - half, most=value + half,
                  of=of, writer=writer, shown=text)  # fmt: skip
