"""quantization_config and dtype -> the number formats of the checkpoint's tensors.

The formats are decided module by module (kvcalc/convert/quantized): each method's own matching of
names says which modules it took. What a config does not say is refused by name: a wrong number of
bytes would look as right as any.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from kvcalc.convert.config import Config, short
from kvcalc.convert.quantized.fused import as_one
from kvcalc.convert.quantized.method import Method, Stated, refuse
from kvcalc.convert.quantized.modules import Module, modules
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import parameter_groups
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec, TensorFormat, WeightPart
from kvcalc.spec.stored_formats import stored_format
from kvcalc.spec.tensor_formats import Told, as_rules, rule_name

_DTYPES = {
    "float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "",
}  # fmt: skip


@frozen
class Published:
    """What the published files store: formats by component, rules for single tensors, and the format
    that they declare for the cache, by the tool that made them."""

    dtypes: dict[WeightPart, str]
    rules: tuple[TensorFormat, ...] = ()
    cache: dict[str, str] = field(default_factory=dict)


def published_formats(values: Mapping[str, Any], config: Config, spec: ModelSpec) -> Published:
    """The checkpoint's formats; nothing where all is bf16 or the config does not say.

    Raises UnsupportedError naming the key that kvcalc cannot account for.
    """
    default = _default(values, config)
    dtypes: dict[WeightPart, str] = {"default": default} if default else {}
    if values.get("quantization"):
        from kvcalc.convert.quantized.mlx import mlx_rules

        plain = replace(spec, weight_dtypes=dtypes)
        return Published(dtypes, mlx_rules(config, values["quantization"], plain))
    stated = _stated(values)
    if stated is None:
        return Published(dtypes)
    if not isinstance(stated, Mapping):
        config.wrong("quantization_config", f"expected an object, found {short(stated)}")
    found = _by_module(config, stated, spec, default)
    _note_cache(config, stated)
    if values.get("expert_dtype") == "fp4":
        for rule, told in found.items():
            if ".experts." in rule:
                found[rule] = dict.fromkeys(told, "mxfp4")
    return Published(dtypes, as_rules(found, default or "bf16"), _cache(stated))


def _stated(values: Mapping[str, Any]) -> Any:
    text = values.get("text_config")
    stated = values.get("quantization_config")
    if stated is None and isinstance(text, Mapping):
        stated = text.get("quantization_config")
    return stated


def declared_alone(values: Mapping[str, Any]) -> Published:
    """What is declared for the cache, where the weights' formats are read from the files."""
    stated = _stated(values)
    return Published({}, cache=_cache(stated) if isinstance(stated, Mapping) else {})


def _by_module(
    config: Config, stated: Stated, spec: ModelSpec, default: str
) -> dict[str, dict[int | None, Told]]:
    """Of each tensor that some layer stores otherwise than by default: its format in each layer."""
    method = _method(config, stated, default)
    every = [
        module for module in modules(spec, config.model_type) if not module.rule.startswith("mtp")
    ]
    found: dict[str, dict[int | None, Told]] = {}
    # The word of each module, and what one module of the checkpoint holds of each layer.
    together: dict[tuple[str, ...], list[tuple[Module, str]]] = {}
    for module in every:
        word = method.choose(module)
        if word is not None and method.separate and module.stacked and ".experts." in module.rule:
            what = "experts stacked in one tensor, which this layout does not take"
            refuse(config, "quant_method", stated.get("quant_method"), what)
        if word is not None:
            _fits(config, stated, module, word)
            if module.half is None and module.names:
                together.setdefault(module.names, []).append((module, word))
        told = found.setdefault(module.rule, {})
        first, word = told.get(module.layer), word or default or "bf16"
        told[module.layer] = f"{first}|{word}" if module.half and first != word else word
    for members in together.values():
        if len(members) > 1:
            for module, word in as_one(config, stated, members, method.choose):
                found[module.rule][module.layer] = word
    strangers = method.listed.strangers(len(decoder_layers(spec)), every)
    if strangers:
        what = "names that match no part of this model that kvcalc knows"
        refuse(config, "modules_to_not_convert", strangers[:4], what)
    plain = default or "bf16"
    kept = {rule: told for rule, told in found.items() if set(told.values()) != {plain}}
    return kept | _wider(config, stated, spec)


