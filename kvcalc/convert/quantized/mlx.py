"""``quantization`` of a config that mlx-lm wrote -> the format of every tensor in its files.

The key holds a default (``bits``, ``group_size``, ``mode``) and, by path, what a module has instead:
a setting of its own, or false for one that is not quantised. A module that is not listed has the
default where the group divides its width (mlx_lm/utils.py, load_model and quantize_model). Paths are
those of mlx-lm's classes, which are the checkpoint's but for what the classes join or split.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kvcalc.convert.config import Config, short
from kvcalc.convert.quantized.method import refuse
from kvcalc.convert.quantized.modules import bare, modules
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.ledger import Row, make_rows
from kvcalc.mlx.classes import MlxClass, mlx_class
from kvcalc.mlx.scheme import MlxScheme
from kvcalc.mlx_types import BITS, GROUPS, MODES, MlxFormat
from kvcalc.spec.model import ModelSpec, TensorFormat
from kvcalc.spec.tensor_formats import Told, as_rules, rule_name

# (rule, layer) of a module.
Place = tuple[str, int | None]
# The end of a path -> rules, where mlx-lm's class names a module otherwise than the checkpoint.
_ENDS: dict[str, tuple[str, ...]] = {
    "embed_q": ("attention.embed_q",),
    "unembed_out": ("attention.unembed_out",),
    "in_proj_qkvz": ("recurrent.in_proj_qkv", "recurrent.in_proj_z"),
    "in_proj_ba": ("recurrent.in_proj_b", "recurrent.in_proj_a"),
    "switch_mlp.gate_proj": ("ffn.experts.gate_up_proj",),
    "switch_mlp.up_proj": ("ffn.experts.gate_up_proj", "ffn.experts.up_proj"),
    "switch_mlp.down_proj": ("ffn.experts.down_proj",),
    "switch_mlp.fc1": ("ffn.experts.up_proj",),
    "switch_mlp.fc2": ("ffn.experts.down_proj",),
    "experts.gate_proj": ("ffn.experts.gate_up_proj",),
    "experts.up_proj": ("ffn.experts.gate_up_proj",),
    "experts.down_proj": ("ffn.experts.down_proj",),
    "switch_glu.gate_proj": ("ffn.experts.gate_up_proj",),
    "switch_glu.up_proj": ("ffn.experts.gate_up_proj",),
    "switch_glu.down_proj": ("ffn.experts.down_proj",),
    **{
        f"{name}.{part}": (f"ffn.{part}",)
        for name in ("feed_forward", "mlp")
        for part in ("gate_proj", "up_proj", "down_proj")
    },
    **dict.fromkeys(
        (
            "mlp.gate",
            "mlp.router",
            "router.layer",
            "router.proj",
            "gate.gate",
            "gate.proj",
            "block_sparse_moe.gate",
            "feed_forward.router",
            "feed_forward.gate",
            "router.gate",
            "gate.gate_proj",
        ),
        ("ffn.router",),
    ),
    "shared_expert_gate": ("ffn.shared_expert_gate",),
    "index_q_proj": ("attention.indexer.wq_b",),
    "index_k_proj": ("attention.indexer.wk",),
    "lm_head": ("head",),
    **dict.fromkeys(("embed_tokens", "embedding", "word_embeddings"), ("embedding",)),
}
# Of a class that has a linear attention's projections apart.
_APART = {
    "linear_attn.q_proj": "recurrent.qk_proj", "linear_attn.k_proj": "recurrent.qk_proj",
    "linear_attn.v_proj": "recurrent.v_proj", "linear_attn.g_proj": "recurrent.in_proj_z",
    "linear_attn.a_proj": "recurrent.in_proj_a", "linear_attn.b_proj": "recurrent.in_proj_b",
}  # fmt: skip
# What a weight becomes that is several modules of mlx-lm's.
_SPLIT = ("attention.embed_q", "attention.unembed_out", "recurrent.qk_proj", "recurrent.v_proj")
for _part in ("gate_proj", "up_proj", "down_proj"):
    for _name in ("shared_expert", "shared_experts", "share_expert", "shared_mlp"):
        _ENDS[f"{_name}.{_part}"] = (f"ffn.shared_expert.{_part}",)
# Towers, which are left out of the count wherever they stand.
_TOWERS = ("vision", "visual", "audio", "multi_modal", "image", "projector")


def mlx_rules(config: Config, stated: Any, spec: ModelSpec) -> tuple[TensorFormat, ...]:
    """Rules for every tensor that the files hold otherwise than by default.

    Raises UnsupportedError naming what in the key is not accounted for.
    """
    if not isinstance(stated, Mapping):
        refuse_mlx(config, stated, "not an object")
    usual = _setting(config, "quantization", stated, stated)
    own = mlx_class(spec)
    special = _overrides(config, stated, spec, own)

    asked: set[Place] = set()

    def choose(rule: str, width: int, layer: int | None) -> MlxFormat | None:
        asked.add((rule, layer))
        if (rule, layer) in special:
            return special[rule, layer]
        if rule in own.spared:
            return None
        return None if width % usual.group else usual

    scheme = MlxScheme(spec, "checkpoint", choose)
    if scheme.extras:
        refuse_mlx(config, stated, f"projections of {own.name} that no layer reads")
    rows = tuple(make_rows(parameter_groups(spec), scheme))
    for rule, layer in sorted(special.keys() - asked, key=str)[:1]:
        where = rule if layer is None else f"{rule} of layer {layer}"
        refuse_mlx(config, stated, f"a format for {where}, which {own.name} does not quantise here")
    return tuple(_rules(spec, rows))


def refuse_mlx(config: Config, value: Any, what: str) -> Any:
    """Raise UnsupportedError about the key ``quantization``."""
    refuse(config, "quantization", value, f"MLX: {what}")


def _rules(spec: ModelSpec, rows: Iterable[Row]) -> Iterator[TensorFormat]:
    default = spec.weight_dtypes.get("default", "bf16")
    told: dict[str, dict[int | None, Told]] = {}
    parts: dict[tuple[str, int | None], list[Row]] = {}
    buffers = set()
    for row in rows:
        name = rule_name(row.name)
        if row.weight.tensor.buffer:
            buffers.add(name)
        for layer in row.layers or (None,):
            parts.setdefault((name, layer), []).append(row)
    for (name, layer), held in parts.items():
        whole = len(held) == 1
        told.setdefault(name, {})[layer] = (
            held[0].stored.format.name if whole else sum(row.bytes_each for row in held)
        )
    kept = {name: each for name, each in told.items()
            if set(each.values()) != {default} or name in buffers}  # fmt: skip
    yield from as_rules(kept | _absent(spec, parts), default, buffers)


def _absent(spec: ModelSpec, held: Mapping[Place, object]) -> dict[str, dict[int | None, Told]]:
    """Weights that mlx-lm's class has no place for take no bytes of its files."""
    return {
        name: dict.fromkeys(group.layers or (None,), 0)
        for group in parameter_groups(spec)
        for tensor in group.tensors
        if not tensor.buffer
        and (name := rule_name(group.prefix + tensor.name), (group.layers or (None,))[0])
        not in held
    }


