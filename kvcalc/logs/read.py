"""A log, read and held against kvcalc: what ``kvcalc log`` and ``kvcalc.read_log`` answer."""

from collections.abc import Iterable, Iterator

from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines import engine_of
from kvcalc.errors import UsageError
from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.dialect import options
from kvcalc.logs.facts import Said, Start
from kvcalc.logs.machines import device_of
from kvcalc.logs.models import model_of
from kvcalc.logs.starts import DIALECTS, chosen, read_starts
from kvcalc.spec.catalog import Found

# What --engine may say besides the engine's own name.
WRAPPED = {"ollama": "llama.cpp", "lm-studio": "llama.cpp"}


def answer_of(
    pieces: Iterable[bytes], model: str | None = None, engine: str | None = None,
    flags: str | None = None, gpu: str | None = None,
) -> LogAnswer:  # fmt: skip
    """Read a log, piece by piece, and hold it against kvcalc.

    model: where the log does not say it. flags: a line of them, as the engine spells them, over the
    log's. Raises UsageError, with line numbers, where the log cannot be asked about, and what the
    engine's rules raise.
    """
    reading = read_starts(pieces)
    name = None if engine is None else WRAPPED.get(engine, engine)
    if name is not None and name not in DIALECTS:
        raise UsageError(f"--engine {engine}: logs of {', '.join(DIALECTS)} are read")
    start, notes = chosen(reading, name, model)
    if flags is not None:
        _said_besides(start, flags)
    if gpu is not None:
        start.gpu = Said(gpu, 0)
    start.asked = model or ""
    found, called, taken = model_of(start, model)
    notes += [
        f"line {line} is cut before its number ends: '...{text}'" for line, text in start.cut[:3]
    ]
    notes += _of_release(start)
    device = device_of(start)
    return _compare(start, found, called, device, (*taken, *notes))


def _of_release(start: Start) -> Iterator[str]:
    """What is assumed of a release that nobody read. llama.cpp's logs say builds, not releases."""
    if start.version is None or start.engine == "llama.cpp":
        return
    version = str(start.version.value)
    record = engine_of(start.engine)
    try:
        yield from record.unread(version)
    except UsageError:
        yield (
            f"line {start.version.line}: {record.words} {version} is no release whose rules were read; "
            f"{record.oldest} is the oldest"
        )


def _said_besides(start: Start, text: str) -> None:
    """Flags of the command line of kvcalc. Raises UsageError for one that decides no cache."""
    dialect = DIALECTS[start.engine]
    for option, value in options(text):
        name = dialect.options.get(option, dialect.options.get(option.replace("_", "-"), ""))
        if option in ("--mtp-layers", "--num-speculative-tokens"):
            start.say(
                option.removeprefix("--").replace("-", "_"),
                int(value) if value.isdecimal() else value,
                0,
            )
        elif not name:
            known = sorted(each for each in dialect.options if each.startswith("--"))
            raise UsageError(
                f"--flags {option}: of {dialect.words}'s these decide a cache: {', '.join(known)}"
            )
        else:
            dialect.put(start, name, value or "True", 0)


def _compare(
    start: Start, found: Found, called: str, device: Accelerator | None, notes: tuple[str, ...]
) -> LogAnswer:
    """By the engine's own module."""
    match start.engine:
        case "vllm":
            from kvcalc.logs.held.vllm_answer import answer
        case "sglang":
            from kvcalc.logs.held.sglang import answer
        case "tensorrt-llm":
            from kvcalc.logs.held.tensorrt_llm import answer
        case _:
            from kvcalc.logs.held.llama_cpp import answer
    return answer(start, found, called, device, notes)