def _fits(config: Config, stated: Stated, module: Module, word: str) -> None:
    try:
        for format in stored_format(word):
            format.tensor(module.tensor.shape, module.tensor.fused)
    except ValueError as error:
        where = f"{module.rule} {list(module.tensor.shape)}"
        refuse(config, "quant_method", stated.get("quant_method"), f"{where}: {error}")


# What a family's own checkpoints keep wider, by their safetensors headers: MiniMax-M2's routers;
# DeepSeek-V3's correction of its routers, in the file of 41,555,600 fp32 numbers, 41,540,496 of them
# scales of tiles.
# GLM-5's too: mlx-community's file of it in bf16 is 75 x 256 fp32 numbers larger than its parameters; and
# Nemotron 3's: its file in NVFP4 without scales of matrices is 23 x 128 fp32 numbers larger.
_WIDER: dict[tuple[str, str], dict[str, str]] = {
    ("minimax_m2", "fp8"): {"ffn.router": "fp32", "ffn.router.e_score_correction_bias": "fp32"},
    ("deepseek_v3", "fp8"): {"ffn.router.e_score_correction_bias": "fp32"},
    ("glm_moe_dsa", "fp8"): {"ffn.router.e_score_correction_bias": "fp32"},
    ("nemotron_h", "modelopt"): {"ffn.router.e_score_correction_bias": "fp32"},
}


def _wider(config: Config, stated: Stated, spec: ModelSpec) -> dict[str, dict[int | None, Told]]:
    wider = _WIDER.get((config.model_type, str(stated.get("quant_method"))), {})
    if not wider:
        return {}
    names = {
        rule_name(group.prefix + tensor.name)
        for group in parameter_groups(spec)
        for tensor in group.tensors
    }
    return {rule: {None: word} for rule, word in wider.items() if rule in names}


def _method(config: Config, stated: Stated, default: str) -> Method:
    from kvcalc.convert.quantized.methods import METHODS

    name = stated.get("quant_method")
    producer = stated.get("producer")
    if name is None and isinstance(producer, Mapping) and producer.get("name") == "modelopt":
        name = "modelopt"
    if name is None and (stated.get("load_in_4bit") or stated.get("load_in_8bit")):
        name = "bitsandbytes"
    reader = METHODS.get(name) if isinstance(name, str) else None
    if reader is None:
        refuse(config, "quant_method", name, "a layout that is not accounted for")
    return reader(config, stated, default)


def _note_cache(config: Config, stated: Stated) -> None:
    """The format that a checkpoint declares for the cache is noted; engines' ``auto`` may take it."""
    for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
        if stated.get(key):
            config.assumptions.append(
                f"quantization_config.{key} = {short(stated[key])}: the checkpoint's format for the "
                f"cache, which an engine's auto takes where the engine reads it; the need alone is "
                f"counted as --kv-dtype says, without its scales"
            )


def _cache(stated: Stated) -> dict[str, str]:
    """Tool -> the cache's format in one word, where it is one that an engine has.

    ModelOpt writes a word or the scheme of compressed-tensors: a dict of num_bits and type.
    """
    producer = stated.get("producer")
    tool = stated.get("quant_method")
    if tool is None and isinstance(producer, Mapping):
        tool = producer.get("name")
    tool = "modelopt" if str(tool).startswith("modelopt") else str(tool)
    said = stated.get("kv_cache_scheme") or stated.get("kv_cache_quant_algo")
    if isinstance(said, Mapping):
        fp8 = said.get("num_bits") == 8 and said.get("dynamic") in (None, False)
        bits = "fp8" if fp8 else "nvfp4" if said.get("num_bits") == 4 else ""
        said = bits if said.get("type") == "float" else ""
    word = str(said).lower()
    return {tool: word} if word in ("fp8", "nvfp4") else {}


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
