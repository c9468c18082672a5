"""quantization_config -> the checkpoint's bytes, against the tensors that the libraries write."""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.files import load_model
from kvcalc.convert.hf import spec_from_config
from kvcalc.dtypes import weight_format
from kvcalc.errors import UnsupportedError
from kvcalc.memory.weights import ledger, weight_bytes
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored_formats import stored_format
from tests.convert.quantized_models import MODELS, compressed, scheme

QWEN: dict[str, Any] = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "vocab_size": 152064, "tie_word_embeddings": False, "use_sliding_window": False,
}  # fmt: skip
KIMI = {
    "model_type": "kimi_k2", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 1000, "kv_lora_rank": 64,
    "q_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "v_head_dim": 32,
    "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 128, "first_k_dense_replace": 1, "tie_word_embeddings": False,
}  # fmt: skip

GPTQ: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
PACKED: dict[str, Any] = {
    "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
        "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128,
    }}},
}  # fmt: skip


def formats(config: dict[str, Any], quantization: dict[str, Any] | None) -> dict[str, str]:
    if quantization is not None:
        config = config | {"quantization_config": quantization}
    return by_component(spec_from_config(config, "model", "config.json").spec)


def by_component(spec: ModelSpec) -> dict[str, str]:
    """The formats of each component's matrices; components in bf16 alone are left out."""
    found: dict[str, set[str]] = {}
    for row in ledger(spec, "checkpoint").rows:
        if len(row.shape) > 1 and row.weight.tensor.quantised:
            found.setdefault(row.component, set()).add(row.stored.format.name)
    return {part: " ".join(sorted(names)) for part, names in found.items() if names != {"bf16"}}


