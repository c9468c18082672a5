"""Checkpoints whose modules have formats of their own: ModelOpt's mixtures, MXFP8, rules by name."""

from typing import Any

import pytest

from kvcalc.errors import UnsupportedError
from kvcalc.memory.weights import ledger
from kvcalc.spec import hub_ids
from kvcalc.spec.catalog import load
from tests.convert.test_quantization import GPTQ, KIMI, PACKED, QWEN, formats, of, published

# The config of nvidia/MiniMax-M3-NVFP4 (aiconfigurator-core 0.12.0, model_configs): the vendor's MXFP8
# with NVFP4 for the routed experts, each named.
M3: dict[str, Any] = {
    "model_type": "minimax_m3_vl_text", "hidden_size": 6144, "intermediate_size": 3072,
    "num_hidden_layers": 60, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128,
    "vocab_size": 200064, "dense_intermediate_size": 12288, "shared_intermediate_size": 3072,
    "num_local_experts": 128, "num_experts_per_tok": 4, "n_shared_experts": 1,
    "tie_word_embeddings": False, "layer_types": ["full_attention"] * 3 + ["minimax_m3_sparse"] * 57,
    "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 57, "index_n_heads": 4, "index_head_dim": 128,
}  # fmt: skip


def _m3_layers() -> dict[str, dict[str, Any]]:
    narrow: dict[str, Any] = {"quant_algo": "MXFP8"}
    found: dict[str, dict[str, Any]] = {}
    for index in range(60):
        layer = f"language_model.model.layers.{index}"
        parts = [f"self_attn.{each}_proj" for each in "qkvo"]
        if index < 3:
            parts += [f"mlp.{each}_proj" for each in ("gate", "up", "down")]
        else:
            parts += ["self_attn.index_q_proj", "self_attn.index_k_proj"]
            parts += [
                f"block_sparse_moe.shared_experts.{each}_proj" for each in ("gate", "up", "down")
            ]
            found |= {f"{layer}.block_sparse_moe.experts.{expert}.{matrix}":
                      {"quant_algo": "NVFP4", "group_size": 16}
                      for expert in range(128) for matrix in ("w1", "w2", "w3")}  # fmt: skip
        found |= {f"{layer}.{part}": narrow for part in parts}
    return found


def test_minimax_m3_of_modelopt_mixes_mxfp8_and_nvfp4() -> None:
    layers = _m3_layers()
    assert len(layers) == 22422  # entries of the published list
    stated = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "exclude_modules": [],
              "quantized_layers": layers}  # fmt: skip
    sizes: dict[str, int] = {}
    for row in ledger(published(M3, stated), "checkpoint").rows:
        sizes[row.dtype] = sizes.get(row.dtype, 0) + row.bytes
    # 57 x 128 x 3 matrices of 3072 x 6144: half a byte a number, a byte for 16, two fp32.
    assert sizes["nvfp4"] == 21888 * (9_437_184 + 1_179_648 + 8)
    # Attention (8192 + 512 + 512) x 6144 + 6144 x 8192 a layer, indexers (512 + 128) x 6144, dense
    # layers 3 x 12288 x 6144, shared experts 3 x 3072 x 6144: a byte a number and one for 32.
    numbers = 60 * 106_954_752 + 57 * 3_932_160 + 3 * 226_492_416 + 57 * 56_623_104
    assert sizes["mxfp8"] == numbers + numbers // 32
    some = {name: each for name, each in layers.items() if "experts.7.w1" not in name}
    with pytest.raises(UnsupportedError, match="one tensor in several formats"):
        published(M3, stated | {"quantized_layers": some})
    odd = {name: ({"quant_algo": "FP8"} if "experts.7.w1" in name else each)
           for name, each in layers.items()}  # fmt: skip
    with pytest.raises(UnsupportedError, match="one tensor in several formats"):
        published(M3, stated | {"quantized_layers": odd})


