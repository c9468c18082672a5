"""GGUF files of architectures that are not read key by key: a shipped model's, told by every tensor.

kvcalc knows the tensors that llama.cpp's converter writes for each shipped model (kvcalc/gguf). A
file whose tensors are exactly those, name by name and shape by shape, is that model.
"""

from dataclasses import replace

from kvcalc.convert.assign import Group, Piece, Slot, with_files_formats
from kvcalc.convert.gguf import GgufHeader
from kvcalc.convert.imported import Imported, model_name
from kvcalc.convert.stored import StoredTensor, model_stem, stored_weights
from kvcalc.errors import UnsupportedError
from kvcalc.gguf.architectures import ARCHITECTURES
from kvcalc.gguf.model import gguf_file, gguf_model, gguf_model_with_mtp
from kvcalc.gguf.tensors import GgufModel
from kvcalc.memory.towers import language_model_of
from kvcalc.spec.catalog import load, shipped
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.tensor_formats import rule_name

_ROTARY = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_MTP = "multi-token-prediction layers"


def architectures() -> set[str]:
    """The architectures that shipped models have."""
    return set().union(*(architecture.names for architecture in ARCHITECTURES.values()))


def known_model(header: GgufHeader, architecture: str) -> Imported | None:
    """The shipped model whose tensors the file holds; None where it is none of them."""
    held = {tensor.name: tensor for tensor in header.tensors if not tensor.name.endswith(_ROTARY)}
    types = {name for name, known in ARCHITECTURES.items() if architecture in known.names}
    width = header.values.get(f"{architecture}.embedding_length")
    for path in shipped().values():
        # Towers stand in a file of their own.
        spec, _ = language_model_of(load(path))
        if spec.model_type not in types or spec.hidden_size != width:
            continue
        try:
            models = (gguf_model(spec), gguf_model_with_mtp(spec))
        except UnsupportedError:
            continue
        for model in models:
            if _shapes(model) == {name: _squeezed(held[name].shape) for name in held}:
                return _imported(header, spec, held, model)
    return None


def _shapes(model: GgufModel) -> dict[str, tuple[int, ...]]:
    return {
        tensor.name: _squeezed(tensor.shape)
        for tensor in model.tensors
        if not tensor.name.endswith(_ROTARY)
    }


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of one, which writers of files leave out or not."""
    return tuple(size for size in shape if size != 1)


def _imported(
    header: GgufHeader, spec: ModelSpec, held: dict[str, StoredTensor], model: GgufModel
) -> Imported:
    own = {tensor.name for tensor in gguf_model(spec).tensors}
    taken = [
        (held[tensor.name], tensor.component)
        for tensor in model.tensors
        if tensor.name in own and tensor.name in held
    ]
    beside = {
        _MTP: [held[tensor.name] for tensor in model.tensors if tensor.name not in own],
        "rotary tables": [item for item in header.tensors if item.name.endswith(_ROTARY)],
    }
    weights = stored_weights(header.path, taken, beside)
    notes = (f"the file's weights take {weights.bytes:,} bytes: {weights.describe()}",)
    found = replace(
        spec, name=model_name(model_stem(header.path)), source=(header.path, *spec.source),
        notes=(*spec.notes, *notes), checkpoint=None, expect=None, budgets=(), weight_dtypes={},
        weight_formats=(),
    )  # fmt: skip
    found = with_files_formats(found, _groups(spec, held), "f32")
    told = (
        f"every tensor is {spec.name}'s by name and shape: what no tensor shows (windows, experts "
        f"for a token) is taken from its spec",
    )
    return Imported(found, told, weights)


def _groups(spec: ModelSpec, held: dict[str, StoredTensor]) -> list[Group]:
    """Which tensors of the file hold which of the spec: one holds several, or several hold one."""
    file = gguf_file(spec)
    found: dict[Slot, tuple[list[Slot], list[Piece]]] = {}
    for tensor, (layer, origins) in zip(file.model.tensors, file.tensor_origins, strict=True):
        if not origins:
            continue
        slots, pieces = [], [Piece(held[tensor.name].dtype, held[tensor.name].num_bytes)]
        for origin in origins:
            slot: Slot = (rule_name(origin.prefix + origin.row), layer)
            # What shares a tensor of the spec with another tensor of the file is of one group with it.
            own, others = found.get(slot, ([slot], []))
            if own[0] not in slots:
                slots += own
                pieces = [*others, *pieces]
        for slot in slots:
            found[slot] = (slots, pieces)
    return [Group(tuple(slots), tuple(pieces)) for slot, (slots, pieces) in found.items()
            if slot == slots[0]]  # fmt: skip
