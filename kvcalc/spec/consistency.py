"""Rules across the parts of a spec: what its mechanisms and its stack must agree on."""

import re
from collections.abc import Iterator
from math import lcm, prod
from typing import Any

from kvcalc.counts import Count, counts
from kvcalc.dtypes import WEIGHT_FORMATS, canonical
from kvcalc.spec.bounds import out_of_bounds
from kvcalc.spec.layers import MAX_LAYERS, decoder_layers, encoder_layers, kv_source, num_layers
from kvcalc.spec.model import Block, LayerGroup, ModelSpec
from kvcalc.spec.stored_formats import stored_format
from kvcalc.spec.tensor_formats import parse_layers
from kvcalc.tensors import EveryToken

_MONTH = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])")
# The longest time after which blocks of all sizes of a model begin anew together, in tokens.
MAX_PERIOD = 1 << 16

# (rule code, field path, message)
Finding = tuple[str, str, str]


def findings(spec: ModelSpec) -> Iterator[Finding]:
    """Every inconsistency of a spec whose form is right."""
    for name, block in spec.blocks.items():
        yield from _block(f"blocks.{name}", block, spec.hidden_size)
        yield from _streams(f"blocks.{name}", block, spec)
    stack_findings = list(_stacks(spec))
    yield from stack_findings
    yield from _ends(spec)
    yield from _formats(spec)
    yield from _provenance(spec)
    for name in ("hyper_connections", "altup", "laurel", "per_layer_embeddings", "mtp", "draft"):
        part = getattr(spec, name)
        if part is not None:
            for field, message in part.check():
                yield "KV201", f"{name}.{field}", message
    for name, tower in spec.towers.items():
        for field, message in tower.check():
            yield "KV201", f"towers.{name}.{field}", message
    yield from _rates(spec)
    if not stack_findings:
        yield from _layers(spec)


def unread_findings(spec: ModelSpec) -> Iterator[Finding]:
    """Every inconsistency of a spec that no reader held to the bounds of its numbers."""
    beyond = tuple(out_of_bounds(spec))
    yield from beyond or findings(spec)


def _numbers_of(attention: Any) -> Iterator[tuple[str, Count, Any]]:
    """Every number of an attention and of its indexer: its field, what it counts, whose it is."""
    for part in (attention, getattr(attention, "indexer", None)):
        if part is not None:
            for field, count in counts(type(part)).items():
                yield field, count, part


def _streams(where: str, block: Block, spec: ModelSpec) -> Iterator[Finding]:
    """An n-gram embedding adds to every residual stream."""
    if block.ngram is None:
        return
    number = 1 if spec.hyper_connections is None else spec.hyper_connections.hc_mult
    if block.ngram.hc_mult != number:
        yield "KV201", f"{where}.ngram.hc_mult", f"the model has {number} residual streams"


def _rates(spec: ModelSpec) -> Iterator[Finding]:
    """Blocks of several sizes begin anew together; the lengths up to there are looked at one by one."""
    together = 1
    for name, block in spec.blocks.items():
        for field, count, part in _numbers_of(block.attention):
            if count.kind not in ("block", "stride") or getattr(part, field) is None:
                continue
            size = getattr(part, field)
            together = lcm(together, size)
            if together > MAX_PERIOD:
                message = (
                    f"blocks of {size} tokens and those of the other layers begin anew together "
                    f"after more than {MAX_PERIOD} tokens: not two rates of one model"
                )
                yield "KV201", f"blocks.{name}.attention.{field}", message
                return


def _block(where: str, block: Block, hidden_size: int) -> Iterator[Finding]:
    parts = {
        "ngram": block.ngram,
        "attention": block.attention,
        "recurrent": block.recurrent,
        "cross_attention": block.cross_attention,
        "ffn": block.ffn,
        "adapter": block.adapter,
    }
    if all(part is None for part in parts.values()):
        yield "KV202", where, "an empty block: give it attention, recurrent or ffn"
    for name, part in parts.items():
        if part is not None:
            for field, message in part.check():
                yield "KV201", f"{where}.{name}.{field}", message
            own = getattr(part, "hidden_size", hidden_size)
            if own != hidden_size:
                message = f"must be the model's hidden_size, {hidden_size}, not {own}"
                yield "KV201", f"{where}.{name}.hidden_size", message