def test_layouts_of_one_matrix() -> None:
    # Qwen2.5-7B-Instruct-AWQ, q_proj of [3584, 3584]: qweight [3584, 448] int32, qzeros [28, 448]
    # int32, scales [28, 3584] fp16: 6,422,528 + 50,176 + 200,704 bytes.
    assert weight_format("awq_g128").tensor((3584, 3584)) == 6_673_408
    # GPTQ holds g_idx [3584] int32 beside them.
    assert weight_format("gptq_g128").tensor((3584, 3584)) == 6_673_408 + 14_336
    # bitsandbytes LLM.int8(): int8 and SCB [3584] fp32; nf4: half a byte and absmax fp32 per 64.
    assert weight_format("int8_row").tensor((3584, 3584)) == 12_845_056 + 14_336
    assert weight_format("nf4").tensor((3584, 3584)) == 6_422_528 + 802_816
    # Double quantisation: absmax in 8 bits, and an fp32 scale per 256 of its 200,704 entries.
    assert weight_format("nf4_double").tensor((3584, 3584)) == 6_422_528 + 200_704 + 3_136
    # compressed-tensors with zero points: weight_packed [3584, 448] int32, weight_scale [3584, 28]
    # bf16, weight_zero_point [448, 28] int32.
    assert weight_format("int4z_g128").tensor((3584, 3584)) == 6_422_528 + 200_704 + 50_176
    # mlx.core.quantize: weight [3584, 448] uint32, scales and biases [3584, 56] bf16.
    assert weight_format("mlx4_g64").tensor((3584, 3584)) == 6_422_528 + 2 * 401_408
    assert weight_format("mlx8_g64").tensor((3584, 3584)) == 12_845_056 + 2 * 401_408
    # 8 bits: qweight [896, 3584] int32, scales [28, 3584] fp16, qzeros [28, 896] int32, g_idx.
    assert (
        weight_format("gptq8_g128").tensor((3584, 3584)) == 12_845_056 + 200_704 + 100_352 + 14_336
    )
    assert weight_format("int8_channel").tensor((512, 3584)) == 1_835_008 + 1_024
    # compressed-tensors: fp8 with a bf16 scale a channel.
    assert weight_format("fp8_row").tensor((512, 3584)) == 1_835_008 + 1_024


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (None, {}),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]},
         # Qwen's own files keep the scales of tiles in bf16.
         dict.fromkeys(("attention", "ffn"), "fp8_block128x128_bf16")),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"},
         {"attention": "awq_g128", "ffn": "awq_g128"}),
        # Qwen2.5-7B-Instruct-GPTQ-Int8.
        ({"quant_method": "gptq", "bits": 8, "group_size": 128},
         {"attention": "gptq8_g128", "ffn": "gptq8_g128"}),
        # AutoFP8 and ModelOpt: a scale of the weights and one of the inputs a matrix, in fp32.
        ({"quant_method": "fp8", "activation_scheme": "static"},
         {"attention": "fp8+8", "ffn": "fp8+8"}),
        ({"producer": {"name": "modelopt"}, "quant_algo": "FP8", "ignore": ["lm_head"]},
         {"attention": "fp8+8", "ffn": "fp8+8"}),
        # nvidia/Gemma-4-31B-IT-NVFP4 lists its layers one by one.
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", *(
            f"model.layers.{index}.self_attn*" for index in range(28))]}, {"ffn": "nvfp4+8"}),
        ({"quant_method": "fp8", "modules_to_not_convert": [
            f"model.layers.{index}.self_attn.{side}_proj" for index in range(28) for side in "qkvo"
        ]}, {"ffn": "fp8+4"}),
        # RedHatAI's w8a8 checkpoints.
        ({"quant_method": "compressed-tensors", "format": "int-quantized", "ignore": ["lm_head"],
          "sparsity_config": {"format": "dense"}, "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
        }}}, {"attention": "int8_channel", "ffn": "int8_channel"}),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": [
            "self_attn", "lm_head"]}, {"ffn": "awq_g128"}),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": True, "lm_head": False,
          "dynamic": None, "pack_dtype": "int32", "is_marlin_format": False,
          "checkpoint_format": "gptq", "modules_in_block_to_quantize": None},
         {"attention": "gptq_g64", "ffn": "gptq_g64"}),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True},
         {"attention": "int8_row+1", "ffn": "int8_row+1"}),
        # bitsandbytes 0.50 packs 79 letters of JSON for [96, 128] in bf16, 82 for [3584, 3584].
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, 
         {"attention": "nf4+145 nf4+146", "ffn": "nf4+147"}),
        ({"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
         {"attention": "nf4_double+1088", "ffn": "nf4_double+1088"}),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
          "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "group",
                                               "group_size": 128, "symmetric": False},
        }}}, {"attention": "int4z_g128+16", "ffn": "int4z_g128+16"}),
        ({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
          "config_groups": {"group_0": {"targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True},
        }}}, {"attention": "fp8_row", "ffn": "fp8_row"}),
    ],
)  # fmt: skip
def test_methods(quantization: dict[str, Any] | None, expected: dict[str, str]) -> None:
    assert formats(QWEN, quantization) == expected


def test_a_format_for_the_cache_is_named() -> None:
    stated = PACKED | {"kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor"}}
    found = spec_from_config(QWEN | {"quantization_config": stated}, "model", "config.json")
    assert by_component(found.spec) == {"attention": "int4_g128+16", "ffn": "int4_g128+16"}
    note = next(line for line in found.assumptions if "kv_cache_scheme" in line)
    assert "--kv-dtype" in note


