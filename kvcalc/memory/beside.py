"""What is loaded beside a model to serve it: layers that predict further tokens, a draft, adapters.

Each is asked for by its own word and counted as a part of its own: weights, and a cache where it keeps
one. The parts stand with the head, on the last pipeline stage, adapters with the layers they change.

* ``--mtp-layers N``: N of the modules that the checkpoint stores (kvcalc/stack/mtp.py). Engines give
  them the model's own embedding and head (vLLM 0.33, v1/spec_decode/llm_base_proposer.py,
  _maybe_share_embeddings and _maybe_share_lm_head), so copies of those are not counted. Step-3.5's modules
  keep a head each (models/step3p5_mtp.py, has_own_lm_head).
* ``--draft MODEL``: another model, or a head trained for this one (kvcalc/stack/drafts), with all that its
  own checkpoint stores, in its own formats; its cache has the formats of the model's.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.errors import Problem, UnsupportedError, UsageError
from kvcalc.file_types import Recipe, recipe
from kvcalc.frozen import changed, frozen
from kvcalc.memory.adapters import PEFT_BYTES, Adapters
from kvcalc.memory.asked_beside import Beside
from kvcalc.memory.inventory import SLOTS, CacheGroup, groups_of, mtp_groups
from kvcalc.memory.layout import Layout
from kvcalc.memory.ledger import (
    Row,
    WeightType,
    make_rows,
    merged_types,
    shape_on,
    type_totals,
)
from kvcalc.memory.schemes import scheme_of
from kvcalc.memory.towers import TOWER_COMPONENTS
from kvcalc.memory.weights import count_parameters, device_weight_bytes, ledger, summarise
from kvcalc.mlx_types import mlx_recipe
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec

PartName = Literal["mtp", "draft", "adapters"]


@frozen(kw_only=True)
class PartBeside:
    """One part: its weights on one device, and what it keeps.

    rank_bytes: weights on a tensor rank of the last stage. groups: of a stack of its own name.
    """

    name: PartName
    parameters: int
    bytes: int
    rank_bytes: int
    types: tuple[WeightType, ...]
    groups: tuple[CacheGroup, ...] = ()
    notes: tuple[str, ...] = ()


def parts_beside(
    spec: ModelSpec, beside: Beside, dtype: str, layout: Layout
) -> tuple[PartBeside, ...]:
    """The parts that were asked for. dtype: of the model's weights.

    Raises UsageError for modules that the model does not have, UnsupportedError for a draft of another
    model, and as ``ledger`` does.
    """
    return tuple(_parts(spec, beside, dtype, layout))


def groups_beside(spec: ModelSpec, beside: Beside) -> tuple[CacheGroup, ...]:
    """What the parts keep between steps. Raises as ``parts_beside``."""
    groups: tuple[CacheGroup, ...] = ()
    if beside.mtp_layers:
        groups += _mtp_cache(spec, beside.mtp_layers)
    if beside.draft is not None:
        check_draft(spec, beside.draft.spec)
        groups += _draft_cache(beside.draft.spec)
    return groups


def check_layout(beside: Beside, layout: Layout) -> None:
    """Raise UnsupportedError for parts that several pipeline stages share, and for adapters of experts
    that are dealt out whole or shared by replicas."""
    if beside.adapters is None:
        return
    if layout.pipeline > 1:
        raise UnsupportedError(
            f"--pp {layout.pipeline}: how adapters are dealt to pipeline stages is not accounted for"
        )
    every = beside.adapters.every
    if layout.expert and any(layer.experts for layer in every):
        raise UnsupportedError(
            "--expert-parallel: what ranks keep of adapters of whole experts is not accounted for"
        )
    chosen = beside.adapters.chosen if beside.adapters.named else every
    if layout.data > 1 and any(layer.experts for layer in chosen):
        raise UnsupportedError(
            f"--dp {layout.data}: what ranks keep of adapters of experts that the ranks of all replicas "
            "share is not accounted for"
        )


def _parts(spec: ModelSpec, beside: Beside, dtype: str, layout: Layout) -> Iterator[PartBeside]:
    if beside.mtp_layers:
        yield _mtp(spec, beside.mtp_layers, dtype, layout)
    if beside.draft is not None:
        yield _draft(spec, beside.draft.spec, layout)
    if beside.adapters is not None:
        yield _adapters(spec, beside.adapters, layout.tensor)


def mtp_modules(spec: ModelSpec, asked: int) -> int:
    """The modules asked for. Raises UsageError where the model has none, or fewer."""
    if spec.mtp is None:
        apart = next((part for part in spec.left_out if "multi-token-prediction" in part), None)
        if apart is not None:
            raise UnsupportedError(
                f"--mtp-layers {asked}: the {apart} of {spec.name} are not accounted for"
            )
        raise UsageError(
            f"--mtp-layers {asked}: {spec.name} has no multi-token-prediction layers: leave it out"
        )
    if asked > spec.mtp.num_layers:
        own = spec.mtp.num_layers
        raise UsageError(
            f"--mtp-layers {asked}: {spec.name} has {own}; engines run {_them(own)} again for further "
            f"tokens, which takes no more memory: --speculative-tokens {asked}"
        )
    return asked


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


def _mtp(spec: ModelSpec, asked: int, dtype: str, layout: Layout) -> PartBeside:
    modules = mtp_modules(spec, asked)
    own_head = spec.mtp is not None and spec.mtp.copies == "head"
    shared = ("embedding",) if own_head else ("embedding", "head")
    found = [changed(group, layers=group.layers[:modules], tensors=tuple(
        tensor for tensor in group.tensors if tensor.component not in shared
    )) for group in mtp_groups(spec)]  # fmt: skip
    gguf = recipe(dtype)
    if mlx_recipe(dtype) is not None:
        raise UnsupportedError(
            f"--mtp-layers {asked}: mlx-lm's classes drop the multi-token-prediction layers"
        )
    if gguf is not None:
        types = _in_gguf(spec, gguf, modules, layout.tensor)
        num_bytes = on_rank = sum(each.bytes for each in types)
    else:
        rows = tuple(make_rows(found, scheme_of(spec, dtype)))
        types = type_totals(rows)
        num_bytes = sum(each.bytes for each in types)
        on_rank = sum(_on_rank(row, layout) for row in rows)
    return PartBeside(
        name="mtp",
        parameters=count_parameters(found),
        bytes=num_bytes,
        rank_bytes=on_rank,
        types=types,
        groups=_mtp_cache(spec, modules),
        notes=(f"{modules} multi-token-prediction layer{'s' * (modules != 1)} loaded to draft, with "
               f"the model's own embedding{' and head' * (not own_head)}",),
    )  # fmt: skip


def _in_gguf(spec: ModelSpec, gguf: Recipe, modules: int, ranks: int) -> tuple[WeightType, ...]:
    """What a file with the layers has more than one without, by type: quantize counts them as layers,
    so other tensors' types may differ. Raises UnsupportedError where no file has them."""
    from kvcalc.gguf.scheme import whole_file_types

    whole = whole_file_types(spec, gguf)
    if whole is None:
        raise UnsupportedError(
            f"--mtp-layers: llama.cpp's converter writes no multi-token-prediction layers of {spec.name}"
        )
    if spec.mtp is not None and modules != spec.mtp.num_layers:
        raise UnsupportedError(
            f"--mtp-layers {modules}: a GGUF file has all {spec.mtp.num_layers} of them"
        )
    if ranks > 1:
        raise UnsupportedError(
            "how llama.cpp divides multi-token-prediction layers is not known here"
        )
    rows = [row for row in ledger(spec, gguf.word).rows if row.component not in TOWER_COMPONENTS]
    less = (WeightType(each.type, -each.tensors, -each.bytes) for each in type_totals(rows))
    return merged_types([*whole, *less])


