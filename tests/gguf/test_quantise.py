"""Single cases of llama.cpp's rule; test_replay.py has the library's own answers."""

from dataclasses import replace

import pytest

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.file_types import FILE_TYPES, Recipe, file_type, recipe, weight_word
from kvcalc.gguf.quantise import fallback, tensor_types
from kvcalc.gguf.tensors import GgufModel, GgufTensor, kind_of


def _model(*names: str, experts: int = 0) -> GgufModel:
    tensors = [GgufTensor(name, (64, 512), "bf16", "other") for name in names]
    return GgufModel("llama", tuple(map(kind_of, tensors)), 32, experts, 1, False)


def test_a_type_that_needs_an_importance_matrix_says_so() -> None:
    model = _model("token_embd.weight", "blk.0.attn_q.weight")
    with pytest.raises(UsageError, match=r"iq2_xs needs an importance matrix: blk\.0\.attn_q"):
        tensor_types(model, Recipe(file_type=FILE_TYPES["IQ2_XS"]))
    types = tensor_types(model, Recipe(file_type=FILE_TYPES["IQ2_XS"], imatrix=True))
    assert types == ("q5_K", "iq2_xs")


def test_q2_k_needs_none_and_q2_k_s_does() -> None:
    model = _model("output.weight", "blk.0.attn_q.weight")
    assert tensor_types(model, Recipe(file_type=FILE_TYPES["Q2_K"])) == ("q6_K", "q2_K")
    with pytest.raises(UsageError, match="q2_k_s needs"):
        tensor_types(model, Recipe(file_type=FILE_TYPES["Q2_K_S"]))


def test_tables_and_pure() -> None:
    model = _model("output.weight", "token_embd.weight", "blk.9.ffn_down.weight")
    asked = Recipe(file_type=FILE_TYPES["Q4_K_M"], output="q8_0", token_embedding="f16")
    assert tensor_types(model, asked) == ("q8_0", "f16", "q6_K")
    assert tensor_types(model, replace(asked, pure=True)) == ("q8_0", "f16", "q4_K")


@pytest.mark.parametrize(
    ("row", "kind", "stored"),
    [
        (512, "q4_K", "q4_K"), (96, "q4_K", "q5_0"), (96, "q6_K", "q8_0"), (96, "iq3_s", "iq4_nl"),
        (96, "tq2_0", "q4_0"), (80, "q5_K", "f16"), (80, "q8_0", "f16"),
    ],
)  # fmt: skip
def test_rows_that_a_block_does_not_divide(row: int, kind: str, stored: str) -> None:
    assert fallback(GgufTensor("x", (4, row), "bf16", "other"), kind) == stored


def test_a_type_without_a_fall_back_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="rows of 96, which blocks of q1_0 do not divide"):
        fallback(GgufTensor("x", (4, 96), "bf16", "other"), "q1_0")


@pytest.mark.parametrize(
    ("word", "name"),
    [("Q4_K_M", "Q4_K_M"), ("q4_k", "Q4_K_M"), ("q3_K", "Q3_K_M"), ("gguf-bf16", "BF16"),
     ("mxfp4_moe", "MXFP4_MOE"), ("IQ4_xs", "IQ4_XS")],
)  # fmt: skip
def test_names_in_any_case(word: str, name: str) -> None:
    found = file_type(word)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("word", ["bf16", "f16", "fp8", "mxfp4", "mlx4_g64", "checkpoint"])
def test_other_formats_are_no_file_types(word: str) -> None:
    assert file_type(word) is None


@pytest.mark.parametrize(
    "word",
    ["UD-Q4_K_XL", "ud-iq2_m", "Q6_K_L", "Q4_K_XL", "q4_0_4_4", "IQ4_K", "IQ2_KS", "Q3_K_XL"],
)
def test_mixtures_of_other_tools_are_refused_by_name(word: str) -> None:
    with pytest.raises(UsageError, match="a mixture of another tool's making"):
        file_type(word)


def test_options_stand_behind_the_type() -> None:
    assert weight_word("IQ2_XS+IMATRIX") == "iq2_xs+imatrix"
    assert weight_word("q4_k_m+output=Q8_0+pure") == "q4_k_m+pure+output=q8_0"
    with pytest.raises(UsageError, match="'q9' is not a type of a GGUF tensor"):
        recipe("q4_k_m+output=q9")
    with pytest.raises(UsageError, match="'purely' is none of"):
        recipe("q4_k_m+purely")
