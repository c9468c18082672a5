"""``kvcalc estimate``: weights, cache and workspace of a model, tensor by tensor."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kvcalc.file_types import recipe
from kvcalc.media.words import tokens_in_words
from kvcalc.memory.estimate import CacheEstimate, Estimate, GroupEstimate
from kvcalc.memory.inventory import merged
from kvcalc.memory.towers import TOWER_COMPONENTS
from kvcalc.memory.workload import Workload
from kvcalc.memory.workspace import WorkspaceItem, step_tokens
from kvcalc.report.answers.layers import describe_layers, layer_ranges
from kvcalc.report.cells import Bar, Bytes, Cell, Code, Count, ExactBytes, Shape, Share, Tone, ratio
from kvcalc.report.objects import estimate as objects
from kvcalc.report.objects.common import named
from kvcalc.report.objects.filled import filled
from kvcalc.report.sheet import (
    Column,
    Line,
    Part,
    Row,
    Sheet,
    Table,
    for_csv,
    table,
)
from kvcalc.tensors import Component
from kvcalc.units import format_bytes, format_count, format_tokens

# layers: how many keep such a tensor. shape, bytes_per_layer: one layer's, of all sequences. bytes: of
# all those layers; the lines of the parts weights and cache add up to what the part total says.
KEYS = (
    "model", "part", "name", "layers", "shape", "dtype", "bytes_per_layer", "bytes", "parameters",
    "formula",
)  # fmt: skip
# The contract's components; a recurrent mixer is none of them.
_CONTRACT: dict[Component, str] = {"recurrent": "other"}
_COMPONENTS = ("embedding", "attention", "ffn", "experts", "router", "norm", "head", "other")


def to_object(estimate: Estimate) -> dict[str, Any]:
    """The contract's object for one model."""
    spec, workload, parameters = estimate.spec, estimate.workload, estimate.parameters
    step = {
        "tokens": step_tokens(workload),
        "bytes": _largest(estimate.step),
        "items": estimate.step,
    }
    return filled(
        objects.Estimate, estimate,
        model=named(spec.name, spec.source, estimate.path),
        workload=filled(objects.Workload, workload, state_dtype=estimate.state_dtype),
        parallelism=workload.layout,
        parameters=filled(
            objects.Parameters, parameters,
            total=estimate.total_parameters,
            by_component=_by_component(parameters.by_component)
            | {part.name: part.parameters for part in estimate.beside},
            mtp=estimate.mtp_parameters,
            checkpoint=estimate.published_parameters,
        ),
        weights=_weights(estimate),
        cache=_cache(estimate.cache),
        workspace=filled(
            objects.Workspace, bytes=_largest(estimate.workspace), items=estimate.workspace,
            # What an engine needs that cuts a prefill in chunks.
            step=filled(objects.Step, **step),
        ),
    )  # fmt: skip


def _largest(items: Sequence[WorkspaceItem]) -> int:
    return max((item.bytes for item in items), default=0)


def _weights(estimate: Estimate) -> dict[str, Any]:
    more: dict[str, Any] = {}
    gguf = recipe(estimate.workload.dtype)
    if gguf is not None:
        more["files"] = _files(estimate, gguf.file_type.name)
    if estimate.stored is not None:
        more["by_dtype"] = estimate.stored.by_dtype
        more["beside"] = [
            {"what": what, "bytes": num_bytes} for what, num_bytes in estimate.stored.beside
        ]
    return filled(
        objects.Weights,
        bytes=estimate.weight_bytes,
        by_component=_by_component(estimate.weight_bytes_by_component)
        | {part.name: part.bytes for part in estimate.beside},
        per_device_bytes=estimate.weight_bytes_per_device,
        types=estimate.weight_types,
        **more,
    )


def _files(estimate: Estimate, type_name: str) -> list[dict[str, Any]]:
    """The model's GGUF file, the projector's, a draft's and the adapters': together all weights."""
    name = estimate.spec.name
    held = estimate.weight_bytes_by_component
    projector = sum(held.get(component, 0) for component in TOWER_COMPONENTS)
    own = [part for part in estimate.beside if part.name != "mtp"]
    rest = estimate.weight_bytes - projector - sum(part.bytes for part in own)
    files = {f"{name}-{type_name}.gguf": rest, f"mmproj-{name}-F16.gguf": projector}
    files |= {f"{name}-{part.name}.gguf": part.bytes for part in own}
    return [{"name": file, "bytes": num_bytes} for file, num_bytes in files.items() if num_bytes]


