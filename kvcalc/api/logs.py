"""``import kvcalc``: an engine's start-up log, held against kvcalc."""

from collections.abc import Iterable
from pathlib import Path

from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.read import answer_of
from kvcalc.logs.sources import pieces_of


def read_log(
    source: str | Path | Iterable[bytes], *, model: str | None = None, engine: str | None = None,
    gpu: str | None = None, flags: str | None = None,
) -> LogAnswer:  # fmt: skip
    """What an engine's start-up log says beside what kvcalc says: ``kvcalc log``.

    source: a file, the address of a running server, or the bytes themselves, in pieces. model, engine,
    gpu, flags: what the log does not say, flags as the engine spells them. Raises UsageError, with line
    numbers, where the log cannot be asked about.
    """
    if isinstance(source, str | Path):
        with pieces_of(str(source)) as pieces:
            return answer_of(pieces, model, engine, flags, gpu)
    return answer_of(source, model, engine, flags, gpu)
