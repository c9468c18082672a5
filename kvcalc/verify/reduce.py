"""A model small enough for a CPU with the structure of a large one, and a list of what was changed.

Kept exactly: which blocks there are and in which order, who shares what, head counts as ratios
(32 query heads on 8 KV heads become 8 on 2), widths of one mechanism as ratios where they divide
(512 latent and 64 rotary become 16 and 2), experts per token as a ratio, kernels, recursions, ranks
of window sizes and of block sizes among themselves. Made small: widths, experts, windows and blocks
in tokens, table rows, repeats of a run of layers (two of them stay).
"""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from itertools import product
from math import gcd
from typing import Any, assert_never

from kvcalc.counts import Kind, counts
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.spec.consistency import findings
from kvcalc.spec.model import LayerGroup, ModelSpec

HIDDEN = 32
ROWS = 64  # of a vocabulary
POSITION_ROWS = 160
ENCODER_TOKENS = 7
MAX_WIDTH = 160


@frozen
class Reduction:
    """The small model, and every field that is not as it was: (path, true value, small value)."""

    spec: ModelSpec
    changes: tuple[tuple[str, int, int], ...]


def shallow(spec: ModelSpec) -> ModelSpec:
    """The model at its true widths, with two repeats of each run of layers."""
    encoder = spec.encoder
    if encoder is not None:
        encoder = replace(encoder, layers=_twice(encoder.layers))
    return replace(spec, layers=_twice(spec.layers), encoder=encoder)


