"""Names, shapes and halves of what a model owns beside its layers. A rank of two: tables by rows."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kvcalc.attention.cross import CrossAttention
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.memory.inventory import ParamGroup, groups_of, merged, mtp_groups, parameter_groups
from kvcalc.spec.model import Block, ConvStem, Embedding, Encoder, LayerGroup, ModelSpec
from kvcalc.stack.laurel import Laurel
from kvcalc.stack.mtp import MultiTokenPrediction
from kvcalc.stack.recursion import Recursion
from kvcalc.stack.shared_adapter import SharedAdapter

Halves = dict[str, tuple[int, ...]]
HEADS: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 3}
READER = Block(attention=SoftmaxAttention(kind="mha", **HEADS, mask="bidirectional"))
WRITER = Block(
    attention=SoftmaxAttention(kind="mha", **HEADS),
    cross_attention=CrossAttention(kind="cross", **HEADS),
)
PLAIN = ModelSpec(
    name="made up", source=("made up",), hidden_size=8, vocab_size=11, tie_word_embeddings=False,
    blocks={"a": WRITER, "b": READER}, layers=(LayerGroup(blocks=("a",)),), norm="layernorm",
)  # fmt: skip


def halves(groups: Iterator[ParamGroup]) -> Halves:
    """Every tensor that belongs to no layer, on one rank of two; all of other components."""
    return {
        group.prefix + tensor.name: tensor.per_rank(2)
        for group in groups
        if not group.layers
        for tensor in group.tensors
    }


def beside(**fields: Any) -> Halves:
    return halves(parameter_groups(replace(PLAIN, **fields)))


# 11 rows on two ranks: 6, padded.
TABLE: Halves = {"embedding.weight": (6, 8)}
LAST: Halves = {"final_norm.weight": (8,), "final_norm.bias": (8,)}
HEAD: Halves = {"head.weight": (6, 8)}


@pytest.mark.parametrize(
    ("fields", "tensors"),
    [
        ({}, {**TABLE, **LAST, **HEAD}),
        ({"tie_word_embeddings": True}, {**TABLE, **LAST}),
        ({"final_norm": False, "head": "none"}, TABLE),
        ({"head_bias": True}, {**TABLE, **LAST, **HEAD, "head.bias": (6,)}),
        # BERT: a transform and a tied decoder with a bias of its own, and a pooler.
        (
            {"head": "mlm", "tie_word_embeddings": True, "pooler": True, "final_norm": False},
            {
                **TABLE, "pooler.weight": (8, 8), "pooler.bias": (8,), "head_transform.weight": (8, 8),
                "head_transform.bias": (8,), "head_norm.weight": (8,), "head_norm.bias": (8,),
                "head.bias": (6,),
            },
        ),
        # BERT's other tables and the norm over their sum.
        (
            {"embedding": Embedding(positions=5, token_types=2, norm=True)},
            {
                **TABLE, "position_embedding.weight": (5, 8), "token_type_embedding.weight": (2, 8),
                "embedding_norm.weight": (8,), "embedding_norm.bias": (8,), **LAST, **HEAD,
            },
        ),
        # ALBERT: a table of 3, whose sums are normed before a projection with a bias.
        (
            {"embedding": Embedding(size=3, projection="in_bias", positions=5, norm=True)},
            {
                "embedding.weight": (6, 3), "embedding_projection.weight": (8, 3),
                "embedding_projection.bias": (8,), "position_embedding.weight": (5, 3),
                "embedding_norm.weight": (3,), "embedding_norm.bias": (3,), **LAST,
                "head.weight": (6, 3),
            },
        ),
        # OPT-350m: projected in before positions are added, and out before the head.
        (
            {"embedding": Embedding(size=3, projection="in_out", positions=5)},
            {
                "embedding.weight": (6, 3), "embedding_projection.weight": (8, 3),
                "position_embedding.weight": (5, 8), **LAST, "head_projection.weight": (3, 8),
                "head.weight": (6, 3),
            },
        ),
        # DeBERTa: a table of relative positions with a norm.
        (
            {"embedding": Embedding(relative_positions=4, relative_norm=True)},
            {
                **TABLE, "relative_position_embedding.weight": (4, 8),
                "relative_position_norm.weight": (8,), "relative_position_norm.bias": (8,), **LAST,
                **HEAD,
            },
        ),
        (
            {"embedding": Embedding(relative_positions=4)},
            {**TABLE, "relative_position_embedding.weight": (4, 8), **LAST, **HEAD},
        ),
        # Llama 3.2 Vision: three rows more than the head, 14 on two ranks.
        ({"embedding": Embedding(extra_rows=3)}, {"embedding.weight": (7, 8), **LAST, **HEAD}),
        # A mixture of two recursions has a router of 8 for each.
        (
            {
                "layers": (LayerGroup(repeat=2, blocks=("a",)),),
                "recursion": Recursion(num_recursions=2, sharing="cycle", kv_cache="shared",
                                       routing="expert_choice"),
            },
            {
                **TABLE, **LAST, **HEAD, "recursion_router.0.weight": (1, 8),
                "recursion_router.1.weight": (1, 8),
            },
        ),
        # T5: a bias of 4 buckets for each of the 2 heads, of which a rank has one.
        (
            {"relative_attention_num_buckets": 4},
            {**TABLE, "relative_attention_bias.weight": (4, 1), **LAST, **HEAD},
        ),
    ],
)  # fmt: skip
def test_beside_the_layers(fields: dict[str, Any], tensors: Halves) -> None:
    assert beside(**fields) == tensors


STACK = (LayerGroup(blocks=("b",)),)


@pytest.mark.parametrize(
    ("encoder", "tensors"),
    [
        (Encoder(layers=STACK, final_norm=False), {}),
        (
            Encoder(layers=STACK, embedding="own", positions=5, embedding_norm=True, hidden_size=4),
            {
                "embedding.weight": (6, 4), "position_embedding.weight": (5, 4),
                "embedding_norm.weight": (4,), "embedding_norm.bias": (4,),
                "final_norm.weight": (4,), "final_norm.bias": (4,),
            },
        ),
        # Whisper: two convolutions, from 7 mel bins and from the width.
        (
            Encoder(layers=STACK, embedding="none", conv_stem=ConvStem(in_channels=7, kernel=3),
                    final_norm=False),
            {
                "conv1.weight": (8, 7, 3), "conv1.bias": (8,), "conv2.weight": (8, 8, 3),
                "conv2.bias": (8,),
            },
        ),
        (
            Encoder(layers=STACK, relative_attention_num_buckets=4, final_norm=False),
            {"relative_attention_bias.weight": (4, 1)},
        ),
    ],
)  # fmt: skip
def test_beside_the_encoder_s_layers(encoder: Encoder, tensors: Halves) -> None:
    found = beside(encoder=encoder)
    own = {f"encoder.{name}": shape for name, shape in tensors.items()}
    assert found == {**TABLE, **own, **LAST, **HEAD}


def test_layers_of_an_encoder_of_another_width() -> None:
    spec = replace(PLAIN, encoder=Encoder(layers=STACK, hidden_size=4))
    shapes = {
        group.prefix + tensor.name: tensor.shape
        for group in parameter_groups(spec)
        if group.layers
        for tensor in group.tensors
    }
    assert shapes["encoder.layers.{}.attention.q_proj.weight"] == (6, 4)
    assert shapes["layers.{}.attention.q_proj.weight"] == (6, 8)
    # Keys and values of the encoder's 4 channels, queries of the decoder's 8.
    assert shapes["layers.{}.cross_attention.k_proj.weight"] == (6, 4)
    assert shapes["layers.{}.cross_attention.q_proj.weight"] == (6, 8)


def test_what_surrounds_a_decoder_layer_is_its_own() -> None:
    # Laurel: two matrices of rank 3 and a norm in each of two layers, none in the encoder's.
    spec = replace(
        PLAIN, layers=(LayerGroup(repeat=2, blocks=("a",)),), encoder=Encoder(layers=STACK),
        laurel=Laurel(laurel_rank=3),
    )  # fmt: skip
    found = [
        (group.prefix, group.count, tensor.name, tensor.shape)
        for group in parameter_groups(spec)
        for tensor in group.tensors
        if "laurel" in tensor.name
    ]
    assert found == [
        ("layers.{}.", 2, "laurel.linear_left.weight", (3, 8)),
        ("layers.{}.", 2, "laurel.linear_right.weight", (8, 3)),
        ("layers.{}.", 2, "laurel.post_laurel_norm.weight", (8,)),
    ]


def test_every_use_of_a_shared_block_has_an_adapter() -> None:
    shared = replace(READER, share_weights=True, adapter=SharedAdapter(intermediate_size=6))
    spec = replace(PLAIN, blocks={"s": shared}, layers=(LayerGroup(repeat=3, blocks=("s",)),))
    owned = [(group.prefix, group.layers) for group in parameter_groups(spec) if group.layers]
    assert owned == [("layers.{}.", (0,)), ("layers.{}.adapter.", (0, 1, 2))]


def test_layers_that_predict_further_tokens() -> None:
    spec = replace(PLAIN, mtp=MultiTokenPrediction(num_layers=2, block="b"))
    (group,) = mtp_groups(spec)
    assert (group.prefix, group.layers, group.count) == ("mtp.{}.", (0, 1), 2)
    names = [tensor.name for tensor in group.tensors]
    assert names[:4] == [f"attention.{side}_proj.weight" for side in "qkvo"]
    # DeepSeek-V3's module joins two normed inputs by one matrix (arXiv 2412.19437, equation 21).
    assert {tensor.name: tensor.shape for tensor in group.tensors}["eh_proj.weight"] == (8, 16)
    assert list(mtp_groups(PLAIN)) == []


def test_what_each_slot_keeps() -> None:
    spec = replace(
        PLAIN, layers=(LayerGroup(repeat=2, blocks=("a", "b")),), encoder=Encoder(layers=STACK)
    )
    kept = [
        (group.stack, group.block, group.slot, group.mechanism, group.layers,
         [tensor.name for tensor in group.tensors])
        for group in groups_of(spec)
    ]  # fmt: skip
    # The encoder and the decoder's own encoder-like layers keep nothing.
    assert kept == [
        ("decoder", "a", "attention", "mha", (0, 2), ["key", "value"]),
        ("decoder", "a", "cross_attention", "cross", (0, 2), ["cross_key", "cross_value"]),
    ]


def test_blocks_that_keep_the_same_are_one_group() -> None:
    blocks = {"a": WRITER, "b": replace(WRITER, norms=1), "c": replace(WRITER, norms=2)}
    layers = (LayerGroup(blocks=("b", "a")), LayerGroup(blocks=("c", "a")))
    groups = merged(groups_of(replace(PLAIN, blocks=blocks, layers=layers)))
    assert [(group.slot, group.block, group.blocks, group.layers) for group in groups] == [
        ("attention", "b, a, c", ("b", "a", "c"), (0, 1, 2, 3)),
        ("cross_attention", "b, a, c", ("b", "a", "c"), (0, 1, 2, 3)),
    ]


def test_a_recursion_keeps_the_tokens_that_reach_it() -> None:
    window = replace(READER, attention=SoftmaxAttention(kind="mha", **HEADS, sliding_window=4))
    spec = replace(
        PLAIN,
        blocks={"a": replace(WRITER, cross_attention=None), "w": window},
        layers=(LayerGroup(repeat=3, blocks=("a", "w")),),
        recursion=Recursion(
            num_recursions=3, sharing="cycle", kv_cache="per_recursion", routing="expert_choice"
        ),
    )
    kept = [(group.block, group.layers, str(group.tensors[0].extent)) for group in groups_of(spec)]
    # All of the tokens, two thirds, one third; a window is full whichever tokens pass.
    assert kept == [
        ("a", (0,), "every token"), ("w", (1,), "last 4 tokens"),
        ("a", (2,), "2/3 of the tokens"), ("w", (3,), "last 4 tokens"),
        ("a", (4,), "1/3 of the tokens"), ("w", (5,), "last 4 tokens"),
    ]  # fmt: skip
    shared = replace(spec, recursion=replace(spec.recursion, kv_cache="shared"))
    assert [group.layers for group in groups_of(shared)] == [(0,), (1,)]
    chosen = replace(spec, recursion=replace(spec.recursion, routing="token_choice"))
    with pytest.raises(ValueError, match=r"needs recursion\.depths"):
        groups_of(chosen, "expected")


def test_equal_blocks_are_worked_out_once() -> None:
    one, other = (
        PLAIN,
        replace(PLAIN, name="another", blocks={**PLAIN.blocks, "a": replace(WRITER)}),
    )
    (mine,), (theirs,) = ([g for g in parameter_groups(spec) if g.layers] for spec in (one, other))
    assert mine.tensors is theirs.tensors
    assert [g.tensors for g in groups_of(one)] == [g.tensors for g in groups_of(other)]
    wider = replace(PLAIN, hidden_size=10)
    (wide,) = (g for g in parameter_groups(wider) if g.layers)
    assert mine.tensors[0].shape == (6, 8)
    assert wide.tensors[0].shape == (6, 10)


def test_a_stack_whose_blocks_share_their_weights_is_another() -> None:
    own = replace(PLAIN, layers=(LayerGroup(repeat=3, blocks=("a",)),))
    shared = replace(own, blocks={**own.blocks, "a": replace(WRITER, share_weights=True)})
    assert [g.layers for g in parameter_groups(own) if g.layers] == [(0, 1, 2)]
    assert [g.layers for g in parameter_groups(shared) if g.layers] == [(0,)]
    assert [g.layers for g in groups_of(own)] == [g.layers for g in groups_of(shared)]