def _by_component(counts: dict[Component, int]) -> dict[str, int]:
    merged = dict.fromkeys(_COMPONENTS, 0)
    for component, count in counts.items():
        if component in TOWER_COMPONENTS:
            if count:
                merged[component] = count
            continue
        merged[_CONTRACT.get(component, component)] += count
    return merged


def _cache(cache: CacheEstimate) -> dict[str, Any]:
    ends = ("least_bytes", "expected_bytes", "worst_bytes")
    span = None if cache.range_bytes is None else dict(zip(ends, cache.range_bytes, strict=True))
    groups = [_group(group) for group in cache.groups]
    return filled(objects.Cache, cache, groups=groups, range=span)


def _group(group: GroupEstimate) -> dict[str, Any]:
    layers = group.group.layers
    return filled(
        objects.CacheGroup, group.group,
        layers=[layers[0], layers[-1]], layer_ranges=layer_ranges(layers), indices=layers,
        count=len(layers), bytes=group.bytes, tensors=group.tensors,
    )  # fmt: skip


def sheet(estimate: Estimate, every: bool = False) -> Sheet:
    """The answer, then its parts to every tensor. every: the buffers of an unchunked prefill, too."""
    # Programs read the object alone.
    from kvcalc.memory.whatif import as_mha
    from kvcalc.report.answers.types import types_tables

    parts: list[Part] = [in_one_line(estimate, estimate.cache.bytes), _weights_table(estimate),
                         *types_tables(estimate)]  # fmt: skip
    cache_bytes = estimate.cache.per_device_bytes
    if estimate.cache.groups:
        parts.append(_cache_table(estimate))
    else:
        parts.append(Line("", lead="cache: none. This model keeps nothing between steps."))
    parts += [totals(_totals(estimate)), _devices(estimate.weight_bytes_per_device, cache_bytes),
              *_workspace(estimate, every)]  # fmt: skip
    if estimate.real is None and (mha := as_mha(estimate)) is not None:
        kind = "/".join(sorted({group.group.mechanism for group in estimate.cache.groups}))
        times = ratio(mha, estimate.cache.bytes)
        said = (f"With a KV head per query head (MHA) the cache would take {format_bytes(mha)}, "
                f"{times} what {kind} takes.")  # fmt: skip
        parts.append(Line(said, tone="faint"))
    return Sheet(estimate.spec.name, question(estimate), tuple(parts), estimate.assumptions, KEYS)


def in_one_line(estimate: Estimate, cache: int) -> Line:
    """What a person can repeat. cache: bytes of it."""
    weights = estimate.weight_bytes
    said = (
        f"weights {format_bytes(weights)} + cache {format_bytes(cache)} = "
        f"{format_bytes(weights + cache)}"
    )
    parameters = estimate.parameters
    about = f"{format_count(estimate.total_parameters)} parameters"
    if parameters.language_model != parameters.total:
        about += f", {format_count(parameters.language_model)} of them the language model's"
    return Line(f"({about})", said, close=True)


def tokens_asked(workload: Workload) -> str:
    """``8k tokens``, and which of them are media's."""
    return tokens_in_words(workload.context_tokens, workload.media)


def question(estimate: Estimate) -> str:
    """``128k tokens x 8``: what was asked."""
    workload = estimate.workload
    said = f"{tokens_asked(workload)} x {workload.batch_size}"
    if workload.encoder_tokens:
        said += f", encoder {format_tokens(workload.encoder_tokens)}"
    if workload.beams > 1:
        said += f", {workload.beams} beams"
    return said