def _provenance(spec: ModelSpec) -> Iterator[Finding]:
    if not spec.source:
        yield "KV502", "source", "name where the dimensions were read"
    if spec.released is not None and not _MONTH.fullmatch(spec.released):
        yield "KV106", "released", "a month is written 2025-04"


def _stacks(spec: ModelSpec) -> Iterator[Finding]:
    used: set[str] = set()
    stacks = [("layers", spec.layers)]
    if spec.encoder is not None:
        stacks.append(("encoder.layers", spec.encoder.layers))
    for where, groups in stacks:
        left_out = spec.encoder is not None and spec.encoder.embedding == "none"
        heads_alone = getattr(spec.draft, "kind", "") in ("medusa", "mlp_speculator")
        if not groups and (not heads_alone if where == "layers" else not left_out):
            yield "KV202", where, "a stack needs layers"
        elif num_layers(groups) > MAX_LAYERS:
            yield "KV107", where, f"more than {MAX_LAYERS} layers: larger than any model"
        for index, group in enumerate(groups):
            yield from _group(f"{where}[{index}]", group, spec, used)
    if spec.mtp is not None:
        used.add(spec.mtp.block)
        if spec.mtp.block not in spec.blocks:
            yield "KV202", "mtp.block", _unknown(spec.mtp.block, spec)
    for name in spec.blocks:
        if name not in used:
            yield "KV202", f"blocks.{name}", f"no layer is made from '{name}'"


def _group(where: str, group: LayerGroup, spec: ModelSpec, used: set[str]) -> Iterator[Finding]:
    if (group.pattern is None) == (not group.blocks):
        yield "KV202", where, "give blocks, or a pattern of one-letter blocks"
    for name in dict.fromkeys(group.names):
        used.add(name)
        if name not in spec.blocks:
            place = f"blocks[{group.blocks.index(name)}]" if group.pattern is None else "pattern"
            yield "KV202", f"{where}.{place}", _unknown(name, spec)


def _unknown(name: str, spec: ModelSpec) -> str:
    from kvcalc.spec.words import near, quoted

    known = ", ".join(spec.blocks)
    return f"unknown block {quoted(name)}{near(name, spec.blocks) or f'; known: {known}'}"


def _ends(spec: ModelSpec) -> Iterator[Finding]:
    yield from _draft(spec)
    if spec.head == "none" and spec.tie_word_embeddings is not None:
        yield "KV204", "tie_word_embeddings", "there is no head to tie (head: none)"
    if spec.head == "lm" and spec.tie_word_embeddings is None:
        yield "KV204", "tie_word_embeddings", "required: does the head use the token table?"
    embedding = spec.embedding
    tied = spec.head != "none" and spec.tie_word_embeddings is not False
    if embedding is not None and embedding.extra_rows and tied:
        yield "KV204", "embedding.extra_rows", "a head that is the token table has its rows"
    if embedding is not None and (embedding.size is None) != (embedding.projection == "none"):
        yield "KV204", "embedding", "size and projection go together"
    if embedding is not None and embedding.relative_norm and embedding.relative_positions is None:
        yield "KV204", "embedding.relative_norm", "there is no table of relative positions"
    yield from _class_tensors(spec)
    yield from _encoder(spec)
    yield from _masks(spec)
    for where, part, groups in (
        ("", spec, spec.layers),
        ("encoder.", spec.encoder, spec.encoder.layers if spec.encoder else ()),
    ):
        first = spec.blocks.get(groups[0].names[0]) if groups and groups[0].names else None
        buckets = getattr(part, "relative_attention_num_buckets", None)
        if buckets is not None and first is not None and not first.num_attention_heads:
            message = "the stack's first layer has no attention heads to bias"
            yield "KV204", f"{where}relative_attention_num_buckets", message


