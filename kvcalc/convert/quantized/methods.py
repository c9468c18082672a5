"""Each method's quantization_config -> what stores a module. Layouts are those of the libraries that
write them; what a config leaves open, or kvcalc has no word for, is refused by name.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.quantized.auto_round import auto_round
from kvcalc.convert.quantized.compressed import compressed_tensors
from kvcalc.convert.quantized.matching import Entries, How, expression
from kvcalc.convert.quantized.method import (
    GROUPS,
    Method,
    Stated,
    entries_of,
    numbers,
    one_answer,
    refuse,
)
from kvcalc.convert.quantized.modelopt import WORDS, modelopt
from kvcalc.convert.quantized.modules import PREFIXES, Module, bare

# Families whose fp8 checkpoints keep the scales of tiles in bf16 (headers of Qwen's own files);
# DeepSeek's and MiniMax's are fp32, DeepSeek-V4's e8m0.
_BF16_SCALES = re.compile(r"qwen")


def _plain(config: Config, stated: Stated, word: str, how: How = "transformers") -> Method:
    """One format for every linear layer that no list excludes; tables, heads and routers stay."""
    listed = entries_of(config, stated, how)
    return Method(
        lambda module: word if module.linear and not listed.match(module) else None, listed
    )


# ---------------------------------------------------------------- fp8


def fp8(config: Config, stated: Stated, default: str) -> Method:
    """DeepSeek's, Qwen's and transformers' fp8; with ModelOpt's NVFP4 for the routed experts, whose lists
    are then ModelOpt's (examples/deepseek/deepseek_v4/quantize_to_nvfp4.py)."""
    experts = stated.get("moe_quant_algo")
    if experts is None and "quantized_layers" not in stated:
        return _fp8(config, stated, default)
    if experts != "NVFP4":
        refuse(config, "moe_quant_algo", experts, "experts in another format than NVFP4")
    of_modelopt = ("ignore", "exclude_modules")
    base = _fp8(config, {k: v for k, v in stated.items() if k not in of_modelopt}, default)

    def choose(module: Module) -> str | None:
        routed = module.linear and module.tensor.experts_per_token is not None
        return WORDS["NVFP4"] if routed else base.choose(module)

    return Method(choose, base.listed)


def _fp8(config: Config, stated: Stated, default: str) -> Method:
    """Tiles, or a scale a matrix (AutoFP8)."""
    static = stated.get("activation_scheme") == "static"
    block = stated.get("weight_block_size")
    for key in ("weight_per_channel", "weight_per_token"):
        if stated.get(key):
            refuse(config, key, stated[key], "scales of rows, which nothing published shows")
    if block is None:
        if stated.get("weight_per_tensor") is False:
            refuse(config, "weight_per_tensor", False, "neither a scale a matrix nor tiles")
        return _plain(config, stated, f"fp8+{8 if static else 4}")
    sizes = block if isinstance(block, list) else ()
    if len(sizes) != 2 or not all(type(size) is int and 0 < size <= 4096 for size in sizes):
        refuse(config, "weight_block_size", block, "tiles of another kind")
    if sizes[0] == 1:
        refuse(config, "weight_block_size", block, "blocks of one row, which are MXFP8's")
    once = "+4" if static else ""
    if config.model_type == "deepseek_v4":
        config.assumptions.append(
            "attention = fp8: what the compressors and indexers of DeepSeek-V4 keep in wider formats "
            "is counted in fp8 too"
        )
        tiles = "128" if sizes == [128, 128] else f"{sizes[0]}x{sizes[1]}"
        return _plain(config, stated, f"fp8_block{tiles}_e8m0{once}")
    # What transformers itself writes (FineGrainedFP8Config.to_dict) has fp32 scales in every family.
    own = "dequantize" not in stated and _BF16_SCALES.match(config.model_type)
    scales = "_bf16" if own else ""
    if sizes == [128, 128] and not scales:
        return _plain(config, stated, f"fp8_block128{once}")
    return _plain(config, stated, f"fp8_block{sizes[0]}x{sizes[1]}{scales}{once}")


def mxfp8(config: Config, stated: Stated, default: str) -> Method:
    """MiniMax-M3's: e4m3 with a byte of scale, e8m0, for 32 elements of a row (weight_block_size [1, 32],
    scale_fmt ue8m0)."""
    for key, known in (("weight_block_size", ([1, 32],)), ("scale_fmt", ("ue8m0",)),
                       ("activation_scheme", ("dynamic",)), ("group_size", (32,))):  # fmt: skip
        if stated.get(key) is not None and stated[key] not in known:
            refuse(config, key, stated[key], "blocks of another kind than MXFP8's")
    for key in stated:
        if key.startswith("moe_"):
            refuse(config, key, stated[key], "experts in a format of their own")
    return _plain(config, stated, "mxfp8")


