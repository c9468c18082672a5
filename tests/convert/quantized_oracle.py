"""What each method's own library stores of small models, beside kvcalc's reading of the same config.

``python -m tests.convert.quantized_oracle`` quantises random models of MODELS and writes quantized.json:
per row the model, the method and its release, the quantization_config, the bytes and tensors that its
library keeps. It needs torch, transformers, compressed-tensors, bitsandbytes, hqq, torchao,
auto-round and nvidia-modelopt; CI only replays the table.

The buffer that corrects a router is compared where kvcalc counts it: in DeepSeek's fp8. Experts that
transformers stacks in one tensor are made separate linear layers first, as checkpoints hold them.
"""

import copy
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.convert.quantized_models import COMPRESSED, MODELS, Config

TABLE = Path(__file__).with_name("quantized.json")


def model_of(name: str, separate: bool = True) -> Any:
    """A random model on the CPU in bf16, its experts separate linear layers if that is asked."""
    import torch

    transformers: Any = import_module("transformers")
    stated = {key: value for key, value in MODELS[name].items() if key != "architectures"}
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**stated), dtype=torch.bfloat16
    )
    for path, module in [*model.named_modules()]:
        both = getattr(module, "gate_up_proj", None)
        if isinstance(both, torch.nn.Parameter) and both.dim() == 3 and separate:
            model.set_submodule(path, _separate(module))
    for path, buffer in model.named_buffers():
        if path.endswith("e_score_correction_bias"):  # as DeepSeek's checkpoint has it
            buffer.data = buffer.data.float()
    return model


def _separate(stacked: Any) -> Any:
    from torch import nn

    def linear(weight: Any) -> Any:
        made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
        made.weight.data.copy_(weight)
        return made

    experts = nn.ModuleList()
    for both, down in zip(stacked.gate_up_proj, stacked.down_proj, strict=True):
        gate, up = both.data.chunk(2, 0)
        expert = nn.Module()
        expert.gate_proj, expert.up_proj = linear(gate), linear(up)
        expert.down_proj = linear(down.data)
        experts.append(expert)
    return experts


def swap(model: Any, left_out: list[str], made: Callable[[Any, str], Any]) -> Any:
    """Put ``made(linear, path)`` in the place of every linear layer that transformers would convert."""
    from torch import nn
    from transformers.quantizers.quantizers_utils import should_convert_module

    for path, module in [*model.named_modules()]:
        if type(module) is nn.Linear and should_convert_module(path, left_out):
            model.set_submodule(path, made(module, path))
    return model


# ---------------------------------------------------------------- methods

Made = tuple[str, str, Config, Callable[[Any], Any]]


def compressed_rows() -> Iterator[Made]:
    compressors = import_module("compressed_tensors.compressors")
    library = import_module("compressed_tensors.quantization")

    def make(config: Config) -> Callable[[Any], Any]:
        def change(model: Any) -> Any:
            library.apply_quantization_config(
                model, library.QuantizationConfig(**copy.deepcopy(config))
            )
            compressors.ModelCompressor.from_pretrained_model(model).compress_model(model)
            return model.state_dict()

        return change

    for name, config in COMPRESSED.items():
        yield name, "compressed-tensors", config, make(config)


