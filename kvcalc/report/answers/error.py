"""An error as the object that the command-line contract promises."""

from typing import Any

from kvcalc.errors import KvcalcError
from kvcalc.report.objects.error import Error
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import Answer


def answer(error: KvcalcError) -> Answer:
    """For programs alone: people read the message on stderr."""
    return Answer(lambda: [], lambda: to_object(error))


def to_object(error: KvcalcError) -> dict[str, Any]:
    """The error's kind, message and problems."""
    return {"error": filled(Error, error)}