def _overrides(
    config: Config, stated: Mapping[str, Any], spec: ModelSpec, own: MlxClass
) -> dict[Place, MlxFormat | None]:
    found: dict[Place, MlxFormat | None] = {}
    paths: dict[str, list[Place]] | None = None
    for path, value in stated.items():
        if path in ("bits", "group_size", "mode", "quant_method"):
            continue
        if isinstance(value, bool):
            chosen = None
            if value:
                continue
        elif isinstance(value, Mapping):
            chosen = _setting(config, path, value, stated)
        else:
            refuse_mlx(config, {path: value}, f"{path} is no module's setting")
        if any(word in path for word in _TOWERS):
            continue
        if paths is None:
            paths = _paths(spec, config.model_type)
        places = _places(bare(path), paths, own)
        if not places:
            refuse_mlx(
                config, {path: value}, f"no module of {own.name} that kvcalc knows is {path}"
            )
        for place in places:
            if found.setdefault(place, chosen) != chosen:
                refuse_mlx(config, {path: value}, f"{path} is stored otherwise than what stands in "
                                                  f"one tensor with it")  # fmt: skip
    return found


def _paths(spec: ModelSpec, model_type: str) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for module in modules(spec, model_type):
        for name in module.names:
            found.setdefault(bare(name), []).append((module.rule, module.layer))
    return found


def _places(path: str, paths: Mapping[str, list[Place]], own: MlxClass) -> list[Place]:
    words = path.split(".")
    layer = next((int(word) for word in words if word.isdigit()), None)
    apart = _APART.get(".".join(words[-2:])) if own.apart else None
    if apart is not None:
        return [(apart, layer)]
    if path in paths:
        return paths[path]
    known = {place for places in paths.values() for place in places}
    for count in (2, 1):
        rules = _ENDS.get(".".join(words[-count:]), ())
        places = [(rule, layer) for rule in rules
                  if (rule, layer) in known or rule in _SPLIT]  # fmt: skip
        if places:
            return places
    return []


def _setting(
    config: Config, path: str, value: Mapping[str, Any], stated: Mapping[str, Any]
) -> MlxFormat:
    """A module's setting. What it leaves out is its mode's own, as in ``to_quantized``."""
    mode = value.get("mode", "affine")
    if mode in MODES:
        bits, group = MODES[mode]
    elif mode == "affine":
        bits, group = value.get("bits", 4), value.get("group_size", 64)
    else:
        refuse_mlx(config, {path: value}, f"the mode {short(mode)}")
    if mode == "affine" and (bits not in BITS or group not in GROUPS):
        refuse_mlx(config, {path: value}, "another width or group than MLX has")
    if value.get("bits", bits) != bits or value.get("group_size", group) != group:
        refuse_mlx(config, {path: value}, f"the mode {mode} has {bits} bits and groups of {group}")
    if value.get("global_scale"):
        refuse_mlx(config, {path: value}, "a scale of each expert's own")
    return MlxFormat(str(mode), bits, group)