def fbgemm_fp8(config: Config, stated: Stated, default: str) -> Method:
    """A scale of fp32 for each row (transformers integrations/fbgemm_fp8.py, FbgemmFp8Linear)."""
    return _plain(config, stated, "fp8_row_fp32")


# ---------------------------------------------------------------- groups of integers


def gptq(config: Config, stated: Stated, default: str) -> Method:
    """AutoGPTQ's and GPTQModel's: g_idx stands in the file with and without act-order."""
    bits, group = numbers(config, stated, (2, 3, 4, 8))
    for key in ("checkpoint_format", "format"):
        packing = stated.get(key)
        if isinstance(packing, str) and packing.lower() not in ("gptq", "gptq_v2"):
            refuse(config, key, packing, "a packing of its own")
    for key, what in (("is_marlin_format", "a packing of its own"),
                      ("adapter", "matrices beside the weights")):  # fmt: skip
        if stated.get(key):
            refuse(config, key, stated[key], what)
    if stated.get("pack_dtype") not in (None, "int32"):
        refuse(config, "pack_dtype", stated["pack_dtype"], "only words of int32 are known")
    listed = entries_of(config, stated, "transformers")
    inside = _inside(config, stated)
    rules = _dynamic(config, stated)
    word = f"gptq{'' if bits == 4 else bits}_{group}"
    config.assumptions.append(
        "gptq: the biases of zeros that AutoGPTQ up to 0.7 writes beside every matrix are not counted"
    )

    def decide(names: tuple[str, ...], is_head: bool) -> str | None:
        within = [bare(name).partition(".")[2].partition(".")[2] for name in names]
        if inside and not is_head and not inside.intersection(within):
            return None
        for pattern, change in rules:
            if any(pattern.match(prefix + name) for name in names for prefix in PREFIXES):
                return None if change is None else gptq_word(config, {**stated, **change})
        return word

    def choose(module: Module) -> str | None:
        is_head = module.rule == "head" and bool(stated.get("lm_head"))
        if not (module.linear or is_head) or listed.match(module):
            return None
        if not rules and not inside:
            return word
        return one_answer(config, "dynamic", module, lambda names: decide(names, is_head))

    return Method(choose, listed, separate=True)


def gptq_word(config: Config, stated: Stated) -> str:
    bits, group = numbers(config, stated, (2, 3, 4, 8))
    return f"gptq{'' if bits == 4 else bits}_{group}"


def _inside(config: Config, stated: Stated) -> set[Any]:
    """modules_in_block_to_quantize: names within a layer; empty for all."""
    found = stated.get("modules_in_block_to_quantize")
    if found is None:
        return set()
    groups = found if isinstance(found, list) else [[None]]
    names = [name for group in groups for name in (group if isinstance(group, list) else [group])]
    if not all(isinstance(name, str) for name in names):
        refuse(config, "modules_in_block_to_quantize", found, "not lists of names")
    return set(names)


def _dynamic(
    config: Config, stated: Stated
) -> list[tuple[re.Pattern[str], Mapping[str, Any] | None]]:
    """GPTQModel's rules for single modules: ``-:`` leaves out, ``+:`` or nothing changes numbers."""
    found = stated.get("dynamic")
    if not found:
        return []
    if not isinstance(found, Mapping):
        refuse(config, "dynamic", found, "not rules by name")
    rules: list[tuple[re.Pattern[str], Mapping[str, Any] | None]] = []
    for text, change in found.items():
        left_out = text.startswith("-:")
        pattern = expression(text.removeprefix("-:").removeprefix("+:"))
        if pattern is None:
            refuse(config, "dynamic", text, "not a regular expression")
        rules.append((pattern, None if left_out else change if isinstance(change, Mapping) else {}))
    return rules


def awq(config: Config, stated: Stated, default: str) -> Method:
    """AutoAWQ's gemm layout: qweight, qzeros, scales."""
    _, group = numbers(config, stated, (4,))
    version = stated.get("version", stated.get("format"))
    if isinstance(version, str) and version.lower() != "gemm":
        refuse(config, "version", version, "a packing of its own")
    listed = entries_of(config, stated, "part")
    word = f"awq_{group}"
    return Method(
        lambda module: word if module.linear and not listed.match(module) else None, listed,
        separate=True,
    )  # fmt: skip


