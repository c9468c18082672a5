"""What ``kvcalc log`` found: every figure beside kvcalc's, where the memory went, what would help."""

from dataclasses import dataclass
from fractions import Fraction

from kvcalc.engines.result import Waste
from kvcalc.frozen import frozen
from kvcalc.logs.facts import Scalar
from kvcalc.memory.shown import Shown

Value = int | Fraction


@frozen(kw_only=True)
class Observation:
    """One figure. logged, predicted: bytes, tokens, counts; a concurrency is a fraction.

    least, most: between what the prediction lies, as the log rounds what it was worked out from.
    agrees: None where nothing could be predicted. of: which cache or rank. margin: of what was printed.
    """

    quantity: str
    line: int
    logged: Value
    predicted: Value | None
    least: Value | None
    most: Value | None
    agrees: bool | None
    reason: str
    of: str = ""


@frozen
class Advice:
    """A change that would help.

    Fields:
        change: as the engine spells it.
        effect: a sentence.
        command: asks kvcalc about it.
    """

    change: str
    effect: str
    command: str


@frozen(kw_only=True)
class Item:
    """Memory that went somewhere. line: 0 where kvcalc worked it out."""

    name: str
    bytes: int
    line: int = 0
    depth: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class LogAnswer(Shown):
    """The answer. version: None where the log does not say it. rules: whose were asked.

    memory: of the device. request: of one request. verdict: sentences for people. assumed: inputs that
    the log does not show. flags: as the engine spells them.
    """

    engine: str
    words: str
    version: str | None
    rules: str
    model: str
    source: tuple[str, ...]
    path: str
    flags: dict[str, Scalar]
    observations: tuple[Observation, ...]
    advice: tuple[Advice, ...]
    memory: tuple[Item, ...] = ()
    request: tuple[Item, ...] = ()
    request_title: str = ""
    verdict: tuple[str, ...] = ()
    waste: tuple[Waste, ...] = ()
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def disagrees(self) -> bool:
        return any(each.agrees is False for each in self.observations)
