"""The ledger: rows by hand on a small model, formats given layer by layer and part by part."""

from collections.abc import Sequence

import pytest

from kvcalc.dtypes import weight_format
from kvcalc.errors import UnsupportedError
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.ledger import Ledger, Stored, Weight, make_rows
from kvcalc.memory.weights import ledger
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.loader import load_spec_text
from tests.scratch import small

EXPERTS = load_spec_text(
    small("experts").replace(
        "{kind: gated, intermediate_size: 128}",
        "{kind: moe, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 32}",
    )
)
BF16, Q8 = weight_format("bf16"), weight_format("q8_0")


class Mixed:
    """Layer 1 in q8_0; of stacked gate and up only the gate; one tensor in bytes of its own."""

    name = "mixed"

    def store(self, weight: Weight) -> Sequence[Stored]:
        if weight.tensor.name == "ffn.experts.gate_up_proj":
            part = (8, 32, 64)
            return Stored(Q8, shape=part, dtype="Q8_0"), Stored(BF16, shape=part)
        if weight.tensor.name == "ffn.router.weight":
            return (Stored(BF16, num_bytes=1_000),)
        if weight.group.place == "layers" and weight.tensor.quantised:
            return Stored(Q8, layers=(1,), dtype="Q8_0"), Stored(BF16, layers=(0,))
        return (Stored(BF16),)


def mixed() -> Ledger:
    return Ledger("mixed", tuple(make_rows(parameter_groups(EXPERTS), Mixed())))


def test_types() -> None:
    # Layer 1: four matrices of 64 x 64 and experts of 8 x 64 x 32 in q8_0 (34 bytes per 32); gates of
    # 8 x 32 x 64 in both layers. 16,384 / 32 * 34 = 17,408 each of attention, down and gate.
    types = {each.type: (each.tensors, each.bytes) for each in mixed().types}
    assert types["Q8_0"] == (4 + 1 + 2, 17_408 + 17_408 + 2 * 17_408)
    assert mixed().bytes == sum(total for _, total in types.values())
    assert mixed().by_component["router"] == 2_000


def test_parts_are_divided_as_their_tensor_is() -> None:
    # Two ranks halve gate and up: 8 x 16 x 64 each.
    rows = [row for row in mixed().rows if row.name.endswith("gate_up_proj")]
    assert [row.shape_bytes((8, 32, 64)) for row in rows] == [8_704, 16_384]
    layers = decoder_layers(EXPERTS)
    assert mixed().stage_bytes(1, layers, (range(0, 2),)) == [mixed().bytes]


def test_bytes_without_a_format_are_not_divided() -> None:
    (router,) = (row for row in mixed().rows if "router" in row.name)
    with pytest.raises(
        UnsupportedError, match=r"layers.{}.ffn.router.weight \[8, 64\] takes 1,000"
    ):
        router.shape_bytes((4, 64))


def test_scales_are_told_from_elements() -> None:
    # fp8 in tiles: an fp32 scale per 128 x 128 of each of 2 x 4 attention matrices.
    rows = ledger(EXPERTS, "fp8_block128").rows
    attention = [row for row in rows if row.component == "attention"]
    assert [row.scale_bytes for row in attention] == [8] * 4
    # Gate and up are matrices of their own: a scale each, of eight experts in two layers.
    assert [row.scale_bytes for row in rows if row.name.endswith("gate_up_proj")] == [128]


def formats(text: str) -> Ledger:
    return ledger(load_spec_text(small("small", more=f"weight_formats: {text}\n")), "checkpoint")


def test_rules_of_a_spec() -> None:
    # Every matrix of the layers in fp8 but layer 1's down projection; the norms are no matrices, and a
    # star does not reach them. Attention 16,384 and feed-forward 24,576 elements a layer.
    found = formats(
        "[{tensors: [attention.*, ffn.*], format: fp8}, "
        "{tensors: ffn.down_proj, layers: '1', format: bf16}]"
    )
    assert found.by_component["attention"] == 2 * 16_384
    assert found.by_component["ffn"] == 2 * 24_576 + 8_192
    assert found.by_component["norm"] == 640
    # A whole name reaches a norm; bytes are what a file says.
    found = formats("[{tensors: final_norm, format: fp32}, {tensors: embedding, bytes: 7}]")
    assert (found.by_component["norm"], found.by_component["embedding"]) == (768, 7)


@pytest.mark.parametrize("name", ["attention.qproj", "mlp.*", "layers.0.ffn.up_proj"])
def test_a_rule_about_no_tensor_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match="no tensor of the model is called"):
        formats(f"[{{tensors: '{name}', format: fp8}}]")
