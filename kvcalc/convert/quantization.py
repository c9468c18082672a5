"""quantization_config and dtype -> the number formats of the checkpoint's matrices.

Each method's layout is that of the library that writes it; kvcalc/dtypes.py has the formats. What
they cannot express exactly is refused by name: a wrong number of bytes would look as right as any.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from kvcalc.convert.config import Config, short
from kvcalc.errors import Problem, UnsupportedError
from kvcalc.spec.model import ModelSpec, WeightPart

_DTYPES = {
    "float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "",
}  # fmt: skip
_GROUPS = (32, 64, 128)

# What stays in the default format whatever the method: tables, heads, norms, routers, other towers.
_NEVER = re.compile(
    r"lm_head|embed|wte|norm|router|(^|[.*_])gate($|[^_])|e_score|score|visual|vision|audio|mtp"
    r"|multi_modal|projector|nextn|eh_proj|bias|classifier"
)
_PARTS: tuple[tuple[WeightPart, re.Pattern[str]], ...] = (
    ("recurrent", re.compile(r"linear_attn|mamba|mixer|conv")),
    ("attention", re.compile(r"attn|attention")),
    ("experts", re.compile(r"(^|[.*])experts")),
    ("ffn", re.compile(r"shared_expert|mlp|ffn|feed_forward")),
)
_QUANTISED: tuple[WeightPart, ...] = ("attention", "recurrent", "ffn", "experts")


def weight_dtypes(
    values: Mapping[str, Any], config: Config, spec: ModelSpec
) -> dict[WeightPart, str]:
    """The checkpoint's formats by component; empty where all is bf16 or the config does not say."""
    found: dict[WeightPart, str] = {}
    default = _default(values, config)
    if default:
        found["default"] = default
    if values.get("quantization"):
        return found | _mlx(config, values["quantization"], spec, default)
    text = values.get("text_config")
    stated = values.get("quantization_config")
    if stated is None and isinstance(text, Mapping):
        stated = text.get("quantization_config")
    if stated is None:
        return found
    if not isinstance(stated, Mapping):
        config.wrong("quantization_config", f"expected an object, found {short(stated)}")
    method = stated.get("quant_method")
    producer = stated.get("producer")
    if method is None and isinstance(producer, Mapping) and producer.get("name") == "modelopt":
        method = "modelopt"
    if method is None and (stated.get("load_in_4bit") or stated.get("load_in_8bit")):
        method = "bitsandbytes"
    reader = _METHODS.get(method) if isinstance(method, str) else None
    if reader is None:
        _refuse(config, "quant_method", method, "a layout that is not accounted for")
    found.update(_components(config, stated, spec, *reader(config, stated)))
    for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
        if stated.get(key):
            config.assumptions.append(
                f"quantization_config.{key} = {short(stated[key])}: the checkpoint's format for the "
                f"cache; it is counted as --kv-dtype says, without its scales"
            )
    if values.get("expert_dtype") == "fp4" and "experts" in found:
        found["experts"] = "mxfp4"
    return found


def _default(values: Mapping[str, Any], config: Config) -> str:
    text = values.get("text_config")
    sources = (values, text) if isinstance(text, Mapping) else (values,)
    for source in sources:
        for key in ("dtype", "torch_dtype"):
            stated = source.get(key)
            if stated is None or stated == "auto":
                continue
            name = stated.removeprefix("torch.") if isinstance(stated, str) else stated
            if not isinstance(name, str) or name not in _DTYPES:
                config.wrong(key, f"{short(stated)} is not a number format of a checkpoint")
            return _DTYPES[name]
    return ""


def _refuse(config: Config, key: str, value: Any, what: str) -> NoReturn:
    field = f"quantization_config.{key}"
    reason = (
        f"{what}, so the weights' bytes are not known; take quantization_config out of the config to "
        f"import the model in bf16, or give its .safetensors files, whose headers hold the exact bytes"
    )
    problem = Problem("KV106", config.path, 0, 0, field, reason)
    raise UnsupportedError(f"{config.path}: {field} = {short(value)}: {reason}", (problem,))


