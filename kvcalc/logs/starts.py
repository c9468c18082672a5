"""From a log to the starts of engines in it: which engine, which lines, which of several."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kvcalc.errors import UsageError, one_line
from kvcalc.logs import llama_cpp, sglang, tensorrt_llm, vllm
from kvcalc.logs.command import command_flags
from kvcalc.logs.dialect import Dialect, Message, match
from kvcalc.logs.facts import Start
from kvcalc.logs.lines import MAX_LINES, LogLine, read

DIALECTS: dict[str, Dialect] = {
    each.name: each
    for each in (vllm.DIALECT, sglang.DIALECT, tensorrt_llm.DIALECT, llama_cpp.DIALECT)
}
# Programs whose logs are not read, by words of theirs.
_OTHERS = {
    "text_generation_router": "text-generation-inference",
    "text_generation_launcher": "text-generation-inference",
    "lmdeploy": "lmdeploy", "[TM][": "lmdeploy", "exllama": "exllamav3", "mlx_lm": "mlx-lm",
    "openvino": "OpenVINO", "mistralrs": "mistral.rs",
}  # fmt: skip
MAX_STARTS, MAX_FIGURES = 500, 4_000


@dataclass
class Reading:
    """What a log says. starts: of every engine, in order. others: (line, program) that are not read.

    short: not all of the log's lines were looked at. first: (line, words) of the first that says something.
    """

    starts: list[Start] = field(default_factory=list)
    others: list[tuple[int, str]] = field(default_factory=list)
    short: bool = False
    first: tuple[int, str] | None = None


def read_starts(pieces: Iterable[bytes]) -> Reading:
    """Every start in a log. Takes no more memory for a longer one."""
    keys = {key for dialect in DIALECTS.values() for key in dialect.words_of_lines()}
    reader = _Reader()
    for count, line in enumerate(read(reader.watched(pieces), {*keys, *_OTHERS})):
        if count >= MAX_LINES:
            reader.reading.short = True
            break
        reader.take(line)
    return reader.reading


class _Reader:
    """Starts as they come, one open for each engine."""

    def __init__(self) -> None:
        self.reading = Reading()
        self._open: dict[str, Start] = {}
        self._begun: dict[str, set[str]] = {}
        self._messages = [
            (dialect, message) for dialect in DIALECTS.values() for message in dialect.messages
        ]
        self._draft = False

    def watched(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces as they are; the first line with words in it is remembered."""
        for piece in pieces:
            if self.reading.first is None:
                for number, line in enumerate(piece.split(b"\n", 200), 1):
                    words = line.decode("utf-8", "replace").strip("` \r\t>")
                    if words:
                        self.reading.first = number, one_line(words[:80])
                        break
            yield piece

    def take(self, line: LogLine) -> None:
        text = line.text
        for dialect, message in self._messages:
            if message.key not in text:
                continue
            found = match(message, text)
            if found is None and line.wrapped:
                # Broken by a terminal, or by somebody who wrote it down.
                found = match(message, text + line.wrapped) or match(
                    message, f"{text} {line.wrapped}"
                )
            if found is None:
                if message.cuts:
                    self._start(dialect, None, line).cut.append((line.number, text[-60:]))
                continue
            start = self._start(dialect, message, line)
            if len(start.figures) < MAX_FIGURES:
                message.take(start, found, line)
            start.last = line.number
        for dialect in DIALECTS.values():
            if any(word in text for word in dialect.commands):
                command_flags(dialect, self._start(dialect, None, line), line)
        for word, program in _OTHERS.items():
            if word in text and len(self.reading.others) < 10:
                self.reading.others.append((line.number, program))

    def _start(self, dialect: Dialect, message: Message | None, line: LogLine) -> Start:
        """The start that a line belongs to; the first lines of one begin it."""
        start, begun = self._open.get(dialect.name), self._begun.setdefault(dialect.name, set())
        begins = message is not None and message.begins
        if start is None or (begins and start.figures) or (
            begins and message is not None and message.key in begun and dialect.name == "llama.cpp"
        ):  # fmt: skip
            before = start
            start = self._open[dialect.name] = Start(dialect.name, line.number, line.number)
            if before is not None and message is not None:
                # A release and a machine do not change between two starts of one log.
                start.version, start.gpu, start.wrapper = before.version, before.gpu, before.wrapper
            begun.clear()
            if len(self.reading.starts) < MAX_STARTS:
                self.reading.starts.append(start)
        if message is not None and message.begins:
            begun.add(message.key)
        return start