def _twice(groups: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
    return tuple(
        replace(group, repeat=min(group.repeat, 2), loops=min(group.loops, 2)) for group in groups
    )


def reduced(spec: ModelSpec, whole_depth: bool = False) -> Reduction:
    """Shrink a spec; whole_depth keeps every layer.

    Raises UnsupportedError when the small model would contradict itself.
    """
    work = _Work(spec, whole_depth)
    small = work.model()
    problems = [f"{where}: {message}" for _, where, message in findings(small)]
    if problems:
        raise UnsupportedError(f"{spec.name} cannot be made small: {'; '.join(problems)}")
    changes: list[tuple[str, int, int]] = []
    _differences("", spec, small, changes)
    return Reduction(small, tuple(changes))


def _differences(path: str, old: Any, new: Any, found: list[tuple[str, int, int]]) -> None:
    if is_dataclass(old) and is_dataclass(new):
        for item in fields(old):
            where = f"{path}.{item.name}" if path else item.name
            _differences(where, getattr(old, item.name), getattr(new, item.name), found)
    elif isinstance(old, dict):
        for key in new:
            _differences(f"{path}.{key}", old[key], new[key], found)
    elif isinstance(old, tuple) and isinstance(new, tuple):
        for index, (a, b) in enumerate(zip(old, new, strict=False)):
            _differences(f"{path}[{index}]", a, b, found)
    elif isinstance(old, int) and isinstance(new, int) and old != new:
        found.append((path, old, new))


class _Work:
    """One reduction: sizes that several blocks have in common get one small value."""

    def __init__(self, spec: ModelSpec, whole_depth: bool) -> None:
        self.spec, self.whole_depth = spec, whole_depth
        parts = [part for block in spec.blocks.values() for part in block.mechanisms()]
        self.windows = {
            size: 6 + 4 * rank for rank, size in enumerate(sorted(sizes_of(parts, "window")))
        }
        self.chunks = {
            size: 9 + 4 * rank for rank, size in enumerate(sorted(sizes_of(parts, "chunk")))
        }
        self.blocks = {
            size: 4 << rank for rank, size in enumerate(sorted(sizes_of(parts, "block")))
        }

    def model(self) -> ModelSpec:
        spec = self.spec
        encoder = spec.encoder
        groups = [*spec.layers, *(encoder.layers if encoder is not None else ())]
        used = {name for group in groups for name in group.names}
        blocks = {name: self.small(block) for name, block in spec.blocks.items() if name in used}
        if encoder is not None:
            encoder = replace(
                self.small(encoder), layers=self.groups(encoder.layers, may_recurse=False)
            )
        small: ModelSpec = self.small(
            replace(spec, expect=None, budgets=(), mtp=None, class_tensors={})
        )
        return replace(
            small,
            blocks=blocks, layers=self.groups(spec.layers), encoder=encoder,
        )  # fmt: skip

    def groups(
        self, groups: tuple[LayerGroup, ...], may_recurse: bool = True
    ) -> tuple[LayerGroup, ...]:
        """Two repeats of each run; a recursion gets layers that its depth divides."""
        recursion = self.spec.recursion
        if self.whole_depth:
            return groups
        if recursion is None or not may_recurse:
            return _twice(groups)
        if len(groups) != 1 or len(groups[0].names) != 1:
            return groups
        ends = 2 if recursion.sharing.startswith("middle") else 0
        return (replace(groups[0], repeat=ends + 2 * recursion.num_recursions),)

    def small(self, part: Any) -> Any:
        """A mechanism, or another part of a model, with every number made small that can be."""
        about = counts(type(part))
        sizes = {name: size for name in about if (size := getattr(part, name)) is not None}
        new: dict[str, Any] = {
            name: self._alone(about[name].kind, size) for name, size in sizes.items()
        }
        for kinds, least in _TOGETHER:
            new |= _ratios({k: v for k, v in sizes.items() if about[k].kind in kinds}, least)
        _agree(sizes, {name: count.kind for name, count in about.items()}, new)
        for field in fields(part):
            if is_dataclass(value := getattr(part, field.name)):
                new[field.name] = self.small(value)
        return replace(part, **new)

    def _alone(self, kind: Kind, size: int) -> int:
        """A number made small by itself; those that go together are left to ``_ratios``."""
        match kind:
            case "scaled" | "inner":
                return self.scale(size)
            case "window":
                return self.windows.get(size, size)
            case "chunk":
                return self.chunks.get(size, size)
            case "block":
                return self.blocks.get(size, size)
            case "stride" | "sinks" | "top_blocks":
                return 2 if kind == "stride" else min(size, 2)
            case "top_tokens":
                return min(size, 3)
            case "selected":
                return 4
            case "rows":
                return ROWS
            case "positions":
                return POSITION_ROWS
            case "encoder_tokens":
                return ENCODER_TOKENS
            case "channels":
                return 6
            case "heads" | "kv_heads" | "whole_heads" | "width" | "experts" | "chosen":
                return size
            case "kernel" | "factors" | "fixed":
                return size
            case _:
                assert_never(kind)

    def scale(self, size: int) -> int:
        """A size as it is to hidden_size, even and at least 4."""
        share = Fraction(size * HIDDEN, self.spec.hidden_size)
        return max(4, 2 * round(share / 2))


# Kinds whose numbers in one mechanism are divided by what they have in common.
_TOGETHER: tuple[tuple[tuple[Kind, ...], int], ...] = (
    (("heads", "kv_heads", "whole_heads"), 1), (("width",), 2), (("experts", "chosen"), 1),
)  # fmt: skip


def _agree(sizes: dict[str, int], kinds: dict[str, Kind], new: dict[str, Any]) -> None:
    """Numbers of one mechanism that must agree with each other still do."""
    of = {kind: [name for name in sizes if kinds[name] == kind] for kind in set(kinds.values())}
    heads = of.get("heads", [])
    factors = [sizes[name] for name in of.get("factors", ())]
    if factors:
        # More factors than heads save nothing.
        new |= {name: 2 * max(2, *factors) for name in heads}
    for kernel, stride in zip(of.get("kernel", ()), of.get("stride", ()), strict=True):
        new[kernel] = new[stride] * -(-sizes[kernel] // sizes[stride])
    # Heads that share out a width evenly still do, and still fill it where they filled it.
    for total, count in product((*of.get("scaled", ()), *of.get("inner", ())), heads):
        if sizes[total] % sizes[count] == 0:
            new[total] = new[count] * -(-new[total] // new[count])
            for width in of.get("width", ()):
                if sizes[count] * sizes[width] == sizes[total]:
                    new[width] = new[total] // new[count]


def sizes_of(parts: Iterable[Any], kind: Kind) -> set[int]:
    """Every number of this kind in any of the mechanisms, and in what stands inside them."""
    found: set[int | None] = {
        getattr(part, name)
        for whole in parts
        for part in (whole, *_inside(whole))
        for name, count in counts(type(part)).items()
        if count.kind == kind
    }
    return {size for size in found if size is not None}


def _inside(part: Any) -> list[Any]:
    """What a mechanism is made of that has fields of its own: an indexer."""
    return [own for item in fields(part) if is_dataclass(own := getattr(part, item.name))]


def _ratios(sizes: dict[str, int], least: int) -> dict[str, int]:
    """Sizes divided by what they have in common, times 2 where that leaves room for two."""
    sizes = {name: size for name, size in sizes.items() if size}
    if not sizes:
        return {}
    common = gcd(*sizes.values())
    factor = min(common, 2)
    if least > 1 and max(sizes.values()) // common <= 2:
        factor = min(common, 4)
    small = {name: size // common * factor for name, size in sizes.items()}
    if least > 1 and max(small.values()) > MAX_WIDTH:
        # Nothing in common: proportions as near as even numbers come.
        most = max(sizes.values())
        small = {name: max(2, 2 * round(size * 16 / most)) for name, size in sizes.items()}
    return small
