"""Prompt and output lengths of real requests: a CSV or JSONL file, read line by line and counted.

What a file may hold, told apart by the names of its columns or keys:

* a request per line: prompt and output tokens, or their sum (``length``), or both,
  which must agree;
* a histogram: ``length,count`` or ``prompt,output,count``;
* bare numbers, one per line: lengths.

Only counts are kept, so a million requests take the memory of their distinct lengths. Whatever is
wrong with a line is an error that names the line.
"""

import json
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
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
_BLOCK = 1 << 16
MAX_DISTINCT = 1 << 22
MAX_COUNT = 1 << 50


@frozen
class Lengths:
    """Requests by length. totals: tokens of prompt and output together -> requests.

    prompts: tokens of the prompt -> requests; of the whole request where a file does not tell them
    apart (has_prompts is False); empty where nobody asked for them.
    """

    totals: dict[int, int]
    prompts: dict[int, int]
    has_prompts: bool

    @property
    def num_requests(self) -> int:
        return sum(self.totals.values())


def open_lengths(path: str, count_prompts: bool = True) -> Lengths:
    """Read a file. Raises NotFoundError, FileError or UsageError."""
    try:
        with open(path, "rb") as stream:
            return read_lengths(stream, path, count_prompts)
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}") from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None


class _Tally:
    """The requests counted so far. name: what errors call the file."""

    def __init__(self, name: str, count_prompts: bool) -> None:
        self.name = name
        self.count_prompts = count_prompts
        self.totals: Counter[int] = Counter()
        self.prompts: Counter[int] = Counter()
        self.told_apart = False

    def add(self, number: int, row: dict[str, int]) -> None:
        """Count the requests of one line."""
        count = row.get("count", 1)
        total = row.get("length")
        prompt = row.get("prompt", total or 0)
        if total is None:
            total = prompt + row.get("output", 0)
        elif prompt + row.get("output", total - prompt) != total or prompt > total:
            raise UsageError(
                f"{self.name}:{number}: prompt and output are not the length that stands beside them: "
                f"{str(row)[:80]}"
            )
        if count > MAX_COUNT or total > MAX_TOKENS:
            raise UsageError(f"{self.name}:{number}: more than any machine serves: {str(row)[:80]}")
        self.told_apart |= "prompt" in row
        self.totals[total] += count
        if self.count_prompts:
            self.prompts[prompt] += count
        self._bound(number)

    def add_block(self, number: int, columns: dict[str, list[int]]) -> bool:
        """Count many requests at once, a list for each column; False where one of them is too long.

        number: of their last line.
        """
        prompts = columns["prompt"] if "prompt" in columns else columns["length"]
        outputs = columns.get("output")
        totals = prompts if outputs is None else list(map(operator.add, prompts, outputs))
        if max(totals) > MAX_TOKENS:
            return False
        self.told_apart |= "prompt" in columns
        self.totals.update(totals)
        if self.count_prompts:
            self.prompts.update(prompts)
        self._bound(number)
        return True

    def _bound(self, number: int) -> None:
        if len(self.totals) > MAX_DISTINCT:
            raise UsageError(f"{self.name}:{number}: more than {MAX_DISTINCT:,} different lengths")


def read_lengths(stream: BinaryIO, name: str, count_prompts: bool = True) -> Lengths:
    """Count the requests of a file. name: what errors call it. count_prompts: also by their prompts.

    Raises FileError for a file that cannot be read and UsageError, with the line, for its contents.
    """
    lines = _lines(stream, name)
    first = next(lines, None)
    if first is None:
        raise UsageError(f"{name}: no requests in it")
    number, text = first
    tally = _Tally(name, count_prompts)
    if text[0] in "{[":
        for at, row in _json_rows(number, text, lines, name):
            tally.add(at, row)
    else:
        _count_csv(number, text, stream, tally)
    if not sum(tally.totals.values()):
        raise UsageError(f"{name}: no requests in it")
    return Lengths(dict(tally.totals), dict(tally.prompts), tally.told_apart)


