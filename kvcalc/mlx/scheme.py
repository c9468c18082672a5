"""The ledger's formats under an mlx type: what mlx_lm.convert makes of every weight.

``quantize_model`` takes every linear layer, table and stack of experts whose width the group
divides, asks the class's own predicate, and leaves the rest in the model's 16 bits without a word.
A mixed recipe takes the predicate's place: more bits for the head, and for down-projections and
values of the first and last eighth of the layers and every third between (convert.py,
mixed_quant_predicate_builder).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from kvcalc.dtypes import Format, weight_format
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import ParamGroup
from kvcalc.memory.ledger import Stored, Weight
from kvcalc.mlx.classes import MlxClass, mlx_class
from kvcalc.mlx_types import MlxFormat, MlxRecipe
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.tensor_formats import rule_name
from kvcalc.tensors import prefixed

# What a mixed recipe gives more bits in some layers: paths with these letters.
_HIGH = ("down_proj", "v_proj", "v_a_proj", "v_b_proj")
EIGHT = MlxFormat("affine", 8, 64)

# (rule, width, layer) -> how that module is stored; None for the model's own 16 bits.
Choose = Callable[[str, int, int | None], MlxFormat | None]


@frozen
class Module:
    """A matrix of mlx-lm's class that a weight becomes (a part of). rule: as the weight's own, or
    MLA's ``attention.embed_q`` and ``attention.unembed_out``."""

    rule: str
    shape: tuple[int, ...]


class MlxScheme:
    """What gives every weight the format that mlx-lm stores it in.

    choose: how a module of a width is stored in a layer. layered: whether layers may differ.
    """

    def __init__(self, spec: ModelSpec, name: str, choose: Choose, layered: bool = True) -> None:
        self.name = name
        self._class = mlx_class(spec)
        self._choose = choose
        self._layered = layered
        self._default = weight_format(spec.weight_dtypes.get("default", "bf16"))
        self._spec = spec

    @property
    def extras(self) -> Sequence[ParamGroup]:
        """Keys and values of layers that read another's, where the class has them all the same."""
        return tuple(_unread(self._spec)) if self._class.unread else ()

    def store(self, weight: Weight) -> Sequence[Stored]:
        """Its formats, layers of one format together. Raises UnsupportedError where mlx-lm fails."""
        rule, tensor = rule_name(weight.name), weight.tensor
        if rule in self._class.dropped:
            return ()
        if rule in self._class.wide:
            return (Stored(weight_format("fp32")),)
        kept = self._kept(weight)
        if kept is not None:
            return (Stored(kept, tensors=tensor.fused),)
        taken = tensor.quantised or rule in self._class.also
        if not taken or rule in self._class.plain:
            return (Stored(self._default),)
        modules = self._modules(rule, weight)
        ways: dict[tuple[MlxFormat | None, ...], list[int]] = {}
        layers = weight.group.layers if self._layered else ()
        for layer in layers or (None,):
            way = tuple(self._choose(each.rule, each.shape[-1], layer) for each in modules)
            held = ways.setdefault(way, [])
            if layer is not None:
                held.append(layer)
        return tuple(
            stored
            for way, held in ways.items()
            for stored in self._stored(weight, modules, way, tuple(held) if layers else None)
        )

    def _kept(self, weight: Weight) -> Format | None:
        """Experts that the published files hold in a format of MLX's own stay as they are."""
        published = self._spec.weight_dtypes.get("experts")
        if weight.tensor.component != "experts" or not weight.tensor.quantised:
            return None
        if published == "mxfp4" and self._class.name == "gpt_oss":
            return MlxFormat("mxfp4", 4, 32).format()
        if published == "int4_g32" and self._class.name == "deepseek_v3":
            return MlxFormat("affine", 4, 32).format(self._default.block_bytes)
        return None

    def _modules(self, rule: str, weight: Weight) -> tuple[Module, ...]:
        shape = weight.tensor.shape
        if rule == "recurrent.in_proj_qkv" and self._class.apart:
            # The convolution's channels are those of queries, keys and values.
            value = _value_rows(self._spec, shape[0])
            return (Module("recurrent.qk_proj", (shape[0] - value, shape[1])),
                    Module("recurrent.v_proj", (value, shape[1])))  # fmt: skip
        if rule != "attention.kv_b_proj" or not self._class.latent:
            return (Module(rule, shape),)
        heads, nope, value = _latent_heads(self._spec, shape)
        return (
            Module("attention.embed_q", (heads, shape[1], nope)),
            Module("attention.unembed_out", (heads, value, shape[1])),
        )

    def _stored(
        self, weight: Weight, modules: tuple[Module, ...], way: tuple[MlxFormat | None, ...],
        layers: tuple[int, ...] | None,
    ) -> Sequence[Stored]:  # fmt: skip
        scale = self._default.block_bytes
        formats = [self._default if each is None else each.format(scale) for each in way]
        if len(set(way)) == 1:
            tensors = max(len(modules), weight.tensor.fused)
            return (Stored(formats[0], layers, tensors=tensors),)
        return [
            Stored(format, layers, num_bytes=format.tensor(module.shape))
            for format, module in zip(formats, modules, strict=True)
        ]


