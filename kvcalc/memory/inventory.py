"""The whole model's tensors: which weights it owns and what each layer keeps.

Layers made from the same block are listed once with the layers they stand for, so that a stack of
126 equal layers costs no more to walk than one.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from kvcalc.frozen import changed, frozen, remembered
from kvcalc.spec.layers import Layer, decoder_layers, encoder_layers, owners, uses
from kvcalc.spec.model import Block, ModelSpec, norm_tensors
from kvcalc.tensors import (
    CacheTensor,
    EveryToken,
    ParamTensor,
    Part,
    Shard,
    Share,
    linear,
    split,
)

if TYPE_CHECKING:
    from fractions import Fraction

    from kvcalc.mechanism import Mechanism
    from kvcalc.stack.recursion import Case

# Where a block keeps its caches, in the order that tables show them.
SLOTS = ("ngram", "attention", "cross_attention", "recurrent", "ffn")


@frozen
class CacheGroup:
    """Equal layers: each of ``layers`` keeps each of ``tensors``.

    slot: the block's field that keeps them. mechanism: its kind.
    """

    stack: str
    block: str
    slot: str
    mechanism: str
    layers: tuple[int, ...]
    tensors: tuple[CacheTensor, ...]

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of the blocks; one, unless groups were merged."""
        return tuple(self.block.split(", "))


# Where weights stand: before the decoder's layers, in them, or after the last.
Place = Literal["first", "layers", "last"]


@frozen
class ParamGroup:
    """Equal sets of weights: each of ``layers`` owns each of ``tensors``.

    prefix: what stands before a tensor's name; ``{}`` in it is the layer's index.
    layers: empty for what the model owns once.
    place: where pipeline stages find it. beside: the decoder layer that something outside the
        layers is used with, where that is neither the first nor the last.
    """

    prefix: str
    layers: tuple[int, ...]
    tensors: tuple[ParamTensor, ...]
    place: Place
    beside: int | None = None

    @property
    def count(self) -> int:
        return len(self.layers) or 1


def groups_of(spec: ModelSpec, case: "Case" = "worst") -> tuple[CacheGroup, ...]:
    """What each layer of the model keeps between decode steps.

    case: which depths the tokens choose in a token-choice recursion; without one it says nothing.
    Raises ValueError for the expected case of a recursion whose depths the spec does not state.
    """
    return _most_kept(spec) if case == "worst" else _kept(spec, case)


@remembered
def _most_kept(spec: ModelSpec) -> tuple[CacheGroup, ...]:
    return _kept(spec, "worst")


def _kept(spec: ModelSpec, case: "Case") -> tuple[CacheGroup, ...]:
    groups = []
    for stack, block, share, indices in _runs(spec, case):
        for slot in SLOTS:
            mechanism = getattr(spec.blocks[block], slot)
            tensors = () if mechanism is None else _thinned(cache_of(mechanism), share)
            if tensors:
                groups.append(CacheGroup(stack, block, slot, mechanism.kind, indices, tensors))
    return tuple(groups)


def _runs(
    spec: ModelSpec, case: "Case"
) -> "Iterator[tuple[str, str, Fraction | None, tuple[int, ...]]]":
    """Equal layers: the stack, the block, the share of the tokens that reaches them, which they are."""
    if spec.recursion is None:
        for block, indices in uses(decoder_layers(spec)).items():
            yield "decoder", block, None, indices
    else:
        runs: dict[tuple[str, Fraction | None], list[int]] = {}
        for layer in decoder_layers(spec):
            runs.setdefault((layer.block, _share(spec, layer, case)), []).append(layer.index)
        for (block, share), places in runs.items():
            yield "decoder", block, share, tuple(places)
    for block, indices in uses(encoder_layers(spec)).items():
        yield "encoder", block, None, indices


@lru_cache(maxsize=1024)
def cache_of(mechanism: "Mechanism") -> tuple[CacheTensor, ...]:
    """Remembered: models of one family have the same mechanisms."""
    return tuple(mechanism.cache())


def _share(spec: ModelSpec, layer: Layer, case: "Case") -> "Fraction | None":
    """The share of the tokens that reach a layer; None for all of them."""
    if spec.recursion is None or layer.recursion is None:
        return None
    share = spec.recursion.token_share(layer.recursion, case)
    if share is None:
        raise ValueError("the expected cache needs recursion.depths, which the spec does not state")
    return None if share == 1 else share


def _thinned(tensors: tuple[CacheTensor, ...], share: "Fraction | None") -> tuple[CacheTensor, ...]:
    """The same tensors for the routed share of the tokens; nothing when none is routed."""
    if share is None:
        return tensors
    if not share:
        return ()
    return tuple(
        changed(tensor, extent=Share(share)) if isinstance(tensor.extent, EveryToken) else tensor
        for tensor in tensors
    )


