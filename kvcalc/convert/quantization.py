"""quantization_config and dtype -> the number formats of the checkpoint's tensors.

The formats are decided module by module (kvcalc/convert/quantized): each method's own matching of
names says which modules it took. What a config does not say is refused by name: a wrong number of
bytes would look as right as any.
"""

from collections.abc import Mapping
from typing import Any

from kvcalc.convert.config import Config, short
from kvcalc.frozen import changed, field, frozen
from kvcalc.spec.model import ModelSpec, TensorFormat, WeightPart
from kvcalc.spec.tensor_formats import as_rules

_DTYPES = {
    "float32": "fp32", "float": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "",
}  # fmt: skip


@frozen
class Published:
    """What the published files store: formats by component, rules for single tensors, and the format
    that they declare for the cache, by the tool that made them. by: of how they were quantised, what an
    engine takes its classes by."""

    dtypes: dict[WeightPart, str]
    rules: tuple[TensorFormat, ...] = ()
    cache: dict[str, str] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)


def published_formats(values: Mapping[str, Any], config: Config, spec: ModelSpec) -> Published:
    """The checkpoint's formats; nothing where all is bf16 or the config does not say.

    Raises UnsupportedError naming the key that kvcalc cannot account for.
    """
    default = _default(values, config)
    dtypes: dict[WeightPart, str] = {"default": default} if default else {}
    if values.get("quantization"):
        from kvcalc.convert.quantized.mlx import mlx_rules

        plain = changed(spec, weight_dtypes=dtypes)
        return Published(dtypes, mlx_rules(config, values["quantization"], plain))
    stated = _stated(values)
    if stated is None:
        return Published(dtypes)
    if not isinstance(stated, Mapping):
        config.wrong("quantization_config", f"expected an object, found {short(stated)}")
    from kvcalc.convert.quantized.by_module import by_module

    found = by_module(config, stated, spec, default)
    _note_cache(config, stated)
    if values.get("expert_dtype") == "fp4" and not stated.get("moe_quant_algo"):
        for rule, told in found.items():
            if ".experts." in rule:
                found[rule] = dict.fromkeys(told, "mxfp4")
    return Published(dtypes, as_rules(found, default or "bf16"), _cache(stated), _by(stated))


def _stated(values: Mapping[str, Any]) -> Any:
    text = values.get("text_config")
    stated = values.get("quantization_config")
    if stated is None and isinstance(text, Mapping):
        stated = text.get("quantization_config")
    inner = stated.get("quantization") if isinstance(stated, Mapping) else None
    if isinstance(stated, Mapping) and isinstance(inner, Mapping):
        # ModelOpt's own file, taken into config.json whole (tencent/Hy4-preview-FP8).
        return {**inner, **{key: value for key, value in stated.items() if key != "quantization"}}
    return stated


def declared_alone(values: Mapping[str, Any]) -> Published:
    """What is declared for the cache, where the weights' formats are read from the files."""
    stated = _stated(values)
    if not isinstance(stated, Mapping):
        return Published({})
    return Published({}, cache=_cache(stated), by=_by(stated))


def _note_cache(config: Config, stated: Mapping[str, Any]) -> None:
    """The format that a checkpoint declares for the cache is noted; engines' ``auto`` may take it."""
    for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
        if stated.get(key):
            config.assumptions.append(
                f"quantization_config.{key} = {short(stated[key])}: the checkpoint's format for the "
                f"cache, which an engine's auto takes where the engine reads it; the need alone is "
                f"counted as --kv-dtype says, without its scales, nor are the two numbers a layer that "
                f"the files may hold for them"
            )


def _by(stated: Mapping[str, Any]) -> dict[str, str]:
    """Of ``quantized_by`` (kvcalc/spec/model.py): what engines choose their classes by."""
    tool = _tool(stated)
    found = {"quant_method": tool} if tool else {}
    algorithm = stated.get("quant_algo")
    if isinstance(algorithm, str):
        found["quant_algo"] = algorithm
    if tool == "gptq":
        if stated.get("desc_act") is True and stated.get("group_size") != -1:
            found["desc_act"] = "true"
        if stated.get("sym") is False:
            found["sym"] = "false"
    return found


def _tool(stated: Mapping[str, Any]) -> str:
    """Who wrote the files, in the word of quant_method; "" where the config does not say."""
    producer, tool = stated.get("producer"), stated.get("quant_method")
    if tool is None and isinstance(producer, Mapping):
        tool = producer.get("name")
    if not isinstance(tool, str):
        return ""
    return "modelopt" if tool.startswith("modelopt") else tool


def _cache(stated: Mapping[str, Any]) -> dict[str, str]:
    """Tool -> the cache's format in one word, where it is one that an engine has.

    ModelOpt writes a word or the scheme of compressed-tensors: a dict of num_bits and type.
    """
    said = stated.get("kv_cache_scheme") or stated.get("kv_cache_quant_algo")
    if isinstance(said, Mapping):
        fp8 = said.get("num_bits") == 8 and said.get("dynamic") in (None, False)
        bits = "fp8" if fp8 else "nvfp4" if said.get("num_bits") == 4 else ""
        said = bits if said.get("type") == "float" else ""
    word, tool = str(said).lower(), _tool(stated)
    return {tool: word} if tool and word in ("fp8", "nvfp4") else {}


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
