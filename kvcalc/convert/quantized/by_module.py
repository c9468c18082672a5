"""The format of each tensor of a quantised checkpoint: its method asked about every module."""

from collections.abc import Mapping

from kvcalc.convert.config import Config
from kvcalc.convert.quantized.fused import as_one
from kvcalc.convert.quantized.method import Method, Stated, refuse
from kvcalc.convert.quantized.methods import METHODS
from kvcalc.convert.quantized.modules import Module, modules
from kvcalc.memory.inventory import parameter_groups
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored_formats import stored_format
from kvcalc.spec.tensor_formats import Told, rule_name


def by_module(
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
    layers = len(decoder_layers(spec))
    strangers = [
        name
        for entries in (method.listed, *method.targets)
        for name in entries.strangers(layers, every)
    ]
    if strangers:
        what = "names that match no part of this model that kvcalc knows"
        refuse(config, "modules_to_not_convert", strangers[:4], what)
    if config.model_type.startswith("minimax_m3"):
        config.assumptions.append(
            "routers are counted as the rest that is not quantised: no header of MiniMax-M3's files was "
            "read, and MiniMax-M2's hold them in fp32"
        )
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