def merged(groups: tuple[CacheGroup, ...]) -> tuple[CacheGroup, ...]:
    """Groups that keep the same tensors as one, whatever else their blocks differ in.

    DeepSeek-V3's dense and expert layers have the same attention: 61 layers, not 3 and 58.
    """
    found: dict[tuple[object, ...], CacheGroup] = {}
    for group in groups:
        key = (group.stack, group.slot, group.mechanism, group.tensors)
        first = found.get(key)
        if first is None:
            found[key] = group
        else:
            names = first.block if group.block in first.blocks else f"{first.block}, {group.block}"
            layers = tuple(sorted((*first.layers, *group.layers)))
            found[key] = changed(first, block=names, layers=layers)
    return tuple(found.values())


@remembered
def parameter_groups(spec: ModelSpec) -> tuple[ParamGroup, ...]:
    """Every weight of the trunk, tied tensors once, in the order of the forward pass.

    Multi-token-prediction layers are not in it; see ``mtp_groups``.
    """
    return tuple(_trunk(spec))


def _trunk(spec: ModelSpec) -> Iterator[ParamGroup]:
    yield ParamGroup("", (), tuple(_embedding(spec)), "first")
    if spec.encoder is not None:
        yield ParamGroup("encoder.", (), tuple(_encoder_ends(spec)), "first")
        width = spec.encoder.hidden_size or spec.hidden_size
        yield from _layer_groups(spec, "encoder.layers.{}.", encoder_layers(spec), width)
    yield from _layer_groups(spec, "layers.{}.", decoder_layers(spec), spec.hidden_size)
    yield ParamGroup("", (), tuple(_head(spec)), "last")
    yield from _extras(spec)


def mtp_groups(spec: ModelSpec) -> Iterator[ParamGroup]:
    """The weights of the extra layers that predict further tokens."""
    if spec.mtp is None:
        return
    block = spec.blocks[spec.mtp.block]
    layer = block.parameters(spec.hidden_size, spec.norm)
    glue = tuple(spec.mtp.glue_parameters(spec.hidden_size))
    if spec.hyper_connections is not None and spec.mtp.folds:
        layer += tuple(spec.hyper_connections.layer_parameters(spec.hidden_size))
        glue += tuple(spec.hyper_connections.final_parameters(spec.hidden_size))
    yield ParamGroup("mtp.{}.", tuple(range(spec.mtp.num_layers)), layer + glue, "last")


def _layer_groups(
    spec: ModelSpec, prefix: str, layers: tuple[Layer, ...], hidden_size: int
) -> Iterator[ParamGroup]:
    encoder_width = spec.encoder.hidden_size if spec.encoder else None
    decoder = not prefix.startswith("encoder")
    # An encoder stands whole on the first stage.
    place: Place = "layers" if decoder else "first"
    for name, indices in owners(layers).items():
        block = spec.blocks[name]
        tensors = block.parameters(hidden_size, spec.norm, encoder_width)
        if decoder:
            tensors += tuple(_per_layer(spec))
        yield ParamGroup(prefix, indices, tensors, place)
        if block.adapter is not None:
            own = tuple(block.adapter.layer_parameters(hidden_size))
            yield ParamGroup(f"{prefix}adapter.", uses(layers)[name], own, place)


def _per_layer(spec: ModelSpec) -> Iterator[ParamTensor]:
    for part in (spec.hyper_connections, spec.altup, spec.laurel, spec.per_layer_embeddings):
        if part is not None:
            yield from part.layer_parameters(spec.hidden_size)


def _extras(spec: ModelSpec) -> Iterator[ParamGroup]:
    """What the model owns once for all layers, by where it is used."""
    layers = decoder_layers(spec)
    width, count = spec.hidden_size, len(layers)
    first = [part for part in (spec.altup, spec.per_layer_embeddings) if part]
    last = [part for part in (spec.hyper_connections, spec.altup) if part]
    before = tuple(item for part in first for item in part.model_parameters(width, count))
    after = tuple(item for part in last for item in part.final_parameters(width))
    if before:
        yield ParamGroup("", (), before, "first")
    if after:
        yield ParamGroup("", (), after, "last")
    if spec.recursion is None:
        return
    for turn, router in enumerate(spec.recursion.routers(width)):
        begins = next(layer.index for layer in layers if layer.recursion == turn)
        yield ParamGroup("", (), router, "layers", begins)


