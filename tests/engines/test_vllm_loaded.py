"""What vLLM's own classes allocated on the meta device, replayed: vllm_loaded.jsonl, byte for byte.

Each line is a model (shipped, drawn, or quantised as a checkpoint of it is), a GPU, and for tensor
ranks of 1, 2, 4 and 8 the bytes of parameters and of buffers that one rank's module had; null where
vLLM refused. ``tests.engines.vllm_loaded`` writes it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.deployment.hardware import find
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.media import ServedMedia, served_part
from kvcalc.engines.sglang.loading import loaded as sglang_loaded
from kvcalc.engines.vllm.loading import loaded
from kvcalc.errors import UnsupportedError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load
from kvcalc.spec.model import ModelSpec
from tests.engines import vllm_loaded

LINES = (Path(__file__).parent / "vllm_loaded.jsonl").read_text("utf-8").splitlines()
HEAD, ROWS = json.loads(LINES[0]), [json.loads(line) for line in LINES[1:]]


def spec_of(row: dict[str, Any]) -> tuple[ModelSpec, str]:
    """The model of a row, and its format."""
    if "shipped" in row:
        return load(row["shipped"]), "bf16"
    if "drawn" in row:
        config = vllm_loaded.drawn(row["drawn"], row["seed"])
        return spec_from_config(config, row["drawn"], "drawn").spec, "bf16"
    config = vllm_loaded.quantised(row["made"], row["quantised"], row.get("layers"))
    return spec_from_config(config, row["made"], "made").spec, "checkpoint"


def name_of(row: dict[str, Any]) -> str:
    model = row.get("shipped") or row.get("drawn") or row["made"]
    return f"{model}-{row.get('quantised', row.get('media', 'bf16'))}-{row['gpu']}"


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_rank_holds_what_vllms_class_makes(row: dict[str, Any]) -> None:
    spec, dtype = spec_of(row)
    media = row.get("media")
    if media == "none":
        spec, _ = served_part(spec, ServedMedia(language_only=True), "vLLM", None)
    for tensor, sizes in zip(HEAD["tensor"], row["sizes"], strict=True):
        layout = Layout(tensor, expert=row.get("expert", False), towers_whole=media == "data")
        if sizes is None:
            # A refusal of vLLM's may be of a kernel alone, which says nothing of the weights.
            continue
        found = loaded(spec, dtype, layout, None, find(row["gpu"]))
        assert isinstance(found, Loaded), found
        parameters, buffers = sizes
        assert found.bytes_per_device == (parameters,) * tensor
        assert found.buffer_bytes_per_device in (None, (buffers,) * tensor)
        reasons = sum(reason.bytes for reason in found.reasons)
        assert found.checkpoint_bytes + reasons == sum(found.bytes_per_device)


def test_the_table_is_wide_enough() -> None:
    shipped = {row["shipped"] for row in ROWS if "shipped" in row}
    assert len(shipped) >= 40
    assert len({row["drawn"] for row in ROWS if "drawn" in row}) >= 60
    assert {row["gpu"] for row in ROWS} == set(vllm_loaded.GPUS)


# vLLM refuses what the heads do not divide into (config/model.py), and blocks that ranks would cut.
def test_what_a_class_rejects_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="12 cannot be divided among 8 ranks"):
        loaded(load("gpt2"), "bf16", Layout(8), None, None)
    spec = spec_from_config(vllm_loaded.quantised("qwen3-30b-a3b", "ct_int4"), "x", "made").spec
    with pytest.raises(UnsupportedError, match="vLLM does not cut groups of 128"):
        loaded(spec, "checkpoint", Layout(4), None, None)


_GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


# vLLM 0.33.0's own refusals of these configs (auto_gptq.py, gptq_utils.py, compressed_tensors.py).
@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"desc_act": True}, "sort by activation"), ({"sym": False}, "not symmetric"),
        ({"bits": 3}, "2 or 3 bits"),
    ],
)  # fmt: skip
def test_methods_that_vllm_no_longer_runs_are_refused(stated: dict[str, Any], said: str) -> None:
    config = vllm_loaded.REAL["llama-3.1-8b"] | {"quantization_config": _GPTQ | stated}
    spec = spec_from_config(config, "x", "made").spec
    with pytest.raises(UnsupportedError, match=said):
        loaded(spec, "checkpoint", Layout(), None, find("h100-80gb"))
    assert isinstance(loaded(spec, "checkpoint", Layout(), "0.20.0", find("h100-80gb")), str)


@pytest.mark.parametrize(("gpu", "grown"), [("b200", 236_175_360), ("h100-80gb", 0)])
def test_scales_of_fp8_blocks_are_packed_on_blackwell(gpu: str, grown: int) -> None:
    """DeepGEMM's get_mn_major_tma_aligned_packed_ue8m0_tensor: a word a row for four blocks of 128. 61,440
    rows of 5,120 numbers (40 bytes each, from 40 x 4 for 128 rows), 5,120 of 8,192 and of 25,600; 64
    layers.
    """
    spec = spec_from_config(vllm_loaded.quantised("qwen3-32b", "fp8_block"), "x", "made").spec
    found = loaded(spec, "checkpoint", Layout(), None, find(gpu))
    assert isinstance(found, Loaded)
    assert sum(each.bytes for each in found.after) == grown


def _blocks(rows: int, columns: int) -> Any:
    stated = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [rows, columns],
    }
    config = vllm_loaded.REAL["qwen3-32b"] | {"quantization_config": stated}
    return spec_from_config(config, "x", "made").spec


@pytest.mark.parametrize(("rows", "columns"), [(64, 128), (128, 64)])
def test_blocks_that_are_no_squares_keep_their_sides(rows: int, columns: int) -> None:
    """fp8_utils.py, create_fp8_scale_parameter: a float32 for 64 x 128. Matrices have 64 layers x 5,120 x
    (2 x 8,192 + 2 x 1,024 + 3 x 25,600) = 31,205,621,760 numbers, 3,809,280 blocks of two bytes in the
    files; nothing is packed for DeepGEMM, whose blocks are 128 x 128.
    """
    found = loaded(_blocks(rows, columns), "checkpoint", Layout(), None, find("b200"))
    assert isinstance(found, Loaded)
    reasons = {each.name: each.bytes for each in found.reasons}
    assert reasons["scales in float32"] == 2 * 3_809_280
    assert not found.after


def test_each_side_of_a_block_is_held_to_its_ranks() -> None:
    """fp8_utils.py, validate_fp8_block_shape: a rank's 3,200 of down_proj's 25,600 numbers are whole
    blocks of 128, not of 256; its rows are not cut."""
    assert loaded(_blocks(256, 128), "checkpoint", Layout(8), None, None)
    with pytest.raises(UnsupportedError, match="blocks of 128 x 256"):
        loaded(_blocks(128, 256), "checkpoint", Layout(8), None, None)


def test_biases_of_gpt_oss_are_float32_on_amd() -> None:
    # oracle/mxfp4.py, AITER_MXFP4_BF16 and TRITON: 32 experts of 2 x 3,072 and 3,072 (2,880 padded to 256)
    # in 24 layers, two bytes more each.
    found = loaded(load("gpt-oss-20b"), "checkpoint", Layout(), None, find("mi300x"))
    assert isinstance(found, Loaded)
    assert [each.bytes for each in found.after] == [2 * 24 * 32 * 3 * 3072]


def test_a_method_that_was_not_built_is_said() -> None:
    stated = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    config = vllm_loaded.REAL["llama-3.1-8b"] | {"quantization_config": stated}
    found = loaded(spec_from_config(config, "x", "made").spec, "checkpoint", Layout(), None, None)
    assert isinstance(found, str)
    assert "bitsandbytes was not built" in found


def test_rows_of_one_layer_are_cut_within_a_block() -> None:
    """vLLM's recipe of MiMo-V2-Flash is four ranks, each with 192 rows of K in tiles of 128."""
    assert loaded(load("mimo-v2-flash"), "checkpoint", Layout(4), None, None)


