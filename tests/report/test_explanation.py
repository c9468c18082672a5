"""``kvcalc explain``: what it says is true of the model it says it of."""

from dataclasses import replace
from fractions import Fraction

import pytest

import kvcalc


def told(model: kvcalc.ModelSpec, context_tokens: int | None = None) -> str:
    """The explanation without its line breaks."""
    return " ".join(kvcalc.explain(model, context_tokens=context_tokens).split())


def test_a_recursion_says_its_share_and_where_it_is_from() -> None:
    spec = kvcalc.load("mor-360m-nr3-middle-cycle")
    text = told(spec, 3000)
    assert "positions: every token" in text
    assert (
        "positions: 2/3 of the tokens, max(1, floor(2/3 * 3000)) = 2000: those that the router of "
        "recursion 2 of 3 lets through (expert choice: (N_r - r) / N_r with N_r = 3 and r = 1, as "
        "recursion.capacities is not stated)"
    ) in text
    assert spec.recursion is not None
    stated = replace(spec.recursion, capacities=(Fraction(1), Fraction(67, 100), Fraction(1, 2)))
    text = told(replace(spec, recursion=stated), 32768)
    assert "floor(67/100 * 32768)) = 21954: those that the router of recursion 2 of 3" in text
    assert "(expert choice: recursion.capacities of the spec)" in text


def test_a_shared_recursion_says_who_keeps_nothing() -> None:
    text = told(kvcalc.load("mor-360m-nr3-middle-cycle-kv-sharing"))
    assert "recursions after the first of 3 stored: nothing: they read the first's keys" in text


def test_keys_rotate_where_the_model_rotates_them() -> None:
    # Whisper adds positions to its embeddings and rotates nothing.
    assert "rotary" not in told(kvcalc.load("whisper-large-v3"))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("whisper-large-v3", "23.0 % of what it is (it leaves out the cross-attention)"),
        ("deepseek-v3", "24.9 times what it is (it bills every layer as multi-head attention)"),
        (
            "gemma-3-27b",
            "9.9 times what it is (it bills every layer as multi-head attention; it bills every "
            "token where a layer keeps fewer)",
        ),
        # Its 128 heads of 128 are 16 times as wide as the model.
        (
            "t5-11b",
            "3.1 % of what it is (it takes the heads together to be as wide as hidden_size; it "
            "leaves out the cross-attention)",
        ),
    ],
)
def test_a_claim_is_wrong_for_its_reason(model: str, reason: str) -> None:
    assert reason in told(kvcalc.load(model))


def test_a_claim_that_holds_is_not_named() -> None:
    assert "2 * layers * hidden_size" not in told(kvcalc.load("gpt2"))
