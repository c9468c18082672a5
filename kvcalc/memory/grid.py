"""Many workloads at once: every combination of models, contexts, batches and cache formats."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.cache import CacheFunction, cache_function
from kvcalc.memory.estimate import choose_workload, encoder_length
from kvcalc.memory.weights import summarise, weight_bytes
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec


@frozen
class Variant:
    """A model, perhaps with another attention.

    notes: how it was derived.
    """

    spec: ModelSpec
    attention: str = ""
    notes: tuple[str, ...] = ()


class Row(NamedTuple):
    """One point of the grid.

    encoder_tokens: 0 where there is no encoder. bytes_per_token: of one more token once every window
    is full; next_token_bytes: at this length. total_bytes: weights and cache. first_cache_bytes: the
    first variant's cache, in the first format, at the same workload.
    """

    model: str
    attention: str
    kv_dtype: str
    context_tokens: int
    encoder_tokens: int
    batch_size: int
    parameters: int
    weight_bytes: int
    cache_bytes: int
    bytes_per_token: int
    total_bytes: int
    first_cache_bytes: int
    next_token_bytes: int


@dataclass(frozen=True, eq=False)
class Series:
    """A variant in one cache format at one length: what is the same for every batch.

    sequence_bytes: the cache of one sequence. Two are equal only where they are one.
    """

    model: str
    attention: str
    kv_dtype: str
    context_tokens: int
    encoder_tokens: int
    parameters: int
    weight_bytes: int
    sequence_bytes: int
    bytes_per_token: int
    next_token_bytes: int

    def row(self, batch: int, first: int) -> Row:
        """The whole row of a batch. first: the first variant's cache there."""
        cache = self.sequence_bytes * batch
        return Row(
            self.model, self.attention, self.kv_dtype, self.context_tokens, self.encoder_tokens,
            batch, self.parameters, self.weight_bytes, cache, self.bytes_per_token,
            self.weight_bytes + cache, first, self.next_token_bytes,
        )  # fmt: skip


# A series, its batch, and the first variant's cache at the same workload: a row that is not written out.
Point = tuple[Series, int, int]


@frozen
class _Column:
    """A variant in one cache format: everything that does not depend on the workload."""

    variant: Variant
    kv_dtype: str
    kinds: str
    parameters: int
    weight_bytes: int
    function: CacheFunction
    bytes_per_token: int

    def at(self, context: int, encoder_tokens: int | None) -> Series:
        length = encoder_length(self.variant.spec, context, encoder_tokens)[0]
        return Series(
            self.variant.spec.name, self.kinds, self.kv_dtype, context, length, self.parameters,
            self.weight_bytes, self.function.most(context, length), self.bytes_per_token,
            self.function.next_token_bytes(context),
        )  # fmt: skip


def grid(
    variants: Sequence[Variant],
    *,
    contexts: Sequence[int],
    batches: Sequence[int],
    kv_dtypes: Sequence[str],
    encoder_tokens: int | None = None,
    state_dtype: str | None = None,
    dtype: str | None = None,
    by: str | None = None,
) -> Iterator[Point]:
    """Points, workload by workload; within one workload as given, or sorted ``by`` cache or total.

    Each model's inventory is walked once per cache format, however many workloads there are.
    Raises UsageError for an unknown format and UnsupportedError for one that does not fit a model.
    """
    columns = [
        _column(variant, kv_dtype, state_dtype, dtype)
        for kv_dtype in kv_dtypes
        for variant in variants
    ]
    for context in contexts:
        series = [column.at(context, encoder_tokens) for column in columns]
        first = series[0].sequence_bytes
        for batch in batches:
            for each in series if by is None else _sorted(series, batch, by):
                yield each, batch, first * batch


def _sorted(series: list[Series], batch: int, by: str) -> list[Series]:
    return sorted(
        series,
        key=lambda each: each.sequence_bytes * batch + (0 if by == "cache" else each.weight_bytes),
    )


def rows(points: Iterable[Point]) -> Iterator[Row]:
    """The points, every number written out."""
    return (series.row(batch, first) for series, batch, first in points)


def _column(variant: Variant, kv_dtype: str, state_dtype: str | None, dtype: str | None) -> _Column:
    spec = variant.spec
    try:
        dtypes = CacheDtypes.parse(kv_dtype, state_dtype)
    except ValueError as error:
        raise UsageError(f"kv dtype {error}") from None
    function = cache_function(spec, dtypes)
    num_bytes = weight_bytes(spec, dtype or spec.own_dtype)[0]
    return _Column(
        variant, dtypes.kv_name, variant.attention or kinds(spec), summarise(spec).total,
        num_bytes, function, function.bytes_per_token,
    )  # fmt: skip


def assumptions(
    variants: Sequence[Variant],
    contexts: Sequence[int],
    encoder_tokens: int | None = None,
    kv_dtypes: Sequence[str] = ("bf16",),
    state_dtype: str | None = None,
) -> tuple[str, ...]:
    """What was filled in for each variant and how it was derived, its model's name first."""
    found: dict[str, None] = {}
    for variant in variants:
        spec = variant.spec
        asked = Asked(
            context_tokens=max(contexts), encoder_tokens=encoder_tokens, state_dtype=state_dtype,
            kv_dtype=next((each for each in kv_dtypes if each != "bf16"), "bf16"),
        )  # fmt: skip
        _, notes = choose_workload(spec, asked)
        name = f"{spec.name}: "
        found |= dict.fromkeys(
            note if note.startswith(name) else name + note for note in (*notes, *variant.notes)
        )
    return tuple(found)


def baseline(variants: Sequence[Variant], kv_dtypes: Sequence[str]) -> str:
    """What ratios are to: the first variant, named as far as the others are not the same."""
    first = variants[0]
    same = [each for each in variants if each.spec.name == first.spec.name]
    words = (
        [first.spec.name, first.attention or kinds(first.spec)]
        if len(same) > 1
        else [first.spec.name]
    )
    if len(set(kv_dtypes)) > 1:
        words.append(f"in {kv_dtypes[0]}")
    return " ".join(words)


def kinds(spec: ModelSpec) -> str:
    """The mechanisms of a model in the order of its blocks: ``gated_deltanet+gqa``."""
    found = dict.fromkeys(
        part.kind
        for block in spec.blocks.values()
        for part in (block.attention, block.recurrent, block.cross_attention)
        if part is not None
    )
    return "+".join(found)
