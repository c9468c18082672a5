"""Mixture of recursions: the layouts of the paper's Table 1 and its shares, and what is refused."""

from fractions import Fraction
from typing import Any

import pytest

from kvcalc.stack.recursion import Recursion


def recursion(**fields: Any) -> Recursion:
    chosen = {"num_recursions": 3, "sharing": "cycle", "kv_cache": "per_recursion",
              "routing": "expert_choice", **fields}  # fmt: skip
    return Recursion(**chosen)


@pytest.mark.parametrize(
    ("sharing", "weights", "turns"),
    [
        # (1 2 3)(1 2 3)(1 2 3) and (1 1 1)(2 2 2)(3 3 3) of arXiv 2507.10524, section 2.2: each
        # layer by the first one that has its weights.
        ("cycle", "0 1 2 0 1 2 0 1 2", "0 0 0 1 1 1 2 2 2"),
        ("sequence", "0 0 0 3 3 3 6 6 6", "0 1 2 0 1 2 0 1 2"),
        ("cycle", "0 0 0", "0 1 2"),
        # The first and the last layer of their own.
        ("middle_cycle", "0 1 2 1 2 1 2 7", "- 0 0 1 1 2 2 -"),
        ("middle_sequence", "0 1 1 1 4 4 4 7", "- 0 1 2 0 1 2 -"),
    ],
)
def test_layouts(sharing: str, weights: str, turns: str) -> None:
    places = recursion(sharing=sharing).places(len(weights.split()))
    assert " ".join(str(owner) for owner, _ in places) == weights
    assert " ".join("-" if turn is None else str(turn) for _, turn in places) == turns


@pytest.mark.parametrize(
    ("sharing", "num_layers", "message"),
    [
        ("cycle", 10, "10 layers do not divide into 3 recursions; 9 layers in all would"),
        ("middle_cycle", 10, "8 layers between the first and the last do not divide into 3"),
        ("cycle", 0, "0 layers do not divide"),
    ],
)
def test_layers_that_do_not_divide_are_refused(sharing: str, num_layers: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recursion(sharing=sharing).places(num_layers)


@pytest.mark.parametrize(
    ("fields", "case", "shares"),
    [
        # Section 2.2.1: expert choice lets N_r/N_r, (N_r - 1)/N_r ... 1/N_r of the tokens through.
        ({}, "worst", "1 2/3 1/3"),
        ({"capacities": (Fraction(1), Fraction(1, 2), Fraction(1, 8))}, "worst", "1 1/2 1/8"),
        # Token choice: every token as deep as it goes, none deeper than once, or as stated: half
        # of the tokens stop at depth 1, a quarter each at 2 and 3.
        ({"routing": "token_choice"}, "worst", "1 1 1"),
        ({"routing": "token_choice"}, "least", "1 0 0"),
        ({"routing": "token_choice"}, "expected", "1 None None"),
        (
            {"routing": "token_choice", "depths": (Fraction(1, 2), Fraction(1, 4), Fraction(1, 4))},
            "expected",
            "1 1/2 1/4",
        ),
        # Only the first recursion's keys and values are kept (section 2.2.2).
        ({"kv_cache": "shared"}, "worst", "1 0 0"),
        ({"kv_cache": "shared", "routing": "token_choice"}, "worst", "1 0 0"),
    ],
)
def test_shares_of_the_tokens(fields: dict[str, Any], case: Any, shares: str) -> None:
    layer = recursion(**fields)
    assert " ".join(str(layer.token_share(turn, case)) for turn in range(3)) == shares


@pytest.mark.parametrize(
    ("fields", "shapes"),
    [
        # SmolLM-360M is 960 wide. A router for each recursion, or one that chooses among three.
        ({}, [(1, 960)] * 3),
        ({"routing": "token_choice"}, [(3, 960)]),
        # util/misc.py of the reference code: an MLP router is twice as wide inside.
        ({"router": "mlp"}, [(1920, 960), (1, 1920)] * 3),
        ({"router": "mlp", "routing": "token_choice"}, [(1920, 960), (3, 1920)]),
    ],
)
def test_routers(fields: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    tensors = [tensor for router in recursion(**fields).routers(960) for tensor in router]
    assert [tensor.shape for tensor in tensors] == shapes
    assert {tensor.component for tensor in tensors} == {"router"}
    assert len({tensor.name for tensor in tensors}) == len(shapes)


HALF = (Fraction(1, 2), Fraction(1, 2))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, []),
        ({"num_recursions": 2}, []),
        ({"num_recursions": 1}, ["num_recursions"]),
        ({"capacities": HALF}, ["capacities"]),
        ({"capacities": (Fraction(1, 3), Fraction(1, 3), Fraction(1))}, ["capacities"]),
        ({"num_recursions": 2, "capacities": HALF}, []),
        ({"num_recursions": 2, "routing": "token_choice", "capacities": HALF}, ["capacities"]),
        ({"routing": "token_choice", "depths": HALF}, ["depths"]),
        ({"num_recursions": 2, "routing": "token_choice", "depths": HALF}, []),
        (
            {"num_recursions": 2, "routing": "token_choice", "depths": (Fraction(1), HALF[0])},
            ["depths"],
        ),
        ({"num_recursions": 2, "depths": HALF}, ["depths"]),
    ],
)
def test_inconsistent_fields_are_named(fields: dict[str, Any], found: list[str]) -> None:
    assert [name for name, _ in recursion(**fields).check()] == found
