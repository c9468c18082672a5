"""NVIDIA ModelOpt: FP8, MXFP8 and NVFP4, alone and mixed, as 0.47's export_hf_checkpoint writes them.

A weight and an input scale in fp32 a matrix; MXFP8 has a byte of scale, e8m0, for 32 elements of a row and
none of its inputs, which are scaled as they come.
"""

from collections.abc import Mapping
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.quantized.matching import Entries
from kvcalc.convert.quantized.method import Method, Stated, entries_of, one_answer, refuse
from kvcalc.convert.quantized.modules import Module, bare

WORDS = {
    "FP8": "fp8+8", "NVFP4": "nvfp4+8", "W4A16_NVFP4": "nvfp4+4", "FP8_PB_WO": "fp8_block128",
    "MXFP8": "mxfp8", "FP8_PER_CHANNEL_PER_TOKEN": "fp8_row_fp32",
}  # fmt: skip


_GROUPS = {"NVFP4": 16, "W4A16_NVFP4": 16, "MXFP8": 32}


def modelopt(config: Config, stated: Stated, default: str) -> Method:
    """NVIDIA ModelOpt: FP8 and NVFP4 with a weight and an input scale in fp32 a matrix; MIXED_PRECISION
    lists the module of each in ``quantized_layers``."""
    algorithm = stated.get("quant_algo")
    listed = entries_of(config, stated, "glob")
    layers = stated.get("quantized_layers")
    if algorithm == "MIXED_PRECISION":
        if not isinstance(layers, Mapping) or not layers:
            refuse(config, "quantized_layers", layers, "which layer has which format")
        words = {
            bare(name): _word(config, layer.get("quant_algo"), layer)
            for name, layer in layers.items()
            if isinstance(layer, Mapping)
        }
        named = Entries(layers, "glob")

        def mixed(module: Module) -> str | None:
            def decide(names: tuple[str, ...]) -> str | None:
                found = [words[own] for path in names for own in _and_parents(path) if own in words]
                return found[0] if found else None

            word = one_answer(config, "quantized_layers", module, decide)
            named.match(module)
            return word

        return Method(mixed, named)
    groups = stated.get("config_groups")
    if isinstance(groups, Mapping) and len(groups) > 1:
        refuse(config, "config_groups", [*groups], "several schemes in one checkpoint")
    word = _word(config, algorithm, stated)
    for key in ("exclude_modules", "ignore"):
        if isinstance(stated.get(key), list):
            break
    else:
        refuse(config, "exclude_modules", None, "no list of what is left out")

    def choose(module: Module) -> str | None:
        if module.rule != "head" and not module.linear:
            return None
        return None if listed.match(module) else word

    return Method(choose, listed)


def _and_parents(name: str) -> list[str]:
    """A module's path and those of what it stands in: a list may name all experts at once."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _word(config: Config, algorithm: Any, stated: Stated) -> str:
    word = WORDS.get(algorithm) if isinstance(algorithm, str) else None
    if word is None:
        refuse(
            config,
            "quant_algo",
            algorithm,
            f"only {', '.join(WORDS)} and MIXED_PRECISION are known",
        )
    size, own = stated.get("group_size"), _GROUPS.get(algorithm)
    if own and size not in (None, own):
        refuse(config, "group_size", size, f"{algorithm} has groups of {own}")
    return word
