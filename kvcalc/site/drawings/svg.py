"""The frame of a drawing, and axes. Lengths are hundredths of a unit in whole numbers where they can be;
what stands on a logarithmic axis is a float, which is for the eye: every number beside it is exact."""

from collections.abc import Iterable
from math import log2, log10

from kvcalc.frozen import frozen
from kvcalc.site.frame import text


def drawing(width: int, height: int, title: str, about: str, parts: Iterable[str]) -> str:
    """One drawing. title: its name; about: what it shows, for those who do not see it."""
    return (
        f'<div class="scroll drawing" tabindex="0"><svg viewBox="0 0 {width} {height}" '
        f'class="w{width}" role="img"><title>{text(title)}</title><desc>{text(about)}</desc>\n'
        f"{''.join(parts)}</svg></div>\n"
    )


def figure(svg: str, caption: str) -> str:
    """A drawing over the sentence that says how to read it."""
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>\n"


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    """kind: its class. title: what a pointer over it says."""
    place = (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    )
    inner = f' class="{kind}"'
    return (
        f"{place}{inner}><title>{text(title)}</title></rect>\n" if title else f"{place}{inner}/>\n"
    )


def line(path: str, kind: str) -> str:
    return f'<path d="{path}" class="{kind}"/>\n'


def words(x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> str:
    """Words that begin, stand in the middle, or end at a place."""
    about = f' class="{kind}"' if kind else ""
    about += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{number(x)}" y="{number(y)}"{about}>{text(said)}</text>\n'


def number(value: float) -> str:
    """A coordinate: at most two decimals, and none that are zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


@frozen
class Axis:
    """A logarithmic axis from ``low`` to ``high`` (of the quantity) between two places."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.start + share * (self.end - self.start)

    def octaves(self, room: float) -> list[int]:
        """Powers of two along the axis, so many that their names have room."""
        first, last = log2(self.low), log2(self.high)
        step = max(1, -int(-(last - first) * room // abs(self.end - self.start)))
        return [level for level in range(-int(-first // 1), int(last) + 1) if level % step == 0]

    def decades(self, every: int = 1) -> list[int]:
        """Powers of ten along the axis."""
        first, last = log10(self.low), log10(self.high)
        return list(range(-int(-first // 1), int(last // 1) + 1, every))
