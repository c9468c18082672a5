"""The ledger's formats under a GGUF type: what llama.cpp makes of every weight.

A row of the ledger is a parameter tensor; the file may hold it split, stacked or fused with others,
each layer in a type of its own. Here the file's tensors are dealt back to the rows they come from.
"""

from collections.abc import Sequence
from math import prod

from kvcalc.dtypes import GGML, Format
from kvcalc.errors import UnsupportedError
from kvcalc.file_types import Recipe
from kvcalc.frozen import frozen, remembered
from kvcalc.gguf.model import GgufFile, gguf_file, gguf_model_with_mtp
from kvcalc.gguf.projector import has_projector, projector_format, projector_tensors
from kvcalc.gguf.quantise import tensor_bytes, tensor_types
from kvcalc.gguf.tensors import GgufModel, GgufTensor
from kvcalc.memory.inventory import ParamGroup
from kvcalc.memory.ledger import Stored, TypeTotal, Weight, merged_types
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import ParamTensor

# One way in which some layers store a row: part of the file's name, type, shape, tensors of the file.
_Way = tuple[str, str, tuple[int, ...], int]


@frozen
class GgufScheme:
    """What gives every weight the type that llama.cpp's quantize gives it.

    ways: (prefix, name) of a weight -> how its layers store it. computed: tensors of the file that
    are no weight (tables of rotary frequencies).
    """

    name: str
    ways: dict[tuple[str, str], dict[_Way, tuple[int, ...]]]
    computed: tuple[GgufTensor, ...]
    spec: ModelSpec

    def store(self, weight: Weight) -> Sequence[Stored]:
        """Its parts, layers of one type together; none for what no file holds (a pooler)."""
        if weight.group.prefix.startswith("towers."):
            return self._projected(weight)
        found = self.ways.get((weight.group.prefix, weight.tensor.name), {})
        if not weight.group.layers:
            return tuple(self._stored(weight, way, None) for way in found)
        # Blocks of the same prefix share names: each group takes its own layers.
        own = weight.group.layers
        kept = {way: _among(layers, own) for way, layers in found.items()}
        return tuple(self._stored(weight, way, layers) for way, layers in kept.items() if layers)

    def _projected(self, weight: Weight) -> Sequence[Stored]:
        if weight.tensor.buffer or not has_projector(self.spec):
            return ()
        tensors = projector_tensors(self.spec, weight.tensor)
        return (Stored(projector_format(self.spec, weight.tensor), tensors=tensors),)

    def _stored(self, weight: Weight, way: _Way, layers: tuple[int, ...] | None) -> Stored:
        _, kind, shape, tensors = way
        whole = weight.tensor.shape
        if len(shape) == len(whole) and sum(a != b for a, b in zip(shape, whole, strict=True)) < 2:
            part = None if shape == whole else shape
            return Stored(GGML[kind], layers, part, tensors=tensors)
        num_bytes = tensor_bytes(GgufTensor(weight.name, shape, kind, "other"), kind)
        rows = _rows_of(shape, whole, GGML[kind], num_bytes)
        if rows is not None:
            part = None if rows == whole[0] else (rows, *whole[1:])
            return Stored(GGML[kind], layers, part, tensors=tensors)
        return Stored(GGML[kind], layers, num_bytes=num_bytes, tensors=tensors)

    @property
    def extras(self) -> Sequence[ParamGroup]:
        """The computed tensors as weights of their own."""
        rows = tuple(ParamTensor(item.name, item.shape, "other") for item in self.computed)
        return (ParamGroup("gguf.", (), rows, "first"),) if rows else ()


def _among(layers: tuple[int, ...], own: tuple[int, ...]) -> tuple[int, ...]:
    """The layers that are a group's own."""
    if layers == own:
        return layers
    held = set(own)
    return tuple([layer for layer in layers if layer in held])


