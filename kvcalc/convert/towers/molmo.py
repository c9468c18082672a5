"""Molmo 2: some layers of a vision transformer side by side, pooled by one attention, and a gated layer.

Source: transformers 5.23, models/molmo2 (configuration_molmo2.py, modeling_molmo2.py). Files of before
that class have the tower under ``vit_config``, with names of their own and layers that nothing reads,
which the class does not build.
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import sides, vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.tensors import Side

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]

_ALL: tuple[Side, ...] = ("q", "k", "v", "o")


def molmo2(whole: Whole) -> Towers:
    """The tower, its pooling and its projector."""
    old = whole.has("vit_config") and not whole.has("vision_config")
    c, a = whole.part("vit_config" if old else "vision_config"), whole.part("adapter_config")
    c.also("image_size", "image_default_input_size")
    c.also("patch_size", "image_patch_size")
    c.also("num_position_embeddings", "image_num_pos")
    a.also("vision_feature_layer", "vit_layers")
    chosen, stated = a.listed("vision_feature_layer"), c.num_layers
    read = [24, 18] if chosen is None else chosen
    for layer in read:
        if type(layer) is not int or not -stated <= layer < stated:
            a.wrong("vision_feature_layer", f"{layer!r} is none of the tower's {stated} layers")
    layers = max(layer % stated for layer in read) + 1 if old else stated
    c.skip("image_norm_eps", "float32_attention", "residual_dropout")
    rows, columns = sides(c, "image_size") if c.stated("image_size") is not None else (378, 378)
    patch, heads = c.number("patch_size"), c.num_heads
    stated_positions = c.maybe("num_position_embeddings", None)
    kv_heads = c.num_kv_heads()
    vision = vit(
        c, num_hidden_layers=layers, num_channels=c.number("num_channels"), patch_size=patch,
        patch_embedding="linear", patch_bias=True, final_norm=False, head_dim=c.number("head_dim"),
        num_key_value_heads=None if kv_heads == heads else kv_heads,
        attention_bias=_ALL if c.flag("attention_bias") else (),
        positions=(rows // patch) * (columns // patch) if stated_positions is None else stated_positions,
    )  # fmt: skip
    return {"vision": vision, "pooling": _pooling(a, len(read)), "projector": _projector(a)}


def _pooling(a: Config, outputs: int) -> Sequence:
    """One attention over the patches of a place, which reads the layers side by side."""
    a.skip(
        "float32_attention", "residual_dropout", "image_feature_dropout", "pooling_attention_mask"
    )
    width, bias = a.hidden_size, a.flag("attention_bias")
    query = a.num_heads * a.number("head_dim")
    key = a.num_kv_heads() * a.number("head_dim")
    return Sequence(kind="sequence", steps=(
        Step(name="q_proj", sizes=(query, outputs * width), bias=bias),
        Step(name="k_proj", sizes=(key, outputs * width), bias=bias),
        Step(name="v_proj", sizes=(key, outputs * width), bias=bias),
        Step(name="o_proj", sizes=(width, query), bias=bias),
    ))  # fmt: skip


def _projector(a: Config) -> "Tower":
    inner, out, width = a.number("intermediate_size"), a.number("text_hidden_size"), a.hidden_size
    if a.flag("mlp_bias"):
        return Sequence(kind="sequence", steps=(
            Step(name="gate_proj", sizes=(inner, width), bias=True),
            Step(name="up_proj", sizes=(inner, width), bias=True),
            Step(name="down_proj", sizes=(out, inner)),
        ))  # fmt: skip
    return Mlp(kind="mlp", in_features=width, gated=inner, gated_out=out)
