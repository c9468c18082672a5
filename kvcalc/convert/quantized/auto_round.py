"""AutoRound: settings by module, in GPTQ's or AWQ's layout."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.quantized.matching import Entries, expression
from kvcalc.convert.quantized.method import (
    MAX_EXPRESSIONS,
    Method,
    Stated,
    numbers,
    one_answer,
    refuse,
)
from kvcalc.convert.quantized.modules import PREFIXES, Module, bare


def auto_round(config: Config, stated: Stated, default: str) -> Method:
    """AutoRound: GPTQ's or AWQ's layout by its packing_format, numbers by module in extra_config."""
    packing = stated.get("packing_format", "auto_round:auto_gptq")
    # auto_round 0.16, export_to_autoround/export.py, dynamic_import_quant_linear_for_packing: g_idx
    # is written for gptqmodel alone.
    known = {
        "auto_round": "_noidx", "auto_round:auto_gptq": "_noidx", "auto_round:gptq": "_noidx",
        "auto_round:gptqmodel": "", "auto_round:auto_awq": "awq", "auto_round:awq": "awq",
    }  # fmt: skip
    if not isinstance(packing, str) or packing not in known:
        refuse(config, "packing_format", packing, "a packing of its own")
    extra = stated.get("extra_config") or {}
    if not isinstance(extra, Mapping):
        refuse(config, "extra_config", extra, "not settings by module")
    blocks = stated.get("block_name_to_quantize") or stated.get("to_quant_block_names")
    if any(word in str(blocks) for word in ("visual", "vision", "audio")):
        refuse(config, "block_name_to_quantize", blocks, "blocks other than the language model's")
    named, patterns, listed = _extra(config, extra)
    style, within = known[packing], _blocks(config, blocks)

    def decide(names: tuple[str, ...], linear: bool) -> str | None:
        change = next((named[name] for name in names if name in named), None)
        if change is None and linear:
            change = next((own for pattern, own in patterns if any(
                pattern.search(prefix + name) for name in names for prefix in PREFIXES)), None)  # fmt: skip
        if change is None and not (linear and within(names)):
            return None
        own = {**stated, **(change or {})}
        if own.get("bits") in (16, 32):
            return None
        if own.get("data_type", "int") != "int":
            refuse(config, "data_type", own["data_type"], "only integers are known")
        bits, group = numbers(config, own, (2, 3, 4, 8))
        return (
            f"awq_{group}" if style == "awq" else f"gptq{'' if bits == 4 else bits}_{group}{style}"
        )

    def choose(module: Module) -> str | None:
        listed.match(module)
        word = one_answer(
            config, "extra_config", module, lambda names: decide(names, module.linear)
        )
        rows = module.tensor.shape[-2] // module.tensor.fused
        if word is not None and word.startswith("gptq") and rows % 32:
            # auto_round_extension/torch/qlinear_torch.py: words of zero points for whole 32 rows alone.
            refuse(config, "packing_format", packing, f"{module.rule}: zero points of {rows} rows")
        return word

    return Method(choose, listed, separate=True)


def _blocks(config: Config, blocks: Any) -> Callable[[tuple[str, ...]], bool]:
    """Whether a module's path begins with one of the blocks that were quantised (auto_round/utils/model.py,
    check_start_with_block_name); any does where none is named."""
    if blocks is None:
        return lambda names: True
    if isinstance(blocks, list):
        blocks = [each for part in blocks for each in (part if isinstance(part, list) else [part])]
    elif isinstance(blocks, str):
        blocks = blocks.split(",")
    if not isinstance(blocks, list) or not all(isinstance(each, str) for each in blocks):
        refuse(config, "block_name_to_quantize", blocks, "not names of blocks")
    begun = tuple(bare(each.strip()) for each in blocks)
    # ``model.layers`` is all of them.
    return lambda names: any(f"{name}.".startswith(begun) for name in names)


def _extra(
    config: Config, extra: Mapping[str, Any]
) -> tuple[dict[str, Stated], list[tuple[re.Pattern[str], Stated]], Entries]:
    """AutoRound's settings by module: of names, and of expressions that lie in a name, in their order
    (inference/utils.py, _expand_regex_config)."""
    named: dict[str, Stated] = {}
    patterns: list[tuple[re.Pattern[str], Stated]] = []
    for key, change in extra.items():
        if not isinstance(change, Mapping):
            refuse(config, f"extra_config.{key}", change, "not settings of a module")
        if re.fullmatch(r"[\w.]+", key):
            named[bare(key)] = change
            continue
        pattern = expression(key)
        if pattern is None:
            refuse(config, f"extra_config.{key}", change, "not a regular expression")
        patterns.append((pattern, change))
    if len(patterns) > MAX_EXPRESSIONS:
        refuse(config, "extra_config", len(patterns), f"more than {MAX_EXPRESSIONS} expressions")
    # A name alone is a module's own; what no module has is told, as in lists of exceptions.
    return named, patterns, Entries([key for key in extra if bare(key) in named], "compressed")
