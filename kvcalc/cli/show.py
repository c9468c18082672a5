"""How a command prints its answer: in the format that was asked for, piece by piece."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvcalc.cli.output import note, write
from kvcalc.report import formats

if TYPE_CHECKING:
    from kvcalc.report.sheet import Answer


def show(format: str, answer: "Answer", *, quiet: bool = False, notes: Sequence[str] = ()) -> None:
    """Write the answer to stdout. notes: for stderr, where the format has no place for them.

    quiet: without notes; what programs read is whole all the same.
    """
    for piece in formats.render(format, answer, quiet):
        if not write(piece):
            break
    if format in formats.WITHOUT_NOTES and not quiet:
        for each in notes:
            note(each)