def _on_rank(row: Row, layout: Layout) -> int:
    return row.shape_bytes(shape_on(row.weight.tensor, layout)) * row.count


def _moved(row: Row, layout: Layout) -> int:
    """By how much routed experts among the ranks of all replicas differ from those of one replica."""
    return _on_rank(row, layout) - _on_rank(row, Layout(layout.tensor))


def _mtp_cache(spec: ModelSpec, asked: int) -> tuple[CacheGroup, ...]:
    modules = mtp_modules(spec, asked)
    assert spec.mtp is not None
    block = spec.blocks[spec.mtp.block]
    groups = []
    for slot in SLOTS:
        mechanism = getattr(block, slot)
        tensors = () if mechanism is None else tuple(mechanism.cache())
        if tensors:
            layers = tuple(range(modules))
            groups.append(CacheGroup("mtp", spec.mtp.block, slot, mechanism.kind, layers, tensors))
    return tuple(groups)


def _draft(spec: ModelSpec, draft: ModelSpec, layout: Layout) -> PartBeside:
    check_draft(spec, draft)
    made = ledger(draft, draft.own_dtype)
    keeps = "its cache in the formats of the model's"
    if draft.reads_target:
        keeps = "no cache of its own: it reads the model's"
    return PartBeside(
        name="draft",
        parameters=summarise(draft).total,
        bytes=made.bytes,
        rank_bytes=device_weight_bytes(draft, draft.own_dtype, layout.tensor, 1)[0]
        + sum(_moved(row, layout) for row in made.rows),
        types=made.types,
        groups=_draft_cache(draft),
        notes=(f"{draft.name} drafts: its weights in {_own_format(draft)}, {keeps}",),
    )  # fmt: skip