def transformers_rows() -> Iterator[Made]:
    import torch

    fbgemm: Any = import_module("transformers.integrations.fbgemm_fp8")
    from transformers import BitNetQuantConfig, FbgemmFp8Config, FineGrainedFP8Config
    from transformers.integrations.bitnet import replace_with_bitnet_linear
    from transformers.integrations.finegrained_fp8 import replace_with_fp8_linear

    fbgemm.get_quantize_fp8_per_row = lambda: None  # a kernel that only runs need
    for name, left_out in (
        ("block", ["lm_head"]),
        ("one layer", ["lm_head", "model.layers.1"]),
        ("names", ["lm_head", "down_proj", "model.layers.0.self_attn.o_proj"]),
        ("a pattern", ["lm_head", r"model\.layers\.\d+\.mlp\.down_proj"]),
    ):
        for scheme in ("dynamic", "static"):
            config = FineGrainedFP8Config(
                activation_scheme=scheme, weight_block_size=(128, 128),
                modules_to_not_convert=left_out,
            ).to_dict()  # fmt: skip
            if scheme == "static" and name != "block":
                continue

            def fp8(model: Any, config: Config = config) -> Any:
                given = {key: value for key, value in config.items() if key != "quant_method"}
                quantization = FineGrainedFP8Config(**given)
                skipped = config["modules_to_not_convert"]
                made = replace_with_fp8_linear(model, skipped, quantization)
                return _plain_bias(made).state_dict()

            yield f"{name} {scheme}", "fp8", config, fp8
    config = {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}

    def fbgemm_fp8(model: Any) -> Any:
        made = fbgemm.replace_with_fbgemm_fp8_linear(
            model, ["lm_head"], FbgemmFp8Config(), pre_quantized=True
        )
        for path, module in [*made.named_modules()]:
            if isinstance(module, fbgemm.FbgemmFp8Linear):
                module.to(dtype=None) if path is None else None
                if module.bias is not None:
                    module.bias.data = module.bias.data.to(torch.bfloat16)
                module.weight.data = torch.empty_like(module.weight, dtype=torch.float8_e4m3fn)
        return made.state_dict()

    yield "row", "fbgemm_fp8", config, fbgemm_fp8
    config = {"quant_method": "bitnet", "linear_class": "bitlinear",
              "modules_to_not_convert": ["lm_head"]}  # fmt: skip

    def bitnet(model: Any) -> Any:
        return replace_with_bitnet_linear(model, ["lm_head"], BitNetQuantConfig()).state_dict()

    yield "offline", "bitnet", config, bitnet


def bitsandbytes_rows() -> Iterator[Made]:
    import torch

    bnb = import_module("bitsandbytes")

    def int8(model: Any) -> Any:
        def made(linear: Any, path: str) -> Any:
            own = bnb.nn.Linear8bitLt(linear.in_features, linear.out_features,
                                      linear.bias is not None, has_fp16_weights=False)  # fmt: skip
            own.load_state_dict(linear.state_dict())
            return own.to("cpu")

        return _plain_bias(swap(model, ["lm_head"], made)).state_dict()

    yield "int8", "bitsandbytes", {"quant_method": "bitsandbytes", "load_in_8bit": True,
                                   "llm_int8_skip_modules": ["lm_head"]}, int8  # fmt: skip
    for kind in ("nf4", "fp4"):
        config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind,
                  "bnb_4bit_use_double_quant": False, "llm_int8_skip_modules": ["lm_head"]}  # fmt: skip

        def nf4(model: Any, kind: str = kind) -> Any:
            def made(linear: Any, path: str) -> Any:
                own = bnb.nn.Linear4bit(
                    linear.in_features, linear.out_features, linear.bias is not None,
                    compute_dtype=torch.bfloat16, compress_statistics=False, quant_type=kind,
                )  # fmt: skip
                own.weight = bnb.nn.Params4bit(
                    linear.weight.data, requires_grad=False, compress_statistics=False,
                    quant_type=kind, module=own,
                )  # fmt: skip
                own.bias = linear.bias
                return own.to("cpu")

            return swap(model, ["lm_head"], made).state_dict()

        yield kind, "bitsandbytes", config, nf4


def _plain_bias(model: Any) -> Any:
    import torch

    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.data = parameter.data.to(torch.bfloat16)
    return model