def chosen(reading: Reading, engine: str | None, model: str | None) -> tuple[Start, list[str]]:
    """The start that is asked about, and what is to be said of the choice.

    Raises UsageError, with line numbers, where there is none, or several that are not one question.
    """
    notes: list[str] = []
    _join(reading.starts)
    with_figures = [start for start in reading.starts if start.figures]
    if engine is not None:
        with_figures = [start for start in with_figures if start.engine == engine]
    if not with_figures:
        raise UsageError(_nothing(reading, engine))
    engines = list(dict.fromkeys(start.engine for start in with_figures))
    if len(engines) > 1:
        said = ", ".join(
            f"{DIALECTS[name].words} in line {_first_figure(with_figures, name)}"
            for name in engines
        )
        raise UsageError(f"the log is of several engines: {said}; --engine says which is meant")
    named = [start for start in with_figures if start.model is not None]
    models = {
        str(start.model.value): start.model.line for start in named if start.model is not None
    }
    if len(models) > 1:
        meant = [start for start in named if start.model and _same(str(start.model.value), model)]
        if not meant:
            said = ", ".join(f"{name} in line {line}" for name, line in list(models.items())[:6])
            raise UsageError(
                f"two models in one log: {said}; give the lines of one, or --model with one of these names"
            )
        with_figures = meant
    start = with_figures[-1]
    if len(with_figures) > 1:
        notes.append(
            f"{len(with_figures)} starts in this log: the last, from line {start.first}, is answered"
        )
    if reading.short:
        notes.append(f"only the first {MAX_LINES:,} lines that say something were looked at")
    return start, notes


def _join(starts: list[Start]) -> None:
    """Figures that were pasted over what they belong to: people quote the end of a log first."""
    for place, start in enumerate(starts):
        if not start.figures or start.model is not None:
            continue
        for other in (*starts[place + 1 :], *reversed(starts[:place])):
            if other.engine == start.engine and not other.figures and other.model is not None:
                start.model, start.version = other.model, start.version or other.version
                start.gpu = start.gpu or other.gpu
                start.flags = other.flags | start.flags
                start.memory = other.memory | start.memory
                break


def _same(name: str, asked: str | None) -> bool:
    tail = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return asked is not None and asked.lower() in (name.lower(), tail)


def _first_figure(starts: list[Start], engine: str) -> int:
    return min(start.figures[0].line for start in starts if start.engine == engine)


def _nothing(reading: Reading, engine: str | None) -> str:
    """Why there is nothing to hold against kvcalc."""
    names = "vLLM, SGLang, TensorRT-LLM and llama.cpp (Ollama, LM Studio)"
    starts = [start for start in reading.starts if engine in (None, start.engine)]
    cut = next((each for start in starts for each in start.cut), None)
    if cut is not None:
        return f"line {cut[0]} is cut before its number ends ('...{cut[1]}'): paste the whole line"
    proven = next((start for start in starts if start.version or start.model), None)
    if proven is not None:
        words = DIALECTS[proven.engine].words
        begin, end = proven.first, proven.last
        where = f"line {begin} is" if begin == end else f"lines {begin} to {end} are"
        return (
            f"{where} of {words}, and none says what its cache took: "
            f"paste the lines from the start of the server on, {_LOOKED_FOR[proven.engine]} among them"
        )
    if reading.others:
        line, program = reading.others[0]
        return f"line {line} is of {program}, whose logs are not read: only those of {names} are"
    which = "no line" if engine is None else f"no line of {DIALECTS[engine].words}"
    first = f", and line {reading.first[0]} begins '{reading.first[1]}'" if reading.first else ""
    return f"{which} says what a cache took{first}: logs of {names} are read from their start on"


_LOOKED_FOR = {
    "vllm": "'GPU KV cache size' or 'Available KV cache memory'",
    "sglang": "'KV Cache is allocated'",
    "tensorrt-llm": "'Allocated ... for max tokens in paged KV cache'",
    "llama.cpp": "'llama_kv_cache: size ='",
}