def test_mlx_quantises_the_tables_too() -> None:
    # mlx-community/Qwen2.5-7B-Instruct-4bit.
    stated = {"group_size": 64, "bits": 4}
    config = QWEN | {"quantization": stated, "quantization_config": stated}
    spec = spec_from_config(config, "model", "config.json").spec
    assert stored(spec, "checkpoint") == stored(spec, "mlx-4bit")
    assert {each.type for each in ledger(spec, "checkpoint").types} == {"mlx-4bit", "bf16"}
    one = stated | {"model.layers.0.mlp.down_proj": {"group_size": 64, "bits": 8}}
    apart = spec_from_config(QWEN | {"quantization": one}, "model", "config.json").spec
    # 18,944 x 3,584 weights of one layer: half a byte more each.
    assert stored(apart, "checkpoint") - stored(spec, "checkpoint") == 18_944 * 3_584 // 2
    kept = stated | {"lm_head": False}
    plain = spec_from_config(QWEN | {"quantization": kept}, "model", "config.json").spec
    assert stored(plain, "checkpoint") - stored(spec, "checkpoint") == 152_064 * 3_584 * 23 // 16
    for wrong in (
        {"bits": 7}, {"bits": 4, "group_size": 48}, {"mode": "fp3"}, {"mode": "nvfp4", "bits": 8},
        stated | {"model.layers.0.mlp.gate": stated}, stated | {"model.layers.0.mlp.up_proj": 8},
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match=r"quantization.*MLX"):
            spec_from_config(QWEN | {"quantization": wrong}, "model", "config.json")


def stored(spec: ModelSpec, dtype: str) -> int:
    return ledger(spec, dtype).bytes


def test_deepseek_v4_experts_in_fp4() -> None:
    # deepseek-ai/DeepSeek-V4-Flash: F8_E4M3 with F8_E8M0 per 128 x 128, experts packed FP4 with an
    # E8M0 per 32 (headers read in github.com/anthony-chaudhary/fak/issues/12639): wo_a of
    # [8192, 4096] has a scale of [64, 32].
    assert weight_format("fp8_block128_e8m0").tensor((8192, 4096)) == 8192 * 4096 + 2048
    path = Path(__file__).with_name("real_configs.json")
    cases = json.loads(path.read_text("utf-8"))
    config = next(case["config"] for case in cases if case["name"] == "deepseek-v4-flash")
    fp8 = {"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]}
    assert formats(config, fp8) == {
        "attention": "fp8_block128_e8m0", "ffn": "fp8_block128_e8m0", "experts": "mxfp4",
    }  # fmt: skip


def test_exceptions_keep_the_default_format() -> None:
    # moonshotai/Kimi-K2.5: only the routed experts are int4.
    quantization = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32,
                        "symmetric": True},
        }},
        "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*",
                   "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
    }  # fmt: skip
    assert formats(KIMI, quantization) == {"experts": "int4_g32+16"}


