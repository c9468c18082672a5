"""Multimodal models that ship, against the numbers that their published safetensors hold.

As llmfit 1.1.17 (PyPI) read them from the hub for its list of models (``parameters_raw`` of the JSON in
its binary). What the files hold beside the model as it is loaded is a part that kvcalc has, too: modules
that predict further tokens, a router's correction bias, a tied head that is stored once more.
"""

import pytest

import kvcalc
from kvcalc.memory.inventory import mtp_groups
from kvcalc.memory.weights import count_parameters, summarise

WHOLE = {
    "gemma-3-4b": 4_300_079_472,
    "gemma-3-12b": 12_187_325_040,
    "gemma-3-27b": 27_432_406_640,
    "glm-4.1v-9b": 10_292_777_472,
    "internvl3-1b": 938_193_024,
    "internvl3-8b": 7_944_373_760,
    "lfm2-vl-450m": 450_822_656,
    "lfm2-vl-1.6b": 1_584_804_000,
    "llama-3.2-11b-vision": 10_670_220_835,
    "llama-4-scout": 108_641_793_536,
    "llama-4-maverick": 401_583_781_376,
    "llava-1.5-7b": 7_063_427_072,
    "llava-onevision-0.5b": 893_675_552,
    "llava-v1.6-mistral-7b": 7_566_747_648,
    "ministral-3-3b": 3_849_090_048,
    "ministral-3-8b": 8_918_026_240,
    "muse-glimmer-30b": 29_776_626_688,
    "paligemma-3b": 2_923_466_480,
    "qwen2-vl-2b": 2_208_985_600,
    "qwen2-vl-7b": 8_291_375_616,
    "qwen2.5-vl-3b": 3_754_622_976,
    "qwen2.5-vl-7b": 8_292_166_656,
    "qwen2.5-vl-72b": 73_410_777_344,
    "qwen3-vl-2b": 2_127_532_032,
    "qwen3-vl-4b": 4_437_815_808,
    "qwen3-vl-8b": 8_767_123_696,
    "qwen3-vl-30b-a3b": 31_070_754_032,
    "qwen3-vl-32b": 33_357_390_064,
    "qwen3-vl-235b-a22b": 235_670_022_896,
    "smolvlm-2.2b": 2_246_272_880,
    "step-3": 320_969_912_832,
}
WITH_MTP = {
    "glm-ocr": 1_325_258_240,
    "qwen3.5-0.8b": 873_438_784,
    "qwen3.5-2b": 2_274_069_824,
    "qwen3.5-4b": 4_659_865_088,
    "qwen3.5-9b": 9_653_104_368,
    "qwen3.5-27b": 27_781_427_952,
    "qwen3.5-35b-a3b": 35_951_822_704,
    "qwen3.5-122b-a10b": 125_086_497_008,
    "qwen3.5-397b-a17b": 403_397_928_944,
    "qwen3.6-27b": 27_781_427_952,
    "qwen3.6-35b-a3b": 35_951_822_704,
    "qwen3.8-27b": 27_781_427_952,
}
# Corrections of routers, and scalars of layers.
WITH_BUFFERS = {
    "gemma-4-12b": 11_959_730_224,
    "kimi-k2.5": 1_026_879_376_368,
    "minimax-m3": 427_040_140_160,
}
# Files hold more than is loaded: (their parameters, what no model reads or no spec says).
WITH_MORE = {
    # Keys, values and their norms of 20 and 18 layers that read another's: 16 * (2 * 1536 * 256 + 256) +
    # 4 * (2 * 1536 * 512 + 512), and 15 * (2 * 2560 * 512 + 256) + 3 * (2 * 2560 * 1024 + 512).
    "gemma-4-e2b": (5_123_178_051, 18_880_512),
    "gemma-4-e4b": (7_996_156_490, 55_055_616),
    # The same of 10 and of 15 layers of Gemma 3n: 2 * 2048 * 512 + 256 each.
    "gemma-3n-e2b": (5_439_438_272, 20_974_080),
    "gemma-3n-e4b": (7_849_978_192, 31_461_120),
    # Attention residuals of 4 * 7,168 in each of 93 layers and 2 * 7,168 behind them, a norm of 3,584 in
    # the 92 layers of experts, and decays of 128 heads, not 96, in the 69 layers of KDA.
    "kimi-k3": (2_779_931_837_184, 2_680_832 + 329_728 + 2_208),
    # Scales of float8: 16 of each layer's matrices and 384 of its experts', in 36 layers.
    "mistral-small-4": (119_401_317_952, 14_400),
}
WITH_A_STORED_HEAD = {
    "gemma-4-26b": 26_544_131_376,
    "gemma-4-31b": 32_682_372_656,
    "medgemma-27b": 28_842_036_848,
}


@pytest.mark.parametrize(("model", "published"), WHOLE.items())
def test_the_whole_model_is_the_files(model: str, published: int) -> None:
    assert summarise(kvcalc.load(model)).total == published


@pytest.mark.parametrize(("model", "published"), WITH_MTP.items())
def test_the_files_have_the_modules_that_predict_tokens(model: str, published: int) -> None:
    spec = kvcalc.load(model)
    assert summarise(spec).total + count_parameters(mtp_groups(spec)) == published


@pytest.mark.parametrize(("model", "published"), WITH_BUFFERS.items())
def test_the_files_have_the_routers_correction(model: str, published: int) -> None:
    weights = summarise(kvcalc.load(model))
    assert weights.total + weights.buffers == published


@pytest.mark.parametrize(("model", "published", "more"), [(k, *v) for k, v in WITH_MORE.items()])
def test_the_files_have_weights_that_no_spec_says(model: str, published: int, more: int) -> None:
    weights = summarise(kvcalc.load(model))
    assert weights.total + weights.buffers + more == published


def test_step_3_7_has_its_mtp_and_the_routers_correction() -> None:
    spec = kvcalc.load("step-3.7-flash")
    weights = summarise(spec)
    assert weights.total + weights.buffers + count_parameters(mtp_groups(spec)) == 201_365_316_160


@pytest.mark.parametrize(("model", "published"), WITH_A_STORED_HEAD.items())
def test_the_files_have_the_tied_head_once_more(model: str, published: int) -> None:
    spec = kvcalc.load(model)
    assert spec.tie_word_embeddings
    # 262,144 tokens of Gemma 4 and 262,208 of Gemma 3: gemma-4-26b's width is 2,816, the others' 5,376.
    head = {"gemma-4-26b": 738_197_504, "gemma-4-31b": 1_409_286_144, "medgemma-27b": 1_409_630_208}
    assert summarise(spec).total + head[model] == published