def _weights_table(estimate: Estimate) -> Table:
    total, dtype = estimate.weight_bytes, estimate.workload.dtype
    columns = (
        Column(f"weights ({dtype})", "name"), Column("parameters", "parameters"),
        Column("bytes", "bytes"), Column("share"), Column(""), Column(None, "dtype"),
    )  # fmt: skip
    sizes = estimate.weight_bytes_by_component
    held: list[tuple[str, int, int, str | None]] = [
        (component, count, sizes[component], dtype)
        for component, count in estimate.parameters.by_component.items()
        if count or sizes[component]
    ]
    held += [(part.name, part.parameters, part.bytes, None) for part in estimate.beside]
    rows = (
        Row((name, Count(count), Bytes(size), Share(size, total), Bar(size, total), own), depth=1)
        for name, count, size, own in held
    )
    return Table("weights", columns, (*rows, *_weight_sums(estimate)))


def _weight_sums(estimate: Estimate) -> Iterator[Row]:
    """All of them, and what of them is the language model's, is used, is published."""
    parameters, spec = estimate.parameters, estimate.spec
    model = total = estimate.total_parameters
    yield _weight_sum("total", total, estimate.weight_bytes, tone="strong")
    if parameters.language_model != parameters.total:
        sizes = estimate.weight_bytes_by_component
        size = estimate.weight_bytes - sum(sizes[each] for each in TOWER_COMPONENTS)
        yield _weight_sum("language model", parameters.language_model, size, tone="")
    if spec.towers:
        model = parameters.language_model
    if parameters.active != model:
        yield _weight_sum("active per token", parameters.active, tone="")
        if parameters.active_without_embedding != parameters.active:
            without = parameters.active_without_embedding
            yield _weight_sum("without the token table", without, depth=2)
    if spec.checkpoint is not None and (stated := estimate.published_parameters) is not None:
        yield _weight_sum("published files", stated)
        # What they hold that is no parameter of the loaded model.
        for name, count in spec.checkpoint.beside.items():
            yield _weight_sum(f"+ {name}", count, depth=2)


def _weight_sum(
    name: str, count: int, size: int | None = None, tone: Tone = "faint", depth: int = 1
) -> Row:
    cells = (name, Count(count), None if size is None else Bytes(size), None, None, None)
    return Row(cells, tone, depth, "weights total")


def _cache_table(estimate: Estimate) -> Table:
    cache = estimate.cache
    columns = (
        Column(f"cache ({estimate.workload.cache.kv_name})"), Column("shape"),
        Column("bytes", "bytes"), Column("share"), Column(""),
        *for_csv("name", "layers", "shape", "dtype", "bytes_per_layer"),
    )  # fmt: skip
    rows = tuple(row for group in _merged(cache.groups) for row in _group_rows(group, cache.bytes))
    return Table("cache", columns, rows)


def _merged(groups: tuple[GroupEstimate, ...]) -> list[GroupEstimate]:
    """Groups with the same tensors as one row."""
    by_tensors = {group.group.tensors: group.tensors for group in groups}
    per_layer = {key: sum(tensor.bytes for tensor in value) for key, value in by_tensors.items()}
    return [
        GroupEstimate(
            group, by_tensors[group.tensors], per_layer[group.tensors] * len(group.layers)
        )
        for group in merged(tuple(group.group for group in groups))
    ]


def _group_rows(group: GroupEstimate, total: int) -> Iterator[Row]:
    layers, block = group.group.layers, group.group.block
    count = len(layers)
    stack = group.group.stack
    where = "" if stack == "decoder" else f"{stack} "
    said = f"{count} layer{'s' if count != 1 else ''} ({where}{describe_layers(layers)})"
    yield Row((
        f"{block}: {group.group.mechanism}", said, Bytes(group.bytes), Share(group.bytes, total),
        Bar(group.bytes, total, 10, "magenta"), block, Count(count), None, None, None,
    ), depth=1, part="cache group")  # fmt: skip
    for tensor in group.tensors:
        yield Row((
            tensor.name, Shape(tensor.shape, f" {tensor.dtype}"), Bytes(tensor.bytes * count), None,
            None, f"{block}.{tensor.name}", Count(count), Shape(tensor.shape), tensor.dtype,
            Bytes(tensor.bytes),
        ), "faint", 2)  # fmt: skip


