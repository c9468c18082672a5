"""Vision configs -> transformers over patches: vision_config.model_type -> the function that reads it."""

from collections.abc import Callable
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.towers.tensors import Side
from kvcalc.towers.vit import VisionTransformer

_QKVO: tuple[Side, ...] = ("q", "k", "v", "o")


def sides(c: Config, key: str) -> tuple[int, int]:
    """A size in pixels: one number, or rows and columns."""
    value = c.value(key)
    if isinstance(value, list | tuple) and len(value) == 2:
        return c.whole(key, value[0]), c.whole(key, value[1])
    number = c.whole(key, value)
    return number, number


def patch_side(c: Config) -> int:
    """The side of a patch, which is square."""
    rows, columns = sides(c, "patch_size")
    if rows != columns:
        c.refuse("patch_size", "patches that are no squares are not accounted for")
    return rows


def num_patches(c: Config) -> int:
    """Patches of the largest image that the positions are for."""
    (rows, columns), patch = sides(c, "image_size"), patch_side(c)
    return max(rows // patch, 0) * max(columns // patch, 0)


def vit(c: Config, **fields: Any) -> VisionTransformer:
    """The fields that nearly all vision configs call alike; ``fields`` has the others."""
    usual = {
        "hidden_size": "hidden_size", "num_hidden_layers": "num_hidden_layers",
        "num_attention_heads": "num_attention_heads", "intermediate_size": "intermediate_size",
    }  # fmt: skip
    found = {name: c.number(key) for name, key in usual.items() if name not in fields}
    if "num_channels" not in fields:
        found["num_channels"] = c.number("num_channels")
    if "patch_size" not in fields:
        found["patch_size"] = patch_side(c)
    return VisionTransformer(kind="vit", **{**found, **fields})


def clip(c: Config) -> VisionTransformer:
    c.skip("projection_dim", "vocab_size")
    return vit(c, tokens=1, positions=num_patches(c) + 1, embedding_norm=True)


def siglip(c: Config) -> VisionTransformer:
    c.skip("projection_dim", "vocab_size")
    pooled = c.flag("vision_use_head", True)
    return vit(c, patch_bias=True, positions=num_patches(c),
               pooling="attention" if pooled else "none")  # fmt: skip


def siglip2(c: Config) -> VisionTransformer:
    pooled = c.flag("vision_use_head", True)
    return vit(c, patch_bias=True, patch_embedding="linear", positions=c.number("num_patches"),
               pooling="attention" if pooled else "none")  # fmt: skip


def without_pooling(c: Config) -> VisionTransformer:
    """SigLIP's layers without its head (Idefics2, Idefics3, SmolVLM, Aria, PaddleOCR-VL)."""
    c.skip("spatial_merge_size")
    return vit(c, patch_bias=True, positions=num_patches(c))


def without_positions(c: Config) -> VisionTransformer:
    """SigLIP's layers with rotary positions (VideoLLaMA3)."""
    return vit(c, patch_bias=True)


def cosmos3_edge(c: Config) -> VisionTransformer:
    c.skip("spatial_merge_size")
    return vit(
        c, patch_bias=True, patch_embedding="linear", positions=c.number("num_patches")
    )  # fmt: skip


def pixtral(c: Config) -> VisionTransformer:
    c.skip("vocab_size", "image_size")
    return vit(c, norm="rmsnorm", embedding_norm=True, final_norm=False, ffn="gated",
               attention_bias=(), ffn_bias=False, head_dim=_own_head(c))  # fmt: skip


def _own_head(c: Config) -> int | None:
    """A head's width where it is not hidden_size over the heads."""
    stated = c.maybe("head_dim", None)
    usual = c.number("hidden_size") // c.num_heads
    if stated is not None and stated != usual:
        c.refuse("head_dim", f"the projections of {c.model_type} are hidden_size wide")
    return None


def internvl(c: Config) -> VisionTransformer:
    c.skip("hidden_dropout_prob", "projection_dropout", "layer_scale_init_value", "drop_path_rate")
    if c.flag("use_mask_token"):
        c.refuse("use_mask_token", "a mask token is not accounted for")
    biases: tuple[Side, ...] = _QKVO if c.flag("attention_bias") else ("o",)
    norm = c.word("norm_type")
    if norm not in ("layer_norm", "rms_norm"):
        c.refuse("norm_type", "only layer_norm and rms_norm are accounted for")
    mean = c.flag("use_mean_pooling")
    if norm == "rms_norm" and not mean:
        c.refuse("use_mean_pooling", "a last norm of another kind than the layers'")
    at = num_patches(c) + 1 if c.flag("use_absolute_position_embeddings") else None
    return vit(c, tokens=1, patch_bias=True, positions=at, attention_bias=biases, layer_scale=True,
               final_norm=not mean, norm="rmsnorm" if norm == "rms_norm" else "layernorm",
               qk_norm="full" if c.flag("use_qk_norm") else "none")  # fmt: skip


# What Kimi K2.5's own files call the fields that the class has without these letters.
_VT = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")


def kimi(c: Config) -> VisionTransformer:
    for key in _VT:
        c.also(key, f"vt_{key}")
    for side in ("height", "width", "time"):
        c.also(f"pos_emb_{side}", f"init_pos_emb_{side}")
    c.skip("pos_emb_time", "init_pos_emb_time", "merge_kernel_size", "pos_emb_type",
           "mm_projector_type", "projector_hidden_act", "projector_ln_eps", "video_attn_type",
           "mm_hidden_size", "text_hidden_size", "merge_type", "_attn_implementation")  # fmt: skip
    return vit(c, num_channels=c.number("num_channels", 3), patch_bias=True,
               positions=c.number("pos_emb_height") * c.number("pos_emb_width"))  # fmt: skip


def minimax_m3(c: Config) -> VisionTransformer:
    c.skip("image_size", "spatial_merge_size", "projection_dim", "position_embedding_type",
           "vocab_size", "img_token_compression_config")  # fmt: skip
    return vit(c, temporal_patch_size=c.number("temporal_patch_size"), embedding_norm=True,
               final_norm=False)  # fmt: skip


def llama4(c: Config) -> VisionTransformer:
    c.skip("vision_output_dim", "pixel_shuffle_ratio", "projector_input_dim", "projector_dropout",
           "projector_output_dim", "multi_modal_projector_bias", "vision_feature_select_strategy",
           "vision_feature_layer")  # fmt: skip
    return vit(c, tokens=1, positions=num_patches(c) + 1, patch_embedding="linear",
               embedding_norm=True)  # fmt: skip


def muse_glimmer(c: Config) -> VisionTransformer:
    c.skip("layer_types", "max_position_embeddings", "merge_size")
    return vit(c, patch_embedding="linear", temporal_patch_size=c.number("patch_temporal"),
               num_channels=c.number("num_channels", 3), embedding_norm=True,
               positions=c.number("pos_emb_height") * c.number("pos_emb_width"))  # fmt: skip


def step3(c: Config) -> VisionTransformer:
    """The class works out the inner width and the positions, whatever the file says of them."""
    c.skip("layer_scale_init_value", "intermediate_size", "max_position_embeddings")
    inner = int(c.hidden_size * c.real("mlp_ratio"))
    return vit(c, positions=num_patches(c), embedding_norm=True, final_norm=False,
               layer_scale=True, intermediate_size=inner)  # fmt: skip


def blip_2(c: Config) -> VisionTransformer:
    """A class token and one position table; q, k and v in one matrix."""
    bias: tuple[Side, ...] = _QKVO if c.flag("qkv_bias") else ("o",)
    return vit(c, num_channels=3, tokens=1, patch_bias=True, positions=num_patches(c) + 1,
               attention_bias=bias)  # fmt: skip


VISION: dict[str, Callable[[Config], VisionTransformer]] = {
    "clip_vision_model": clip,
    "siglip_vision_model": siglip,
    "siglip2_vision_model": siglip2,
    "idefics2_vision": without_pooling,
    "idefics3_vision": without_pooling,
    "smolvlm_vision": without_pooling,
    "paddleocr_vl_vision": without_pooling,
    "video_llama_3_vision": without_positions,
    "cosmos3_edge_vision": cosmos3_edge,
    "pixtral": pixtral,
    "internvl_vision": internvl,
    "qianfan_ocr_vision": internvl,
    "kimi_k25_vision": kimi,
    "minimax_m3_vl_vision": minimax_m3,
    "llama4_vision_model": llama4,
    "muse_glimmer_vision": muse_glimmer,
    "step3p5_vision": step3,
    "blip_2_vision_model": blip_2,
    "instructblip_vision_model": blip_2,
    "instructblipvideo_vision_model": blip_2,
}


def vision_tower(c: Config) -> VisionTransformer:
    """The vision tower of a nested config, whichever of its types it is."""
    read = VISION.get(c.model_type)
    if read is None:
        c.refuse("model_type", "a vision tower of this type is not accounted for")
    return read(c)
