"""compressed-tensors: a scheme for each group of targets (vllm-project/compressed-tensors 0.20).

A scale a matrix, a row, a group or a tile in the model's own 16 bits; packed integers with their shape
(two int64); zero points and indices of groups where the scheme has them.
"""

from collections.abc import Mapping
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.quantized.matching import Entries
from kvcalc.convert.quantized.method import MAX_EXPRESSIONS, Method, Stated, entries_of, refuse
from kvcalc.convert.quantized.modules import Module

_GROUPS = (16, 32, 64, 128, 256, 512, 1024)
# The formats that store a scheme in the bytes that are counted.
_PACKINGS = {
    "int4": ("pack-quantized",), "int8p": ("pack-quantized",),
    "int8": ("int-quantized", "naive-quantized"),
    "fp8": ("float-quantized", "naive-quantized"),
    "nvfp4": ("nvfp4-pack-quantized",), "mxfp4": ("mxfp4-pack-quantized",),
    "mxfp8": ("mxfp8-quantized", "float-quantized"),
}  # fmt: skip


def compressed_tensors(config: Config, stated: Stated, default: str) -> Method:
    """The format of each module: that of the first group whose targets name it, unless ignored."""
    groups = stated.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        refuse(config, "config_groups", groups, "no scheme")
    sparsity = stated.get("sparsity_config")
    if sparsity and not (isinstance(sparsity, Mapping) and sparsity.get("format") == "dense"):
        refuse(config, "sparsity_config", sparsity, "sparse weights")
    transform = stated.get("transform_config")
    if transform and not (isinstance(transform, Mapping) and not transform.get("config_groups")):
        refuse(config, "transform_config", transform, "matrices beside the weights")
    named, usual = _targets(config, stated, groups, default)
    listed = entries_of(config, stated, "compressed")

    def choose(module: Module) -> str | None:
        if module.tensor.component in ("embedding", "norm") or (
            not module.linear and module.tensor.component not in ("head", "router")
        ):
            return None
        ignored = listed.match(module)
        found = [word for target, word in named if target.match(module)]
        if ignored:
            return None
        # Routers of today's classes are no linear layers; a head is one.
        if not found and module.tensor.component != "router" and usual is not None:
            return usual
        return found[0] if found else None

    return Method(choose, listed, targets=tuple(target for target, _ in named))


def _targets(
    config: Config, stated: Stated, groups: Mapping[str, Any], default: str
) -> tuple[list[tuple[Entries, str]], str | None]:
    """(names and expressions with their words, the first counts; the word of every other linear layer).

    Names before expressions, those in alphabetical order, classes last; of a target that stands twice the
    later (utils/match.py, match_targets).
    """
    words: dict[str, str] = {}
    for group in groups.values():
        group = group if isinstance(group, Mapping) else {}
        targets = group.get("targets")
        if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
            refuse(config, "config_groups.targets", targets, "not a list of names")
        words |= dict.fromkeys(targets, _word(config, stated, group, default))
    usual = words.pop("Linear", words.pop("torch.nn.Linear", None))
    exact: dict[str, list[str]] = {}
    for name, word in words.items():
        if name[:1].isupper() and "." not in name:
            refuse(config, "config_groups.targets", name, "a class of modules that is not known")
        if not name.startswith("re:"):
            exact.setdefault(word, []).append(name)
    patterns = sorted(name for name in words if name.startswith("re:"))
    if len(patterns) > MAX_EXPRESSIONS:
        refuse(
            config, "config_groups.targets", len(patterns), f"more than {MAX_EXPRESSIONS} of them"
        )
    named = [(Entries(names, "compressed"), word) for word, names in exact.items()]
    named += [(Entries([name], "compressed"), words[name]) for name in patterns]
    return named, usual


def _word(config: Config, stated: Stated, group: Stated, default: str) -> str:
    weights = group.get("weights")
    weights = weights if isinstance(weights, Mapping) else {}
    inputs = group.get("input_activations")
    static = isinstance(inputs, Mapping) and not inputs.get("dynamic", False)
    zero = static and isinstance(inputs, Mapping) and inputs.get("symmetric") is False
    packing = group.get("format") or stated.get("format")
    word, kind = _scheme(config, weights, packing, static, isinstance(inputs, Mapping), default)
    if zero:  # a byte beside the scale of the inputs
        base, _, once = word.partition("+")
        word = f"{base}+{int(once or 0) + 1}"
    if packing not in _PACKINGS[kind] and not (
        packing == "mixed-precision" and group.get("format")
    ):
        what = f"the weights of {kind} are known as {' or '.join(_PACKINGS[kind])} only"
        refuse(config, "format", packing, what)
    return word


def _scheme(
    config: Config, weights: Stated, packing: Any, static: bool, inputs: bool, default: str
) -> tuple[str, str]:
    """The format's word, and which packings are right for it. inputs: activations are quantised."""
    bits, kind, strategy = weights.get("num_bits"), weights.get("type"), weights.get("strategy")
    size, wide = weights.get("group_size"), 4 if default == "fp32" else 2
    symmetric = weights.get("symmetric", True)
    packed = packing == "pack-quantized" or strategy == "group"
    if kind == "int" and packed and bits in (2, 3, 4, 8):
        if strategy == "group" and size in _GROUPS:
            group = f"g{size}"
        elif strategy == "channel":
            group = "row"
        else:
            refuse(
                config, "config_groups.weights", dict(weights), "a scheme that is not accounted for"
            )
        order = weights.get("actorder")
        if order not in (None, False, "weight", "static", "group", "dynamic"):
            refuse(config, "config_groups.weights.actorder", order, "an order that is not known")
        index = "_idx" if order in ("group", "dynamic") else ""
        scale = "_fp32" if wide == 4 else ""
        return f"int{bits}{'' if symmetric else 'z'}_{group}{scale}{index}+16", "int4"
    if not symmetric:
        refuse(config, "config_groups.weights.symmetric", False, "zero points")
    if kind == "float" and bits == 8 and size == 32 and strategy == "group":
        return "mxfp8", "mxfp8"
    if kind == "float" and bits == 4 and size in (16, 32):
        if size == 32 or packing == "mxfp4-pack-quantized":
            return "mxfp4", "mxfp4"
        return f"nvfp4+{8 if inputs else 4}", "nvfp4"
    once = wide * (1 + static)
    if bits == 8 and strategy == "tensor" and kind in ("int", "float"):
        return f"{'int8' if kind == 'int' else 'fp8'}+{once}", "int8" if kind == "int" else "fp8"
    tail = f"+{wide}" if static else ""
    if bits == 8 and strategy == "channel" and kind == "float":
        return ("fp8_row_fp32" if wide == 4 else "fp8_row") + tail, "fp8"
    if bits == 8 and strategy == "channel" and kind == "int":
        return ("int8_row" if wide == 4 else "int8_channel") + tail, "int8"
    tiles = weights.get("block_structure")
    sides = tiles if isinstance(tiles, list) else []
    known = len(sides) == 2 and all(type(side) is int and 0 < side < 4097 for side in sides)
    if bits == 8 and kind == "float" and known:
        return f"fp8_block{sides[0]}x{sides[1]}{'' if wide == 4 else '_bf16'}", "fp8"
    scheme = {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": size}
    refuse(config, "config_groups.weights", scheme, "a scheme that is not accounted for")