def hqq_rows() -> Iterator[Made]:
    import torch

    library = import_module("hqq.core.quantize")

    for bits, size in ((4, 64), (8, 64), (2, 16), (3, 64), (1, 64)):
        inner = library.BaseQuantizeConfig(nbits=bits, group_size=size, axis=1)
        config = {"quant_method": "hqq", "skip_modules": ["lm_head"], "quant_config": inner}

        def hqq(model: Any, config: Config = config) -> Any:
            def made(linear: Any, path: str) -> Any:
                return library.HQQLinear(linear, copy.deepcopy(config["quant_config"]),
                                 compute_dtype=torch.bfloat16, device="cpu")  # fmt: skip

            return swap(model, ["lm_head"], made).state_dict()

        yield f"{bits} bits g{size}", "hqq", config, hqq


def torchao_rows() -> Iterator[Made]:
    ao = import_module("torchao.quantization")
    config_to_dict = import_module("torchao.core.config").config_to_dict

    choices = {
        "int8": ao.Int8WeightOnlyConfig(version=2), "float8": ao.Float8WeightOnlyConfig(),
        "float8 dynamic": ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow()),
        "float8 dynamic tensor": ao.Float8DynamicActivationFloat8WeightConfig(
            granularity=ao.PerTensor()
        ),
        "int4 g128": ao.Int4WeightOnlyConfig(group_size=128, int4_packing_format="plain"),
        "int8 int4 g32": ao.Int8DynamicActivationIntxWeightConfig(),
        "intx": ao.IntxWeightOnlyConfig(),
    }  # fmt: skip
    for name, chosen in choices.items():
        config = {"quant_method": "torchao", "modules_to_not_convert": ["lm_head"],
                  "quant_type": {"default": config_to_dict(chosen)}}  # fmt: skip

        def torchao(model: Any, chosen: Any = chosen) -> Any:
            ao.quantize_(model, chosen, filter_fn=lambda module, path: (
                type(module).__name__ == "Linear" and path != "lm_head"
            ))  # fmt: skip
            files = import_module("torchao.prototype.safetensors.safetensors_support")
            return files.flatten_tensor_state_dict(model.state_dict())[0]

        yield name, "torchao", config, torchao