def _draft(spec: ModelSpec) -> Iterator[Finding]:
    """A draft has the ends that its kind says, and the rest from the model that it drafts for."""
    if spec.draft is None:
        return
    if spec.head != "none":
        yield "KV204", "head", "a draft's head is its kind's: say head: none"
    if spec.embedding is not None:
        yield "KV204", "embedding", "a draft has a token table alone, or none (draft.embedding)"
    if spec.encoder is not None or spec.recursion is not None or spec.mtp is not None:
        yield "KV204", "draft", "a draft is a plain stack of layers"
    if spec.draft.kind in ("medusa", "mlp_speculator") and spec.layers:
        yield "KV204", "layers", f"{spec.draft.kind} has no layers: its heads stand under draft"
    if spec.reads_target:
        for name, block in spec.blocks.items():
            if block.shared_kv != "target":
                message = f"a {spec.draft.kind} keeps no keys and values: say shared_kv: target"
                yield "KV204", f"blocks.{name}.attention", message
    if not spec.layers and spec.final_norm:
        yield "KV204", "final_norm", "there is no layer to norm after: say final_norm: false"


def _class_tensors(spec: ModelSpec) -> Iterator[Finding]:
    """Tensors by name: a PyTorch module could have them, and memory could hold their numbers."""
    for name, shape in spec.class_tensors.items():
        if len(name) > 200 or not all(
            part.isidentifier() or part.isdecimal() for part in name.split(".")
        ):
            yield (
                "KV204",
                "class_tensors",
                "a tensor's name is words with dots, as classifier.weight",
            )
        elif not 1 <= len(shape) <= 4 or prod(shape) > 1 << 50:
            yield (
                "KV204",
                f"class_tensors.{name}",
                "a shape is one to four sizes, of at most 2^50 elements",
            )


def _blocks_of(spec: ModelSpec, groups: tuple[LayerGroup, ...]) -> dict[str, Block]:
    """The known blocks that a stack is made from, in its order."""
    names = dict.fromkeys(name for group in groups for name in group.names)
    return {name: spec.blocks[name] for name in names if name in spec.blocks}


def _masks(spec: ModelSpec) -> Iterator[Finding]:
    """A stack either sees its whole input at once and keeps nothing, or goes step by step."""
    blocks = _blocks_of(spec, spec.layers)
    whole = [name for name, block in blocks.items() if block.is_bidirectional]
    if not whole:
        return
    stepping = [
        name for name, block in blocks.items()
        for part in block.mechanisms() if any(part.cache())
    ]  # fmt: skip
    for name in whole if stepping else ():
        message = (
            f"keeps no cache, and '{stepping[0]}' in the same stack keeps one: a stack that "
            f"goes step by step is causal; an encoder's layers stand under 'encoder:'"
        )
        yield "KV204", f"blocks.{name}.attention.mask", message


def _encoder(spec: ModelSpec) -> Iterator[Finding]:
    if spec.encoder is None:
        for name, block in spec.blocks.items():
            if block.cross_attention is not None:
                yield "KV204", f"blocks.{name}.cross_attention", "there is no encoder to attend to"
        return
    decoder = _blocks_of(spec, spec.layers)
    if decoder and not any(block.cross_attention for block in decoder.values()):
        message = (
            "nothing attends to the encoder: give a block of 'layers:' cross_attention; the layers "
            "of a model that is an encoder alone stand under 'layers:'"
        )
        yield "KV204", "encoder", message
    for name, block in sorted(_blocks_of(spec, spec.encoder.layers).items()):
        for slot, part in block.slots.items():
            if any(part.cache()):
                hint = ": say mask: bidirectional" if hasattr(part, "mask") else ""
                message = f"an encoder's layer keeps nothing between steps{hint}"
                yield "KV204", f"blocks.{name}.{slot}", message