# ---------------------------------------------------------------- methods: (format, components)

Answer = tuple[str, tuple[WeightPart, ...]]


def _fp8(config: Config, stated: Mapping[str, Any]) -> Answer:
    block = stated.get("weight_block_size")
    if block is None:
        return "fp8", _QUANTISED
    if block != [128, 128]:
        _refuse(config, "weight_block_size", block, "only tiles of 128 x 128 are known")
    if config.model_type == "deepseek_v4":
        config.assumptions.append(
            "attention = fp8: what the compressors and indexers of DeepSeek-V4 keep in wider formats "
            "is counted in fp8 too"
        )
        return "fp8_block128_e8m0", _QUANTISED
    return "fp8_block128", _QUANTISED


def _mxfp4(config: Config, stated: Mapping[str, Any]) -> Answer:
    return "mxfp4", ("experts",)


def _grouped(name: str, *widths: int) -> Callable[[Config, Mapping[str, Any]], Answer]:
    def read(config: Config, stated: Mapping[str, Any]) -> Answer:
        bits = stated.get("bits", stated.get("w_bit"))
        size = stated.get("group_size", stated.get("q_group_size"))
        if bits not in widths:
            _refuse(config, "bits", bits, f"only {' and '.join(map(str, widths))} bits are known")
        if size not in _GROUPS:
            _refuse(config, "group_size", size, "only groups of 32, 64 and 128 are accounted for")
        for key in ("version", "checkpoint_format", "format"):
            packing = stated.get(key)
            if isinstance(packing, str) and packing.lower() not in ("gemm", "gptq", "gptq_v2"):
                _refuse(config, key, packing, "a packing of its own")
        for key, what in _UNCOUNTED.items():
            if stated.get(key):
                _refuse(config, key, stated[key], what)
        if stated.get("pack_dtype") not in (None, "int32"):
            _refuse(config, "pack_dtype", stated["pack_dtype"], "only words of int32 are known")
        return f"{name}{'' if bits == 4 else bits}_g{size}", _QUANTISED

    return read


# GPTQModel's and AutoGPTQ's keys that change which matrices are quantised, or how they are packed.
_UNCOUNTED = {
    "dynamic": "rules for single modules",
    "lm_head": "a quantised head",
    "modules_in_block_to_quantize": "only some matrices of a layer are quantised",
    "is_marlin_format": "a packing of its own",
}


def _modelopt(config: Config, stated: Mapping[str, Any]) -> Answer:
    """NVFP4 or FP8 with one scale a matrix, as ModelOpt's hf_quant_config.json or config say."""
    algorithm = stated.get("quant_algo")
    groups = stated.get("config_groups")
    if (
        not isinstance(algorithm, str)
        or algorithm not in _MODELOPT
        or (isinstance(groups, Mapping) and len(groups) > 1)
    ):
        _refuse(config, "quant_algo", algorithm, "only FP8 and NVFP4 for all layers are known")
    if algorithm == "NVFP4" and stated.get("group_size", 16) != 16:
        _refuse(config, "group_size", stated["group_size"], "NVFP4 has groups of 16")
    _expect_plain_head(config, stated, "exclude_modules")
    return _MODELOPT[algorithm], _QUANTISED


def _expect_plain_head(config: Config, stated: Mapping[str, Any], key: str) -> None:
    """Refuse where the head, a Linear like the others, is not among the exceptions."""
    listed = [stated[key] for key in _EXCEPTIONS if isinstance(stated.get(key), list)]
    if not any("lm_head" in str(entry) for entries in listed for entry in entries):
        _refuse(config, key, stated.get(key), "a list of exceptions without the head")