def _adapters(spec: ModelSpec, adapters: Adapters, ranks: int) -> PartBeside:
    on_rank = adapters.rank_bytes(spec, ranks)
    if adapters.reservation is not None:
        total, word = on_rank * ranks, "bf16"
        parameters = total // 2
        notes = adapters.reservation.notes(adapters, spec)
    else:
        parameters = adapters.parameters
        total, word = PEFT_BYTES * parameters, "fp32"
        notes = (
            f"{adapters.count} adapter{'s' * (adapters.count > 1)} of rank {adapters.rank} in fp32, as "
            "peft keeps and stores them beside 16-bit weights, for "
            f"{', '.join(dict.fromkeys(layer.name for layer in adapters.chosen))}",
        )
    return PartBeside(
        name="adapters", parameters=parameters, bytes=total, rank_bytes=on_rank,
        types=(WeightType(word, 0, total),), notes=notes,
    )  # fmt: skip


def _own_format(draft: ModelSpec) -> str:
    return "its checkpoint's formats" if draft.own_dtype == "checkpoint" else draft.own_dtype


def _draft_cache(draft: ModelSpec) -> tuple[CacheGroup, ...]:
    return tuple(changed(group, stack="draft") for group in groups_of(draft))


def check_draft(spec: ModelSpec, draft: ModelSpec) -> None:
    """Raise UnsupportedError, naming the field, where a draft is not of this model."""
    found = next(_mismatch(spec, draft), None)
    if found is not None:
        field, message = found
        problem = Problem("KV106", draft.name, 0, 0, field, message)
        raise UnsupportedError(f"--draft {draft.name}: {field}: {message}", (problem,))


def _mismatch(spec: ModelSpec, draft: ModelSpec) -> Iterator[tuple[str, str]]:
    """(field, why a draft does not belong to the model)."""
    if draft.encoder is not None:
        yield "encoder", "an encoder-decoder does not draft for a decoder here"
    head = draft.draft
    if head is not None:
        width = head.target_hidden_size or draft.hidden_size
        field = "draft.target_hidden_size" if head.target_hidden_size else "hidden_size"
        if width != spec.hidden_size:
            yield (
                field,
                f"{width}, and {spec.name} has {spec.hidden_size}: it was made for another model's "
                "hidden states",
            )
        states, layers = getattr(head, "num_target_states", 0), len(decoder_layers(spec))
        if states > layers + 1:  # The embedding's, and each layer's.
            yield (
                "draft.num_target_states",
                f"it reads the hidden states of {states} layers, and {spec.name} has {layers}",
            )
    elif len(decoder_layers(draft)) == 1 and draft.hidden_size == spec.hidden_size:
        yield (
            "layers",
            "one layer as wide as the model's is an EAGLE head whose config does not say so: give it "
            "architectures: [EagleLlamaForCausalLM], or [LlamaForCausalLMEagle3]",
        )
    if draft.vocab_size != spec.vocab_size:
        yield (
            "vocab_size",
            f"{draft.vocab_size}, and {spec.name} has {spec.vocab_size}: a draft has the tokens of the "
            "model that it drafts for",
        )
