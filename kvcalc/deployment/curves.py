"""What the plots draw: each model's cache as a curve over the context, and its memory as a stack."""

from collections.abc import Iterable, Mapping, Sequence

from kvcalc.deployment.hardware import Accelerator, find
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.cache import CacheFunction, cache_function
from kvcalc.memory.grid import Variant
from kvcalc.memory.weights import weight_bytes
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import (
    Chunk,
    Component,
    Extent,
    LastBlock,
    PerBlock,
    SinkWindow,
    Tail,
    Window,
)

# A plot of one context shows at least this stretch around it.
FIRST_CONTEXT, LAST_CONTEXT = 32, 131_072
POINTS_PER_OCTAVE = 4

# What a stacked bar tells apart, from the bottom up: name -> components of the weights.
PARTS: dict[str, tuple[Component, ...]] = {
    "embedding and head": ("embedding", "head"),
    "attention": ("attention",),
    "recurrent": ("recurrent",),
    "feed-forward": ("ffn",),
    "experts": ("experts",),
    "other weights": ("router", "norm", "other"),
    "towers": ("vision", "audio", "projector"),
}
CACHE = "cache"

# Devices of the usual sizes, whose memory is drawn as a line.
DEVICES = ("rtx-4090", "l40s", "h100-80gb", "h200", "b300")


@frozen
class Curve:
    """One model or variant in one cache format.

    encoder_tokens: None where the encoder has as many tokens as the decoder.
    parts: (part of the weights, bytes), in the order of ``PARTS``.
    """

    label: str
    function: CacheFunction
    encoder_tokens: int | None
    parts: tuple[tuple[str, int], ...]

    def cache_bytes(self, context: int, batch: int = 1) -> int:
        """The most that ``batch`` sequences of up to ``context`` tokens hold."""
        encoder = context if self.encoder_tokens is None else self.encoder_tokens
        return batch * self.function.most(context, encoder)

    def stack(self, context: int, batch: int = 1) -> tuple[tuple[str, int], ...]:
        """(part, bytes) from the bottom up, the cache last; parts that the model lacks left out."""
        parts = (*self.parts, (CACHE, self.cache_bytes(context, batch)))
        return tuple((name, num_bytes) for name, num_bytes in parts if num_bytes)


@frozen
class Picture:
    """The curves of one comparison, over the contexts from first to last.

    context: what the stacked bars are of; contexts: sampled, every bend among them.
    """

    curves: tuple[Curve, ...]
    contexts: tuple[int, ...]
    context: int
    batch: int

    @property
    def devices(self) -> tuple[Accelerator, ...]:
        """The devices worth a line: up to one that holds the largest cache, and what is near it."""
        top = max(curve.cache_bytes(self.contexts[-1], self.batch) for curve in self.curves)
        shown: list[Accelerator] = []
        for device in map(find, DEVICES):
            if not shown or shown[-1].bytes < top or device.bytes < 8 * top:
                shown.append(device)
        return tuple(shown)


def picture(
    variants: Sequence[Variant],
    *,
    contexts: Sequence[int],
    batch: int,
    kv_dtypes: Sequence[str],
    encoder_tokens: int | None = None,
    state_dtype: str | None = None,
    dtype: str | None = None,
) -> Picture:
    """The curves of a comparison. Raises UsageError and UnsupportedError as ``grid`` does."""
    curves = []
    for variant in variants:
        weights = _parts(variant, dtype)
        for kv_dtype in kv_dtypes:
            try:
                dtypes = CacheDtypes.parse(kv_dtype, state_dtype)
            except ValueError as error:
                raise UsageError(f"kv dtype {error}") from None
            words = [variant.spec.name]
            words += [f"as {variant.attention}"] if variant.attention else []
            words += [dtypes.kv_name] if len(kv_dtypes) > 1 else []
            curves.append(Curve(
                " ".join(words), cache_function(variant.spec, dtypes),
                encoder_rule(variant.spec, encoder_tokens), weights,
            ))  # fmt: skip
    first, last = min(contexts), max(contexts)
    if last < 2 * max(first, 1):
        first, last = FIRST_CONTEXT, max(last, LAST_CONTEXT)
    sampled = sample([curve.function for curve in curves], max(first, 1), last)
    return Picture(tuple(curves), sampled, max(contexts), batch)


def encoder_rule(spec: ModelSpec, given: int | None) -> int | None:
    """The encoder's tokens; None where they follow the context because none were given."""
    if spec.encoder is None:
        return 0
    if spec.encoder.tokens is not None:
        return spec.encoder.tokens
    # An encoder that is left out of the spec (of images) has tokens only where some are asked for.
    return given if given is not None or spec.encoder.layers else 0


def _parts(variant: Variant, dtype: str | None) -> tuple[tuple[str, int], ...]:
    chosen = dtype or variant.spec.own_dtype
    return stacked(weight_bytes(variant.spec, chosen)[1])


def stacked(by_component: Mapping[Component, int]) -> tuple[tuple[str, int], ...]:
    """The bytes of the weights in the parts that a bar shows."""
    return tuple(
        (name, sum(by_component.get(component, 0) for component in components))
        for name, components in PARTS.items()
    )


def bends(function: CacheFunction) -> tuple[int, ...]:
    """The contexts at which a window is full, a chunk ends or a compressed cache begins."""
    found = {_bend(extent) for extent, num_bytes in function.terms if num_bytes}
    return tuple(sorted(context for context in found if context))


def _bend(extent: Extent) -> int:
    match extent:
        case Window(size) | Chunk(size) | LastBlock(size):
            return size
        case SinkWindow(sinks, size):
            return sinks + size
        case Tail(size):
            return size - 1
        case PerBlock(size, _):
            return size
        case _:
            return 0


def sample(functions: Iterable[CacheFunction], first: int, last: int) -> tuple[int, ...]:
    """Contexts that a logarithmic axis needs: evenly spread on it, and every bend."""
    points = {first, last}
    octave = 1 << (first.bit_length() - 1)
    while octave <= last:
        points |= {octave + octave * step // POINTS_PER_OCTAVE for step in range(POINTS_PER_OCTAVE)}
        octave *= 2
    for function in functions:
        points |= set(bends(function))
    return tuple(sorted(point for point in points if first <= point <= last))
