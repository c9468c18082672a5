"""A model's cache against the context, on logarithmic axes, with whole devices as lines."""

from kvcalc.deployment.curves import DEVICES, FIRST_CONTEXT, LAST_CONTEXT, bends, sample
from kvcalc.deployment.hardware import find
from kvcalc.site.drawings.svg import Axis, drawing, line, number, words
from kvcalc.site.subject import Subject
from kvcalc.units import format_bytes, format_tokens

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 760, 340, 74, 36


def draw(subject: Subject) -> str:
    """The curve from a few tokens to the longest that the model was made for."""
    longest = subject.spec.max_position_embeddings or 0
    contexts = sample([subject.function], FIRST_CONTEXT, max(LAST_CONTEXT, longest))
    points = [(context, held) for context in contexts if (held := subject.held(context))]
    if not points:
        return "<p>This model keeps nothing between steps: 0 bytes.</p>\n"
    top = max(held for _, held in points)
    devices = [device for device in map(find, DEVICES) if device.bytes < 8 * top][-3:]
    high = max([top, *(device.bytes for device in devices)]) * 1.3
    across = Axis(contexts[0], contexts[-1], _LEFT, _WIDTH - 14)
    up = Axis(min(held for _, held in points) / 1.3, high, _HEIGHT - _BOTTOM, 8)
    parts = _axes(across, up)
    for device in devices:
        place = number(up.at(device.bytes))
        parts.append(line(f"M{_LEFT} {place}H{_WIDTH - 14}", "device"))
        said = f"{device.name}, {format_bytes(device.bytes)}"
        parts.append(words(_LEFT + 6, float(place) - 4, said, "quiet small"))
    drawn = "L".join(f"{number(across.at(c))} {number(up.at(held))}" for c, held in points)
    parts.append(line(f"M{drawn}", "line c0"))
    for context, held in points:
        if context in bends(subject.function):
            parts.append(
                f'<circle cx="{number(across.at(context))}" cy="{number(up.at(held))}" r="4" '
                f'class="mark c0"/>'
            )
    (first, least), (last, most) = points[0], points[-1]
    about = f"From {least:,} bytes at {first:,} tokens to {most:,} bytes at {last:,} tokens."
    return drawing(_WIDTH, _HEIGHT, f"Cache of {subject.name} against context", about, parts)


def _axes(across: Axis, up: Axis) -> list[str]:
    foot = _HEIGHT - _BOTTOM
    parts = [line(f"M{_LEFT} 8V{foot}H{_WIDTH - 14}", "axis hollow")]
    for level in up.octaves(26):
        place = number(up.at(2**level))
        parts.append(line(f"M{_LEFT} {place}H{_WIDTH - 14}", "rule"))
        said = format_bytes(1 << level).replace(".00 ", " ")
        parts.append(words(_LEFT - 6, float(place) + 4, said, "figure", "end"))
    for level in across.octaves(46):
        place = number(across.at(2**level))
        parts.append(line(f"M{place} {foot}v5", "axis"))
        parts.append(words(float(place), foot + 18, format_tokens(1 << level), "figure", "middle"))
    parts.append(words(_WIDTH - 14, foot + 33, "tokens of one sequence", "quiet small", "end"))
    return parts