def auto_round_rows() -> Iterator[Made]:
    folder = Path(str(importlib.util.find_spec("auto_round").origin)).parent  # type: ignore[union-attr]
    plain = _module(folder.parent / "auto_round_extension" / "torch" / "qlinear_torch.py")
    awq = _module(folder / "export" / "export_to_awq" / "utils.py")

    def gptq(bits: int, size: int, index: bool) -> Callable[[Any], Any]:
        def change(model: Any) -> Any:
            def made(linear: Any, path: str) -> Any:
                return plain.QuantLinear(
                    bits, linear.in_features if size == -1 else size, linear.in_features,
                    linear.out_features, linear.bias is not None, g_idx=index,
                )  # fmt: skip

            return swap(model, ["lm_head"], made).state_dict()

        return change

    for bits, size in ((4, 128), (8, 128), (2, 32), (4, -1)):
        stated = {"bits": bits, "group_size": size, "sym": True}
        yield (f"{bits} bits g{size}", "gptq",
               {"quant_method": "gptq", "desc_act": False, **stated}, gptq(bits, size, True))  # fmt: skip
        yield (f"{bits} bits g{size}", "auto-round",
               {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", **stated},
               gptq(bits, size, False))  # fmt: skip
    yield from _by_module(plain)
    for size in (128, 32, -1):

        def gemm(model: Any, size: int = size) -> Any:
            def made(linear: Any, path: str) -> Any:
                return awq.WQLinear_GEMM(
                    4, size, linear.in_features, linear.out_features, linear.bias is not None, "cpu"
                )

            return swap(model, ["lm_head"], made).state_dict()

        given: Config = {"bits": 4, "group_size": size, "zero_point": True, "version": "gemm"}
        yield f"g{size}", "awq", {"quant_method": "awq", **given,
                                  "modules_to_not_convert": ["lm_head"]}, gemm  # fmt: skip


# GPTQModel's rules, and AutoRound's settings, by module.
_DYNAMIC: dict[str, Config] = {
    "left out": {r"-:.*\.layers\.0\..*down_proj": {}, r"-:.*self_attn\.o_proj$": {}},
    "experts left out": {r"-:.*\.experts\.\d+\..*": {}},
    "wider": {r"+:.*down_proj$": {"bits": 8, "group_size": 64}, r".*\.layers\.1\..*": {"bits": 8}},
}  # fmt: skip
_EXTRA: dict[str, Config] = {
    "names": {"model.layers.0.self_attn.q_proj": {"bits": 8},
              "model.layers.1.self_attn.o_proj": {"bits": 16}},
    "expressions": {r".*self_attn.*": {"bits": 8, "group_size": 32}, r"layers\.1\.mlp": {"bits": 16}},
    "experts": {r"experts\.\d+\.down_proj": {"bits": 8}, r".*layers\.\d+\.mlp\.shared.*": {"bits": 16}},
}  # fmt: skip


def _by_module(plain: Any) -> Iterator[Made]:
    rule = import_module("gptqmodel.quantization.config").dynamic_get
    expand = import_module("auto_round.inference.utils")._expand_regex_config
    stated: Config = {"bits": 4, "group_size": 128, "sym": True}

    def change(
        settings: Callable[[Any], Callable[[str], Any]], index: bool
    ) -> Callable[[Any], Any]:
        def changed(model: Any) -> Any:
            of = settings(model)

            def made(linear: Any, path: str) -> Any:
                own = of(path)
                if own is False or (own or {}).get("bits") == 16:
                    return linear
                own = stated | (own or {})
                return plain.QuantLinear(
                    own["bits"], own["group_size"], linear.in_features, linear.out_features,
                    linear.bias is not None, g_idx=index,
                )  # fmt: skip

            return swap(model, ["lm_head", "mlp.gate", "shared_expert_gate"], made).state_dict()

        return changed

    for name, rules in _DYNAMIC.items():
        yield (f"dynamic: {name}", "gptq", {"quant_method": "gptq", **stated, "dynamic": rules},
               change(lambda _, rules=rules: lambda path: rule(rules, path), True))  # fmt: skip
    for name, extra in _EXTRA.items():

        def expanded(model: Any, extra: Config = extra) -> Callable[[str], Any]:
            from torch import nn

            names = [path for path, each in model.named_modules() if type(each) is nn.Linear]
            return expand(
                extra, dict(extra), [each for each in names if each != "lm_head"], model
            ).get

        yield (f"extra_config: {name}", "auto-round",
               {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", **stated,
                "extra_config": extra}, change(expanded, False))  # fmt: skip


def modelopt_rows() -> Iterator[Made]:
    """ModelOpt writes the files, and the quantization_config beside them, by itself."""
    import torch

    library = import_module("modelopt.torch.quantization")
    export = import_module("modelopt.torch.export").export_hf_checkpoint
    files: Any = import_module("safetensors.torch")

    def make(name: str, stated: Config) -> Callable[[Any], Any]:
        def change(model: Any) -> Any:
            first, _, second = name.partition(" and ")
            settings = copy.deepcopy(getattr(library, f"{first}_CFG"))
            if second:
                more = getattr(library, f"{second}_CFG")["quant_cfg"]
                settings["quant_cfg"] = [*settings["quant_cfg"],
                                         *(each for each in more if each.get("cfg"))]  # fmt: skip
            model.config.architectures = ["ForCausalLM"]
            tokens = torch.randint(0, model.config.vocab_size, (4, 64))
            library.quantize(model.eval(), settings, lambda own: own(tokens))
            with tempfile.TemporaryDirectory() as folder:
                export(model, export_dir=folder)
                written = json.loads(Path(folder, "config.json").read_text("utf-8"))
                stated.clear()
                stated.update(written["quantization_config"])
                found: dict[str, Any] = {}
                for path in Path(folder).glob("*.safetensors"):
                    found |= files.load_file(path)
            return found

        return change

    for name in ("FP8_DEFAULT", "FP8_PER_CHANNEL_PER_TOKEN", "MXFP8_DEFAULT", "NVFP4_DEFAULT",
                 "W4A16_NVFP4", "NVFP4_MLP_ONLY", "FP8_DEFAULT and NVFP4_MLP_ONLY",
                 "INT8_SMOOTHQUANT", "MXFP4_DEFAULT"):  # fmt: skip
        stated: Config = {}
        yield name, "modelopt", stated, make(name, stated)


def _module(path: Path) -> Any:
    """A file of a package whose own imports are not needed."""
    spec = importlib.util.spec_from_file_location(f"oracle_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


# transformers 5 has all experts in one module, whose parts it does not name and which has one static
# scale where checkpoints have two.
APART = ("names dynamic", "block static")
PACKAGES = {
    "compressed-tensors": "compressed-tensors", "fp8": "transformers", "fbgemm_fp8": "transformers",
    "bitnet": "transformers", "bitsandbytes": "bitsandbytes", "hqq": "hqq", "torchao": "torchao",
    "modelopt": "nvidia-modelopt", "gptq": "auto-round", "awq": "auto-round", "auto-round": "auto-round",
}  # fmt: skip
SOURCES = (
    compressed_rows, transformers_rows, bitsandbytes_rows, hqq_rows, torchao_rows, auto_round_rows,
    modelopt_rows,
)  # fmt: skip


def kvcalc_says(model: str, config: Config) -> int | str:
    """The bytes of the same config, or why it is refused."""
    from kvcalc.convert.hf import spec_from_config
    from kvcalc.errors import UnsupportedError
    from kvcalc.memory.weights import ledger

    stated = {**MODELS[model], "quantization_config": config}
    try:
        spec = spec_from_config(stated, "model", "config.json").spec
    except UnsupportedError as error:
        return str(error)
    return ledger(spec, spec.own_dtype).bytes


def main(words: list[str]) -> None:
    """words: methods to try without writing; none for all, which writes the table."""
    rows = []
    for source in SOURCES:
        for name, method, config, change in source():
            for model in MODELS:
                if model == "gpt_oss" or (words and method not in words):
                    continue
                if method == "fp8" and name in APART and "moe_intermediate_size" in MODELS[model]:
                    continue
                if MODELS[model]["tie_word_embeddings"] and "head" in name:
                    continue  # a quantised head is tied no longer
                row: Config = {"model": model, "method": method, "name": name,
                       "package": f"{PACKAGES[method]} {version(PACKAGES[method])}"}  # fmt: skip
                try:
                    state = change(model_of(model, method not in ("fp8", "modelopt")))
                except Exception as error:  # what a library cannot do is no row
                    print("no row:", model, method, name, type(error).__name__, str(error)[:150])
                    continue
                held = [
                    tensor
                    for name_of, tensor in state.items()
                    if hasattr(tensor, "numel")
                    and (method == "fp8" or not name_of.endswith("e_score_correction_bias"))
                    and not (name_of == "lm_head.weight" and MODELS[model]["tie_word_embeddings"])
                ]
                total = sum(each.numel() * each.element_size() for each in held)
                stated = json.loads(json.dumps(config))
                row |= {"total": total, "tensors": len(held), "config": stated}
                said = kvcalc_says(model, stated)
                if isinstance(said, str):
                    row["refused"] = said.rpartition(", so the weights' bytes")[0].rpartition(": ")[
                        2
                    ]
                if said != total:
                    print("differs:", model, method, name, total, said)
                rows.append(row)
    if not words:
        TABLE.write_text(_written(rows), "utf-8")


def _written(rows: list[Config]) -> str:
    """One row a line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    main(sys.argv[1:])
