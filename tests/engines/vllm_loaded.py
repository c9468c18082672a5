"""Builds models with vLLM's own classes and writes what each rank allocates: vllm_loaded.jsonl, LOADED.md.

    PYTHONPATH=<repository>:<folder of the unpacked wheel> python -m tests.engines.vllm_loaded

in an environment as tests/engines/vllm_stand_in.py describes; five minutes. ``... page`` writes the page
alone. ``test_vllm_loaded.py`` replays the table without vLLM. Rows: the models that kvcalc ships and whose
config is in tests/convert/real_configs.json or vllm_towers.json; dimensions that no model has, drawn anew
for every model_type with a class there; and quantised checkpoints, on three kinds of GPU.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from tests.convert.dimensions import Dimensions
from tests.convert.draws import Draw, draw

HERE = Path(__file__).parent
TABLE = HERE / "vllm_loaded.jsonl"
PAGE = HERE.parents[1] / "kvcalc/engines/vllm/LOADED.md"
DEFAULTS = json.loads((HERE.parents[1] / "kvcalc/convert/class_defaults.json").read_text("utf-8"))
REAL: dict[str, Draw] = {
    case["name"]: case["config"]
    for case in json.loads((HERE.parent / "convert/real_configs.json").read_text("utf-8"))
}
TENSOR = (1, 2, 4, 8)
GPUS = {"h100-80gb": (9, 0), "a100-80gb": (8, 0), "b200": (10, 0)}
SEEDS = (0,)
# As the classes have them, so that a draw is what a checkpoint may be.
_AS_BUILT = (
    "tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias", "attention_out_bias", "qkv_bias",
    "bias", "use_qkv_bias", "lm_head_bias", "mamba_proj_bias", "use_conv_bias", "mamba_conv_bias",
    "conv_bias", "use_post_norm", "qk_layernorm", "use_qk_norm", "mlp_layer_types", "ffn_hidden_size",
    "moe_latent_size",
)  # fmt: skip
_LATENT = {
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "kv_lora_rank": 512,
}  # fmt: skip
QUANTISED: dict[str, Draw] = {
    "mxfp4": {"quant_method": "mxfp4"},
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "fp8_block": {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
                  "weight_block_size": [128, 128]},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    "gptq_order": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": True},
    "gptq8": {"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": False, "sym": True},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True,
            "version": "gemm"},
    "ct_fp8": {"type": "float", "num_bits": 8, "strategy": "channel", "format": "float-quantized"},
    "ct_int8": {"type": "int", "num_bits": 8, "strategy": "channel", "format": "int-quantized"},
    "ct_int4": {"type": "int", "num_bits": 4, "strategy": "group", "group_size": 128,
                "format": "pack-quantized"},
    "ct_int4z": {"type": "int", "num_bits": 4, "strategy": "group", "group_size": 32,
                 "format": "pack-quantized", "symmetric": False},
    "ct_fp8_tensor": {"type": "float", "num_bits": 8, "strategy": "tensor",
                      "format": "float-quantized"},
    "ct_fp8_block": {"type": "float", "num_bits": 8, "strategy": "block",
                     "block_structure": [128, 128], "format": "float-quantized"},
    "ct_nvfp4": {"type": "float", "num_bits": 4, "strategy": "tensor_group", "group_size": 16,
                 "format": "nvfp4-pack-quantized"},
    "fp8_static": {"quant_method": "fp8", "activation_scheme": "static"},
    "ct_kimi": {"type": "int", "num_bits": 4, "strategy": "group", "group_size": 32,
                "format": "pack-quantized"},
    "auto_round": {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True,
                   "packing_format": "auto_round:auto_gptq", "data_type": "int"},
    "quark_fp8": {"quant_method": "quark", "layer_quant_config": {}, "layer_type_quant_config": {},
                  "global_quant_config": {
                      "weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False},
                      "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor",
                                        "is_dynamic": False},
                      "output_tensors": None, "bias": None},
                  "export": {"kv_cache_group": [], "pack_method": "reorder"}},
    "mxfp8": {"quant_method": "modelopt", "quant_algo": "MXFP8"},
    "modelopt_fp8": {"quant_method": "modelopt", "quant_algo": "FP8"},
    "nvfp4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16},
}  # fmt: skip
_DENSE, _OTHERS = ("llama-3.1-8b", "qwen3-32b"), ("qwen2.5-7b", "phi-3-mini-4k")
MADE = {
    "mxfp4": ("gpt-oss-20b", "gpt-oss-120b"),
    "fp8_block": ("qwen3-32b", "qwen3-30b-a3b", "deepseek-v3", "minimax-m2.5"),
    "gptq": ("llama-3.1-8b", "qwen3-32b", "qwen3-30b-a3b", "mixtral-8x7b", *_OTHERS),
    "awq": ("llama-3.1-8b", "qwen3-32b", "qwen3-30b-a3b", "mixtral-8x7b", *_OTHERS, "deepseek-v3"),
    "fp8": (*_DENSE, "qwen3-30b-a3b"),
    "gptq8": _DENSE,
    "gptq_order": ("llama-3.1-8b", "qwen3-30b-a3b"),
    "ct_fp8": (*_DENSE, "qwen3-30b-a3b", "glm-4.5-air", *_OTHERS),
    "ct_int8": _DENSE,
    "ct_int4": (*_DENSE, "qwen3-30b-a3b", "mixtral-8x7b", *_OTHERS),
    "ct_kimi": ("kimi-k2",),
    "ct_int4z": _DENSE,
    "ct_fp8_tensor": (*_DENSE, "qwen3-30b-a3b"),
    "ct_fp8_block": ("qwen3-32b", "qwen3-30b-a3b"),
    "ct_nvfp4": (*_DENSE, "qwen3-30b-a3b"),
    "fp8_static": (*_DENSE, "qwen3-30b-a3b"),
    "auto_round": (*_DENSE, "qwen3-30b-a3b"),
    "quark_fp8": (*_DENSE, "qwen3-30b-a3b"),
    "mxfp8": (*_DENSE, "qwen3-30b-a3b"),
    "modelopt_fp8": (*_DENSE, "qwen3-30b-a3b"),
    "nvfp4": (*_DENSE, "qwen3-30b-a3b", "deepseek-v3"),
}


# How a server takes media: none of the modalities, or the towers whole on each rank.
MEDIA: dict[str, dict[str, Any]] = {
    "none": {"limit_mm_per_prompt": {"image": 0, "video": 0}},
    "data": {"mm_encoder_tp_mode": "data"},
}
# Types whose language model is described in a config within their config, and one whose heads are few.
_UNDRAWN = ("kimi_linear", "qwen3_5", "qwen3_5_moe")


# meta-llama/Llama-4-Scout-17B-16E: what its config says of the tower.
_LLAMA4_VISION = {
    "model_type": "llama4_vision_model", "hidden_size": 1408, "num_hidden_layers": 34,
    "num_attention_heads": 16, "intermediate_size": 5632, "patch_size": 14, "image_size": 336,
    "vision_output_dim": 4096, "projector_input_dim": 4096, "projector_output_dim": 4096,
    "pixel_shuffle_ratio": 0.5, "num_channels": 3,
}  # fmt: skip


# Published configs of models with towers, as far as they decide tensors.
_SEEING: dict[str, Draw] = json.loads((HERE / "vllm_towers.json").read_text("utf-8"))


class Wide(Dimensions):
    """Sizes that eight ranks divide."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.heads, self.kv_heads = rng.choice([(8, 1), (8, 2), (8, 4), (8, 8), (16, 2), (16, 8)])
        self.head_dim = rng.choice([32, 64, 128])
        self.hidden = self.heads * rng.choice([32, 64])
        self.layers, self.experts = rng.randint(3, 5), rng.choice([8, 16])

    def even(self, low: int, high: int) -> int:
        return 64 * self.rng.randint(low // 8, high // 8)


def drawn(kind: str, seed: int) -> Draw:
    """A config of dimensions that no model has."""
    defaults = DEFAULTS[kind]["defaults"]
    config = draw(kind, seed, defaults, Wide)
    config = {key: defaults[key] if key in _AS_BUILT and key in defaults else value
              for key, value in config.items()}  # fmt: skip
    for key, times in (("vocab_size", 7), ("max_position_embeddings", 8)):
        if config.get(key):
            config[key] *= times
    if "kv_lora_rank" in config:
        config |= _LATENT | ({"head_dim": 64} if "head_dim" in config else {})
    for key in ("mlp_layer_types", "indexer_types"):
        if config.get(key):
            del config[key]
    if "linear_num_key_heads" in config:
        config |= {"linear_num_key_heads": 8, "linear_num_value_heads": 16}
    if kind == "nemotron_h":
        config["n_shared_experts"] = 1
    return config


_PLAIN = (
    "llama-3-8b llama-3-70b llama-3.2-1b llama-3.2-3b llama-2-7b qwen2.5-7b qwen2.5-14b qwen2.5-32b "
    "qwen2.5-72b qwen3-4b qwen3-8b qwen3-14b codellama-34b yi-34b smollm2-1.7b"
)


def plain() -> dict[str, Draw]:
    """Configs of shipped models of one gated block, from their specs."""
    from kvcalc.spec.catalog import load, shipped

    found: dict[str, Draw] = {}
    for name in _PLAIN.split():
        if name not in shipped():
            continue
        spec = load(name)
        (block,) = spec.blocks.values()
        attention: Any = block.attention
        ffn: Any = block.ffn
        found[name] = {
            "model_type": spec.model_type, "hidden_size": spec.hidden_size,
            "vocab_size": spec.vocab_size, "tie_word_embeddings": bool(spec.tie_word_embeddings),
            "num_hidden_layers": sum(each.repeat * len(each.names) for each in spec.layers),
            "num_attention_heads": attention.num_attention_heads, "head_dim": attention.head_dim,
            "num_key_value_heads": attention.num_key_value_heads,
            "intermediate_size": ffn.intermediate_size, "sliding_window": None,
            "max_position_embeddings": spec.max_position_embeddings,
        }  # fmt: skip
    return found


# What moonshotai/Kimi-K2-Thinking leaves alone: all but the routed experts.
_KIMI = ("re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*")
# Of compressed-tensors, where activations are not quantised token by token.
_ACTIVATIONS: dict[str, Draw] = {
    "ct_fp8_tensor": {"dynamic": False},
    "ct_fp8_block": {"strategy": "group", "group_size": 128, "dynamic": True,
                     "block_structure": None},
    "ct_nvfp4": {"dynamic": "local"},
}  # fmt: skip


def quantised(name: str, word: str, layers: int | None = None) -> Draw:
    """A real config with the quantization_config of a quantised checkpoint of it. layers: so many of it."""
    config, how = dict(REAL[name] if name in REAL else plain()[name]), dict(QUANTISED[word])
    if layers is not None:
        config["num_hidden_layers"] = layers
    every = range(config["num_hidden_layers"])
    gates = [f"model.layers.{i}.mlp.gate" for i in every] if "moe" in config["model_type"] else []
    if word.startswith("ct_"):
        form = how.pop("format")
        weights = {"symmetric": True, "dynamic": False} | how
        moving = {**how, "symmetric": True} | _ACTIVATIONS.get(
            word, {"strategy": "token", "dynamic": True}
        )
        acts = (
            {} if how["type"] == "int" and how["num_bits"] == 4 else {"input_activations": moving}
        )
        group = {"targets": ["Linear"], "weights": weights, **acts}
        how = {"quant_method": "compressed-tensors", "format": form,
               "ignore": ["lm_head", *gates, *(_KIMI if word == "ct_kimi" else ())],
               "quantization_status": "compressed", "config_groups": {"group_0": group}}  # fmt: skip
    elif word == "mxfp4":
        how["modules_to_not_convert"] = ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                         "model.embed_tokens", "lm_head"]  # fmt: skip
    elif how["quant_method"] == "modelopt":
        latent = ["model.layers.*.self_attn*"] if name == "deepseek-v3" else []
        how |= {"ignore": ["lm_head", *gates, *latent], "producer": {"name": "modelopt"},
                "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}  # fmt: skip
    elif how["quant_method"] == "quark":
        how["exclude"] = ["lm_head", *gates]
    elif how["quant_method"] == "auto-round":
        how["extra_config"] = {gate: {"bits": 16, "data_type": "float"} for gate in gates}
    elif word.startswith("gptq") and gates:
        how["dynamic"] = {r"-:.*mlp\.gate$": {}}
    elif gates:
        how["modules_to_not_convert"] = gates
    return {**config, "quantization_config": how, "torch_dtype": "bfloat16"}


# Keys that vLLM's classes read of a config and transformers' do not.
_READ: dict[str, Draw] = {
    "afmoe": {"n_group": 1, "topk_group": 1, "route_norm": True, "route_scale": 1.0,
              "score_func": "sigmoid"},
    "minimax_m2": {"rotary_dim": 64, "scoring_func": "sigmoid", "use_routing_bias": True},
    "mimo_v2_flash": {"layernorm_epsilon": 1e-5},
    "kimi_linear": {"mla_use_nope": True},
    **{kind: {"topk_method": "noaux_tc", "scoring_func": "sigmoid", "n_group": 1, "topk_group": 1}
       for kind in ("deepseek_v3", "deepseek_v32", "kimi_k2", "kimi_linear", "glm_moe_dsa")},
    "deepseek_v2": {"n_group": 1, "topk_group": 1, "topk_method": "greedy",
                    "scoring_func": "softmax"},
}  # fmt: skip


def ready(config: Draw) -> Draw:
    """The config with what vLLM's class reads beside it."""
    kind, config = config["model_type"], dict(config)
    for key, value in _READ.get(kind, {}).items():
        config.setdefault(key, value)
    if kind == "glm4_moe":
        config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    if kind == "lfm2" and "intermediate_size" in config:
        for key in ("block_dim", "conv_dim", "conv_dim_out"):
            config.setdefault(key, config["hidden_size"])
        config.setdefault("block_ff_dim", config["intermediate_size"])
    if kind in ("glm4_moe_lite", "glm_moe_dsa", "deepseek_v2", "deepseek_v3", "deepseek_v32"):
        config.setdefault("first_k_dense_replace", 1)
    return config


_ON_ALL = ("mxfp4", "fp8_block", "gptq", "nvfp4", "ct_nvfp4")


def cases() -> Iterator[tuple[dict[str, Any], Draw]]:
    """(what a row says of a case, its config)."""
    from kvcalc.engines.vllm.classes import CLASSES, TOWERED
    from kvcalc.spec.catalog import load, shipped

    for name, config in {**REAL, **plain(), **_SEEING}.items():
        if name not in shipped():
            continue
        spec = load(name)
        if spec.model_type in (TOWERED if spec.towers else CLASSES):
            longest = spec.max_position_embeddings
            known = {"max_position_embeddings": longest} if longest else {}
            if spec.towers:
                known = {"vision_config": _LLAMA4_VISION} if spec.model_type == "llama4" else {}
            yield {"shipped": name, "gpu": "h100-80gb"}, config | known
    for kind in sorted(CLASSES):
        if kind in DEFAULTS and kind not in _UNDRAWN:
            for seed in SEEDS:
                yield {"drawn": kind, "seed": seed, "gpu": "h100-80gb"}, drawn(kind, seed)
    for word, names in MADE.items():
        for name in names:
            for gpu in GPUS if word in _ON_ALL else ("h100-80gb",):
                yield {"made": name, "quantised": word, "gpu": gpu}, quantised(name, word)
    for name in ("qwen2.5-vl-7b", "qwen3-vl-8b", "gemma-3-4b", "llama-4-scout"):
        config = _SEEING.get(name) or REAL[name] | {"vision_config": _LLAMA4_VISION}
        for word in MEDIA:
            yield {"shipped": name, "media": word, "gpu": "h100-80gb"}, config
    for name in ("qwen3-30b-a3b", "gpt-oss-120b"):
        yield {"shipped": name, "expert": True, "gpu": "h100-80gb"}, REAL[name]


def measure(gpu: str, *picked: str) -> Iterator[dict[str, Any]]:
    """Every case of one kind of GPU, in this process. picked: models or kinds of rows, where not all."""
    from tests.engines import vllm_stand_in as stand_in

    stand_in.prepare(GPUS[gpu])
    for about, config in cases():
        if about["gpu"] != gpu or (picked and not {*picked} & {*about, *map(str, about.values())}):
            continue
        sizes: list[list[int] | None] = []
        kind, refusal = "", ""
        for tensor in TENSOR:
            try:
                module = stand_in.build(ready(config), tensor, about.get("expert", False),
                                        **MEDIA.get(about.get("media", ""), {}))  # fmt: skip
            except Exception as error:
                sizes.append(None)
                refusal = f"{type(error).__name__}: {error}".split("[type=")[0][:160]
                continue
            kind = type(module).__name__
            sizes.append([sum(each[2] for each in found.values())
                          for found in stand_in.tensors(module)])  # fmt: skip
        if kind:
            yield {
                **about,
                "class": kind,
                "sizes": sizes,
                **({"refusal": refusal} if refusal else {}),
            }


_PAGE = """# Weights as vLLM loads them

Bytes of parameters that one tensor rank holds, and of buffers beside them (rotary tables, scales), as
vLLM {vllm}'s own model classes make them: built on PyTorch's meta device with transformers
{transformers}, {date}, a stand-in platform that says it is the GPU of the row, and
`process_weights_after_loading` not run: what it makes of them is
counted apart (`weights.after_loading`). kvcalc answers every row of `tests/engines/vllm_loaded.jsonl`
to the byte: {rows} rows, of {shipped} shipped models, of dimensions that no model has for {drawn} types
of model, of {made} quantised checkpoints, and of servers that take no media or keep towers whole. This
page is written from it by `python -m tests.engines.vllm_loaded page`.

`kvcalc estimate MODEL --engine vllm --tp N --gpu GPU` says which reasons make the difference from the
checkpoint, and how much each is.

| model | weights | GPU | class | checkpoint | TP 1 | TP 2 | TP 4 | TP 8 | buffers |
|---|---|---|---|---:|---:|---:|---:|---:|---:|
"""


_FORMS = {"": "", "expert": ", experts whole", "none": ", --limit-mm-per-prompt 0",
          "data": ", --mm-encoder-tp-mode data"}  # fmt: skip


def page() -> str:
    """The table for people: shipped and quantised models."""
    from kvcalc.convert.hf import spec_from_config
    from kvcalc.memory.weights import ledger
    from kvcalc.spec.catalog import load

    head, *rows = [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]
    kinds = {key: {row[key] for row in rows if key in row} for key in ("shipped", "drawn")}
    made = {(row["made"], row["quantised"]) for row in rows if "made" in row}
    counts = {"rows": len(rows), "made": len(made),
              **{key: len(found) for key, found in kinds.items()}}  # fmt: skip
    lines = [_PAGE.format(**head | counts)]
    for row in rows:
        if "drawn" in row:
            continue
        if "made" in row:
            name, form = row["made"], row["quantised"].replace("ct_", "compressed-tensors ")
            stored = ledger(spec_from_config(quantised(name, row["quantised"]), name, "").spec,
                            "checkpoint").bytes  # fmt: skip
        else:
            how = "expert" if row.get("expert") else row.get("media", "")
            name, form = row["shipped"], "bf16" + _FORMS[how]
            stored = ledger(load(name), "bf16").bytes
        sizes = [f"{size[0]:,}" if size else "refused" for size in row["sizes"]]
        buffers = next(f"{size[1]:,}" for size in row["sizes"] if size)
        cells = (name, form, row["gpu"], row["class"], f"{stored:,}", *sizes, buffers)
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines)


def main() -> None:
    """Measure on each kind of GPU, then write the table and the page."""
    if sys.argv[1:] == ["page"]:
        PAGE.write_text(page(), "utf-8")
        return
    if len(sys.argv) > 1:
        for row in measure(*sys.argv[1:]):
            print("row " + json.dumps(row), flush=True)
        return
    rows: list[str] = []
    for gpu in GPUS:
        run = subprocess.run([sys.executable, "-m", "tests.engines.vllm_loaded", gpu],
                             capture_output=True, text=True, check=True)  # fmt: skip
        rows += [line[4:] for line in run.stdout.splitlines() if line.startswith("row ")]
    head = json.dumps({"vllm": "0.33.0", "transformers": "5.20.0", "device": "meta",
                       "date": date.today().isoformat(), "tensor": TENSOR})  # fmt: skip
    TABLE.write_text("\n".join((head, *rows)) + "\n", "utf-8")
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