def gguf_scheme(spec: ModelSpec, recipe: Recipe) -> GgufScheme:
    """The scheme of a type. Raises UnsupportedError where llama.cpp cannot hold the model, and
    UsageError where the type needs an importance matrix."""
    file = gguf_file(spec)
    types = tensor_types(file.model, recipe)
    computed, parts = _places(file)
    ways: dict[tuple[str, str], dict[_Way, tuple[int, ...]]] = {}
    for index, tensor in computed:
        ways[("gguf.", tensor.name)] = {(tensor.name, types[index], tensor.shape, 1): ()}
    for (row, stem, shape, tensors), (places, layers) in parts.items():
        kinds = [types[index] for index in places]
        found = ways.setdefault(row, {})
        several = dict.fromkeys(kinds)
        for kind in several:
            held = layers
            if len(several) > 1:
                pairs = zip(layers, kinds, strict=False)
                held = tuple([layer for layer, each in pairs if each == kind])
            found[stem, kind, shape, tensors] = held
    _check(file.model, types)
    return GgufScheme(recipe.word, ways, tuple(tensor for _, tensor in computed), spec)


# Prefix and name of a weight, part of the file's name, shape, tensors of the file.
_Part = tuple[tuple[str, str], str, tuple[int, ...], int]
# Tensors of the file by their place in it.
_Computed = list[tuple[int, GgufTensor]]


@remembered
def _places(file: GgufFile) -> tuple[_Computed, dict[_Part, tuple[list[int], tuple[int, ...]]]]:
    """The tensors that no weight is in; and where each part of a weight stands in the file, with the
    layers, none for what stands once. The same for every type."""
    computed: _Computed = []
    # Every layer of a group has one and the same list of origins.
    alike: dict[tuple[int, str], list[int]] = {}
    for index, (tensor, (_, origins)) in enumerate(
        zip(file.model.tensors, file.origins, strict=True)
    ):
        if origins:
            alike.setdefault((id(origins), tensor.stem), []).append(index)
        else:
            computed.append((index, tensor))
    parts: dict[_Part, list[int]] = {}
    for (_, stem), held in alike.items():
        for number, origin in enumerate(file.origins[held[0]][1]):
            part = ((origin.prefix, origin.row), stem, origin.shape, int(not number))
            parts.setdefault(part, []).extend(held)
    return computed, {part: _with_layers(file, sorted(held)) for part, held in parts.items()}


def _with_layers(file: GgufFile, places: list[int]) -> tuple[list[int], tuple[int, ...]]:
    layers = [file.origins[index][0] for index in places]
    return places, tuple([layer for layer in layers if layer is not None])


def _rows_of(
    shape: tuple[int, ...], whole: tuple[int, ...], format: Format, num_bytes: int
) -> int | None:
    """How many rows of a weight the file lays out anew (a convolution without its axis of one, an
    up-projection by head, a norm by group); None where their bytes are not the same as they stand.
    """
    rows, rest = divmod(prod(shape), prod(whole[1:]))
    if rest or not 0 < rows <= whole[0]:
        return None
    try:
        return rows if format.tensor((rows, *whole[1:])) == num_bytes else None
    except ValueError:
        return None


def _check(model: GgufModel, types: Sequence[str]) -> None:
    """Raises UnsupportedError for a tensor whose rows its type does not divide."""
    for row, kind in dict.fromkeys(zip(_rows(model), types, strict=True)):
        if row % GGML[kind].block_elements:
            held = zip(model.tensors, types, strict=True)
            name = next(each.name for each, own in held if (each.row, own) == (row, kind))
            raise UnsupportedError(
                f"{name} has rows of {row}, which blocks of {kind} do not divide"
            )


@remembered
def _rows(model: GgufModel) -> list[int]:
    return [tensor.row for tensor in model.tensors]


def whole_file_types(spec: ModelSpec, recipe: Recipe) -> tuple[TypeTotal, ...] | None:
    """The tensors of a file with the layers that predict further tokens, by type.

    None where the converter writes none. llama.cpp skips them unless it speculates, and its rule
    counts them as layers, so other tensors' types may differ too.
    """
    model = gguf_model_with_mtp(spec)
    if model == gguf_file(spec).model:
        return None
    types = tensor_types(model, recipe)
    return merged_types(
        TypeTotal(GGML[kind].name.partition("+")[0], 1, tensor_bytes(tensor, kind))
        for tensor, kind in zip(model.tensors, types, strict=True)
    )


def whole_file_bytes(spec: ModelSpec, recipe: Recipe) -> int | None:
    """The bytes of ``whole_file_types``."""
    types = whole_file_types(spec, recipe)
    return None if types is None else sum(each.bytes for each in types)