def _embedding(spec: ModelSpec) -> Iterator[ParamTensor]:
    embedding, width = spec.embedding, spec.hidden_size
    size = embedding.size if embedding and embedding.size else width
    rows = spec.vocab_size + ((embedding.extra_rows or 0) if embedding else 0)
    if spec.draft is not None and spec.draft.embedding == "target":
        return
    yield ParamTensor("embedding.weight", (rows, size), "embedding", _split_rows(rows),
                      quantised=True)  # fmt: skip
    if embedding is not None:
        if embedding.projection != "none":
            bias = embedding.projection == "in_bias"
            yield from linear("embedding_projection", width, size, "embedding", bias=bias)
        # ALBERT adds up and norms narrow embeddings, then projects; OPT-350m projects first.
        inner = width if embedding.projection == "in_out" else size
        if embedding.positions is not None:
            yield ParamTensor(
                "position_embedding.weight", (embedding.positions, inner), "embedding"
            )
        if embedding.token_types is not None:
            shape = (embedding.token_types, inner)
            yield ParamTensor("token_type_embedding.weight", shape, "embedding")
        if embedding.task_types is not None:
            shape = (embedding.task_types, inner)
            yield ParamTensor("task_type_embedding.weight", shape, "embedding")
        if embedding.relative_positions is not None:
            shape = (embedding.relative_positions, width)
            yield ParamTensor("relative_position_embedding.weight", shape, "embedding")
            if embedding.relative_norm:
                yield from norm_tensors("relative_position_norm", spec.norm, width)
        if embedding.norm:
            yield from norm_tensors("embedding_norm", spec.norm, inner)
    if spec.relative_attention_num_buckets is not None:
        yield _relative_bias("relative_attention_bias", spec.relative_attention_num_buckets,
                             spec.blocks[spec.layers[0].names[0]])  # fmt: skip


def _relative_bias(name: str, num_buckets: int, block: Block) -> ParamTensor:
    heads = block.num_attention_heads
    return ParamTensor(f"{name}.weight", (num_buckets, heads), "attention", split(1, heads))


def _encoder_ends(spec: ModelSpec) -> Iterator[ParamTensor]:
    encoder = spec.encoder
    if encoder is None:
        return
    width = encoder.hidden_size or spec.hidden_size
    if encoder.embedding == "own":
        by_row = _split_rows(spec.vocab_size)
        yield ParamTensor("embedding.weight", (spec.vocab_size, width), "embedding", by_row,
                          quantised=True)  # fmt: skip
    stem = encoder.conv_stem
    if stem is not None:
        for name, channels in (("conv1", stem.in_channels), ("conv2", width)):
            yield ParamTensor(f"{name}.weight", (width, channels, stem.kernel), "embedding")
            yield ParamTensor(f"{name}.bias", (width,), "embedding")
    if encoder.positions is not None:
        yield ParamTensor("position_embedding.weight", (encoder.positions, width), "embedding")
    if encoder.global_tokens is not None:
        yield ParamTensor("global_embedding.weight", (encoder.global_tokens, width), "embedding")
    if encoder.embedding_norm:
        yield from norm_tensors("embedding_norm", spec.norm, width)
    if encoder.relative_attention_num_buckets is not None:
        yield _relative_bias("relative_attention_bias", encoder.relative_attention_num_buckets,
                             spec.blocks[encoder.layers[0].names[0]])  # fmt: skip
    if encoder.final_norm:
        yield from norm_tensors("final_norm", spec.norm, width)


def _head(spec: ModelSpec) -> Iterator[ParamTensor]:
    width, size = spec.hidden_size, spec.hidden_size
    if spec.final_norm:
        yield from norm_tensors("final_norm", spec.norm, width)
    if spec.pooler:
        yield from linear("pooler", width, width, "head", bias=True)
    if spec.embedding is not None and spec.embedding.projection == "in_out":
        size = spec.embedding.size or width
        yield from linear("head_projection", size, width, "head")
    elif spec.embedding is not None and spec.embedding.size is not None:
        size = spec.embedding.size
    by_row = _split_rows(spec.vocab_size)
    if spec.head == "mlm" or spec.head_transform:
        yield from linear("head_transform", size, width, "head", bias=spec.head == "mlm")
        yield from norm_tensors("head_norm", spec.norm, size)
    if spec.head != "none" and spec.tie_word_embeddings is False:
        yield ParamTensor("head.weight", (spec.vocab_size, size), "head", by_row, quantised=True)
    if spec.head == "mlm" or (spec.head == "lm" and spec.head_bias):
        yield ParamTensor("head.bias", (spec.vocab_size,), "head", by_row)
    if spec.draft is not None:
        yield from spec.draft.parameters(width, spec.vocab_size)
    for name, shape in spec.class_tensors.items():
        yield ParamTensor(name, tuple(shape), "head")


def _split_rows(vocab_size: int) -> Shard:
    return Shard(0, (Part(vocab_size, vocab_size, pad=True),))