def mlx_scheme(spec: ModelSpec, recipe: MlxRecipe) -> MlxScheme:
    """The scheme of a type.

    Raises UnsupportedError where mlx-lm has no class for the model, or cannot convert it so.
    """
    own = mlx_class(spec)
    if recipe.high is not None and not own.mixed:
        raise UnsupportedError(
            f"{recipe.word}: mlx-lm's mixed recipes look for a down_proj, and its class {own.name} "
            f"has none: say --dtype {recipe.usual.word}"
        )
    return MlxScheme(spec, recipe.word, chooser(spec, own, recipe), recipe.high is not None)


def chooser(spec: ModelSpec, own: MlxClass, recipe: MlxRecipe) -> Choose:
    """quantize_model's predicate for a model and a recipe."""
    count = len(decoder_layers(spec))

    def choose(rule: str, width: int, layer: int | None) -> MlxFormat | None:
        usual = recipe.usual
        if width % usual.group:
            return None
        if recipe.high is not None:
            high = _high(own, rule, layer or 0, count)
            return MlxFormat("affine", recipe.high if high else usual.bits, usual.group)
        if rule in own.spared:
            return None
        if rule not in own.eight:
            return usual
        if width % EIGHT.group:
            raise UnsupportedError(
                f"{recipe.word}: mlx-lm's class {own.name} stores {rule} in groups of {EIGHT.group}, "
                f"which do not divide its width of {width}: the conversion fails"
            )
        return EIGHT

    return choose


def _high(own: MlxClass, rule: str, layer: int, count: int) -> bool:
    """Whether a mixed recipe gives the module more bits."""
    if rule == "head":
        return True
    if rule in own.narrow or not (rule in own.wider or any(part in rule for part in _HIGH)):
        return False
    first = count // 8
    return layer < first or layer >= 7 * count // 8 or (layer - first) % 3 == 2


def _value_rows(spec: ModelSpec, rows: int) -> int:
    """Rows of the values among those of a linear attention's queries, keys and values."""
    for block in spec.blocks.values():
        mixer = block.recurrent
        heads, width = (
            getattr(mixer, f"linear_{what}", 0) for what in ("num_key_heads", "key_head_dim")
        )
        keys = heads * width
        if 0 < 2 * keys < rows:
            return rows - 2 * keys
    raise UnsupportedError(f"{spec.name}: no linear attention has {rows} rows of projections")


def _unread(spec: ModelSpec) -> Iterator[ParamGroup]:
    """The projections that layers with ``shared_kv`` would have without it: files hold them."""
    layers: dict[str, list[int]] = {}
    for layer in decoder_layers(spec):
        layers.setdefault(layer.block, []).append(layer.index)
    for name, indices in layers.items():
        attention = spec.blocks[name].attention
        if getattr(attention, "shared_kv", None) is None:
            continue
        whole = replace(attention, shared_kv=None)  # type: ignore[type-var]
        had = {tensor.name for tensor in attention.parameters(spec.hidden_size)}  # type: ignore[union-attr]
        found = (each for each in whole.parameters(spec.hidden_size) if each.name not in had)  # type: ignore[union-attr]
        yield ParamGroup(
            "layers.{}.", tuple(indices), tuple(prefixed("attention", found)), "layers"
        )


def _latent_heads(spec: ModelSpec, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Heads, and the widths of a head's key without rotation and of its value."""
    for block in spec.blocks.values():
        attention = block.attention
        heads = getattr(attention, "num_attention_heads", 0)
        nope = getattr(attention, "qk_nope_head_dim", 0)
        value = getattr(attention, "v_head_dim", 0)
        if heads and heads * (nope + value) == shape[0]:
            return heads, nope, value
    raise UnsupportedError(f"{spec.name}: no latent attention has a kv_b_proj of {list(shape)}")