def _totals(estimate: Estimate) -> Iterator[Row]:
    weights, cache, total = estimate.weight_bytes, estimate.cache, estimate.total_bytes
    yield figure("weights", weights, Share(weights, total), Bar(weights, total))
    drawn = Bar(cache.bytes, total, colour="magenta")
    yield figure("cache", cache.bytes, Share(cache.bytes, total), drawn)
    yield figure("together", total, tone="strong")
    yield figure("cache per token", cache.next_token_bytes)
    later = "" if cache.next_token_bytes == cache.bytes_per_token else ", windows full"
    if later:
        yield figure(f"cache per token{later}", cache.bytes_per_token)
    if cache.fixed_bytes_per_sequence:
        yield figure(f"fixed per sequence{later}", cache.fixed_bytes_per_sequence)
    if cache.prefill_peak_bytes is not None:
        yield figure("cache at the prefill's peak", cache.prefill_peak_bytes)
    if cache.after_prefill_bytes is not None:
        yield figure("cache right after a prefill", cache.after_prefill_bytes)
    if cache.range_bytes is not None:
        for name, value in zip(("least", "expected", "worst"), cache.range_bytes, strict=True):
            yield figure(f"cache, {name} case", value)
    yield from _fullest(estimate.weight_bytes_per_device, cache.per_device_bytes)


def totals(rows: Iterable[Row]) -> Table:
    """Of ``figure``'s rows."""
    columns = (Column("total", "name"), Column("bytes", "bytes"), Column("", right=True),
               Column("share"), Column(""))  # fmt: skip
    return table("total", columns, tuple(rows))


def figure(name: str, num_bytes: int | None, *more: Cell, **how: Any) -> Row:
    """A sum to the last byte and as people say it. more: its share of the total, and a bar."""
    if num_bytes is None:
        return Row((name, "unknown: state recursion.depths", None, None, None), depth=1)
    beside = (*more, None, None)[:2]
    return Row((name, ExactBytes(num_bytes), Bytes(num_bytes), *beside), **{"depth": 1, **how})


def _devices(weights: Sequence[int], caches: Sequence[int]) -> Table:
    """What each of several devices holds, for csv alone: numbered in the name."""
    pairs = (("weights", weights), ("cache", caches)) if len(weights) > 1 else ()
    rows = (
        Row((Count(number), Bytes(num_bytes)), part=f"device {what}")
        for what, held in pairs
        for number, num_bytes in enumerate(held)
    )
    return Table("device", for_csv("name", "bytes"), tuple(rows))


def _fullest(weights: Sequence[int], caches: Sequence[int]) -> Iterator[Row]:
    """The fullest of several devices."""
    if len(weights) < 2:
        return
    fullest = max(zip(weights, caches, strict=True), key=sum)
    part = "fullest device"
    yield figure(f"fullest of {len(caches)} devices", sum(fullest), part=part)
    for name, num_bytes in zip(("weights", "cache"), fullest, strict=True):
        yield figure(name, num_bytes, tone="faint", depth=2, part=part)


def _workspace(estimate: Estimate, every: bool) -> Iterator[Part]:
    """What a step of an engine needs; the buffers of one whole prefill where they are asked for."""
    tokens = step_tokens(estimate.workload)
    about = f"largest buffers of a step of {tokens:,} tokens, as engines cut a prefill"
    yield Line(about, "workspace:")
    yield _buffers("step", estimate.step, True)
    if every:
        yield Line("largest buffers of one unchunked prefill, not at the same time", "workspace:")
    yield _buffers("workspace", estimate.workspace, every)
    if every:
        for note in dict.fromkeys(item.note for item in estimate.workspace if item.note):
            yield Line(f"  {note}", tone="faint", close=True)


def _buffers(part: str, items: tuple[WorkspaceItem, ...], shown: bool) -> Table:
    """shown: whether to people, too."""
    titles = ("buffer", "bytes", "formula") if shown else (None, None, None)
    keys = ("name", "bytes", "formula")
    columns = tuple(
        Column(*pair, wraps=pair[1] != "bytes") for pair in zip(titles, keys, strict=True)
    )
    # What fused attention never writes comes last, although it would be the largest.
    rows = [
        Row((item.name, Bytes(item.bytes), Code(item.formula + ", eager only" * item.eager_only)),
            "faint", 1)
        for item in sorted(items, key=lambda item: item.eager_only)
    ]  # fmt: skip
    return Table(part, columns, tuple(rows), close=True)
