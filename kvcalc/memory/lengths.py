"""Prompt and output lengths of real requests: a CSV or JSONL file, read line by line and counted.

What a file may hold, told apart by the names of its columns or keys:

* a request per line: prompt and output tokens, or their sum (``length``);
* a histogram: ``length,count`` or ``prompt,output,count``;
* bare numbers, one per line: lengths.

Only counts are kept, so a million requests take the memory of their distinct lengths. Whatever is
wrong with a line is an error that names the line.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from kvcalc.errors import FileError, NotFoundError, UsageError
from kvcalc.frozen import frozen
from kvcalc.units import MAX_TOKENS

# As traces of vLLM, Mooncake, Azure, BurstGPT and the OpenAI API name them, letters only.
_NAMES = {
    "prompt": "prompt prompttokens promptlen promptlength input inputtokens inputlen inputlength "
              "contexttokens requesttokens numprefilltokens numprompttokens numinputtokens",
    "output": "output outputtokens outputlen outputlength completion completiontokens completionlen "
              "completionlength responsetokens response generated generatedtokens numdecodetokens "
              "numoutputtokens numgeneratedtokens",
    "length": "length tokens totaltokens total len numtokens",
    "count": "count counts requests num numrequests frequency freq n weight occurrences",
}  # fmt: skip
# What traces say of a request beside its length. Any other column is refused: it may be a length.
_SAID_BESIDE = (
    "timestamp time date datetime arrival arrivaltime arrivedat starttime endtime model modelname "
    "id requestid sessionid conversationid chatid turn user userid logtype type index name dataset "
    "latency elapsedtime ttft tpot hashids cachedtokens"
)
_BESIDE = frozenset(_SAID_BESIDE.split())
_COLUMNS = {alias: name for name, aliases in _NAMES.items() for alias in aliases.split()}

MAX_LINE = 1 << 16
MAX_DISTINCT = 1 << 22
MAX_COUNT = 1 << 50


@frozen
class Lengths:
    """Requests by length. totals: tokens of prompt and output together -> requests.

    prompts: tokens of the prompt -> requests; of the whole request where a file does not tell them
    apart (has_prompts is False).
    """

    totals: dict[int, int]
    prompts: dict[int, int]
    has_prompts: bool

    @property
    def num_requests(self) -> int:
        return sum(self.totals.values())


def open_lengths(path: str) -> Lengths:
    """Read a file. Raises NotFoundError, FileError or UsageError."""
    try:
        with open(path, "rb") as stream:
            return read_lengths(stream, path)
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None


def read_lengths(stream: BinaryIO, name: str) -> Lengths:
    """Count the requests of a file. name: what errors call it.

    Raises FileError for a file that cannot be read and UsageError, with the line, for its contents.
    """
    lines = _lines(stream, name)
    first = next(lines, None)
    if first is None:
        raise UsageError(f"{name}: no requests in it")
    totals: dict[int, int] = {}
    prompts: dict[int, int] = {}
    number, text = first
    rows: Iterator[tuple[int, dict[str, int]]]
    if text[0] in "{[":
        rows = _json_rows(number, text, lines, name)
    else:
        rows = _csv_rows(number, text, lines, name)
    told_apart = False
    for number, row in rows:
        count = row.get("count", 1)
        if "prompt" in row:
            told_apart = True
            prompt = row["prompt"]
            total = prompt + row.get("output", 0)
        else:
            prompt = total = row["length"]
        if count > MAX_COUNT or total > MAX_TOKENS:
            raise UsageError(f"{name}:{number}: more than any machine serves: {str(row)[:80]}")
        totals[total] = totals.get(total, 0) + count
        prompts[prompt] = prompts.get(prompt, 0) + count
        if len(totals) > MAX_DISTINCT:
            raise UsageError(f"{name}:{number}: more than {MAX_DISTINCT:,} different lengths")
    if not sum(totals.values()):
        raise UsageError(f"{name}: no requests in it")
    return Lengths(totals, prompts, told_apart)


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that hold something."""
    number = 0
    while True:
        try:
            line = stream.readline(MAX_LINE + 1)
        except OSError as error:
            raise FileError(f"cannot read {name}: {error.strerror}") from None
        if not line:
            return
        number += 1
        if len(line) > MAX_LINE:
            raise UsageError(f"{name}:{number}: a line of more than {MAX_LINE:,} bytes")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise UsageError(f"{name}:{number}: not text (UTF-8)") from None
        if text:
            yield number, text


def _number(text: str, what: str, where: Callable[[], str]) -> int:
    """A whole number of at most 13 digits."""
    digits = text.strip().strip('"')
    if digits.isascii() and digits.isdigit() and len(digits) <= 13:
        return int(digits)
    shown = text if len(text) <= 40 else text[:37] + "..."
    raise UsageError(f"{where()}: {what} is '{shown}'; write a whole number of tokens")


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalpha())