@pytest.mark.parametrize(
    ("quantization", "word"),
    [
        ({"quant_method": "aqlm"}, "aqlm"),
        ({"quant_method": None}, "quant_method"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quantized_layers"),
        ({"quant_method": "fp8", "weight_block_size": [64, 0]}, "weight_block_size"),
        ({"quant_method": "gptq", "bits": 5, "group_size": 128}, "bits"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.secret"]}, "secret"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "exclude_modules"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": 5}, "ignore"),
        ({"quant_method": "modelopt", "quant_algo": ["FP8"]}, "quant_algo"),
        ({"producer": "modelopt", "quant_algo": "FP8"}, "quant_method"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 32}, "group_size"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"}, "version"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128,
          "modules_to_not_convert": "self_attn"}, "modules_to_not_convert"),
        (GPTQ | {"is_marlin_format": True}, "is_marlin_format"),
        (GPTQ | {"checkpoint_format": "marlin"}, "checkpoint_format"),
        (GPTQ | {"pack_dtype": "int16"}, "pack_dtype"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": False},
         "load_in_4bit"),
        ({"quant_method": "bitsandbytes"}, "load_in_4bit"),
        (PACKED | {"format": "dense"}, "quantization_config.format"),
        (PACKED | {"format": "marlin-24"}, "quantization_config.format"),
        (PACKED | {"format": "int-quantized"}, "quantization_config.format"),
        (PACKED | {"format": None}, "quantization_config.format"),
        (PACKED | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config"),
        (PACKED | {"transform_config": {"config_groups": {"R1": {}}}}, "transform_config"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_name(
    quantization: dict[str, Any], word: str
) -> None:
    with pytest.raises(UnsupportedError, match=word):
        formats(QWEN, quantization)


@pytest.mark.parametrize(
    ("key", "stated", "expected"),
    [
        ("torch_dtype", "bfloat16", {}), ("dtype", "float16", {"default": "fp16"}),
        ("torch_dtype", "torch.float32", {"default": "fp32"}), ("dtype", None, {}),
    ],
)  # fmt: skip
def test_dtype(key: str, stated: str | None, expected: dict[str, str]) -> None:
    found = spec_from_config(QWEN | {key: stated}, "model", "config.json").spec
    assert {**found.weight_dtypes} == expected


def test_a_quantization_in_a_file_of_its_own(tmp_path: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 90,
              "num_attention_heads": 4, "intermediate_size": 32}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    apart = tmp_path / "hf_quant_config.json"
    apart.write_text("{}", "utf-8")
    with pytest.raises(
        UnsupportedError, match=r"hf_quant_config\.json: a quantization that stands"
    ):
        load_model(str(tmp_path / "config.json"))
    # nvidia/Llama-3.1-70B-Instruct-FP8.
    stated = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    apart.write_text(json.dumps({"producer": {}, "quantization": stated}), "utf-8")
    found = load_model(str(tmp_path / "config.json"))
    assert found is not None
    assert by_component(found.spec) == {"attention": "fp8+8", "ffn": "fp8+8"}


def published(config: dict[str, Any], quantization: dict[str, Any]) -> ModelSpec:
    found = spec_from_config(config | {"quantization_config": quantization}, "model", "config.json")
    return found.spec


def of(spec: ModelSpec, name: str) -> dict[str, int]:
    """How many layers store a tensor in which format."""
    rows = [row for row in ledger(spec, "checkpoint").rows if row.name.endswith(f"{name}.weight")]
    return {row.stored.format.name: row.count for row in rows}


def test_single_layers_and_tensors_are_told_apart() -> None:
    left = ["model.layers.0.self_attn", "model.layers.3.mlp.down_proj", "lm_head"]
    spec = published(QWEN, {"quant_method": "fp8", "modules_to_not_convert": left})
    assert of(spec, "q_proj") == {"bf16": 1, "fp8+4": 27}
    assert of(spec, "down_proj") == {"bf16": 1, "fp8+4": 27}
    assert of(spec, "up_proj") == {"fp8+4": 28}
    # A name is a prefix up to a dot: layer 1 is not layer 10 to 19.
    left = ["model.layers.1.mlp"]
    spec = published(QWEN, {"quant_method": "fp8", "modules_to_not_convert": left})
    assert of(spec, "up_proj") == {"bf16": 1, "fp8+4": 27}


def test_gptq_s_rules_for_single_modules() -> None:
    # GPTQModel: -: leaves modules out, +: gives them other numbers.
    rules = {"-:.*mlp\\.down.*": {}, "+:.*layers\\.0\\..*": {"bits": 8, "group_size": 64}}
    spec = published(QWEN, GPTQ | {"dynamic": rules})
    assert of(spec, "down_proj") == {"bf16": 28}
    assert of(spec, "q_proj") == {"gptq8_g64": 1, "gptq_g128": 27}
    inside = {"modules_in_block_to_quantize": [["self_attn.q_proj"], ["mlp.down_proj"]]}
    spec = published(QWEN, GPTQ | inside)
    assert of(spec, "q_proj") == of(spec, "down_proj") == {"gptq_g128": 28}
    assert of(spec, "k_proj") == {"bf16": 28}
    assert of(published(QWEN, GPTQ | {"lm_head": True}), "head") == {"gptq_g128": 1}


def test_act_order_of_compressed_tensors_stores_an_index_a_column() -> None:
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128,
               "actorder": "group"}  # fmt: skip
    groups = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    # weight_packed [3584, 448] int32, weight_scale [3584, 28] bf16, weight_shape int64 [2],
    # weight_g_idx [3584] int32.
    assert of(published(QWEN, PACKED | groups), "q_proj") == {"int4_g128_idx+16": 28}
    (word,) = stored_format("int4_g128_idx+16")
    assert word.tensor((3584, 3584)) == 6_422_528 + 200_704 + 16 + 14_336


def test_mixed_precision_of_modelopt() -> None:
    layers = {
        f"model.layers.{index}.{name}": {"quant_algo": algorithm, "group_size": 16}
        for index in range(28)
        for name, algorithm in (("mlp.up_proj", "NVFP4"), ("self_attn.o_proj", "FP8"))
        if index != 5
    }
    stated = {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "quantized_layers": layers,
    }
    spec = published(QWEN, stated)
    assert of(spec, "up_proj") == {"nvfp4+8": 27, "bf16": 1}
    assert of(spec, "o_proj") == {"fp8+8": 27, "bf16": 1}
    assert of(spec, "down_proj") == {"bf16": 28}


@pytest.mark.parametrize(
    ("quantization", "word"),
    [
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}, "fp8_row_fp32"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128,
          "packing_format": "auto_round:auto_gptq"}, "gptq_g128_noidx"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128,
          "packing_format": "auto_round:auto_awq"}, "awq_g128"),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {
            "nbits": 4, "group_size": 64, "axis": 1}}, "skip_modules": ["lm_head"]},
         "hqq4_g64+69"),
        ({"quant_method": "quark", "global_quant_config": {
            "weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"},
            "input_tensors": {"dtype": "fp8_e4m3", "is_dynamic": False}}, "exclude": ["lm_head"]},
         "fp8+8"),
        ({"quant_method": "torchao", "quant_type": {"default": {
            "_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}}}}, "int8z_row"),
    ],
    ids=["fbgemm", "auto-round", "auto-round awq", "hqq", "quark", "torchao"],
)  # fmt: skip
def test_more_methods(quantization: dict[str, Any], word: str) -> None:
    assert formats(QWEN, quantization) == {"attention": word, "ffn": word}


PUBLISHED = Path(__file__).with_name("real_configs.json")


def real(name: str) -> dict[str, Any]:
    cases = json.loads(PUBLISHED.read_text("utf-8"))
    config: dict[str, Any] = next(case["config"] for case in cases if case["name"] == name)
    return {key: value for key, value in config.items() if key != "quantization_config"}


BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}


def test_published_sizes() -> None:
    # Qwen3.5-27B-FP8: the text model's tensors (vLLM PR 41000 logs 27.66 to 27.69 GiB on a card).
    left = ["lm_head", "model.language_model.embed_tokens", "model.visual.patch_embed.proj"]
    left += [
        f"model.language_model.layers.{index}.linear_attn.{name}"
        for index in range(64)
        if index % 4 != 3
        for name in ("conv1d", "in_proj_a", "in_proj_b")
    ]
    spec = published(real("qwen3.5-27b"), BLOCK | {"modules_to_not_convert": left})
    assert weight_bytes(spec, "checkpoint")[0] == 29_468_003_328
    # MiniMax-M2's safetensors headers: routers and their biases in fp32.
    left = ["gate", "e_score_correction_bias", "lm_head"]
    spec = published(real("minimax-m2.5"), BLOCK | {"modules_to_not_convert": left})
    assert weight_bytes(spec, "checkpoint")[0] == 230_121_630_720
    # nvidia/DeepSeek-V3.1-NVFP4: MLA's first four projections in bf16, its last in NVFP4.
    left = ["lm_head", "model.layers.61*"]
    left += [
        f"model.layers.{index}.self_attn.{name}"
        for index in range(61)
        for name in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")
    ]
    stated = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": left}
    spec = published(real("deepseek-v3"), stated)
    assert round(weight_bytes(spec, "checkpoint")[0] / 10**7) == 38_638
    # NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4: the attention, and the Mamba layer before it, in bf16.
    attention = (5, 12, 19, 26, 33, 42)
    left = ["lm_head"]
    left += [f"backbone.layers.{i}.mixer.{p}_proj" for i in attention for p in "qkvo"]
    left += [f"backbone.layers.{i - 1}.mixer.{p}_proj" for i in attention for p in ("in", "out")]
    stated = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": left}
    spec = published(real("nemotron-3-nano"), stated)
    assert round(weight_bytes(spec, "checkpoint")[0] / 10**7) == 1_932
    # zai-org GLM-5-FP8 names a module of an earlier class beside those that are there.
    left = ["lm_head", "model.embed_tokens", "indexers_proj"]
    spec = published(real("glm-5"), BLOCK | {"modules_to_not_convert": left})
    assert "fp8" in by_component(spec)["attention"]


def test_an_unmatched_name_is_known_by_whole_words() -> None:
    # A word of a longer name says nothing: these could be matrices that kvcalc has under other names.
    for name in ("model.layers.0.attn_gate_up", "headless_proj", "model.layers.1.mlp.conv_fused.x"):
        stated = {**BLOCK, "modules_to_not_convert": ["lm_head", name]}
        with pytest.raises(UnsupportedError, match="names that match no part"):
            published(QWEN, stated)
    # Another tower, a norm, a router that a dense model does not have; a mechanism of other layers.
    for name in ("visual", "model.layers.0.input_layernorm", "mlp.gate", "model.embed_vision.proj"):
        published(QWEN, {**BLOCK, "modules_to_not_convert": ["lm_head", name]})


def test_one_of_gate_and_up_may_be_left_out() -> None:
    # Experts' gate in fp8 with tiles of 128, their up in bf16: what lists name is each matrix.
    config = {**MODELS["qwen3_moe"], "quantization_config": compressed(
        scheme(8, "float", "channel"), None, "float-quantized", ("lm_head", "re:.*up_proj$"))}  # fmt: skip
    spec = spec_from_config(config, "model", "config.json").spec
    told = {name: rule.format for rule in spec.weight_formats for name in rule.tensors}
    assert told["ffn.experts.gate_up_proj"] == "fp8_row|bf16"
    # Four experts of 128 x 256 each: 1 byte and a row's scale, or 2 bytes.
    rows = {row.dtype: row.bytes for row in ledger(spec, "checkpoint").rows
            if row.name.endswith("experts.gate_up_proj")}  # fmt: skip
    assert rows == {"fp8_row": 4 * 128 * (256 + 2), "bf16": 4 * 128 * 256 * 2}


def test_corrections_of_routers_are_in_fp32_where_files_have_them() -> None:
    # GLM-5: 75 layers of 256 experts; Nemotron 3 Nano: 23 of 128, whose file of mlx-community in NVFP4 has
    # 19,323,906,944 bytes: this one's without two fp32 scales for each of 5,968 matrices.
    left = ["lm_head", "model.embed_tokens", "indexers_proj"]
    spec = published(real("glm-5"), BLOCK | {"modules_to_not_convert": left})
    rows = [row for row in ledger(spec, "checkpoint").rows if "e_score" in row.name]
    assert sum(row.bytes for row in rows) == 76_800
    attention = (5, 12, 19, 26, 33, 42)
    left = ["lm_head"]
    left += [f"backbone.layers.{i}.mixer.{p}_proj" for i in attention for p in "qkvo"]
    left += [f"backbone.layers.{i - 1}.mixer.{p}_proj" for i in attention for p in ("in", "out")]
    stated = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": left}
    spec = published(real("nemotron-3-nano"), stated)
    assert weight_bytes(spec, "checkpoint")[0] == 19_323_906_944 + 5_968 * 8
    # A model of the family without experts has no such tensor.
    dense = published(real("nemotron-h-56b"), {**stated, "ignore": ["lm_head"]})
    assert weight_bytes(dense, "checkpoint")[0] > 0
