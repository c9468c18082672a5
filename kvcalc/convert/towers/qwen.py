"""Qwen-VL and GLM-V: towers whose merger lies inside them and ends in the language model's width.

Source: transformers 5.23, models/qwen2_vl, qwen2_5_vl, qwen3_vl, qwen3_5, cohere_compass,
exaone4_5, glm4v, glm_ocr, glm5_next
(modeling_<type>.py: the vision model, its patch merger and deepstack mergers).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.tensors import Side
from kvcalc.towers.vit import VisionTransformer

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]


def _vit(c: Config, width: int, inner: int, **fields: Any) -> VisionTransformer:
    """What these configs call alike: depth, num_heads, in_channels, frames."""
    # Files of the first releases hold keys that the classes never read.
    c.skip("tokens_per_second", "window_size", "fullatt_block_indexes", "spatial_patch_size",
           "in_chans")  # fmt: skip
    return vit(
        c, hidden_size=width, num_hidden_layers=c.number("depth"),
        num_attention_heads=c.number("num_heads"), intermediate_size=inner,
        num_channels=c.number("in_channels"), temporal_patch_size=c.number("temporal_patch_size"),
        final_norm=False, **fields,
    )  # fmt: skip


def qwen2_vl(c: Config) -> Towers:
    """Layernorms and dense layers; ``hidden_size`` is the language model's."""
    width, ratio = c.number("embed_dim"), c.real("mlp_ratio")
    vision = _vit(c, width, int(width * ratio))
    merged = width * c.number("spatial_merge_size") ** 2
    merger = Mlp(kind="mlp", component="vision", in_features=merged,
                 sizes=(merged, c.number("hidden_size")), norm="layernorm", norm_size=width)  # fmt: skip
    return {"vision": vision, "merger": merger}


def qwen2_5_vl(c: Config) -> Towers:
    """RMS norms and gated layers with biases."""
    width = c.number("hidden_size")
    kv_heads = c.maybe("num_key_value_heads", None)
    vision = _vit(c, width, c.number("intermediate_size"), norm="rmsnorm", ffn="gated",
                  num_key_value_heads=None if kv_heads == c.number("num_heads") else kv_heads)  # fmt: skip
    merged = width * c.number("spatial_merge_size") ** 2
    merger = Mlp(kind="mlp", component="vision", in_features=merged,
                 sizes=(merged, c.number("out_hidden_size")), norm="rmsnorm", norm_size=width)  # fmt: skip
    return {"vision": vision, "merger": merger}


# The types whose class has layers that are read early by itself.
_EARLY = (
    "qwen3_vl_vision", "qwen3_vl_moe_vision", "qwen3_omni_moe_vision_encoder", "cohere_compass_vision",
)  # fmt: skip


def qwen3_vl(c: Config) -> Towers:
    """Learned positions, a bias of the patches, and a merger for each layer that is read early."""
    width = c.number("hidden_size")
    vision = _vit(c, width, c.number("intermediate_size"), patch_bias=True,
                  positions=c.number("num_position_embeddings"))  # fmt: skip
    merged, out = width * c.number("spatial_merge_size") ** 2, c.number("out_hidden_size")
    towers: Towers = {"vision": vision}
    towers["merger"] = Mlp(kind="mlp", component="vision", in_features=merged, sizes=(merged, out),
                           norm="layernorm", norm_size=width)  # fmt: skip
    key = "deepstack_visual_indexes"
    early = c.listed(key) if c.model_type in _EARLY else c.listed(key, default=None)
    if early:
        towers["deepstack"] = Mlp(kind="mlp", component="vision", in_features=merged,
                                  sizes=(merged, out), norm="layernorm", copies=len(early))  # fmt: skip
    return towers


def _glm(c: Config, vision: VisionTransformer, inner: int) -> Towers:
    """A norm, a convolution that merges patches, a matrix with a norm behind it, a gated layer."""
    out, merge = c.number("out_hidden_size"), c.number("spatial_merge_size")
    down = Step(name="downsample", op="conv", sizes=(out, vision.hidden_size, merge, merge),
                bias=True)  # fmt: skip
    proj = Step(name="proj", sizes=(out, out))
    after = Step(name="post_projection_norm", op="norm", sizes=(out,), bias=True)
    return {
        "vision": vision,
        "downsample": Sequence(kind="sequence", component="vision", steps=(down, proj, after)),
        "merger": Mlp(kind="mlp", component="vision", in_features=out, gated=inner),
    }


def glm4v(c: Config) -> Towers:
    """RMS norms and gated layers; ``intermediate_size`` is the merger's, the layers' out_hidden_size."""
    bias: tuple[Side, ...] = ("q", "k", "v") if c.flag("attention_bias") else ()
    rows = c.number("image_size") // c.number("patch_size")
    vision = _vit(c, c.number("hidden_size"), c.number("out_hidden_size"), norm="rmsnorm",
                  ffn="gated", ffn_bias=False, attention_bias=bias, patch_bias=True,
                  positions=rows**2, embedding_norm=True)  # fmt: skip
    return _glm(c, _last_norm(vision), c.number("intermediate_size"))


def glm_ocr(c: Config, inner: int | None = None) -> Towers:
    """Biases, a norm of Q and K, no positions. inner: the merger's width."""
    c.skip("image_size")
    bias: tuple[Side, ...] = ("q", "k", "v", "o") if c.flag("attention_bias") else ()
    vision = _vit(c, c.number("hidden_size"), c.number("intermediate_size"), norm="rmsnorm",
                  ffn="gated", ffn_bias=c.flag("attention_bias"), attention_bias=bias,
                  patch_bias=True, qk_norm="per_head")  # fmt: skip
    inner = inner or c.number("out_hidden_size") * c.number("in_channels")
    return _glm(c, _last_norm(vision), inner)


def glm5_next(c: Config) -> Towers:
    """GLM-OCR's tower; the merger's width is stated."""
    c.skip("image_size", "swiglu_limit")
    return glm_ocr(c, c.number("projection_intermediate_size"))


def _last_norm(vision: VisionTransformer) -> VisionTransformer:
    from dataclasses import replace

    return replace(vision, final_norm=True)


_TYPES: dict[str, Callable[[Config], Towers]] = {
    "qwen2_vl_vision": qwen2_vl,
    "qwen2_5_vl_vision": qwen2_5_vl,
    "qwen2_5_omni_vision_encoder": qwen2_5_vl,
    "exaone4_5_vision": qwen2_5_vl,
    "qwen3_vl_vision": qwen3_vl,
    "qwen3_vl_moe_vision": qwen3_vl,
    "qwen3_omni_moe_vision_encoder": qwen3_vl,
    "qwen3_5_vision": qwen3_vl,
    "qwen3_5_moe_vision": qwen3_vl,
    "qwen4_exp_vision": qwen3_vl,
    "cohere_compass_vision": qwen3_vl,
    "glm4v_vision": glm4v,
    "glm4v_moe_vision": glm4v,
    "glm_ocr_vision": glm_ocr,
    "glm5_next_vision": glm5_next,
}


def vision(whole: Whole) -> Towers:
    """The tower and its merger, whichever of the types it is."""
    c = whole.part("vision_config")
    read = _TYPES.get(c.model_type)
    if read is None:
        c.refuse("model_type", "a vision tower of this type is not accounted for here")
    return read(c)


def hyperclovax(whole: Whole) -> Towers:
    """Qwen2.5-VL's tower and one matrix more."""
    out = whole.part("vision_config").number("out_hidden_size")
    projector = Mlp(kind="mlp", in_features=out, sizes=(whole.text.hidden_size,))
    return {**vision(whole), "projector": projector}
