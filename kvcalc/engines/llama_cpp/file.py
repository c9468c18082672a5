"""What llama.cpp loads of a model: the tensors of its file, with their bytes and where they belong.

Which tensor belongs to a layer, to the input or to the output: llama.cpp v0.5.0, src/llama-arch.cpp
(LLM_TENSOR_INFOS). The input stays in RAM, whatever is offloaded (llama_model_base::load_tensors).
"""

import re
from math import prod
from typing import Literal

from kvcalc.dtypes import GGML
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.file_types import recipe
from kvcalc.frozen import changed, frozen, remembered
from kvcalc.gguf.model import GgufFile, gguf_file, gguf_file_with_mtp
from kvcalc.gguf.quantise import tensor_bytes, tensor_types
from kvcalc.gguf.tensors import GgufTensor
from kvcalc.memory.ledger import Row
from kvcalc.memory.weights import ledger
from kvcalc.spec.model import ModelSpec

Part = Literal["input", "layer", "output", "every"]

_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.(\d+)\.")
_INPUT = {"token_embd", "position_embd", "token_types", "per_layer_token_embd"}
# Of the first layer, although their names have no number; LFM2 calls its last norm so.
_FIRST = {"token_embd_norm", "per_layer_model_proj", "per_layer_proj_norm"}
# Beside every layer, once on each device that has one (TENSOR_DUPLICATED).
_EVERY = {"rope_freqs", "rope_factors_long", "rope_factors_short"}
_CUDA_ROW = 512
EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")


@frozen
class FileTensor:
    """A tensor of the file. layer: None for what stands once. active: of its bytes, those that one
    token reads, as a fraction (experts per token, experts). padding: what CUDA adds behind a quantised
    tensor whose rows 512 does not divide (ggml_backend_cuda_buffer_type_get_alloc_size)."""

    name: str
    bytes: int
    part: Part
    layer: int | None = None
    active: tuple[int, int] = (1, 1)
    padding: int = 0

    @property
    def read_bytes(self) -> int:
        """What one token reads of it. Of a table it reads one row."""
        if self.part == "input":
            return 0
        some, all_ = self.active
        return self.bytes * some // all_


@frozen
class ModelFile:
    """A model as llama.cpp loads it. num_layers: block_count; the output counts as one more.

    tied: the token table is the output as well, and is loaded again where the output lies.
    """

    architecture: str
    tensors: tuple[FileTensor, ...]
    num_layers: int
    tied: bool

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def table_bytes(self) -> int:
        """The token table."""
        return sum(each.bytes for each in self.tensors if each.name.endswith("token_embd.weight"))


@remembered
def _files(spec: ModelSpec) -> dict[tuple[str, bool], ModelFile]:
    return {}


def model_file(spec: ModelSpec, dtype: str, mtp: bool = False) -> ModelFile:
    """The file of a GGUF type, or the one that the spec was read from (``checkpoint``).

    mtp: with the layers that predict further tokens. Raises UnsupportedError for an architecture that
    llama.cpp lacks, for a type whose blocks do not divide a row and for layers that no file holds,
    UsageError for a --dtype that no GGUF file has.
    """
    made = _files(spec)
    if (dtype, mtp) not in made:
        made[dtype, mtp] = _make(spec, dtype, mtp)
    return made[dtype, mtp]


def _make(spec: ModelSpec, dtype: str, mtp: bool) -> ModelFile:
    file = gguf_file_with_mtp(spec) if mtp else gguf_file(spec)
    if mtp:
        _check_mtp(spec, dtype, file)
    asked = recipe(dtype)
    pads = [0] * len(file.model.tensors)
    if asked is not None:
        types = tensor_types(file.model, asked)
        pads = [
            _padding(tensor, kind) for tensor, kind in zip(file.model.tensors, types, strict=True)
        ]
        sizes = [
            tensor_bytes(tensor, kind)
            for tensor, kind in zip(file.model.tensors, types, strict=True)
        ]
    elif dtype == "checkpoint" and is_gguf(spec):
        sizes = _stored(spec, file)
    elif dtype == "checkpoint":
        nearest = "mxfp4_moe, " if "mxfp4" in spec.weight_dtypes.values() else ""
        raise UsageError(
            f"{spec.name} has no GGUF file whose types are known tensor by tensor: say --dtype "
            f"{nearest}q4_k_m, q8_0 or gguf-bf16"
        )
    else:
        raise UsageError(
            f"llama.cpp loads GGUF files, and {dtype} is no type of one: say --dtype q4_k_m, q8_0 or "
            "gguf-bf16, or name a .gguf file"
        )
    active = _active(spec)
    finals = "token_embd_norm" if file.model.architecture.startswith("lfm2") else "output_norm"
    tensors = tuple(
        changed(_placed(tensor.name, size, active, finals), padding=pad)
        if pad
        else _placed(tensor.name, size, active, finals)
        for tensor, size, pad in zip(file.model.tensors, sizes, pads, strict=True)
    )
    names = {tensor.name for tensor in tensors}
    headed = names & {"output.weight", "dec.output.weight"}
    tied = not headed and spec.head == "lm"
    return ModelFile(file.model.architecture, tensors, file.model.num_layers, tied)


