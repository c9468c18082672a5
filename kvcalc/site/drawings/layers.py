"""A model's layers side by side: a bar for each, as high as what it keeps."""

from kvcalc.memory.cache import cache_function, tensor_bytes
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.inventory import groups_of, merged
from kvcalc.report.answers.layers import describe_layers
from kvcalc.site.drawings.svg import drawing, line, rect, words
from kvcalc.site.frame import text
from kvcalc.spec.layers import decoder_layers
from kvcalc.units import format_bytes, format_tokens

_WIDTH, _HEIGHT, _LEFT, _COLOURS = 760, 150, 86, 7


def draw(estimate: Estimate) -> str:
    """Nothing for a model that keeps nothing; a layer may have several caches, one over the other."""
    spec, workload = estimate.spec, estimate.workload
    peak = cache_function(spec, workload.cache).peak(
        workload.context_tokens, workload.encoder_tokens
    )
    bars: dict[int, list[tuple[int, int, str]]] = {}
    legend = []
    groups = [group for group in merged(groups_of(spec)) if group.stack == "decoder"]
    for number, group in enumerate(groups):
        held = sum(
            tensor.extent.positions(peak, workload.encoder_tokens)
            * tensor_bytes(tensor, workload.cache)
            for tensor in group.tensors
        )
        name = f"{group.block}: {group.mechanism}"
        for layer in group.layers:
            bars.setdefault(layer, []).append((number, held, name))
        legend.append(
            f'<li><svg viewBox="0 0 12 12" aria-hidden="true"><rect width="12" height="12" '
            f'class="s{number % _COLOURS}"/></svg> {text(name)}, {len(group.layers)} '
            f"layer{'s' * (len(group.layers) != 1)} ({text(describe_layers(group.layers))})</li>"
        )
    count = len(decoder_layers(spec))
    most = max((sum(held for _, held, _ in bar) for bar in bars.values()), default=0)
    if not most:
        return ""
    parts = _frame(most, count)
    for layer, bar in bars.items():
        parts += _bar(layer, bar, most, count)
    about = "; ".join(
        f"{group.block}: {group.mechanism} in {len(group.layers)} of {count} layers"
        for group in groups
    )
    title = f"What each layer of {spec.name} keeps of {format_tokens(peak)} tokens"
    svg = drawing(_WIDTH, _HEIGHT + 24, title, f"{about}.", parts)
    return f'<figure>{svg}<ul class="legend">{"".join(legend)}</ul></figure>\n'


def _frame(most: int, count: int) -> list[str]:
    return [
        line(f"M{_LEFT} {_HEIGHT}H{_WIDTH}", "axis"),
        line(f"M{_LEFT} 10H{_WIDTH}", "rule"),
        words(_LEFT - 6, 14, format_bytes(most), "figure", "end"),
        words(_LEFT - 6, _HEIGHT + 4, "0", "figure", "end"),
        words(_LEFT, _HEIGHT + 18, "layer 0", "quiet small"),
        words(_WIDTH, _HEIGHT + 18, f"{count - 1}", "quiet small", "end"),
    ]


def _bar(layer: int, bar: list[tuple[int, int, str]], most: int, count: int) -> list[str]:
    step = (_WIDTH - _LEFT) / count
    place, foot, parts = _LEFT + step * layer, float(_HEIGHT), []
    for number, held, name in bar:
        height = max(1.0, (_HEIGHT - 10) * held / most)
        foot -= height
        said = f"layer {layer}, {name}: {format_bytes(held)}, {held:,} bytes"
        width = max(0.5, step * 0.82)
        parts.append(rect(place + step * 0.09, foot, width, height, f"s{number % _COLOURS}", said))
    return parts
