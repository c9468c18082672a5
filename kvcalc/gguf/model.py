"""A spec -> the tensors of its GGUF file, as llama.cpp's converter would write them.

Every row of kvcalc's inventory becomes one tensor, several (stacked gate and up, MLA's
up-projection split for absorption) or part of one (query, key and value fused); a row that neither
the common table nor the architecture's record knows is refused by name.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen, remembered
from kvcalc.gguf.architectures import ABSENT, ARCHITECTURES, LATENT, Architecture
from kvcalc.gguf.names import DROPPED, Shape, Stored, source_type, stored
from kvcalc.gguf.special import extras, special
from kvcalc.gguf.tensors import GgufModel, GgufTensor, Place, TensorKind, kind_of
from kvcalc.memory.inventory import ParamGroup, mtp_groups, parameter_groups
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.tensors import ParamTensor


def architecture_of(spec: ModelSpec) -> Architecture:
    """The llama.cpp architecture of a spec. Raises UnsupportedError where there is none."""
    if spec.model_type is None:
        raise UnsupportedError(
            f"{spec.name} states no model_type, so which of llama.cpp's architectures holds it, and "
            f"whether one does, is not known"
        )
    found = ARCHITECTURES.get(spec.model_type)
    if found is None and spec.model_type in ABSENT:
        raise UnsupportedError(
            f"llama.cpp v0.5.0 has no architecture for model_type {spec.model_type}: there is no "
            f"GGUF file of {spec.name}"
        )
    if found is None:
        raise UnsupportedError(
            f"{spec.name}: what llama.cpp's converter makes of model_type {spec.model_type} is not "
            f"accounted for here; the path of its .gguf file says it"
        )
    norms = {getattr(block.attention, "qk_norm", "none") for block in spec.blocks.values()}
    return found.normed if found.normed is not None and norms != {"none"} else found


@frozen
class Origin:
    """A row of the inventory that a tensor of the file holds: which, and as what shape.

    prefix: of the row's group.
    """

    prefix: str
    row: str
    shape: Shape


@frozen
class Origins:
    """The rows that each tensor of a kind holds (none for computed ones).

    layers: of the rows, one for each tensor; none for what stands once.
    """

    layers: tuple[int, ...] = ()
    rows: tuple[Origin, ...] = ()


@frozen
class GgufFile:
    """The tensors of a file; origins: of each of ``model.kinds``."""

    model: GgufModel
    origins: tuple[Origins, ...]

    @cached_property
    def tensor_origins(self) -> tuple[tuple[int | None, tuple[Origin, ...]], ...]:
        """For each of ``model.tensors``: the layer, None for what stands once, and the rows."""
        held = [(each.layers or (None,), each.rows) for each in self.origins]
        return tuple([(held[kind][0][number], held[kind][1]) for kind, number in self.model.order])


@remembered
def gguf_file(spec: ModelSpec) -> GgufFile:
    """The model's GGUF file, without layers that predict further tokens.

    Raises UnsupportedError for an architecture that llama.cpp lacks or whose tensors it cannot hold.
    """
    return _Writer(spec, mtp=False).model()


def gguf_model(spec: ModelSpec) -> GgufModel:
    """The tensors of ``gguf_file``."""
    return gguf_file(spec).model


@remembered
def gguf_file_with_mtp(spec: ModelSpec) -> GgufFile:
    """The file that holds the layers predicting further tokens too, where the converter writes them."""
    return _Writer(spec, mtp=True).model()


def gguf_model_with_mtp(spec: ModelSpec) -> GgufModel:
    """The tensors of ``gguf_file_with_mtp``."""
    return gguf_file_with_mtp(spec).model


class _Writer:
    """One spec on its way into a file."""

    def __init__(self, spec: ModelSpec, mtp: bool) -> None:
        self.spec = spec
        self.architecture = architecture_of(spec)
        self.layers = decoder_layers(spec)
        self.mtp = mtp and self.architecture.mtp and spec.mtp is not None
        self.found: dict[Place, tuple[TensorKind, Origins]] = {}

    def model(self) -> "GgufFile":
        """The file's kinds of tensors, and where they come from."""
        spec, architecture = self.spec, self.architecture
        for group in parameter_groups(spec):
            self._group(group)
        num_layers = len(self.layers)
        if self.mtp:
            for group in mtp_groups(spec):
                self._layers(group, self._mtp_block(), "blk.", num_layers)
            num_layers += spec.mtp.num_layers if spec.mtp else 0
        for tensor in extras(spec, architecture.name):
            self._add(kind_of(tensor), Origins())
        blocks = [spec.blocks[layer.block] for layer in self.layers]
        experts = [getattr(block.ffn, "num_experts", 0) or 0 for block in spec.blocks.values()]
        kinds = [self.found[place] for place in sorted(self.found)]
        model = GgufModel(
            architecture=self._name(),
            kinds=tuple([kind for kind, _ in kinds]),
            num_layers=num_layers,
            num_experts=max(experts),
            query_groups=self._query_groups(blocks),
            is_70b=self._is_70b(blocks),
        )
        return GgufFile(model, tuple([origins for _, origins in kinds]))

    def _name(self) -> str:
        """Files with experts may have a name of their own."""
        own = self.architecture
        has_experts = any(hasattr(b.ffn, "num_experts") for b in self.spec.blocks.values())
        return own.with_experts if own.with_experts and has_experts else own.name

    def _query_groups(self, blocks: list[Block]) -> int:
        """Query heads per KV head of layer 0; MLA files count one KV head (n_gqa)."""
        found = [block.attention for block in blocks if block.attention is not None]
        attention: Any = blocks[0].attention
        if attention is None and self.architecture.kv_everywhere and found:
            attention = found[0]
        if attention is None:
            return 0
        heads: int = attention.num_attention_heads
        if attention.kind in ("mla", "dsa") and not self.architecture.whole_kv_b:
            return heads
        return heads // (getattr(attention, "num_key_value_heads", None) or heads)

    def _is_70b(self, blocks: list[Block]) -> bool:
        if self.architecture.size_70b != len(blocks):
            return False
        if self.architecture.name != "llama":
            return True
        attention: Any = blocks[0].attention
        grouped = attention.num_attention_heads != attention.num_key_value_heads
        return bool(grouped and getattr(blocks[0].ffn, "num_experts", 0) != 8)

    def _mtp_block(self) -> Block:
        assert self.spec.mtp is not None
        return self.spec.blocks[self.spec.mtp.block]

    # ------------------------------------------------------------ groups and layers

    def _group(self, group: ParamGroup) -> None:
        if group.prefix == "layers.{}.":
            block = self.spec.blocks[self.layers[group.layers[0]].block]
            self._layers(group, block, self._prefix("blk"))
        elif group.prefix == "encoder.layers.{}.":
            self._layers(group, None, "enc.blk.")
        elif group.prefix in ("", "encoder."):
            self._beside(group, "enc." if group.prefix else self._prefix(""))
        else:
            raise UnsupportedError(
                f"{self.spec.name}: llama.cpp's files of {self.architecture.name} have no place for "
                f"{group.prefix.format('N')}{group.tensors[0].name}"
            )

    def _prefix(self, what: str) -> str:
        decoder = "dec." if self.spec.encoder is not None else ""
        return f"{decoder}{what}." if what else decoder

    def _check(self, rows: tuple[ParamTensor, ...]) -> None:
        """Refuse what no file of this architecture can hold (a what-if's latents, say)."""
        latent = any(row.name == "attention.kv_a_proj_with_mqa.weight" for row in rows)
        if latent and self.architecture.name not in LATENT:
            raise UnsupportedError(
                f"{self.spec.name}: llama.cpp's {self.architecture.name} has no latent attention"
            )

    def _layers(self, group: ParamGroup, block: Block | None, place: str, first: int = 0) -> None:
        """The tensors of equal layers, each a kind.

        place: what stands before a layer's index; first: the index of the group's layer 0.
        """
        rows = group.tensors
        self._check(rows)
        known = {row.name for row in rows}
        layers = tuple([first + index for index in group.layers])
        for item in self._fused(self._stored(tuple(self._own_kv(rows, block)), block)):
            name = self.architecture.renamed(item.name)
            if place != "blk.":
                name = name.replace("attn_output", "attn_o")
            origins = _origins(group.prefix, item) if item.row.name in known else ()
            source, component = source_type(name, item.shape), item.row.component
            if place == "blk.":
                kind = TensorKind(name, item.shape, source, component, layers)
                self._add(kind, Origins(group.layers, origins))
                continue
            for layer, index in zip(layers, group.layers, strict=True):
                kind = TensorKind(f"{place}{layer}.{name}", item.shape, source, component)
                self._add(kind, Origins((index,), origins))

    def _beside(self, group: ParamGroup, prefix: str) -> None:
        for item in self._stored(group.tensors, None):
            name, shape = item.name, item.shape
            if name == "position_embd.weight":
                shape = (shape[0] - self.architecture.skipped_positions, *shape[1:])
            elif name == "per_layer_token_embd.weight" and self.architecture.name == "gemma3n":
                shape = (self.spec.vocab_size, *shape[1:])  # padded (Gemma3NModel)
            item = replace(item, shape=shape)
            if name.startswith("output_norm"):
                name = name.replace("output_norm", self.architecture.final_norm)
                name = prefix + name
            elif name.startswith("attn_rel_b"):
                name = f"{prefix}blk.0.{name}"
            tensor = GgufTensor(name, shape, source_type(name, shape), item.row.component)
            self._add(kind_of(tensor), Origins((), _origins(group.prefix, item)))

    def _add(self, kind: TensorKind, origins: Origins) -> None:
        self.found[kind.places[0]] = (kind, origins)

    # ------------------------------------------------------------ rows of one place

    def _stored(self, rows: tuple[ParamTensor, ...], block: Block | None) -> Iterator[Stored]:
        attention: Any = block.attention if block is not None else None
        heads = getattr(attention, "num_attention_heads", 0)
        rank = getattr(attention, "kv_lora_rank", 0)
        nope = getattr(attention, "qk_nope_head_dim", 0)
        norms = sorted({row.name.split(".")[1] for row in rows if row.name.startswith("norms.")})
        taken = special(self.architecture.name, rows, block)
        yield from taken.items
        for row in rows:
            if row.name in DROPPED or row.name in taken.rows:
                continue
            if row.name.startswith("norms."):
                _, index, suffix = row.name.split(".")
                names = self._norms(len(norms))
                if int(index) >= len(names):
                    raise UnsupportedError(
                        f"{self.spec.name}: a layer with {len(norms)} norms: llama.cpp's files of "
                        f"{self.architecture.name} have {len(names)}"
                    )
                yield Stored(f"{names[int(index)]}.{suffix}", row.shape, row)
                continue
            if self.architecture.whole_kv_b and row.name == "attention.kv_b_proj.weight":
                yield Stored("attn_kv_b.weight", row.shape, row)
                continue
            if self.architecture.fused_experts and row.name == "ffn.experts.gate_up_proj":
                yield Stored("ffn_gate_up_exps.weight", row.shape, row)
                continue
            items = tuple(stored(row, heads, rank, nope))
            if not items:
                raise UnsupportedError(
                    f"{self.spec.name}: {row.name} {list(row.shape)} has no place in llama.cpp's "
                    f"files of {self.architecture.name}"
                )
            yield from items

    def _norms(self, count: int) -> tuple[str, ...]:
        names = self.architecture.norms
        if count == 1:
            return (self.architecture.lone_norm,)
        if count == 3 and self.spec.encoder is not None:
            return "attn_norm", "cross_attn_norm", "ffn_norm"
        return names

    def _own_kv(self, rows: tuple[ParamTensor, ...], block: Block | None) -> Iterator[ParamTensor]:
        """The rows, and the unused projections of layers that read another's keys and values."""
        yield from rows
        attention: Any = block.attention if block is not None else None
        if not self.architecture.unshared_kv or getattr(attention, "shared_kv", None) is None:
            return
        own = replace(attention, shared_kv=None)
        have = {row.name for row in rows}
        for row in own.parameters(self.spec.hidden_size):
            if f"attention.{row.name}" not in have:
                yield replace(row, name=f"attention.{row.name}")

    def _fused(self, items: Iterator[Stored]) -> Iterator[Stored]:
        """The same tensors, with those that the architecture keeps in one matrix put together."""
        found = {item.name: item for item in items}
        if self.architecture.fused_qkv:
            for suffix in ("weight", "bias"):
                parts = [found.pop(f"attn_{side}.{suffix}", None) for side in "qkv"]
                held = [part for part in parts if part is not None]
                if held:
                    found[f"attn_qkv.{suffix}"] = _stack(f"attn_qkv.{suffix}", held)
        if self.architecture.fused_gate_up and "ffn_gate.weight" in found:
            held = [found.pop("ffn_gate.weight"), found.pop("ffn_up.weight")]
            found["ffn_up.weight"] = _stack("ffn_up.weight", held)
        yield from found.values()


def _origins(prefix: str, item: Stored) -> tuple[Origin, ...]:
    """The rows that a tensor holds, each with its share of the shape."""
    beside = sum(part[0] for _, part in item.beside)
    own = item.shape if not beside else (item.shape[0] - beside, *item.shape[1:])
    return tuple(Origin(prefix, row.name, part) for row, part in ((item.row, own), *item.beside))


def _stack(name: str, parts: list[Stored]) -> Stored:
    rows = sum(part.shape[0] for part in parts)
    shape: Shape = (rows, *parts[0].shape[1:])
    return Stored(name, shape, parts[0].row, tuple((part.row, part.shape) for part in parts[1:]))
