"""``kvcalc log --format json``."""

from typing import Annotated, TypedDict

from kvcalc.logs.answer import Advice
from kvcalc.report.objects.common import EngineName, Model


class LogFigure(TypedDict):
    """One figure of the log.

    Fields:
        quantity: under the name that 'kvcalc capacity' has for it.
        line: of the log, counted from 1.
        logged: as printed; bytes where the log prints GiB.
        predicted: kvcalc's; null where the log does not say enough.
        least: between this and 'most' it lies, as the log rounds what it is worked out from.
        most: see 'least'.
        agrees: null where nothing could be predicted.
        reason: what it was worked out from, or what may be the cause of a difference.
    """

    quantity: str
    line: int
    logged: int | float
    predicted: int | float | None
    least: int | float | None
    most: int | float | None
    agrees: bool | None
    reason: str


class Log(TypedDict):
    """A start-up log beside kvcalc's answer.

    Fields:
        flags: as the engine spells them.
    """

    engine: Annotated[EngineName, ""]
    model: Model
    flags: dict[str, str | int | float | bool]
    observations: list[LogFigure]
    advice: list[Advice]