_MODELOPT = {"FP8": "fp8", "NVFP4": "nvfp4"}
# Where the libraries list what they leave in the default format.
_EXCEPTIONS = (
    "modules_to_not_convert", "ignore", "ignored_layers", "llm_int8_skip_modules", "exclude_modules",
)  # fmt: skip


def _bitsandbytes(config: Config, stated: Mapping[str, Any]) -> Answer:
    if stated.get("load_in_8bit"):
        return "int8_row", _QUANTISED
    if not stated.get("load_in_4bit"):
        _refuse(
            config, "load_in_4bit", stated.get("load_in_4bit"), "neither 4 nor 8 bits are stated"
        )
    return "nf4_double" if stated.get("bnb_4bit_use_double_quant") else "nf4", _QUANTISED


def _mlx(config: Config, stated: Any, spec: ModelSpec, default: str) -> dict[WeightPart, str]:
    """MLX quantises every matrix, the token table and the head too (mlx.nn.quantize)."""
    known = isinstance(stated, Mapping) and stated.keys() <= {"group_size", "bits", "mode"}
    if not known or stated.get("mode", "affine") != "affine" or default == "fp32":
        _refuse(config, "quantization", stated, "MLX layers in formats of their own")
    bits, size = stated.get("bits"), stated.get("group_size")
    if bits not in (4, 8) or size not in _GROUPS:
        _refuse(config, "quantization", stated, "MLX in other widths or groups")
    plain = all(
        block.attention is not None and block.ffn is not None and block.ffn.kind != "moe"
        for block in spec.blocks.values()
    )
    if not plain or spec.embedding is not None or spec.encoder is not None:
        _refuse(config, "quantization", stated, "MLX's choice of layers is known of plain decoders")
    parts: tuple[WeightPart, ...] = ("embedding", "attention", "ffn")
    head: tuple[WeightPart, ...] = ("head",) if spec.tie_word_embeddings is False else ()
    return {part: f"mlx{bits}_g{size}" for part in (*parts, *head)}


def _bitnet(config: Config, stated: Mapping[str, Any]) -> Answer:
    if stated.get("quantization_mode", "offline") != "offline":
        _refuse(config, "quantization_mode", stated["quantization_mode"], "weights kept unpacked")
    return "int2", _QUANTISED


def _compressed_tensors(config: Config, stated: Mapping[str, Any]) -> Answer:
    groups = stated.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) != 1:
        _refuse(config, "config_groups", groups, "several schemes in one checkpoint")
    group = next(iter(groups.values()))
    group = group if isinstance(group, Mapping) else {}
    if group.get("targets") != ["Linear"]:
        _refuse(config, "config_groups.targets", group.get("targets"), "a scheme for some layers")
    _expect_plain_head(config, stated, "ignore")
    weights = group.get("weights")
    weights = weights if isinstance(weights, Mapping) else {}
    name = _scheme(config, weights)
    formats = _FORMATS["int4" if name.startswith("int4") else name.split("_")[0]]
    for key, value in (
        ("format", stated.get("format")),
        ("config_groups.format", group.get("format")),
    ):
        if value not in formats and not (key == "config_groups.format" and value is None):
            what = f"the weights of {name} are known as {' or '.join(formats)} only"
            _refuse(config, key, value, what)
    sparsity = stated.get("sparsity_config")
    if sparsity and not (isinstance(sparsity, Mapping) and sparsity.get("format") == "dense"):
        _refuse(config, "sparsity_config", sparsity, "sparse weights")
    if stated.get("transform_config"):
        _refuse(
            config, "transform_config", stated["transform_config"], "matrices beside the weights"
        )
    if weights.get("actorder") not in (None, False, "weight", "static"):
        _refuse(config, "config_groups.weights.actorder", weights["actorder"], "indices of groups")
    return name, _QUANTISED


