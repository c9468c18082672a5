"""Many workloads at once: every combination of models, contexts, batches and cache formats."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.cache import CacheFunction, cache_function
from kvcalc.memory.estimate import choose_workload, encoder_length
from kvcalc.memory.weights import summarise, weight_bytes
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored import StoredWeights


@frozen
class Variant:
    """A model, perhaps with another attention.

    notes: how it was derived. stored: its own files, whose bytes its weights are unless a dtype is
    asked for.
    """

    spec: ModelSpec
    attention: str = ""
    notes: tuple[str, ...] = ()
    stored: StoredWeights | None = None


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
) -> Iterator[Row]:
    """Rows, workload by workload; within one workload as given, or sorted ``by`` cache or total.

    Each model's inventory is walked once per cache format, however many workloads there are.
    Raises UsageError for an unknown format and UnsupportedError for one that does not fit a model.
    """
    columns = [
        _column(variant, kv_dtype, state_dtype, dtype)
        for kv_dtype in kv_dtypes
        for variant in variants
    ]
    for context in contexts:
        lengths = [
            encoder_length(each.variant.spec, context, encoder_tokens)[0] for each in columns
        ]
        held = [
            column.function.most(context, length)
            for column, length in zip(columns, lengths, strict=True)
        ]
        grows = [column.function.next_token_bytes(context) for column in columns]
        for batch in batches:
            first = held[0] * batch
            rows = [
                Row(
                    column.variant.spec.name, column.kinds, column.kv_dtype, context, length,
                    batch, column.parameters, column.weight_bytes, num_bytes * batch,
                    column.bytes_per_token, column.weight_bytes + num_bytes * batch, first, grows_by,
                )
                for column, length, num_bytes, grows_by in zip(
                    columns, lengths, held, grows, strict=True
                )
            ]  # fmt: skip
            if by is not None:
                rows.sort(key=lambda row: row.cache_bytes if by == "cache" else row.total_bytes)
            yield from rows


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
    variants: Sequence[Variant], contexts: Sequence[int], encoder_tokens: int | None = None
) -> tuple[str, ...]:
    """What was filled in for each variant and how it was derived, its model's name first."""
    found: dict[str, None] = {}
    for variant in variants:
        spec = variant.spec
        asked = Asked(context_tokens=max(contexts), encoder_tokens=encoder_tokens)
        _, notes = choose_workload(spec, asked)
        found |= dict.fromkeys(f"{spec.name}: {note}" for note in (*notes, *variant.notes))
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
