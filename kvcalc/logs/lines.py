"""The lines of a log that may say something, as people paste them: cleaned, with their numbers.

A log is read in pieces, and only a line that has one of the dialects' words in it is looked at: a server
that has run for a week has written a few dozen of these and a million of others. What stands around a
message is taken off: colours (with or without their escape character), carriage returns, the marks of a
quotation, fences of Markdown, the JSON that docker and kubernetes put around each line. Time stamps and
names of pods are left alone: a message is found wherever in its line it begins.
"""

import json
import re
from collections.abc import Iterable, Iterator

from kvcalc.frozen import frozen

# As much is read at once; no more of one line is looked at; no more lines are kept, and of one text.
PIECE_BYTES = 1 << 19
MAX_LINE_BYTES = 1 << 15
MAX_LINES = 20_000

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|(?<![\w\]])\[(?:\d{1,3}(?:;\d{1,3})*)?m")
_QUOTED = re.compile(r"^(?:\s{0,3}>\s?)+")
_WRAPPED = re.compile(r"^\s*(?:\S+\s+(?:stdout|stderr)\s+[FP]\s+)?(\{.*)")
_WITHIN = re.compile(r'"(?:log|message|msg|MESSAGE|text|line)"\s*:\s*"((?:[^"\\]|\\.)*)')
# The process or rank that wrote a line: vLLM's (EngineCore_0 pid=7), (Worker_TP1), SGLang's [... TP0].
_WRITER = re.compile(
    r"\((?P<vllm>(?:APIServer|EngineCore|VllmWorker|Worker|RayWorker|CoreEngine|ApiServer)[^()]{0,60})\)"
    r"|\[[^\[\]]{0,40}?(?P<sglang>(?:DP\d+ )?(?:PP\d+ )?TP\d+(?: EP\d+)?)\]"
    r"|\[(?:RANK |rank)(?P<rank>\d+)\]"
)


@frozen
class LogLine:
    """One line. number: 1-based, in the text. text: the message and what stood before it.

    writer: the process or rank that wrote it, "" where it does not say. wrapped: the line after it, where
    a terminal may have broken one in two.
    """

    number: int
    text: str
    writer: str = ""
    wrapped: str = ""


# What of a line does not tell it from another of its kind: numbers, hexadecimal names, what parts them.
_UNLIKE = b"0123456789abcdef.,:-_"
# Kinds of lines that are known to say nothing; more are not remembered.
_MAX_KINDS = 50_000
# Lines of a shell's command that goes on, and the most that wait for the piece that follows.
_HELD, _MOST = 64, 8 << 20
# No terminal is narrower.
_NARROW = 40
# More lines than this in one piece that are all of kinds never seen are nobody's paste.
_PASTED = 2_500


def read(pieces: Iterable[bytes], keys: Iterable[str]) -> Iterator[LogLine]:
    """The lines that have one of the keys in them, in order.

    A server's log is a million lines of a few kinds: a kind that had no key is not looked at again.
    Takes memory for a piece, for the kinds, and for one line.
    """
    words = _by_mark(key.encode() for key in sorted(set(keys)))
    dull: set[bytes] = set()
    number, rest = 1, b""
    for piece in pieces:
        text = rest + piece
        end = _end(text)
        if end < 0:
            # No line is whole yet; what is longer than any message is not kept.
            rest = text if len(text) < _MOST else text[:MAX_LINE_BYTES]
            continue
        kinds = text[:end].translate(None, _UNLIKE).split(b"\n")
        yield from _telling(text, kinds, number, words, dull)
        number += len(kinds)
        rest = text[end + 1 :]
    yield from _telling(rest, rest.translate(None, _UNLIKE).split(b"\n"), number, words, dull)


# What many keys have in them: of a text without it they need not be looked for, and prose has few.
_MARKS = (b"_", b"=", b"--", b"KV", b"LLM", b"llm", b"GPU", b"TRTGpt", b"llama", b"glang", b"ersion",
          b"emory", b"raph", b" end", b"buffer", b"cache", b"weights", b"Using ", b"ax", b": ")  # fmt: skip


def _by_mark(words: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Words by the first of the marks that they have; a word without one by itself."""
    found: dict[bytes, list[bytes]] = {}
    for word in words:
        found.setdefault(next((mark for mark in _MARKS if mark in word), word), []).append(word)
    return found


def _there(words: dict[bytes, list[bytes]], text: bytes) -> list[bytes]:
    """The words that are in a text."""
    return [word for mark, known in words.items() if mark in text for word in known if word in text]


def _end(text: bytes) -> int:
    """Where the lines end that can be looked at: the last few may be continued by the next piece."""
    end = len(text)
    for _ in range(_HELD):
        before = text.rfind(b"\n", 0, end)
        if before < 0:
            return -1 if len(text) < _MOST else text.rfind(b"\n")
        end = before
    return end


def _telling(
    whole: bytes, kinds: list[bytes], number: int, words: dict[bytes, list[bytes]], dull: set[bytes]
) -> Iterator[LogLine]:
    """kinds: of the first lines of the text, which are looked at; the others may continue them."""
    fresh = set(kinds).difference(dull)
    if not fresh:
        return
    lines = whole.split(b"\n")
    places = [place for place, kind in enumerate(kinds) if kind in fresh]
    text = b"\n".join([lines[place] for place in places])
    there = _there(words, text)
    # A terminal breaks what is pasted, which is short; a server's own file has no broken lines.
    spans = {place: _across(lines, place) for place in places} if len(places) <= _PASTED else {}
    across = b"\n".join(spans.values())
    broken = _there(words, across)
    skip = 0
    if not there and not broken:
        _remember((kinds[place] for place in places), dull)
        return
    for place in places:
        line, span = lines[place], spans.get(place, b"")
        if any(word in line for word in there):
            if place >= skip:
                found, skip = _line(lines, place, number)
                yield found
        elif any(word in span and word not in lines[place + 1] for word in broken):
            joined = [line + lines[place + 1], *lines[place + 2 : place + 3]]
            found, _ = _line(joined, 0, number + place)
            yield found
        else:
            _remember((kinds[place],), dull)


def _remember(kinds: Iterable[bytes], dull: set[bytes]) -> None:
    """Kinds that say nothing, as far as there is room for them."""
    for kind in kinds:
        if len(dull) >= _MAX_KINDS:
            return
        if len(kind) < 400:
            dull.add(kind)


def _across(lines: list[bytes], place: int) -> bytes:
    """The end of a line and the beginning of the next, where a terminal may have broken one in two."""
    line = lines[place]
    if len(line) < _NARROW or place + 1 >= len(lines):
        return b""
    return line[-_NARROW:] + lines[place + 1][:_NARROW]


def _line(lines: list[bytes], place: int, number: int) -> tuple[LogLine, int]:
    """The line at a place, with those that a shell would read with it, and the place after them."""
    text, end = _clean(lines[place][:MAX_LINE_BYTES]), place + 1
    while text.endswith("\\") and end < len(lines) and end - place < _HELD:
        text = text[:-1].rstrip() + " " + _clean(lines[end][:MAX_LINE_BYTES])
        end += 1
    writer = _WRITER.search(text)
    wrapped = _clean(lines[end][:400]) if end < len(lines) else ""
    return LogLine(number + place, text, writer[0].strip("()[]") if writer else "", wrapped), end


def _clean(line: bytes) -> str:
    """A line without what pasting and collecting put around it."""
    text = _COLOUR.sub("", line.decode("utf-8", "replace").rstrip())
    text = _QUOTED.sub("", text)
    wrapped = _WRAPPED.match(text)
    if wrapped is not None and "server_args" not in text:
        text = _unwrapped(wrapped[1]) or text
    return _COLOUR.sub("", text).strip("\r\n `") if "\x1b" in text else text.strip("\r\n `")


def _unwrapped(text: str) -> str | None:
    """The message in a line of JSON, whole or cut."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        cut = _WITHIN.search(text)
        if cut is None:
            return None
        try:
            return str(json.loads(f'"{cut[1]}"'))
        except ValueError:
            return cut[1]
    if isinstance(found, dict):
        for key in ("log", "message", "msg", "MESSAGE", "text", "line"):
            if isinstance(found.get(key), str):
                return str(found[key])
    return None


def rank_of(writer: str) -> tuple[int, ...] | None:
    """The numbers of a rank in a writer's name: TP1 of PP0 is (0, 1); None where it names none."""
    found = [int(number) for number in re.findall(r"(?:DP|PP|TP)(\d+)", writer)]
    return tuple(found) if found else None