@pytest.mark.parametrize(
    "stated",
    [
        # MiniMaxAI/MiniMax-M3-MXFP8; ModelOpt's alone; ModelOpt's whole file, as Hy4's config has it.
        {"quant_method": "mxfp8", "weight_block_size": [1, 32], "scale_fmt": "ue8m0",
         "activation_scheme": "dynamic", "ignored_layers": ["lm_head"]},
        {"quant_method": "modelopt", "quant_algo": "MXFP8", "ignore": ["lm_head"]},
        {"quant_method": "modelopt", "quantization": {
            "quant_algo": "MXFP8", "group_size": 32, "exclude_modules": ["lm_head"]}},
    ],
)  # fmt: skip
def test_mxfp8(stated: dict[str, Any]) -> None:
    assert formats(QWEN, stated) == {"attention": "mxfp8", "ffn": "mxfp8"}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"quant_method": "mxfp8", "weight_block_size": [128, 128]}, "another kind than MXFP8"),
        ({"quant_method": "mxfp8", "scale_fmt": "float32"}, "another kind than MXFP8"),
        ({"quant_method": "mxfp8", "moe_quant_algo": "NVFP4"}, "moe_quant_algo"),
        ({"quant_method": "fp8", "weight_block_size": [1, 32]}, "blocks of one row"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "moe_quant_algo": "MXFP4"},
         "another format than NVFP4"),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8", "group_size": 16, "ignore": []},
         "MXFP8 has groups of 32"),
    ],
)  # fmt: skip
def test_what_is_near_mxfp8_is_refused(stated: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        formats(QWEN, stated)


def test_deepseek_v4_with_experts_in_nvfp4() -> None:
    """nvidia/DeepSeek-V4-Flash-NVFP4 says quant_method fp8, expert_dtype fp4 and moe_quant_algo NVFP4: its
    experts are rewritten from MXFP4 (Model-Optimizer, examples/deepseek/deepseek_v4/quantize_to_nvfp4.py).
    """
    base, found = load("deepseek-v4-flash"), hub_ids.find("nvidia/DeepSeek-V4-Flash-NVFP4")
    assert found is not None
    sizes = [ledger(each, "checkpoint").bytes for each in (base, found.of(base))]
    # 43 x 256 x 3 matrices of 2048 x 4096: a byte of scale for 16 numbers, not for 32, and two fp32.
    assert sizes[1] - sizes[0] == 33024 * (8_388_608 // 32 + 8)


def test_what_names_no_module_is_refused_wherever_it_stands() -> None:
    """Settings of AutoRound and targets of compressed-tensors that no module has were passed over."""
    stated = {"quant_method": "auto-round", "bits": 4, "group_size": 128,
              "packing_format": "auto_round:auto_gptq"}  # fmt: skip
    for extra in ({"model.layers.0.attn.wq": {"bits": 8}}, {"model.layers.0.mlp.w1": {"bits": 16}}):
        with pytest.raises(UnsupportedError, match="match no part of this model"):
            formats(QWEN, stated | {"extra_config": extra})
    group = PACKED["config_groups"]["group_0"]
    for targets, said in (
        (["re:.*attn.wq$"], "match no part"),
        (["Embedding"], "a class of modules"),
    ):
        odd = PACKED | {"config_groups": {"group_0": group | {"targets": targets}}}
        with pytest.raises(UnsupportedError, match=said):
            formats(QWEN, odd)


def test_one_expert_in_another_format_is_refused() -> None:
    for stated in (
        GPTQ | {"dynamic": {r"-:.*experts\.3\.down_proj": {}}},
        {"quant_method": "auto-round", "bits": 4, "group_size": 64,
         "packing_format": "auto_round:auto_gptq",
         "extra_config": {"model.layers.1.mlp.experts.3.down_proj": {"bits": 8}}},
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match="one tensor in several formats"):
            formats(KIMI, stated | {"group_size": 64})


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"quant_method": "torchao", "quant_type": {
            "default": {"_type": "Float8WeightOnlyConfig"}, "model.layers.0": {}}}, "settings by module"),
        ({"quant_method": "quark", "export": {"weight_format": "fake_quantized"}, "exclude": [],
          "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}}},
         "not stored as they are quantised"),
        ({"quant_method": "fp8", "weight_per_channel": True}, "scales of rows"),
        ({"quant_method": "fp8", "weight_per_tensor": False}, "neither a scale a matrix nor tiles"),
        ({"quant_method": "mxfp4"}, "gpt-oss' experts alone"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "block_name_to_quantize": [
            "model.language_model.layers", "model.visual.blocks"]}, "blocks other than"),
    ],
)  # fmt: skip
def test_keys_that_change_what_is_stored_are_heard(stated: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        formats(QWEN, stated)


def test_blocks_that_autoround_quantised() -> None:
    stated = {"quant_method": "auto-round", "bits": 4, "group_size": 128,
              "block_name_to_quantize": "model.layers.2"}  # fmt: skip
    # A name's beginning: layers 2 and 20 to 27.
    assert of(published(QWEN, stated), "o_proj") == {"gptq_g128_noidx": 9, "bf16": 19}
    assert of(published(QWEN, stated | {"block_name_to_quantize": "model.layers"}), "o_proj") == {
        "gptq_g128_noidx": 28
    }


def test_the_published_id_of_minimax_m3_in_nvfp4() -> None:
    base, found = load("minimax-m3"), hub_ids.find("nvidia/MiniMax-M3-NVFP4")
    assert found is not None
    # The experts of test_minimax_m3_of_modelopt_mixes_mxfp8_and_nvfp4.
    experts = [
        row for row in ledger(found.of(base), "checkpoint").rows if row.component == "experts"
    ]
    assert sum(row.bytes for row in experts) == 232_381_393_920
