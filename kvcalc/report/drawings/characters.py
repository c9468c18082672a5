"""``kvcalc compare --chart``: the plots of ``--plot`` in characters, for a terminal."""

from kvcalc.deployment.curves import CACHE, PARTS, Picture
from kvcalc.units import format_bytes, format_tokens

# Cells of the drawing, without its labels.
WIDTH, HEIGHT = 64, 18
# One letter per line; where lines meet, the one that is listed first shows.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
BLOCKS = {
    "embedding and head": "▒",
    "attention": "▓",
    "recurrent": "▞",
    "feed-forward": "░",
    "experts": "▚",
    "other weights": "▕",
    "towers": "▟",
    CACHE: "█",
}
# Lengths on a logarithmic axis are told in parts of an octave, in integers.
_FINE = 1 << 10


def render(picture: Picture) -> str:
    """Cache against context on two logarithmic axes, then a bar of memory per model."""
    return "\n".join([*_lines(picture), "", *_bars(picture)]) + "\n"


def log2(number: int) -> int:
    """The binary logarithm of a whole number of at least 1, in parts of ``_FINE``, rounded down."""
    whole = number.bit_length() - 1
    # The fraction's bits by repeated squaring of the mantissa, in integers.
    mantissa, fraction = (number << 64) >> whole, 0
    bits = _FINE.bit_length() - 1
    for _ in range(bits):
        mantissa = mantissa * mantissa >> 64
        fraction *= 2
        if mantissa >> 65:
            mantissa >>= 1
            fraction += 1
    return whole * _FINE + fraction


def _lines(picture: Picture) -> list[str]:
    batch, first, last = picture.batch, log2(picture.contexts[0]), log2(picture.contexts[-1])
    held = [
        [curve.cache_bytes(context, batch) for context in picture.contexts]
        for curve in picture.curves
    ]
    some = [value for values in held for value in values if value]
    lines = [f"cache against context, batch {batch}; both axes logarithmic"]
    if not some:
        return [*lines, "none of these models keeps anything"]
    low, high = log2(min(some)), log2(max(some))
    devices = [device for device in picture.devices if low <= log2(device.bytes)]
    high = max(high, *(log2(device.bytes) for device in devices)) if devices else high

    def row(num_bytes: int) -> int:
        return HEIGHT - 1 - _scaled(log2(num_bytes) - low, max(1, high - low), HEIGHT - 1)

    cells = [[" "] * WIDTH for _ in range(HEIGHT)]
    for device in devices:
        name = f"┈ {device.name} {format_bytes(device.bytes)} "
        cells[row(device.bytes)] = list(name.ljust(WIDTH, "┈"))
    order = range(len(picture.curves))
    for number in reversed(order):
        previous: int | None = None
        for column in range(WIDTH):
            context = _context(column, first, last)
            num_bytes = picture.curves[number].cache_bytes(context, batch)
            if not num_bytes:
                continue
            place = row(num_bytes)
            reach = range(place, place + 1) if previous is None else _between(previous, place)
            for cell in reach:
                cells[cell][column] = LETTERS[number % len(LETTERS)]
            previous = place
    scale = {row(1 << (level // _FINE)): format_bytes(1 << (level // _FINE)).replace(".00", "")
             for level in range(-(-low // _FINE) * _FINE, high + 1, _FINE * _step(high - low))}  # fmt: skip
    for place, line in enumerate(cells):
        lines.append(f"{scale.get(place, ''):>9} │{''.join(line)}".rstrip())
    lines.append(f"{'':9} └{'─' * WIDTH}")
    lines.append(_axis(first, last))
    lines += [
        f"  {LETTERS[number % len(LETTERS)]}  {picture.curves[number].label}"
        + ("" if held[number][-1] else " (keeps nothing)")
        for number in order
    ]
    return lines


def _step(span: int) -> int:
    """Octaves between two labels, so that no more than eight stand beside the axis."""
    return max(1, -(-span // (8 * _FINE)))


def _scaled(part: int, whole: int, cells: int) -> int:
    return (part * cells * 2 + whole) // (2 * whole)


def _between(previous: int, place: int) -> range:
    """The rows that a line passes from one column to the next, without the one it comes from."""
    if place == previous:
        return range(place, place + 1)
    return range(place, previous) if place < previous else range(previous + 1, place + 1)


def _context(column: int, first: int, last: int) -> int:
    """The tokens at the middle of a column: the power of two that its place stands for."""
    level = first + _scaled(column, WIDTH - 1, last - first)
    return power(level)


def power(level: int) -> int:
    """The smallest whole number whose binary logarithm is at least ``level`` parts of ``_FINE``."""
    low, high = 0, 2 << level // _FINE
    while high - low > 1:
        middle = (low + high) // 2
        if log2(middle) < level:
            low = middle
        else:
            high = middle
    return high


def _axis(first: int, last: int) -> str:
    """The contexts under the drawing: powers of two, as many as have room."""
    line = [" "] * (WIDTH + 8)
    free = 0
    for octave in range(-(-first // _FINE), last // _FINE + 1):
        place = _scaled(octave * _FINE - first, max(1, last - first), WIDTH - 1)
        word = format_tokens(1 << octave)
        if place >= free:
            line[place : place + len(word)] = word
            free = place + len(word) + 2
    return f"{'':9}  {''.join(line).rstrip()}"


def _bars(picture: Picture) -> list[str]:
    question = f"{format_tokens(picture.context)} tokens, batch {picture.batch}"
    stacks = [curve.stack(picture.context, picture.batch) for curve in picture.curves]
    totals = [sum(num_bytes for _, num_bytes in stack) for stack in stacks]
    largest = max(totals)
    width = max(len(curve.label) for curve in picture.curves)
    lines = [f"where the memory goes: {question}"]
    for curve, stack, total in zip(picture.curves, stacks, totals, strict=True):
        bar, before = "", 0
        for name, num_bytes in stack:
            # Each part ends where the sum so far ends, so that rounding never adds up.
            before += num_bytes
            bar += BLOCKS[name] * (_scaled(before, largest, WIDTH - 16) - len(bar))
        lines.append(f"  {curve.label:<{width}} {bar or '▏'} {format_bytes(total)}")
    shown = {name for stack in stacks for name, _ in stack}
    legend = [f"{BLOCKS[name]} {name}" for name in (*PARTS, CACHE) if name in shown]
    return [*lines, *("  " + "   ".join(legend[i : i + 4]) for i in range(0, len(legend), 4))]
