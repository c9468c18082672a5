"""``weight_formats``: formats tensor by tensor, as rules that a person reads, and back.

A rule names tensors as the inventory does, without what stands before a decoder layer's
(``attention.q_proj``, ``encoder.ffn.up_proj``, ``head``) and without ``.weight`` at the end.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from kvcalc.spec.layers import MAX_LAYERS
from kvcalc.spec.model import Bytes, TensorFormat

# A format's word, or the bytes of a tensor that no format explains.
Told = str | int
# Layer (None for what stands once) -> what stores the tensor there.
ByLayer = Mapping[int | None, Told]


def rule_name(name: str) -> str:
    """What rules call a tensor of the inventory: ``layers.{}.ffn.up_proj.weight`` is ffn.up_proj, one of a
    module of multi-token prediction mtp.ffn.up_proj."""
    return name.replace("layers.{}.", "").replace("mtp.{}.", "mtp.").removesuffix(".weight")


def parse_layers(text: str) -> frozenset[int]:
    """``0-3 7`` -> {0, 1, 2, 3, 7}. Raises ValueError saying what is wrong."""
    found: set[int] = set()
    words = text.replace(",", " ").split()
    for word in words:
        first, dash, last = word.partition("-")
        if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in
                   ((first, last) if dash else (first,))):  # fmt: skip
            raise ValueError(f"'{word}' is not a layer or a range of layers, such as 0-3 7")
        low, high = int(first), int(last if dash else first)
        if high < low or high >= MAX_LAYERS:
            raise ValueError(f"'{word}' is not a range of layers (at most {MAX_LAYERS - 1})")
        found.update(range(low, high + 1))
    if not found:
        raise ValueError("no layer is named: leave the field out for all of them")
    return frozenset(found)


def layers_text(layers: Collection[int]) -> str:
    """{0, 1, 2, 3, 7} -> ``0-3 7``."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and runs[-1][1] == layer - 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def as_rules(
    told: Mapping[str, ByLayer], default: str, always: Collection[str] = ()
) -> tuple[TensorFormat, ...]:
    """Rules that say of each tensor (by its rule name) what stores it in each layer.

    default: the format that needs no rule. always: names that need one in the default format, too.
    """
    usual: dict[tuple[Told, str | None], list[str]] = {}
    others: dict[tuple[Told, str | None], list[str]] = {}
    for name, by_layer in told.items():
        common = Counter(by_layer.values()).most_common(1)[0][0]
        if common != default or name in always:
            usual.setdefault((common, None), []).append(name)
        apart: dict[Told, list[int]] = {}
        for layer, one in by_layer.items():
            if one != common and layer is not None:
                apart.setdefault(one, []).append(layer)
        for one, layers in apart.items():
            others.setdefault((one, layers_text(layers)), []).append(name)
    return tuple(_rules({**usual})) + tuple(_rules(others))


def _rules(groups: Mapping[tuple[Told, str | None], list[str]]) -> Iterator[TensorFormat]:
    for (told, layers), names in groups.items():
        if isinstance(told, int):
            yield TensorFormat(tensors=tuple(names), layers=layers, bytes=Bytes(told))
        else:
            yield TensorFormat(tensors=tuple(names), layers=layers, format=told)