def hqq(config: Config, stated: Stated, default: str) -> Method:
    """HQQ: packed bytes, a scale and a zero a group in 16 bits, and its settings: ten numbers, the
    shape and three names as text (hqq 0.2.8, HQQLinear.state_dict)."""
    inner = stated.get("quant_config")
    weights = inner.get("weight_quant_params", inner) if isinstance(inner, Mapping) else None
    if not isinstance(weights, Mapping) or "nbits" not in weights:
        refuse(config, "quant_config", inner, "settings by module")
    bits, size, axis = weights.get("nbits"), weights.get("group_size"), weights.get("axis", 1)
    if bits not in (1, 2, 4, 8) or type(size) is not int or size not in GROUPS or axis != 1:
        refuse(
            config, "quant_config", weights, "only 1, 2, 4 and 8 bits in groups of a row are known"
        )
    for key in ("offload_meta", "scale_quant_params", "zero_quant_params"):
        if weights.get(key) or (isinstance(inner, Mapping) and inner.get(key)):
            refuse(config, f"quant_config.{key}", True, "scales in a format of their own")
    plain = _plain(config, {**stated, "modules_to_not_convert": stated.get("skip_modules")},
                   f"hqq{bits}_g{size}+{55 + len(f'torch.{_TORCH[default]}')}")  # fmt: skip

    def choose(module: Module) -> str | None:
        word = plain.choose(module)
        if word is not None and module.tensor.numel // size * bits % 8:
            refuse(
                config,
                "quant_config",
                bits,
                f"{module.rule}: {8 // bits} groups are packed into one",
            )
        return word

    return Method(choose, plain.listed)


# ---------------------------------------------------------------- others


def bitsandbytes(config: Config, stated: Stated, default: str) -> Method:
    """LLM.int8() with SCB and a byte that says the layout; nf4 and fp4 with absmax per 64."""
    listed = entries_of(config, stated, "transformers")
    if stated.get("load_in_8bit"):
        word = "int8_row+1"
    elif stated.get("load_in_4bit"):
        return _nf4(config, stated, default)
    else:
        refuse(
            config, "load_in_4bit", stated.get("load_in_4bit"), "neither 4 nor 8 bits are stated"
        )
    return Method(
        lambda module: word if module.linear and not listed.match(module) else None, listed,
        separate=True,
    )  # fmt: skip


_TORCH = {"": "bfloat16", "fp16": "float16", "fp32": "float32"}


def _nf4(config: Config, stated: Stated, default: str) -> Method:
    """absmax, a table of 16 fp32 values, and what bitsandbytes packs as JSON (0.50,
    functional.QuantState.as_dict); doubled, another table of 256 and a number of unknown length."""
    listed = entries_of(config, stated, "transformers")
    double = bool(stated.get("bnb_4bit_use_double_quant"))
    kind, dtype = stated.get("bnb_4bit_quant_type", "fp4"), _TORCH[default]
    if double:
        config.assumptions.append(
            "nf4_double: the state that each matrix stores as text, about 170 bytes, is not counted"
        )

    def choose(module: Module) -> str | None:
        if not module.linear or listed.match(module):
            return None
        if double:
            return f"nf4_double+{4 * (16 + 256)}"
        rows, columns = module.tensor.shape[-2] // module.tensor.fused, module.tensor.shape[-1]
        state = {"quant_type": kind, "blocksize": 64, "dtype": dtype, "shape": [rows, columns]}
        return f"nf4+{4 * 16 + len(json.dumps(state))}"

    return Method(choose, listed, separate=True)


def mxfp4(config: Config, stated: Stated, default: str) -> Method:
    """gpt-oss: the experts alone (transformers replaces no other class's, integrations/mxfp4.py)."""
    if config.model_type != "gpt_oss":
        refuse(config, "quant_method", "mxfp4", "a layout of gpt-oss' experts alone")
    return Method(
        lambda module: "mxfp4" if module.tensor.component == "experts" and module.linear else None,
        Entries((), "transformers"),
    )


def bitnet(config: Config, stated: Stated, default: str) -> Method:
    """Ternary weights, four a byte, and a bf16 scale a matrix."""
    if stated.get("quantization_mode", "offline") != "offline":
        refuse(config, "quantization_mode", stated["quantization_mode"], "weights kept unpacked")
    plain = _plain(config, stated, "int2+2")

    def choose(module: Module) -> str | None:
        word = plain.choose(module)
        if word is not None and module.tensor.shape[-2] % 4:
            what = f"{module.rule}: four rows are packed into one"
            refuse(config, "quant_method", "bitnet", what)
        return word

    return Method(choose, plain.listed)