def test_the_page_is_written_from_the_table() -> None:
    said = "python -m tests.engines.vllm_loaded page"
    assert vllm_loaded.PAGE.read_text("utf-8") == vllm_loaded.page(), said


@pytest.mark.parametrize(
    ("model", "layout", "bytes_each"),
    [
        # 30,532,122,624 parameters, of which experts 48 * 128 * 3 * 2048 * 768: half of them on each.
        ("qwen3-30b-a3b", Layout(1, 1, 2), 2 * (1_541_093_376 + 28_991_029_248 // 2)),
        # Two replicas of two ranks: experts, 32 * 8 * 3 * 4096 * 14336, are cut in four, attention and
        # tables in two; norms and routers are whole.
        (
            "mixtral-8x7b",
            Layout(2, 1, 2),
            2 * (1_604_321_280 // 2 + 1_314_816 + 45_097_156_608 // 4),
        ),
    ],
)
def test_experts_stand_once_among_all_replicas(model: str, layout: Layout, bytes_each: int) -> None:
    """fused_moe/config.py, flatten_tp_across_dp_and_pcp, of 0.33.0: dp_size * pcp_size * tp_size ranks."""
    found = loaded(load(model), "bf16", layout, "0.33.0", find("h100"))
    assert isinstance(found, Loaded)
    assert set(found.bytes_per_device) == {bytes_each}


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_another_format_than_the_checkpoints_has_nothing_of_its_method(engine: str) -> None:
    load_of = loaded if engine == "vllm" else sglang_loaded
    config = vllm_loaded.quantised("llama-3.1-8b", "fp8_static", 2)
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    both = [
        load_of(spec_from_config(each, "x", "made").spec, "bf16", Layout(), None, find("h100-80gb"))
        for each in (config, plain)
    ]
    assert both[0] == both[1]
