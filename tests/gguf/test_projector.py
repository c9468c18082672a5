"""The projector file beside a GGUF file, held to the sizes of published files.

A file's header, its names and keys, lies between: 40 to 120 bytes a tensor.
"""

import pytest

import kvcalc
from kvcalc.gguf.projector import projector_bytes


@pytest.mark.parametrize(
    ("name", "num_bytes", "published"),
    [
        # ggml-org/gemma-3-4b-it-GGUF, mmproj-model-f16.gguf
        ("gemma-3-4b", 851_226_048, 851_251_104),
        # unsloth/Qwen2.5-VL-7B-Instruct-GGUF, mmproj-F16.gguf
        ("qwen2.5-vl-7b", 1_354_131_456, 1_354_163_040),
        # unsloth/Qwen3.8-27B-GGUF, mmproj-F16.gguf: the tower is the same as Qwen3.5-27B's
        ("qwen3.5-27b", 927_587_264, 927_607_488),
    ],
)
def test_the_tensors_are_the_published_files(name: str, num_bytes: int, published: int) -> None:
    assert projector_bytes(kvcalc.load(name)) == num_bytes
    assert 20_000 < published - num_bytes < 32_000


def test_model_and_projector_are_two_files_whose_sum_is_the_weights() -> None:
    answer = kvcalc.estimate("qwen2.5-vl-7b", dtype="q4_k_m").to_dict()["weights"]
    # The published Q4_K_M file of the language model has 4,683,072,384 bytes with its vocabulary.
    assert answer["files"] == [
        {"name": "qwen2.5-vl-7b-Q4_K_M.gguf", "bytes": 4_677_120_000},
        {"name": "mmproj-qwen2.5-vl-7b-F16.gguf", "bytes": 1_354_131_456},
    ]
    assert answer["bytes"] == 6_031_251_456
    assert answer["by_component"]["vision"] == 1_354_131_456


def test_a_draft_is_a_file_of_its_own() -> None:
    answer = kvcalc.estimate("qwen3-8b", dtype="q4_k_m", draft="qwen3-0.6b").to_dict()["weights"]
    assert [each["bytes"] for each in answer["files"]] == [5_021_827_072, 1_192_099_840]
    assert answer["bytes"] == 6_213_926_912


def test_the_language_model_alone_has_no_projector() -> None:
    answer = kvcalc.estimate("gemma-3-4b", dtype="q4_k_m", only="language").to_dict()["weights"]
    assert answer["files"] == [{"name": "gemma-3-4b-Q4_K_M.gguf", "bytes": 2_483_352_832}]


def test_towers_that_mlx_drops_are_named() -> None:
    notes = kvcalc.estimate("gemma-3-4b", dtype="mlx-4bit").assumptions
    said = "not in these bytes: 419,816,304 parameters of vision, projector, which mlx_lm drops"
    assert said in notes


def test_a_type_without_a_known_file_is_refused_with_what_is_true() -> None:
    with pytest.raises(kvcalc.UnsupportedError, match="makes of model_type aya_vision is not acc"):
        kvcalc.estimate("aya-vision-8b", dtype="q4_k_m")
    with pytest.raises(kvcalc.UnsupportedError, match="no architecture for model_type kolibri1"):
        kvcalc.estimate("kolibri-1", dtype="q4_k_m")
