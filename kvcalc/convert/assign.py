"""What files store, tensor by tensor, as the rules of a spec: the spec then gives the files' bytes back.

A group says which tensors of a file hold which tensors of the inventory in one place (a layer, or
beside the layers). Where a format explains a group's bytes the spec names the format; where none does
it states the bytes, so that no byte is lost and nothing is divided that cannot be.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kvcalc.errors import UnknownFormatError
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.ledger import Row
from kvcalc.memory.weights import ledger
from kvcalc.spec.model import ModelSpec, WeightPart
from kvcalc.spec.stored_formats import stored_format
from kvcalc.spec.tensor_formats import Told, as_rules, rule_name
from kvcalc.tensors import ParamTensor

# A tensor of the inventory in one place: its rule name and its layer.
Slot = tuple[str, int | None]


@frozen
class Piece:
    """A tensor of a file: its format's word ("" for none that is known) and its bytes, scales
    included."""

    word: str
    num_bytes: int


@frozen
class Group:
    """Tensors of the inventory in one place and the tensors of the file that hold them together."""

    slots: tuple[Slot, ...]
    pieces: tuple[Piece, ...]


def slots_of(spec: ModelSpec) -> dict[Slot, ParamTensor]:
    """Every tensor of the inventory, buffers too, in every layer."""
    return {
        (rule_name(group.prefix + tensor.name), layer): tensor
        for group in parameter_groups(spec)
        for tensor in group.tensors
        for layer in group.layers or (None,)
    }


def with_files_formats(
    spec: ModelSpec, groups: Iterable[Group], default: str, hints: bool = False
) -> ModelSpec:
    """The spec with rules that give back the bytes of all groups; what no group holds takes none.

    default: the format that needs no rule. hints: the formats that the spec states are tried first.
    """
    tensors = slots_of(spec)
    stated = _stated(spec) if hints else {}
    told: dict[str, dict[int | None, Told]] = {}
    for group in groups:
        for slot, answer in _answers(group, tensors, stated).items():
            told.setdefault(slot[0], {})[slot[1]] = answer
    for (name, layer), tensor in tensors.items():
        if not tensor.buffer:
            told.setdefault(name, {}).setdefault(layer, 0)
    buffers = {name for (name, _), tensor in tensors.items() if tensor.buffer}
    rules = as_rules(told, default, buffers)
    dtypes: dict[WeightPart, str] = {} if default == "bf16" else {"default": default}
    return replace(spec, weight_dtypes=dtypes, weight_formats=rules)


def _stated(spec: ModelSpec) -> dict[Slot, str]:
    """The words of the formats that the spec's own rules give."""
    found: dict[Slot, str] = {}
    for row in ledger(spec, "checkpoint").rows:
        for layer in row.layers or (None,):
            found[(rule_name(row.name), layer)] = _word(row)
    return found


def _word(row: Row) -> str:
    return row.stored.format.name


def _answers(
    group: Group, tensors: Mapping[Slot, ParamTensor], stated: Mapping[Slot, str]
) -> dict[Slot, Told]:
    """What stores each slot of a group: formats that add up to its bytes, or the bytes."""
    total = sum(piece.num_bytes for piece in group.pieces)
    words = [piece.word for piece in group.pieces]
    tries: list[Sequence[str]] = []
    if "" not in words and len({*words}) == 1:
        tries.append(words[:1] * len(group.slots))
    if len(group.slots) == 1 and len(words) == 2 and "" not in words:
        # Two tensors hold the two halves of one: experts' gate and up.
        tries.insert(0, [f"{words[0]}|{words[1]}"])
    if all(slot in stated for slot in group.slots):
        tries.append([stated[slot] for slot in group.slots])
    for choice in tries:
        if _sum(group, tensors, choice) == total:
            return dict(zip(group.slots, choice, strict=True))
    return {slot: total if index == 0 else 0 for index, slot in enumerate(group.slots)}


def _sum(group: Group, tensors: Mapping[Slot, ParamTensor], words: Sequence[str]) -> int | None:
    """The bytes of a group's slots in these formats; None where one does not fit."""
    total = 0
    for slot, word in zip(group.slots, words, strict=True):
        tensor = tensors[slot]
        try:
            formats = stored_format(word)
            if len(formats) == 1:
                total += formats[0].tensor(tensor.shape, tensor.fused)
            elif len(tensor.shape) > 1 and tensor.shape[-2] % 2 == 0:
                half = (*tensor.shape[:-2], tensor.shape[-2] // 2, tensor.shape[-1])
                total += sum(each.tensor(half) for each in formats)
            else:
                return None
        except (UnknownFormatError, ValueError):
            return None
    return total
