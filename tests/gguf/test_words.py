"""What people call a quantised file, and what they are told where that does not say the bytes."""

import pytest

from kvcalc.errors import KvcalcError
from kvcalc.file_types import weight_word


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("UD-Q2_K_XL", "q2_k"), ("UD-Q3_K_XL", "q3_k_m"), ("Q4_K_XL", "q4_k_m"), ("UD-Q5_K_XL", "q5_k_m"),
     ("UD-Q6_K_XL", "q6_k"), ("UD-Q8_K_XL", "q8_0"), ("UD-IQ2_XXS", "iq2_xxs"), ("IQ4_KS", "iq4_xs"),
     ("UD-TQ1_0", "tq1_0")],
)  # fmt: skip
def test_a_mixtures_nearest_type_has_as_many_bits(text: str, nearest: str) -> None:
    with pytest.raises(KvcalcError, match=f"or say --dtype {nearest}, the nearest"):
        weight_word(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [("awq-int4", "awq_g128"), ("GPTQ-Int4", "gptq_g128"), ("gptq-int8", "gptq8_g128"),
     ("4bit-DWQ", "mlx-4bit"),
     ("4-bit", "q4_k_m"), ("8bit", "mlx-8bit"), ("bnb-4bit", "nf4"), ("FP8_DYNAMIC", "fp8_row"),
     ("FP8-block", "fp8_block128"), ("w4a16", "int4_g128"), ("W8A8", "int8_channel"), ("Q4", "q4_0"),
     ("4.0bpw", "folder"), ("AutoRound", "gptq_g128"), ("q4_0-qat", "q4_0")],
)  # fmt: skip
def test_a_quantisers_name_is_answered_with_formats(text: str, told: str) -> None:
    with pytest.raises(KvcalcError, match=f"is not a number format here .*{told}"):
        weight_word(text)
