"""Positions that a library's buffers hold, padding and all, after a prompt that it read in steps.

mlx-lm 0.32.2, mlx_lm/models/cache.py, and generate.py (generate_step): all tokens of a prompt but the
last are read ``PREFILL`` at a time, the last one alone. Three moments say it all: after the last whole
step, after what is left of the prompt but for the last token, and after that one; ``stages`` has the
positions at each.
"""

from kvcalc.frozen import frozen

PREFILL = 2048
STEP = 256

# Positions held after the last whole step, after the rest, after the last token.
Stages = tuple[int, int, int]


def _cut(tokens: int) -> tuple[int, int]:
    """Whole steps of the prefill, and tokens of the last one."""
    return divmod(max(0, tokens - 1), PREFILL)


def _up(tokens: int) -> int:
    return -(-tokens // STEP) * STEP


def first_end(start: int, tokens: int) -> tuple[int, int] | None:
    """The first end of a step at which ``start`` tokens are held, as (tokens, which of its stages).

    None where a prompt of ``tokens`` never holds so many.
    """
    if tokens < start:
        return None
    whole = -(-start // PREFILL) * PREFILL
    if whole <= tokens - 1:
        return whole + 1, 0
    return (tokens, 1) if tokens - 1 >= start else (tokens, 2)


@frozen
class Grown:
    """Every token, in whole steps of 256 (KVCache.update_and_fetch).

    since, until: lengths at which the buffer is there: ``since <= tokens < until``.
    """

    since: int = 0
    until: int | None = None

    def stages(self, tokens: int) -> Stages:
        steps, rest = _cut(tokens)
        lengths = (steps * PREFILL, steps * PREFILL + rest, tokens)
        after, before, now = (_up(each) if self._there(each) else 0 for each in lengths)
        return after, before, now

    def _there(self, tokens: int) -> bool:
        return self.since <= tokens and (self.until is None or tokens < self.until)

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return self.stages(tokens)[2]

    def slope(self) -> tuple[int, int]:
        return (1, 1) if self.until is None else (0, 1)

    def __str__(self) -> str:
        return "every token, in steps of 256"


@frozen
class Rotating:
    """The last ``size`` tokens, with what a step of the prefill leaves beside them (RotatingKVCache).

    A step of several tokens keeps itself and size - 1 positions before it; a single token cuts the
    buffer to ``size``, and below that lets it grow by 256.
    """

    size: int

    def stages(self, tokens: int) -> Stages:
        if not tokens:
            return 0, 0, 0
        steps, rest = _cut(tokens)
        after = PREFILL + min((steps - 1) * PREFILL, self.size - 1) if steps else 0
        if rest > 1:
            before = min(after, self.size - 1) + rest
        else:
            before = self._single(after, steps * PREFILL) if rest else after
        return after, before, self._single(before, tokens - 1)

    def _single(self, rows: int, offset: int) -> int:
        """After one more token. offset: tokens before it."""
        if offset >= rows and rows < self.size:
            rows += min(STEP, self.size - offset)
        return min(rows, self.size)

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return self.stages(tokens)[2]

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return f"last {self.size} tokens, as a rotating buffer"


@frozen
class Sliced:
    """The last ``size`` tokens and those of the last call, in steps of 256 (ChunkedKVCache): the buffer
    is cut to ``size`` when the next call begins."""

    size: int

    def stages(self, tokens: int) -> Stages:
        if not tokens:
            return 0, 0, 0
        steps, rest = _cut(tokens)
        rows = valid = 0
        for _ in range(steps):
            rows, valid = self._call(rows, valid, PREFILL)
        after = rows
        if rest:
            rows, valid = self._call(rows, valid, rest)
        return after, rows, self._call(rows, valid, 1)[0]

    def _call(self, rows: int, valid: int, tokens: int) -> tuple[int, int]:
        if valid > self.size:
            rows = valid = self.size
        if valid + tokens > rows:
            rows = (valid if valid % STEP else rows) + _up(tokens)
        return rows, valid + tokens

    def positions(self, tokens: int, encoder_tokens: int) -> int:
        return self.stages(tokens)[2]

    def slope(self) -> tuple[int, int]:
        return 0, 1

    def __str__(self) -> str:
        return f"last {self.size} tokens and the call's, in steps of 256"


Buffer = Grown | Rotating | Sliced
