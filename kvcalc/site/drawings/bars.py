"""Numbers of bytes as bars, one under the other."""

from collections.abc import Sequence

from kvcalc.site.drawings.svg import drawing, rect, words
from kvcalc.units import format_bytes

_WIDTH, _ROW = 760, 26


def draw(title: str, rows: Sequence[tuple[str, int, str]], left: int = 190) -> str:
    """rows: (name, bytes, what is said behind the number)."""
    most = max(num_bytes for _, num_bytes, _ in rows)
    room = _WIDTH - left - 230
    parts = []
    for number, (name, num_bytes, said) in enumerate(rows):
        top = number * _ROW + 2
        length = max(1.0, room * num_bytes / most)
        parts.append(words(left - 8, top + 15, name, "", "end"))
        parts.append(rect(left, top + 2, length, 18, "s0", f"{name}: {num_bytes:,} bytes"))
        behind = f"{format_bytes(num_bytes)}{said and f'  {said}'}"
        parts.append(words(left + length + 8, top + 15, behind, "figure"))
    about = "; ".join(f"{name} {num_bytes:,} bytes" for name, num_bytes, _ in rows)
    return drawing(_WIDTH, len(rows) * _ROW + 4, title, f"{about}.", parts)
