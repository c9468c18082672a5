"""A draft's own safetensors: what its config leaves open, and whether its tensors are those that it names.

A file with ``embed_tokens`` has a token table of its own, one with ``fc.bias`` a bias there. All other
tensors must be the spec's, by their sizes; d2t and t2d, and a copy of the model's head that an EAGLE file
has, are listed beside.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

from kvcalc.convert.imported import Imported
from kvcalc.convert.safetensors import Checkpoint
from kvcalc.convert.stored import StoredTensor, stored_weights
from kvcalc.errors import UnsupportedError
from kvcalc.memory.inventory import parameter_groups
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Component

_FORMATS = {"BF16": "bf16", "F16": "fp16", "F32": "fp32"}
_TABLES = ("d2t", "t2d", "draft_id_to_target_id", "token_map")


def attach_draft(imported: Imported, checkpoint: Checkpoint) -> Imported:
    """The draft with what its files say. Raises UnsupportedError, naming a tensor, where they hold others
    than the spec, or formats that are not accounted for."""
    held = [(tensor.name.removeprefix("model."), tensor) for tensor in checkpoint.tensors]
    spec = _told_by(imported.spec, dict(held))
    copies: tuple[str, ...] = _TABLES
    if spec.draft is not None and spec.draft.kind == "eagle":
        copies += ("lm_head.weight",)
    beside = [tensor for name, tensor in held if name in copies]
    own = [tensor for name, tensor in held if name not in copies]
    components = _match(spec, own, checkpoint.path)
    words = {tensor.dtype for tensor in own}
    if len(words) > 1 or not words <= _FORMATS.keys():
        raise UnsupportedError(
            f"{checkpoint.path}: a draft in {', '.join(sorted(words))} is not accounted for; one in a "
            "single format of 16 or 32 bits is"
        )
    word = _FORMATS[words.pop()]
    weights = stored_weights(
        checkpoint.path, [(tensor, components[tensor.shape]) for tensor in own],
        {"tables between both vocabularies, copies": beside},
    )  # fmt: skip
    formats: dict[Any, str] = {} if word == "bf16" else {"default": word}
    notes = tuple(note for note in imported.assumptions if "token table" not in note)
    return Imported(replace(spec, weight_dtypes=formats), notes, weights)


def _told_by(spec: ModelSpec, held: dict[str, StoredTensor]) -> ModelSpec:
    """The spec with what a file's names say of its ends."""
    draft: Any = spec.draft
    if "embedding" in draft.__dataclass_fields__:
        own = "embed_tokens.weight" in held
        draft = replace(draft, embedding="own" if own else "target")
    if draft.kind == "eagle":
        draft = replace(draft, fc_bias="fc.bias" in held)
    if draft.kind == "medusa":
        draft = replace(draft, bias=any(name.endswith("linear.bias") or (
            name.endswith(".bias") and name.startswith("blocks")) for name in held))  # fmt: skip
    if draft.kind in ("dflash", "dspark") and (head := held.get("lm_head.weight")) is not None:
        draft = replace(draft, draft_vocab_size=head.shape[0])
    return replace(spec, draft=draft)


def _match(
    spec: ModelSpec, held: list[StoredTensor], path: str
) -> dict[tuple[int, ...], Component]:
    """What tensors of each shape belong to. Raises UnsupportedError where a shape is missing or more."""
    wanted: Counter[tuple[int, ...]] = Counter()
    components: dict[tuple[int, ...], Component] = {}
    for group in parameter_groups(spec):
        for tensor in group.tensors:
            if not tensor.buffer:
                wanted[tensor.shape] += group.count
                components[tensor.shape] = tensor.component
    found: Counter[tuple[int, ...]] = Counter()
    for each in held:
        found[each.shape] += each.number
    for shape, count in (found - wanted).items():
        name = next(each.name for each in held if each.shape == shape)
        raise UnsupportedError(
            f"{path}: {count} of the tensors of shape {list(shape)}, such as {name}, are not among those "
            f"of a draft of kind {spec.draft.kind if spec.draft else ''}"
        )
    for shape, count in (wanted - found).items():
        raise UnsupportedError(
            f"{path}: {count} tensor(s) of shape {list(shape)} ({components[shape]}) are missing"
        )
    return components