def _lines(stream: BinaryIO, name: str, number: int = 0) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that hold something. number: of the lines before."""
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


@frozen
class _Table:
    """How a CSV file is written. kept: (index, meaning) of the columns that count."""

    delimiter: str
    header: list[str]
    kept: list[tuple[int, str]]


def _count_csv(first: int, text: str, stream: BinaryIO, tally: _Tally) -> None:
    """Count the requests of a CSV file whose first line is ``text``."""
    name = tally.name
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
        length = _number(header[0], "the length", lambda: f"{name}:{first}")
        tally.add(first, {"length": length})
        found = ["length"]
    table = _Table(delimiter, header, _chosen(found, f"{name}:{first}"))
    for number, num_lines, block in _blocks(stream, name, first):
        columns = _plain_columns(block, num_lines, table)
        if columns is None or not tally.add_block(number + num_lines, columns):
            for at, row in _csv_rows(_lines(BytesIO(block), name, number), table, name):
                tally.add(at, row)


def _blocks(stream: BinaryIO, name: str, number: int) -> Iterator[tuple[int, int, bytes]]:
    """(number of the lines before, of the line ends in it, bytes) of blocks of whole lines."""
    while True:
        try:
            block = stream.read(_BLOCK)
            if block and not block.endswith(b"\n"):
                block += stream.readline(MAX_LINE + 1)
        except OSError as error:
            raise FileError(f"cannot read {name}: {error.strerror}") from None
        if not block:
            return
        num_lines = block.count(b"\n")
        yield number, num_lines, block
        number += num_lines


def _plain_columns(block: bytes, num_lines: int, table: _Table) -> dict[str, list[int]] | None:
    """The columns that count of a block in which every line is plain; None where one is not.

    Plain: as many columns as the first line has, and digits alone where they count. Whatever else a
    block holds, an error too, is found line by line.
    """
    meanings = {column for _, column in table.kept}
    if "count" in meanings or {"prompt", "length"} <= meanings or not block.endswith(b"\n"):
        return None
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    read = _plain_numbers if len(table.kept) == len(table.header) else _plain_parts
    return read(block, num_lines, table)


def _plain_numbers(block: bytes, num_lines: int, table: _Table) -> dict[str, list[int]] | None:
    """Of a block of numbers alone, which JSON's parser reads."""
    mark, width = table.delimiter.encode(), len(table.header)
    # Without its digits a line is its marks: every line's end stands where the width says.
    if block.translate(None, b"0123456789") != (mark * (width - 1) + b"\n") * num_lines:
        return None
    text = block.replace(mark, b",").replace(b"\n", b",")
    try:
        numbers = json.loads(b"[" + text[:-1] + b"]")
    except ValueError:  # an empty column, or 007
        return None
    return {column: numbers[index::width] for index, column in table.kept}


def _plain_parts(block: bytes, num_lines: int, table: _Table) -> dict[str, list[int]] | None:
    """Of a block in which no words are in quotes."""
    mark, width = table.delimiter.encode(), len(table.header)
    odd = (b'"', b"|", *((b"\t\n", b"\n\t") if mark == b"\t" else ()))
    if not block.isascii() or block.startswith(b"\t") or any(text in block for text in odd):
        return None
    if max(map(len, block.split(b"\n"))) >= MAX_LINE:
        return None
    # Each line has its own end, a bar: every one must stand where the width says.
    parts = block.replace(b"\n", mark + b"|" + mark).split(mark)[:-1]
    ends = parts[width :: width + 1].count(b"|")
    if len(parts) != num_lines * (width + 1) or not ends == parts.count(b"|") == num_lines:
        return None
    columns = {}
    for index, column in table.kept:
        found = parts[index :: width + 1]
        if not all(found) or max(map(len, found)) > 13 or not b"".join(found).isdigit():
            return None
        columns[column] = list(map(int, found))
    return columns


def _csv_rows(
    lines: Iterator[tuple[int, str]], table: _Table, name: str
) -> Iterator[tuple[int, dict[str, int]]]:
    width = len(table.header)
    for number, line in lines:
        parts = (
            _split(line, table.delimiter, f"{name}:{number}")
            if '"' in line
            else line.split(table.delimiter)
        )
        if len(parts) != width:
            raise UsageError(f"{name}:{number}: {len(parts)} columns; the first line has {width}")
        row = {}
        for index, column in table.kept:
            where = f"{name}:{number}"
            row[column] = _number(parts[index], table.header[index], lambda: where)  # noqa: B023
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
    if "output" in kept and "length" in kept and "prompt" not in kept:
        raise UsageError(f"{where}: an output beside a length, and no prompt: name or remove one")
    if "prompt" not in kept and "length" not in kept:
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
    if "output" in row and "length" in row and "prompt" not in row:
        raise UsageError(f"{where}: an output beside a length, and no prompt: name or remove one")
    if "prompt" not in row and "length" not in row:
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
