"""What the engines' comparisons share: flags of a log as typed values, commands to paste."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from kvcalc.engines.flags import flags_of, option_of
from kvcalc.engines.request import CapacityRequest
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.logs.answer import Observation, Value
from kvcalc.logs.facts import Figure, Start
from kvcalc.memory.layout import Layout

# As engines and torch write formats -> kvcalc's words.
FORMATS = {
    "float16": "fp16", "half": "fp16", "bfloat16": "bf16", "float32": "fp32", "float": "fp32",
    "f16": "fp16", "f32": "fp32",
}  # fmt: skip


def whole(start: Start, flag: str, least: int = 1) -> int | None:
    """A flag that is a number. Raises UsageError for another value, with its line."""
    said = start.flags.get(flag)
    if said is None:
        return None
    if isinstance(said.value, bool) or not isinstance(said.value, int) or said.value < least:
        raise UsageError(f"line {said.line}: {flag} {said.value} is no number of at least {least}")
    return said.value


def truth(start: Start, flag: str) -> bool | None:
    value = start.value(flag)
    return None if value is None else value in (True, "true", "True", "on", "enabled", 1)


def word(start: Start, flag: str) -> str | None:
    """A flag that is a format, in kvcalc's words; None for auto."""
    value = start.value(flag)
    if value is None or value == "auto":
        return None
    text = str(value).removeprefix("torch.").lower()
    return FORMATS.get(text, text)


def exact(value: Fraction) -> Value:
    return int(value) if value.denominator == 1 else value


def near(number: Fraction | int, figure: Figure) -> bool:
    """Whether a number is printed as the figure was."""
    return figure.least <= number <= figure.most


def observed(
    figure: Figure, predicted: Value | None, least: Value | None, most: Value | None,
    agrees: bool | None,
    reason: str, of: str = "",
) -> Observation:  # fmt: skip
    logged = exact(figure.value)
    if isinstance(logged, Fraction) and figure.quantity != "max_concurrency":
        logged = int(logged)  # bytes of a rounded figure
    return Observation(
        quantity=figure.quantity, line=figure.line, logged=logged, predicted=predicted, least=least,
        most=most, agrees=agrees, reason=reason, of=of or figure.of,
    )  # fmt: skip


def command(engine: str, model: str, request: CapacityRequest, **more: str | None) -> str:
    """The command that asks ``kvcalc capacity`` the same."""
    words = ["kvcalc", "capacity", model, "--engine", engine]
    given: dict[str, Any] = {}
    if request.engine_version is not None:
        given["--engine-version"] = request.engine_version
    if request.available is not None:
        given["--available"] = request.available.bytes
    if request.model_dtype != "bf16":
        given["--model-dtype"] = request.model_dtype
    given |= _layout(request.layout)
    for name, flag in flags_of(type(request)).items():
        value = getattr(request, name)
        if value is None:
            continue
        option = option_of(name)
        if flag.kind == "switch":
            given[option if value else f"--no-{option[2:]}"] = ""
        elif flag.kind == "numbers":
            given[option] = ",".join(map(str, value))
        else:
            given[option] = float(value) if isinstance(value, Fraction) else value
    given |= {option: value for option, value in more.items() if value is not None}
    for option, value in given.items():
        words += [option] if value == "" else [option, str(value)]
    return shlex.join(words)


def _layout(layout: Layout) -> dict[str, Any]:
    sizes = {"--tp": layout.tensor, "--pp": layout.pipeline, "--dp": layout.data}
    found: dict[str, Any] = {option: size for option, size in sizes.items() if size > 1}
    return found | ({"--expert-parallel": ""} if layout.expert else {})


def distinct(figures: list[Figure]) -> list[Figure]:
    """Figures once where several ranks print the same."""
    seen: set[tuple[str, Fraction, str]] = set()
    found = []
    for figure in figures:
        key = (figure.quantity, figure.value, figure.of)
        if key not in seen:
            seen.add(key)
            found.append(figure)
    return found


Request = TypeVar("Request", bound=CapacityRequest)


def changed(request: Request, changes: Iterable[tuple[str, object]]) -> Request:
    """The question with other values of some flags."""
    given: dict[str, Any] = dict(changes)
    return replace(request, **given)


Change = tuple[str, object]


def one_or_two(choices: Sequence[tuple[str, Sequence[object]]]) -> Iterator[tuple[Change, ...]]:
    """What may be tried for flags that a log leaves out: nothing, each value alone, two flags at once."""
    yield ()
    for name, values in choices:
        for value in values:
            yield ((name, value),)
    for place, (name, values) in enumerate(choices):
        for other, others in choices[place + 1 :]:
            for value in values:
                for second in others:
                    yield ((name, value), (other, second))


class Reading(Protocol):
    """A log's figures beside what one reading of its inputs predicts."""

    def observations(self) -> Iterable[Observation]:
        """Figure by figure."""


Held = TypeVar("Held", bound=Reading)


def agreeing(
    tries: Iterable[tuple[Change, ...]],
    read: Callable[[tuple[Change, ...]], Held],
    bare: bool = True,
) -> tuple[Held, tuple[Change, ...] | None]:
    """The first reading under which every figure agrees, and what it changes of what the log says.

    Where none does, the first one and None; bare: only the one that changes nothing. Raises what the
    first that could not be read raised, where none is left.
    """
    first: Held | None = None
    problem: KvcalcError | None = None
    for changes in tries:
        try:
            found = read(changes)
        except KvcalcError as error:
            problem = problem or error
            continue
        rows = list(found.observations())
        if first is None and not (bare and changes):
            first = found
        if all(row.agrees is not False for row in rows) and any(row.agrees for row in rows):
            return found, changes
    if first is None:
        raise problem or UsageError("the log's flags make no question")
    return first, None