def _column(name: str) -> str | None:
    return _COLUMNS.get(_letters(name))


def _refuse_unknown(names: list[str], where: str) -> None:
    """A column that is not known may be a part of the length: it is not dropped in silence."""
    unknown = [name for name in names if _letters(name) not in _BESIDE]
    if unknown:
        raise UsageError(
            f"{where}: unknown column{'s' if len(unknown) > 1 else ''} "
            f"{', '.join(repr(name[:40]) for name in unknown[:6])}; columns that count are prompt, "
            f"output, length and count: rename or remove the other{'s' if len(unknown) > 1 else ''}"
        )


# ------------------------------------------------------------------ CSV


def _csv_rows(
    first: int, text: str, lines: Iterator[tuple[int, str]], name: str
) -> Iterator[tuple[int, dict[str, int]]]:
    delimiter = next((mark for mark in ("\t", ";", ",") if mark in text), ",")
    header = [part.strip().strip('"') for part in text.split(delimiter)]
    found = [_column(part) for part in header]
    if any(found):
        _refuse_unknown([part for part in header if _column(part) is None], f"{name}:{first}")
    if not any(found):
        if len(header) > 1 or not header[0].isdigit():
            raise UsageError(
                f"{name}:{first}: name the columns in the first line: prompt,output or length or "
                f"length,count; found {', '.join(repr(part[:20]) for part in header[:6])}"
            )
        yield first, {"length": _number(header[0], "the length", lambda: f"{name}:{first}")}
        found = ["length"]
    kept = _chosen(found, f"{name}:{first}")
    width = len(header)
    for number, line in lines:
        parts = (
            _split(line, delimiter, f"{name}:{number}") if '"' in line else line.split(delimiter)
        )
        if len(parts) != width:
            raise UsageError(f"{name}:{number}: {len(parts)} columns; the first line has {width}")
        row = {}
        for index, column in kept:
            digits = parts[index]
            # The common case first: plain digits.
            if len(digits) <= 13 and digits.isdigit() and digits.isascii():
                row[column] = int(digits)
            else:
                where = f"{name}:{number}"
                row[column] = _number(digits, header[index], lambda: where)  # noqa: B023
        yield number, row


def _split(line: str, delimiter: str, where: str) -> list[str]:
    import csv

    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UsageError(f"{where}: {error}") from None


def _chosen(found: list[str | None], where: str) -> list[tuple[int, str]]:
    """(index, meaning) of the columns that count. Raises UsageError where they make no request."""
    kept: dict[str, int] = {}
    for index, column in enumerate(found):
        if column is not None:
            if column in kept:
                raise UsageError(f"{where}: two columns for {column}")
            kept[column] = index
    if "prompt" in kept:
        # Where prompt and output are told apart their sum says nothing new.
        kept.pop("length", None)
    elif "length" not in kept:
        raise UsageError(
            f"{where}: no column for the prompt or the length: name it in the first line"
        )
    return [(index, column) for column, index in kept.items()]


# ------------------------------------------------------------------ JSONL


def _json_rows(
    first: int, text: str, lines: Iterator[tuple[int, str]], name: str
) -> Iterator[tuple[int, dict[str, int]]]:
    columns: dict[str, str | None] = {}
    yield first, _json_row(text, columns, f"{name}:{first}")
    for number, line in lines:
        yield number, _json_row(line, columns, f"{name}:{number}")


def _json_row(text: str, columns: dict[str, str | None], where: str) -> dict[str, int]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).split(":", 1)[0]
        raise UsageError(f"{where}: not a line of JSON ({reason}); one object per line") from None
    if not isinstance(value, dict):
        raise UsageError(f"{where}: a {type(value).__name__}; write one object per line, such as "
                         '{"prompt": 1200, "output": 300}')  # fmt: skip
    usage = value.get("usage")
    if isinstance(usage, dict):
        value = usage
    row: dict[str, int] = {}
    unknown: list[str] = []
    for key, item in value.items():
        column = columns[key] if key in columns else columns.setdefault(key, _column(key))
        if column is None:
            if isinstance(item, int) and not isinstance(item, bool):
                unknown.append(key)
            if len(columns) > 4096:
                columns.clear()
            continue
        if column in ("prompt", "output") and isinstance(item, str) and not item.strip().isdigit():
            # A trace may hold the text itself beside its length; a number in quotes is a length.
            continue
        if column in row:
            raise UsageError(f"{where}: two keys for {column}")
        row[column] = _json_number(item, key, where)
    if "prompt" in row:
        row.pop("length", None)
    elif "length" not in row:
        raise UsageError(
            f"{where}: no prompt or length among {', '.join(list(value)[:6]) or 'no keys'}"
        )
    if unknown:
        _refuse_unknown(unknown, where)
    return row


def _json_number(item: Any, key: str, where: str) -> int:
    if isinstance(item, int) and not isinstance(item, bool) and item >= 0:
        return item
    return _number(str(item)[:60], key, lambda: where)
