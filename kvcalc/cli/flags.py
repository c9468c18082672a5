"""Options of a command that are made from engines' flags, one for each word."""

import inspect
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Annotated, Any

import typer

from kvcalc.cli import completion, kinds, options
from kvcalc.dtypes import CACHE_FORMATS, STATE_FORMATS
from kvcalc.engines import ENGINES, engine_of
from kvcalc.engines.flags import Flag, flags_of, option_of
from kvcalc.errors import UsageError

_FORMATS = {"kv_dtype": ("auto", *CACHE_FORMATS), "state_dtype": ("auto", *STATE_FORMATS)}


def every_flag(names: Iterable[str] = ENGINES) -> dict[str, Flag]:
    """The flags of all engines, each word once, in the order of the engines."""
    found: dict[str, Flag] = {}
    for name in names:
        for word, flag in flags_of(engine_of(name).flags).items():
            found.setdefault(word, flag)
    return found


def with_flags_of(
    *engines: str, without: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command an option for every flag of some engines; it takes their values as ``**flags``.

    A flag that the command has an option of its own for is left to it.
    """

    def given(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        names = {each.name for each in own} | set(without)
        made = [
            inspect.Parameter(
                word, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(word, flag)
            )
            for word, flag in every_flag(engines).items()
            if word not in names
        ]
        last = [each for each in own if each.name in ("format", "quiet")]
        kept = [*(each for each in own if each not in last), *made, *last]
        return kinds.with_parameters(command, kept, signature.return_annotation)

    return given


def _option(word: str, flag: Flag) -> Any:
    """The option of one flag."""
    spelt = option_of(word)
    shown: dict[str, Any] = {"help": flag.help}
    if flag.default:
        shown["show_default"] = flag.default
    if flag.kind == "switch":
        return Annotated[
            bool | None, typer.Option(f"{spelt}/--no-{spelt[2:]}", *flag.also, **shown)
        ]
    if flag.kind == "number":
        return Annotated[int | None, kinds.num(spelt, flag.help, least=flag.least, also=flag.also)]
    metavar = {"tokens": "TOKENS", "share": "SHARE", "numbers": "N,...", "format": "DTYPE",
               "text": "TEXT"}  # fmt: skip
    if flag.kind == "format":
        values = flag.values or _FORMATS.get(word, ())
        shown["autocompletion"] = completion.one_of(values)
    return Annotated[
        str | None, typer.Option(spelt, *flag.also, metavar=metavar[flag.kind], **shown)
    ]


def read(word: str, value: Any) -> Any:
    """The value of a flag, from what the command line gave. Raises UsageError."""
    flag = every_flag()[word]
    if value is None or flag.kind in ("switch", "number", "format", "text"):
        return value
    if flag.kind == "tokens":
        return options.tokens(value, option_of(word))
    if flag.kind == "share":
        return share(value, option_of(word))
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise UsageError(
            f"{option_of(word)}: write the layers of each rank as 16,32, not '{value}'"
        ) from None


def share(text: str | None, option: str, most: int | None = None) -> Fraction | None:
    """A share given on the command line. Raises UsageError naming the option."""
    if text is None:
        return None
    try:
        ratio = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{option}: '{text}' is not a number such as 0.8") from None
    if ratio <= 0:
        raise UsageError(f"{option} must be above zero, not {text}")
    if most is not None and ratio > most:
        raise UsageError(f"{option} is at most {most}, not {text}")
    return ratio
