"""How an engine's log is read: a small table of messages, each with the words that find its line."""

import re
from collections.abc import Callable, Iterator

from kvcalc.frozen import frozen
from kvcalc.logs.facts import Start
from kvcalc.logs.lines import LogLine

Put = Callable[..., None]
Take = Callable[[Start, "re.Match[str]", LogLine], None]


@frozen
class Message:
    """One message. key: words of its line, as they stand there. pattern: the whole of it, to its end,
    so that a line that was cut short does not match. take: what it says.

    begins: whether it is among the first that a start prints. cuts: whether a line with the key and
    without the rest was cut. proves: whether only this engine prints it.
    """

    key: str
    pattern: str
    take: Take
    begins: bool = False
    cuts: bool = False
    proves: bool = True


@frozen
class Dialect:
    """An engine's messages. name: of the engine. options: flags of its command line -> its own names.

    put: a flag by its own name, as text. commands: words of a shell's line that starts it.
    """

    name: str
    words: str
    messages: tuple[Message, ...]
    commands: tuple[str, ...]
    options: dict[str, str]
    put: Put

    def words_of_lines(self) -> Iterator[str]:
        for message in self.messages:
            yield message.key
        yield from self.commands


MAX_MESSAGE = 1 << 13
_COMPILED: dict[str, "re.Pattern[str]"] = {}


def match(message: Message, text: str) -> "re.Match[str] | None":
    found = _COMPILED.get(message.pattern)
    if found is None:
        found = _COMPILED[message.pattern] = re.compile(message.pattern)
    # Only arguments are longer; no line of somebody's makes an expression run for long.
    told = found.search(text if "?P<rest>" in message.pattern else text[:MAX_MESSAGE])
    return None if told is None or _BEYOND.search(told[0]) else told


# No engine prints such a number, and none can be divided by another as a float.
_BEYOND = re.compile(r"\d[\d,]{39}")


# ------------------------------------------------------------------- what people wrote: flags

_OPTION = re.compile(
    r"""(?<![\w-])(--?[A-Za-z][\w-]*)"""
    r"""(?:(?:=|\s+)(?!--?[A-Za-z])("[^"]*"|'[^']*'|\{[^{}]*\}|[^\s"']+))?"""
)
_PAIR = re.compile(
    r"""['"]?\b([a-z][a-z0-9_]*)['"]?\s*[=:]\s*("[^"]*"|'[^']*'|<[^<>]*>|[^\s,'"(){}\[\]]+)(?=[\s,)}\]]|$)"""
)


def options(text: str) -> Iterator[tuple[str, str]]:
    """(option, value) of a shell's line; "" for one without a value."""
    for found in _OPTION.finditer(text):
        yield found[1], (found[2] or "").strip("\"'")


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """(name, value) of a printed dict, of arguments or of a repr, whole ones only."""
    for found in _PAIR.finditer(text):
        yield found[1], found[2].strip("\"'")


def scalar(text: str) -> int | float | str | bool | None:
    """A value as it was printed."""
    if text in ("None", "null", ""):
        return None
    if text in ("True", "true", "False", "false"):
        return text in ("True", "true")
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"-?\d{1,18}\.\d{0,18}", text):
        return float(text)
    return text
