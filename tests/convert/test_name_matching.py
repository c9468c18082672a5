"""Lists of module names matched as the libraries themselves match them."""

import pytest

from kvcalc.convert.quantized.matching import Entries, How
from kvcalc.convert.quantized.modules import Module, bare
from kvcalc.tensors import ParamTensor

NAMES = (
    "model.layers.3.self_attn.q_proj", "model.layers.13.mlp.gate", "model.layers.13.mlp.gate_proj",
    "model.layers.3.mlp.experts.0.down_proj", "lm_head",
    "model.layers.0.mlp.shared_experts.up_proj", "model.layers.0.linear_attn.in_proj_a",
)  # fmt: skip
Q, GATE, GATE_PROJ, EXPERT, HEAD, SHARED, IN_A = NAMES


def matched(entry: str, how: How) -> list[str]:
    """The names that an entry reaches."""
    tensor = ParamTensor("a.weight", (8, 8), "attention", quantised=True)
    return [
        name for name in NAMES if Entries([entry], how).match(Module("a", 0, tensor, (bare(name),)))
    ]


# compressed_tensors 0.20.1, utils.match.match_name of each entry and name.
@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("lm_head", [HEAD]), ("re:.*lm_head", [HEAD]), ("re:.*mlp.gate$", [GATE]),
        (r"re:.*mlp\.gate", [GATE, GATE_PROJ]), ("re:.*self_attn.*", [Q]),
        ("re:.*shared_experts.*", [SHARED]), ("model.layers.3.self_attn.q_proj", [Q]),
        ("model.layers.3.self_attn", []), ("re:model.layers.3", [Q, EXPERT]),
        ("re:.*experts.*down_proj", [EXPERT]),
        (r"re:.*mlp\.(gate|up|gate_up|down)_proj.*", [GATE_PROJ]), ("q_proj", []),
        (r"re:.*\.linear_attn\.in_proj_(a|b)$", [IN_A]),
    ],
)  # fmt: skip
def test_compressed_tensors(entry: str, expected: list[str]) -> None:
    assert matched(entry, "compressed") == expected


@pytest.mark.parametrize(
    "entry",
    ["lm_head", "gate", "model.layers.3.self_attn", "model.layers.1", "model.layers.*.self_attn",
     "self_attn.q_proj", "mlp.gate", "model.layers.13.mlp.gate", "q_proj", "experts.0.down_proj",
     "model.layers.0.linear_attn.in_proj_a", "in_proj_a"],
)  # fmt: skip
def test_transformers(entry: str) -> None:
    quantizers = pytest.importorskip("transformers.quantizers.quantizers_utils")
    expected = [name for name in NAMES if not quantizers.should_convert_module(name, [entry])]
    assert matched(entry, "transformers") == expected


def test_an_expression_that_could_take_for_ever_is_a_plain_name() -> None:
    assert matched("re:(a+)+$", "compressed") == []


def test_experts_that_are_listed_one_by_one() -> None:
    tensor = ParamTensor("a", (4, 8, 8), "experts", quantised=True)
    experts = Module("a", 3, tensor, ("layers.3.mlp.experts.*.up_proj",))
    names = [f"model.layers.3.mlp.experts.{index}.up_proj" for index in range(4)]
    whole = Entries(names, "transformers")
    assert whole.match(experts)
    assert not whole.strangers(8, [experts])
    # Some of them are no format of the whole tensor: the list has names that were not accounted for.
    some = Entries(names[:2], "transformers")
    assert not some.match(experts)
    assert some.strangers(8, [experts]) == names[:2]
