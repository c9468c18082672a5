"""The stack laid out layer by layer: who owns which weights, in letters that can be read."""

from typing import Any

import pytest

from kvcalc.spec.layers import decoder_layers, encoder_layers, kv_source, num_layers
from kvcalc.spec.model import Block, LayerGroup, ModelSpec
from kvcalc.stack.recursion import Recursion

BLOCKS = {"a": Block(), "s": Block(share_weights=True)}


def stack(*groups: dict[str, Any], **more: Any) -> ModelSpec:
    return ModelSpec(
        name="stack", source=("made up",), hidden_size=8, vocab_size=16, blocks=BLOCKS,
        layers=tuple(LayerGroup(**group) for group in groups), **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("groups", "blocks", "weights"),
    [
        ([{"repeat": 3, "blocks": ("a",)}], "a a a", "0 1 2"),
        # ALBERT: one layer's weights, passed three times.
        ([{"blocks": ("a",), "loops": 3}], "a a a", "0 0 0"),
        # Ouro: the whole stack again, so each layer has its own of the first pass.
        ([{"repeat": 2, "blocks": ("a",), "loops": 2}], "a a a a", "0 1 0 1"),
        # Zamba2: a block that is shared wherever it stands, the others with weights of their own.
        ([{"repeat": 2, "blocks": ("a", "s")}], "a s a s", "0 1 2 1"),
        ([{"blocks": ("a", "s"), "loops": 2}], "a s a s", "0 1 0 1"),
        # A second run begins where the first one ended, and shares the first one's block.
        ([{"blocks": ("s",)}, {"repeat": 2, "pattern": "as"}], "s a s a s", "0 1 0 3 0"),
        ([{"blocks": ("a",)}, {"blocks": ("a",), "loops": 2}], "a a a", "0 1 1"),
    ],
)
def test_weights_by_the_first_layer_that_has_them(
    groups: list[dict[str, Any]], blocks: str, weights: str
) -> None:
    spec = stack(*groups)
    laid = decoder_layers(spec)
    assert [layer.index for layer in laid] == list(range(len(blocks.split())))
    assert " ".join(layer.block for layer in laid) == blocks
    assert " ".join(str(layer.weights) for layer in laid) == weights
    assert num_layers(spec.layers) == len(blocks.split())
    assert encoder_layers(spec) == ()


MIDDLE = Recursion(
    num_recursions=2, sharing="middle_cycle", kv_cache="shared", routing="expert_choice"
)


def test_a_recursion_lies_over_the_stack() -> None:
    laid = decoder_layers(stack({"repeat": 6, "blocks": ("a",)}, recursion=MIDDLE))
    assert [(layer.weights, layer.recursion) for layer in laid] == [
        (0, None), (1, 0), (2, 0), (1, 1), (2, 1), (5, None),
    ]  # fmt: skip


def test_a_recursion_over_blocks_that_differ_is_refused() -> None:
    spec = stack({"repeat": 3, "blocks": ("a",)}, {"repeat": 3, "blocks": ("s",)}, recursion=MIDDLE)
    with pytest.raises(ValueError, match=r"layer 3 \('s'\) would share the weights of layer 1"):
        decoder_layers(spec)


def test_keys_and_values_come_from_the_latest_layer_before() -> None:
    laid = decoder_layers(stack({"repeat": 2, "blocks": ("a", "s", "s")}))
    sources = [kv_source(laid, reader, "a") for reader in laid]
    assert [source and source.index for source in sources] == [None, 0, 0, 0, 3, 3]