# The formats of compressed-tensors that store a scheme in the bytes that are counted.
_FORMATS = {
    "int4": ("pack-quantized",),
    "int8": ("int-quantized", "naive-quantized"),
    "fp8": ("float-quantized", "naive-quantized"),
    "nvfp4": ("nvfp4-pack-quantized",),
}


def _scheme(config: Config, weights: Mapping[str, Any]) -> str:
    bits, kind, strategy = weights.get("num_bits"), weights.get("type"), weights.get("strategy")
    size = weights.get("group_size")
    symmetric = weights.get("symmetric", True)
    if (bits, kind, strategy) == (4, "int", "group") and size in _GROUPS:
        return f"int4{'' if symmetric else 'z'}_g{size}"
    if not symmetric:
        _refuse(config, "config_groups.weights.symmetric", False, "zero points")
    if (bits, kind, strategy) == (8, "float", "channel"):
        return "fp8_row"
    if (bits, kind, strategy) == (8, "int", "channel"):
        return "int8_channel"
    if (bits, kind, strategy) == (8, "float", "tensor"):
        return "fp8"
    if (bits, kind) == (8, "float") and weights.get("block_structure") == [128, 128]:
        return "fp8_block128"
    if (bits, kind) == (4, "float") and size == 16:
        return "nvfp4"
    scheme = {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": size}
    _refuse(config, "config_groups.weights", scheme, "a scheme that is not accounted for")


_METHODS: dict[str, Callable[[Config, Mapping[str, Any]], Answer]] = {
    "fp8": _fp8,
    "mxfp4": _mxfp4,
    "awq": _grouped("awq", 4),
    "gptq": _grouped("gptq", 4, 8),
    "bitnet": _bitnet,
    "bitsandbytes": _bitsandbytes,
    "modelopt": _modelopt,
    "compressed-tensors": _compressed_tensors,
}


def _components(
    config: Config,
    stated: Mapping[str, Any],
    spec: ModelSpec,
    name: str,
    parts: tuple[WeightPart, ...],
) -> dict[WeightPart, str]:
    """The format for the components that the model has and the checkpoint quantises."""
    blocks = spec.blocks.values()
    kinds = {block.ffn.kind for block in blocks if block.ffn is not None}
    shared = any(getattr(block.ffn, "shared_expert_intermediate_size", None) for block in blocks)
    dense = bool(kinds - {"moe"})
    present: dict[WeightPart, bool] = {
        "attention": any(block.attention is not None for block in blocks),
        "recurrent": any(block.recurrent is not None for block in blocks),
        "ffn": dense or shared,
        "experts": "moe" in kinds,
    }
    left = _left_out(config, stated, spec, shared, dense) if len(parts) > 1 else set()
    if name.startswith(("nf4", "int8_row", "gptq")) and present["experts"]:
        _refuse(
            config, "quant_method", stated.get("quant_method"), "stacked experts in this layout"
        )
    if name in ("fp8", "nvfp4", "int2", "nf4", "nf4_double") or name.startswith("int4"):
        once = "its tables and state, under 1.5 KiB" if "nf4" in name else "at most 16 bytes"
        config.assumptions.append(
            f"{name}: what each matrix stores once (its scales or its shape, {once}) is not counted"
        )
    return {part: name for part in parts if present[part] and part not in left}


def _left_out(
    config: Config, stated: Mapping[str, Any], spec: ModelSpec, shared: bool, dense: bool
) -> set[WeightPart]:
    """The components that the lists of exceptions keep in the default format."""
    found: set[str] = set()
    by_layer: dict[str, dict[int, set[str]]] = {}
    for key in _EXCEPTIONS:
        entries = stated.get(key)
        if not isinstance(entries, list | None):
            _refuse(config, key, entries, "not a list of names")
        for entry in entries or ():
            if not isinstance(entry, str):
                config.wrong("quantization_config", f"{key}: expected names, found {short(entry)}")
            if match := _OF_LAYER.search(entry):
                rest = (match["rest"] or "").strip(".*\\")
                if not _NEVER.search(entry[: match.start()]) and not _NEVER.search(rest):
                    parts_of = _parts_of(config, rest)
                    if not parts_of:
                        _refuse(config, key, entry, "a part of a layer that is not known")
                    for part in parts_of:
                        names = by_layer.setdefault(part, {}).setdefault(int(match["layer"]), set())
                        names.add(rest.rsplit(".", 1)[-1] if rest.endswith("_proj") else "")
                continue
            if _NEVER.search(entry):
                continue
            part = _part_of(entry) or ""
            whole = "proj" not in entry or all(word in entry for word in ("gate", "up", "down"))
            if "gemma4" in config.model_type and part == "ffn":
                part = "shared" if shared else part
            if not part or not whole:
                what = "some layers of a kind are quantised and some are not"
                _refuse(config, key, entry, what)
            found.add(part)
    found |= _covered(config, spec, by_layer)
    if ("ffn" in found) != ("shared" in found) and shared and dense:
        what = "shared experts and dense layers in different formats"
        _refuse(config, "ignore", sorted(found), what)
    parts: set[WeightPart] = {part for part in _QUANTISED if part in found}
    return parts | {"ffn"} if "shared" in found else parts


_OF_LAYER = re.compile(r"layers(\.|\\.)(?P<layer>[0-9]+)(?P<rest>([.*]|\\.).*)?$")


def _part_of(name: str) -> str | None:
    part = next((part for part, words in _PARTS if words.search(name)), None)
    return "shared" if part == "ffn" and "shared" in name else part


def _parts_of(config: Config, rest: str) -> tuple[str, ...]:
    """What an entry about one layer names; rest: what stands after the layer's number."""
    if not rest:
        return ("attention", "recurrent", "ffn", "shared", "experts")
    if re.fullmatch(r"mlp|ffn|feed_forward|block_sparse_moe", rest):
        # Gemma 4's experts stand beside its mlp, not in it.
        return ("ffn", "shared", *(() if "gemma4" in config.model_type else ("experts",)))
    part = _part_of(rest)
    if part == "ffn":
        # Projections of an mlp: a dense layer's, or what stands beside the experts.
        return ("ffn", "shared") if "gemma4" in config.model_type else ("ffn",)
    return (part,) if part else ()


def _covered(
    config: Config, spec: ModelSpec, by_layer: Mapping[str, Mapping[int, set[str]]]
) -> set[str]:
    """The parts of which every layer is listed, whole or by all of its matrices."""
    names = [name for group in spec.layers for name in group.names * group.repeat]
    covered = set()
    for part in ("attention", "recurrent", "experts", "ffn", "shared"):
        own = [(index, _matrices(spec, name, part)) for index, name in enumerate(names)]
        listed = [
            "" in by_layer.get(part, {}).get(index, ())
            or matrices <= by_layer.get(part, {}).get(index, set())
            for index, matrices in own
            if matrices
        ]
        stray = {index for index, matrices in own if matrices} & by_layer.get(part, {}).keys()
        if listed and all(listed):
            covered.add(part)
        elif any(listed) or stray:
            what = "some layers of a kind are quantised and some are not"
            _refuse(config, "ignore", f"{part} of {sum(listed)} of {len(listed)} layers", what)
    return covered


def _matrices(spec: ModelSpec, name: str, part: str) -> set[str]:
    """The names of a block's projections that belong to a part."""
    component = "ffn" if part == "shared" else part
    return {
        tensor.name.removesuffix(".weight").rsplit(".", 1)[-1]
        for tensor in spec.blocks[name].parameters(spec.hidden_size, spec.norm)
        if tensor.component == component and len(tensor.shape) > 1
        and (component != "ffn" or ("shared_expert" in tensor.name) == (part == "shared"))
        and not tensor.name.endswith("_gate.weight")
    }  # fmt: skip