def quark(config: Config, stated: Stated, default: str) -> Method:
    """AMD Quark: fp8 with one scale a matrix, or a row; a static input scale beside it."""
    for key in ("layer_quant_config", "layer_type_quant_config"):
        if stated.get(key):
            refuse(config, key, [*stated[key]], "settings by module")
    export = stated.get("export")
    kept = export.get("weight_format") if isinstance(export, Mapping) else None
    if kept not in (None, "real_quantized"):
        refuse(
            config,
            "export.weight_format",
            kept,
            "weights that are not stored as they are quantised",
        )
    inner = stated.get("global_quant_config")
    weight = inner.get("weight") if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(weight, Mapping):
        refuse(config, "global_quant_config", inner, "no weights' format")
    kind = (weight.get("dtype"), weight.get("qscheme"))
    moving = inner.get("input_tensors")
    static = isinstance(moving, Mapping) and not moving.get("is_dynamic", False)
    once = 4 * (1 + static)
    words: dict[tuple[Any, Any], str] = {
        ("fp8_e4m3", "per_tensor"): f"fp8+{once}",
        ("fp8_e4m3", "per_channel"): f"fp8_row_fp32+{4 * static}" if static else "fp8_row_fp32",
        ("fp4", "per_group"): "mxfp4",
    }
    word = words.get(kind)
    if word is None or (kind[0] == "fp4" and weight.get("group_size") != 32):
        refuse(
            config, "global_quant_config.weight", dict(weight), "a scheme that is not accounted for"
        )
    listed = Entries(_names(config, stated, "exclude"), "glob")

    def choose(module: Module) -> str | None:
        if module.rule != "head" and not module.linear:
            return None
        return None if listed.match(module) else word

    return Method(choose, listed)


def _names(config: Config, stated: Stated, key: str) -> list[str]:
    found = stated.get(key) or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        refuse(config, key, found, "not a list of names")
    return found


def torchao(config: Config, stated: Stated, default: str) -> Method:
    """torchao's tensor subclasses as safetensors flatten them: elements and scales of the weights."""
    inner = stated.get("quant_type")
    if isinstance(inner, Mapping) and "default" in inner and len(inner) > 1:
        refuse(config, "quant_type", [*inner], "settings by module")
    inner = inner.get("default", inner) if isinstance(inner, Mapping) else {"_type": inner}
    kind = inner.get("_type") if isinstance(inner, Mapping) else None
    data = inner.get("_data", {}) if isinstance(inner, Mapping) else {}
    data = data if isinstance(data, Mapping) else {}
    size, version = data.get("group_size", 128), inner.get("_version", data.get("version"))
    word = None
    if kind == "Int8WeightOnlyConfig" and version == 2 and size in (None, 128):
        word = "int8z_row"
    elif kind == "Float8WeightOnlyConfig":
        word = "fp8_row_fp32"
    elif kind == "Float8DynamicActivationFloat8WeightConfig":
        # PerTensor unless it says PerRow (torchao 0.18, quantization/quant_api.py).
        rows = "PerRow" in json.dumps(data.get("granularity"))
        word = "fp8_row_fp32" if rows else "fp8+4"
    elif (
        kind == "Int4WeightOnlyConfig"
        and size in GROUPS
        and "plain" in json.dumps(data.get("int4_packing_format", "plain")).lower()
    ):
        word = f"hqq4_g{size}"
    if word is None:
        refuse(config, "quant_type", kind, "a tensor type that is not accounted for")
    if stated.get("include_input_output_embeddings"):
        refuse(config, "include_input_output_embeddings", True, "tables in formats of their own")
    return _plain(config, stated, word)


METHODS: dict[str, Callable[[Config, Stated, str], Method]] = {
    "fp8": fp8,
    "mxfp8": mxfp8,
    "fbgemm_fp8": fbgemm_fp8,
    "gptq": gptq,
    "awq": awq,
    "auto-round": auto_round,
    "auto_round": auto_round,
    "intel/auto-round": auto_round,
    "hqq": hqq,
    "bitsandbytes": bitsandbytes,
    "mxfp4": mxfp4,
    "bitnet": bitnet,
    "modelopt": modelopt,
    "modelopt_fp4": modelopt,
    "quark": quark,
    "torchao": torchao,
    "compressed-tensors": compressed_tensors,
}
