"""The ledger's formats under a GGUF type: what llama.cpp makes of every weight.

A row of the ledger is a parameter tensor; the file may hold it split, stacked or fused with others,
each layer in a type of its own. Here the file's tensors are dealt back to the rows they come from.
"""

from collections.abc import Iterable, Sequence
from math import prod

from kvcalc.dtypes import GGML, Format
from kvcalc.errors import UnsupportedError
from kvcalc.file_types import Recipe
from kvcalc.frozen import frozen, remembered
from kvcalc.gguf.model import GgufFile, gguf_file, gguf_model_with_mtp
from kvcalc.gguf.projector import has_projector, projector_format, projector_tensors
from kvcalc.gguf.quantise import kind_types, tensor_bytes
from kvcalc.gguf.tensors import GgufModel, GgufTensor, Place
from kvcalc.memory.inventory import ParamGroup
from kvcalc.memory.ledger import Stored, Weight, WeightType, merged_types
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
        if shape == whole:
            return Stored(GGML[kind], layers, tensors=tensors)
        if len(shape) == len(whole) and sum(a != b for a, b in zip(shape, whole, strict=True)) < 2:
            return Stored(GGML[kind], layers, shape, tensors=tensors)
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
    types = kind_types(file.model, recipe)
    computed, parts = _places(file)
    ways: dict[tuple[str, str], dict[_Way, tuple[int, ...]]] = {}
    for index, number, tensor in computed:
        kind = types[index][number if len(types[index]) > 1 else 0]
        ways[("gguf.", tensor.name)] = {(tensor.name, kind, tensor.shape, 1): ()}
    for (row, stem, shape, tensors), kinds in parts.items():
        found = ways.setdefault(row, {})
        for kind, layers in _by_type([(types[index], layers) for index, layers in kinds]):
            found[stem, kind, shape, tensors] = layers
    _check(file.model, types)
    return GgufScheme(recipe.word, ways, tuple(tensor for _, _, tensor in computed), spec)


# Prefix and name of a weight, part of the file's name, shape, tensors of the file.
_Part = tuple[tuple[str, str], str, tuple[int, ...], int]
# A tensor's kind, by its index in the file, which of it the tensor is, and itself.
_Computed = tuple[int, int, GgufTensor]
# Each kind that holds a part, by its index in the file, and the layers of the weight.
_Held = list[tuple[int, tuple[int, ...]]]


@remembered
def _places(file: GgufFile) -> tuple[list[_Computed], dict[_Part, _Held]]:
    """The tensors that no weight is in, and what holds each part of a weight.

    The same for every type.
    """
    computed: list[tuple[Place, _Computed]] = []
    parts: dict[_Part, _Held] = {}
    pairs = zip(file.model.kinds, file.origins, strict=True)
    for index, (kind, origins) in enumerate(pairs):
        if not origins.rows:
            held = enumerate(zip(kind.places, kind.tensors, strict=True))
            computed += [(place, (index, number, tensor)) for number, (place, tensor) in held]
        for number, origin in enumerate(origins.rows):
            part = ((origin.prefix, origin.row), kind.stem, origin.shape, int(not number))
            parts.setdefault(part, []).append((index, origins.layers))
    computed.sort(key=lambda each: each[0])
    return [each for _, each in computed], parts


def _by_type(
    held: list[tuple[tuple[str, ...], tuple[int, ...]]],
) -> Iterable[tuple[str, tuple[int, ...]]]:
    """The layers of each type, by the first of them: of kinds with their types and layers."""
    if len(held) == 1 and len(held[0][0]) == 1:
        return ((held[0][0][0], held[0][1]),)
    found: dict[str, list[int]] = {}
    for types, layers in held:
        if len(types) == 1:
            found.setdefault(types[0], []).extend(layers)
            continue
        for layer, kind in zip(layers, types, strict=True):
            found.setdefault(kind, []).append(layer)
    by_type = [(kind, tuple(sorted(layers))) for kind, layers in found.items()]
    return sorted(by_type, key=lambda each: each[1])


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


def _check(model: GgufModel, types: Sequence[tuple[str, ...]]) -> None:
    """Raises UnsupportedError for a tensor whose rows its type does not divide."""
    for held, kinds in zip(model.kinds, types, strict=True):
        row = held.shape[-1]
        for number, kind in enumerate(kinds):
            if row % GGML[kind].block_elements:
                raise UnsupportedError(
                    f"{held.tensors[number].name} has rows of {row}, which blocks of {kind} do not "
                    f"divide"
                )


def whole_file_types(spec: ModelSpec, recipe: Recipe) -> tuple[WeightType, ...] | None:
    """The tensors of a file with the layers that predict further tokens, by type.

    None where the converter writes none. llama.cpp skips them unless it speculates, and its rule
    counts them as layers, so other tensors' types may differ too.
    """
    model = gguf_model_with_mtp(spec)
    if model == gguf_file(spec).model:
        return None
    totals = []
    for held, kinds in zip(model.kinds, kind_types(model, recipe), strict=True):
        times = held.count // len(kinds)
        for kind in kinds:
            name = GGML[kind].name.partition("+")[0]
            totals.append(WeightType(name, times, times * tensor_bytes(held.first, kind)))
    return merged_types(totals)


def whole_file_bytes(spec: ModelSpec, recipe: Recipe) -> int | None:
    """The bytes of ``whole_file_types``."""
    types = whole_file_types(spec, recipe)
    return None if types is None else sum(each.bytes for each in types)
