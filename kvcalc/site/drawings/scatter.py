"""What engines logged against what kvcalc predicted: every figure is a mark, the line is equality."""

from collections.abc import Sequence

from kvcalc.site.accuracy import Figure, Verdict
from kvcalc.site.drawings.svg import Axis, drawing, line, number, words

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 760, 430, 84, 44
_LOOKS: dict[Verdict, tuple[str, str]] = {
    "exact": ("c0", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"),
    "in range": ("c1", "M-4 -4h8v8h-8Z"),
    "consistent": ("c2", "M0 -5L5 4H-5Z"),
    "another": ("c3", "M0 -5L5 0L0 5L-5 0Z"),
}


def draw(title: str, figures: Sequence[Figure]) -> str:
    """Both axes are logarithmic, so that a zero has no place; a range stands at its middle."""
    figures = [one for one in figures if min(one.logged, *one.predicted) > 0]
    values = [value for one in figures for value in (one.logged, *one.predicted)]
    low, high = min(values) / 1.6, max(values) * 1.6
    across, up = Axis(low, high, _LEFT, _WIDTH - 16), Axis(low, high, _HEIGHT - _BOTTOM, 10)
    parts = _axes(across, up)
    for verdict, (colour, path) in _LOOKS.items():
        for one in (each for each in figures if each.verdict == verdict):
            x, y = across.at(one.logged), up.at(sum(one.predicted) / len(one.predicted))
            parts.append(
                f'<path d="{path}" class="mark {colour}" transform="translate({number(x)} {number(y)})"/>\n'
            )
    parts += _legend(figures)
    counts = ", ".join(
        f"{sum(one.verdict == verdict for one in figures)} {verdict}" for verdict in _LOOKS
        if any(one.verdict == verdict for one in figures)
    )  # fmt: skip
    return drawing(_WIDTH, _HEIGHT, title, f"{len(figures)} figures: {counts}.", parts)


def _axes(across: Axis, up: Axis) -> list[str]:
    foot, right = _HEIGHT - _BOTTOM, _WIDTH - 16
    every = 2 if len(across.decades()) > 7 else 1
    parts = [line(f"M{_LEFT} 10V{foot}H{right}", "axis hollow"),
             line(f"M{_LEFT} {foot}L{right} 10", "equal")]  # fmt: skip
    for level in across.decades(every):
        said = _power(level)
        x, y = across.at(10.0**level), up.at(10.0**level)
        parts.append(line(f"M{_LEFT} {number(y)}H{right}M{number(x)} 10V{foot}", "rule"))
        parts.append(words(_LEFT - 6, y + 4, said, "figure", "end"))
        parts.append(words(x, foot + 17, said, "figure", "middle"))
    parts.append(words(right, foot + 36, "logged", "quiet", "end"))
    parts.append(words(_LEFT + 8, 22, "predicted", "quiet"))
    return parts


def _power(level: int) -> str:
    return f"{10**level:,}" if level >= 0 else f"0.{'0' * (-level - 1)}1"


def _legend(figures: Sequence[Figure]) -> list[str]:
    parts, top = [], _HEIGHT - _BOTTOM - 14
    for verdict, (colour, path) in reversed(_LOOKS.items()):
        count = sum(one.verdict == verdict for one in figures)
        if count:
            place = f'transform="translate({_WIDTH - 140} {top - 4})"'
            parts.append(f'<path d="{path}" class="mark {colour}" {place}/>\n')
            parts.append(words(_WIDTH - 128, top, f"{verdict}: {count}", "figure"))
            top -= 20
    return parts