def _formats(spec: ModelSpec) -> Iterator[Finding]:
    for part, name in spec.weight_dtypes.items():
        try:
            canonical(name, WEIGHT_FORMATS)
        except ValueError as error:
            yield "KV106", f"weight_dtypes.{part}", str(error)
    for index, rule in enumerate(spec.weight_formats):
        where = f"weight_formats[{index}]"
        if (rule.format is None) == (rule.bytes is None):
            yield "KV201", where, "a format, or the bytes of each tensor: one of the two"
        try:
            if rule.format is not None:
                stored_format(rule.format)
        except ValueError as error:
            yield "KV106", f"{where}.format", str(error)
        try:
            if rule.layers is not None:
                parse_layers(rule.layers)
        except ValueError as error:
            yield "KV201", f"{where}.layers", str(error)


def _layers(spec: ModelSpec) -> Iterator[Finding]:
    recursion = spec.recursion
    if recursion is not None:
        for field, message in recursion.check():
            yield "KV205", f"recursion.{field}", message
        yield from _recursive_blocks(spec)
    elif not any(block.shared_kv for block in spec.blocks.values()):
        return
    try:
        layers = decoder_layers(spec)
    except ValueError as error:
        yield "KV205", "recursion", str(error)
        return
    for stack in (layers, encoder_layers(spec)):
        seen: set[str] = set()
        for layer in stack:
            block = spec.blocks[layer.block]
            source = block.shared_kv
            if source is None or layer.block in seen:
                continue
            seen.add(layer.block)
            if source == "target" and spec.reads_target:
                continue
            where = f"blocks.{layer.block}.attention.shared_kv"
            if reason := _cannot_share(spec, block.attention, source):
                yield "KV203", where, reason
            elif kv_source(stack, layer, source) is None:
                yield "KV203", where, f"no '{source}' layer stands before layer {layer.index}"


def _cannot_share(spec: ModelSpec, reader: Any, source: str) -> str | None:
    """Why a layer cannot read the K and V of ``source`` layers; None when it can."""
    if source not in spec.blocks:
        return _unknown(source, spec)
    owner: Any = spec.blocks[source].attention
    if owner is None or spec.blocks[source].shared_kv is not None or not any(owner.cache()):
        return f"'{source}' keeps no K and V of its own"
    if owner.kind not in ("mha", "mqa", "gqa"):
        return f"'{source}' is {owner.kind}, whose cache this layer cannot read"
    own, read = (
        (part.num_key_value_heads, part.head_dim, part.value_dim) for part in (owner, reader)
    )
    if own != read:
        heads = "{} KV heads of {} and {}"
        return f"'{source}' keeps {heads.format(*own)}, this reads {heads.format(*read)}"
    if _sees_more(reader, owner):
        return f"this layer sees tokens that '{source}' does not keep"
    return None


def _sees_more(reader: Any, owner: Any) -> bool:
    """Whether a layer's window or chunk goes beyond what another layer keeps."""
    if owner.attention_chunk_size is not None:
        return bool(reader.attention_chunk_size != owner.attention_chunk_size)
    if owner.sliding_window is None:
        return False
    window = reader.sliding_window
    sinks = (reader.sink_tokens or 0) > (owner.sink_tokens or 0)
    return window is None or window > owner.sliding_window or sinks


def _recursive_blocks(spec: ModelSpec) -> Iterator[Finding]:
    for name, block in spec.blocks.items():
        attention = block.attention
        if block.recurrent is not None or attention is None or block.cross_attention is not None:
            yield "KV205", f"blocks.{name}", "a recursion wraps self-attention layers only"
        elif block.shared_kv or any(
            not isinstance(tensor.extent, EveryToken) for tensor in attention.cache()
        ):
            message = (
                "a recursion over layers with a window, a chunk or another's cache is not published"
            )
            yield "KV205", f"blocks.{name}.attention", message
        elif block.share_weights:
            yield (
                "KV205",
                f"blocks.{name}.share_weights",
                "the recursion says which weights are shared",
            )
    for index, group in enumerate(spec.layers):
        if group.loops > 1:
            yield "KV205", f"layers[{index}].loops", "the recursion says which weights are shared"