def _check_mtp(spec: ModelSpec, dtype: str, file: GgufFile) -> None:
    """Raise for layers that predict further tokens and are in no file, or in one of unknown types."""
    if file.model == gguf_file(spec).model:
        raise UnsupportedError(
            f"--mtp-layers: llama.cpp's converter writes no layers of {spec.name} that predict further "
            "tokens"
        )
    if dtype == "checkpoint":
        raise UsageError(
            "--mtp-layers: which of the file's tensors are of those layers is not read here: say --dtype"
        )


def _padding(tensor: GgufTensor, kind: str) -> int:
    """Bytes that fill the last row up to 512 elements."""
    block, rest = GGML[kind].block_elements, tensor.row % _CUDA_ROW
    if block == 1 or not rest:
        return 0
    return GGML[kind].row(_CUDA_ROW - rest)


def is_gguf(spec: ModelSpec) -> bool:
    """Whether the spec's own formats are those of a GGUF file: all of them ggml's, norms in f32."""
    if spec.own_dtype != "checkpoint":
        return False
    found = {row.dtype for row in ledger(spec, "checkpoint").rows}
    return "f32" in found and found <= GGML.keys()


def _active(spec: ModelSpec) -> tuple[int, int]:
    """(experts per token, experts) of the layers that have some."""
    for block in spec.blocks.values():
        experts = getattr(block.ffn, "num_experts", 0)
        if experts:
            return getattr(block.ffn, "num_experts_per_tok", experts), experts
    return 1, 1


def _placed(name: str, size: int, active: tuple[int, int], final: str) -> FileTensor:
    match = _LAYER.match(name)
    if match:
        experts = active if EXPERTS.search(name) else (1, 1)
        return FileTensor(name, size, "layer", int(match[1]), experts)
    stem = name.removeprefix("dec.").removeprefix("enc.").rsplit(".", 1)[0]
    if stem in _INPUT:
        return FileTensor(name, size, "input")
    if stem in _EVERY:
        return FileTensor(name, size, "every")
    if stem in _FIRST and stem != final:
        return FileTensor(name, size, "layer", 0)
    return FileTensor(name, size, "output")


def _stored(spec: ModelSpec, file: GgufFile) -> list[int]:
    """Bytes of the tensors of the file that the spec was read from, by the rows they hold.

    A tensor of the file is whole rows of the ledger, or a part of one (query, key and value apart).
    """
    rows: dict[tuple[str, str, int | None], list[Row]] = {}
    for row in ledger(spec, "checkpoint").rows:
        group = row.weight.group
        for layer in row.layers or (None,):
            rows.setdefault((group.prefix, row.weight.tensor.name, layer), []).append(row)
    elements: dict[tuple[str, str, int | None], int] = {}
    for layer, origins in file.tensor_origins:
        for origin in origins:
            key = (origin.prefix, origin.row, layer)
            elements[key] = elements.get(key, 0) + prod(origin.shape)
    sizes = []
    for tensor, (layer, origins) in zip(file.model.tensors, file.tensor_origins, strict=True):
        size = 0
        if not origins:
            size = tensor_bytes(tensor, tensor.source)
        for origin in origins:
            key = (origin.prefix, origin.row, layer)
            whole = sum(row.bytes_each for row in rows.get(key, ()))
            size += whole * prod(origin.shape) // elements[key]
        sizes.append(size)
    if abs(sum(sizes) - ledger(spec, "checkpoint").bytes) > len(sizes):
        raise UnsupportedError(
            f"{spec.name}: the tensors of its file are not those that llama.cpp's converter writes, so "
            "what lies where is not known; say --dtype for a stock file"
        )
    return sizes
