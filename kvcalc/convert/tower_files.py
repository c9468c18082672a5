"""The towers of a spec held against the tensors that files have of them.

A file's tower is the spec's where their elements are equal in number and one plain format holds them
all; then its bytes count with the model's. Anything else stays beside the model, by name with its bytes,
and the spec loses the towers that would be counted twice.
"""

from collections.abc import Sequence
from dataclasses import replace

from kvcalc.convert.stored import StoredTensor
from kvcalc.memory.towers import tower_groups
from kvcalc.memory.weights import count_parameters
from kvcalc.spec.model import ModelSpec, TensorFormat
from kvcalc.tensors import Component

# Safetensors' words for the formats that towers are published in.
_PLAIN = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}
PARTS: dict[str, Component] = {"vision parts": "vision", "audio parts": "audio"}


def tower_format(spec: ModelSpec, beside: dict[str, list[StoredTensor]]) -> str:
    """The format of the towers' tensors in the files; empty where the files' are not the spec's."""
    found = [tensor for what in PARTS for tensor in beside.get(what, ())]
    words = {tensor.dtype for tensor in found}
    if not spec.towers or len(words) != 1:
        return ""
    theirs = sum(tensor.numel for tensor in found)
    return _PLAIN.get(words.pop(), "") if count_parameters(tower_groups(spec)) == theirs else ""


def without_towers(spec: ModelSpec, beside: dict[str, list[StoredTensor]]) -> tuple[ModelSpec, str]:
    """A spec whose towers are not those of the files, and why they are not counted."""
    theirs = sum(tensor.numel for what in PARTS for tensor in beside.get(what, ()))
    ours = count_parameters(tower_groups(spec))
    said = (
        f"towers not counted: the config's have {ours:,} parameters, the files' {theirs:,} elements"
    )
    return replace(spec, towers={}), said


def with_tower_format(spec: ModelSpec, word: str, default: str) -> ModelSpec:
    """The spec with a rule for its towers' format, where that is not the default."""
    if word == default:
        return spec
    rule = TensorFormat(tensors=("towers.*",), format=word)
    return replace(spec, weight_formats=(*spec.weight_formats, rule))


def taken_with(
    beside: dict[str, list[StoredTensor]],
) -> Sequence[tuple[StoredTensor, Component]]:
    """The towers' tensors, taken away from what is beside the model."""
    return [(tensor, part) for what, part in PARTS.items() for tensor in beside.pop(what, [])]
