"""Towers of models whose code stands in their own repositories (``trust_remote_code``).

Source: the modeling files beside the configs of moonshotai/Kimi-VL-A3B-Instruct, OpenGVLab/InternVL3-8B,
deepseek-ai/deepseek-vl2-small and openbmb/MiniCPM-V-2_6, as vLLM 0.33.0 has them (model_executor/models/
moonvit.py, kimi_vl.py, kimi_k25_vit.py, intern_vit.py, internvl.py, deepseek_vl2.py, minicpmv.py), and
the totals of the published files. What a file leaves out is refused: no class fills it in.
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.merged import inverse
from kvcalc.convert.towers.vision import num_patches, vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sam import SegmentAnything
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.tensors import Side
from kvcalc.towers.vit import VisionTransformer

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]
_ALL: tuple[Side, ...] = ("q", "k", "v", "o")


def _merged(c: Config) -> int:
    kernel = c.numbers("merge_kernel_size", least=1) or []
    if len(kernel) != 2:
        c.wrong("merge_kernel_size", "expected rows and columns")
    return kernel[0] * kernel[1]


def kimi_vl(whole: Whole) -> Towers:
    """MoonViT and a projector of merged patches, as Kimi K2.5's."""
    c = whole.part("vision_config")
    c.skip("hidden_act")
    positions = c.number("init_pos_emb_height") * c.number("init_pos_emb_width")
    vision = vit(c, num_channels=3, patch_bias=True, positions=positions)
    width = vision.hidden_size
    inner = width * _merged(c)
    projector = Mlp(kind="mlp", in_features=inner, sizes=(inner, whole.text.hidden_size),
                    norm="layernorm", norm_size=width)  # fmt: skip
    return {"vision": vision, "projector": projector}


def kimi_k3(whole: Whole) -> Towers:
    """MoonViT without biases, whose heads together are wider than its layers, and a norm at the end."""
    c = whole.part("vision_config")
    c.skip("activation_func", "init_pos_emb_time", "merge_type", "pos_emb_interpolation_mode",
           "pos_emb_type", "projector_ln_eps", "video_attn_type", "text_hidden_size",
           "_attn_implementation", "mm_hidden_size")  # fmt: skip
    for key, usual in (("mlp_type", "mlp2"), ("mm_projector_type", "patchmergerv2")):
        c.fixed(key, usual, what="another kind of it")
    width, heads = c.number("vt_hidden_size"), c.number("vt_num_attention_heads")
    norm = c.word("norm_type")
    if norm not in ("rmsnorm", "layernorm"):
        c.refuse("norm_type", "only rmsnorm and layernorm are accounted for")
    positions = c.number("init_pos_emb_height") * c.number("init_pos_emb_width")
    vision = vit(
        c, num_channels=3, hidden_size=width, num_attention_heads=heads,
        num_hidden_layers=c.number("vt_num_hidden_layers"),
        intermediate_size=c.number("vt_intermediate_size"), positions=positions,
        head_dim=c.divide("qkv_hidden_size", c.number("qkv_hidden_size"), heads),
        norm="rmsnorm" if norm == "rmsnorm" else "layernorm",
        attention_bias=_ALL if c.flag("attn_bias") else (), ffn_bias=c.flag("linear_bias"),
        patch_bias=c.flag("patch_embed_proj_bias"),
    )  # fmt: skip
    inner = width * _merged(c)
    projector = Mlp(kind="mlp", in_features=inner, sizes=(inner, whole.text.hidden_size), bias=False,
                    final_norm="rmsnorm")  # fmt: skip
    return {"vision": vision, "projector": projector}


def internvl_chat(whole: Whole) -> Towers:
    """InternViT of 300 million or 6 billion parameters, and InternVL's projector."""
    c = whole.part("vision_config")
    # Experts that no published tower has stand in its files all the same.
    c.skip("capacity_factor", "eval_capacity_factor", "laux_allreduce", "moe_coeff_ratio",
           "moe_intermediate_size", "moe_output_scale", "noisy_gate_policy", "num_experts",
           "num_routed_experts", "num_shared_experts", "shared_expert_intermediate_size",
           "use_residual", "use_rts", "use_weighted_residual", "drop_path_rate")  # fmt: skip
    if c.flag("use_moe", False):
        c.refuse("use_moe", "a tower of experts is not accounted for")
    norm = c.word("norm_type", "layer_norm")
    if norm not in ("layer_norm", "rms_norm"):
        c.refuse("norm_type", "only layer_norm and rms_norm are accounted for")
    vision = vit(
        c, num_channels=c.number("num_channels", 3), tokens=1, patch_bias=True,
        positions=num_patches(c) + 1, layer_scale=True, final_norm=False,
        attention_bias=_ALL if c.flag("qkv_bias") else ("o",),
        norm="rmsnorm" if norm == "rms_norm" else "layernorm",
        qk_norm="full" if c.flag("qk_normalization") else "none",
    )  # fmt: skip
    text, side = whole.text.hidden_size, inverse(whole.top, "downsample_ratio")
    projector = Mlp(kind="mlp", in_features=vision.hidden_size * side**2, sizes=(text, text),
                    norm="layernorm")  # fmt: skip
    return {"vision": vision, "projector": projector}


def deepseek_vl_v2(whole: Whole) -> Towers:
    """SigLIP with its pooling head, which nothing reads, a projector of merged patches and two ends."""
    c, p = whole.part("vision_config"), whole.part("projector_config")
    if c.value("model_name", None) == "deeplip_b_l":
        return _deepseek_ocr(whole, c, p)
    c.skip("class_token", "global_pool", "ignore_head", "weight_init", "num_classes", "deterministic",
           "num_recomputing_layers", "use_checkpoint")  # fmt: skip
    name = c.value("model_name", None)
    if name != "siglip_so400m_patch14_384" and name != "vit_so400m_patch14_siglip_384.webli":
        c.refuse("model_name", "only SigLIP's of 400 million parameters is accounted for")
    width = c.number("width")
    vision = vit(
        c, num_channels=3, hidden_size=width, num_hidden_layers=c.number("layers"),
        num_attention_heads=c.number("heads"), intermediate_size=int(width * c.real("mlp_ratio")),
        patch_bias=True, positions=num_patches(c), pooling="attention",
    )  # fmt: skip
    p.skip("token_pooling")
    p.fixed("projector_type", "downsample_mlp_gelu", what="a projector of another kind")
    p.agree("input_dim", width)
    out, times, side = p.number("n_embed"), p.number("mlp_ratio"), p.number("downsample_ratio")
    depth = p.number("depth")
    sizes = (*[out * times] * (depth - 1), out)
    ends = Sequence(kind="sequence", steps=(
        Step(name="image_newline", op="tensor", sizes=(out,)),
        Step(name="view_seperator", op="tensor", sizes=(out,)),
    ))  # fmt: skip
    projector = Mlp(kind="mlp", in_features=width * side**2, sizes=sizes)
    return {"vision": vision, "projector": projector, "ends": ends}


def _deepseek_ocr(whole: Whole, c: Config, p: Config) -> Towers:
    """DeepSeek-OCR: SAM with two convolutions that halve its rows, CLIP over them, one matrix, two ends."""
    sizes = c.value("width")
    usual = {"layers": 24, "width": 1024, "heads": 16, "patch_size": 14, "image_size": 224}
    high = {"layers": 12, "width": 768, "heads": 12, "global_attn_indexes": [2, 5, 8, 11],
            "downsample_channels": [512, 1024]}  # fmt: skip
    if sizes != {"clip-l-14-224": usual, "sam_vit_b": high}:
        c.refuse("width", "only CLIP-L at 224 pixels and SAM-B are accounted for")
    c.skip("image_size", "mlp_ratio")
    p.fixed("projector_type", "linear", what="a projector of another kind")
    sam = SegmentAnything(
        kind="sam", hidden_size=768, num_hidden_layers=12, num_attention_heads=12, mlp_dim=3072,
        patch_size=16, patches=64, window_size=14, global_attn_indexes=(2, 5, 8, 11),
        output_channels=256,
    )  # fmt: skip
    neck = Sequence(kind="sequence", component="vision", steps=(
        Step(name="net_2", op="conv", sizes=(512, 256, 3, 3)),
        Step(name="net_3", op="conv", sizes=(1024, 512, 3, 3)),
    ))  # fmt: skip
    clip = VisionTransformer(
        kind="vit", hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
        intermediate_size=4096, patch_size=14, tokens=1, positions=257, embedding_norm=True,
        final_norm=False,
    )  # fmt: skip
    out = p.number("n_embed")
    ends = Sequence(kind="sequence", steps=(
        Step(name="image_newline", op="tensor", sizes=(out,)),
        Step(name="view_seperator", op="tensor", sizes=(out,)),
    ))  # fmt: skip
    projector = Mlp(kind="mlp", in_features=p.number("input_dim"), sizes=(out,))
    return {"sam": sam, "neck": neck, "clip": clip, "projector": projector, "ends": ends}


def dots_ocr(whole: Whole) -> Towers:
    """RMS norms and gated layers without biases, a norm behind the patches, and Qwen2-VL's merger."""
    c = whole.part("vision_config")
    c.skip("attn_implementation", "init_merger_std", "is_causal", "gradient_checkpointing")
    c.fixed("temporal_patch_size", 1, what="patches of several frames")
    width, bias = c.number("embed_dim"), c.flag("use_bias")
    vision = vit(
        c, hidden_size=width, patch_bias=True, embedding_norm=True, norm="rmsnorm", ffn="gated",
        ffn_bias=bias, attention_bias=_ALL if bias else (), final_norm=c.flag("post_norm", True),
    )  # fmt: skip
    merged = width * c.number("spatial_merge_size") ** 2
    merger = Mlp(kind="mlp", component="vision", in_features=merged,
                 sizes=(merged, c.number("hidden_size")), norm="layernorm", norm_size=width)  # fmt: skip
    return {"vision": vision, "merger": merger}


def phi3_v(whole: Whole) -> Towers:
    """CLIP-L at 336 pixels, two layers over four patches, and what stands between parts of an image."""
    c, p = whole.part("img_processor"), whole.part("embd_layer")
    c.fixed("name", "clip_vision_model", what="another tower")
    if c.value("model_name", None) != "openai/clip-vit-large-patch14-336":
        c.refuse("model_name", "only openai/clip-vit-large-patch14-336 is accounted for")
    c.skip("num_img_tokens")
    p.skip("hd_transform_order", "embedding_cls")
    p.fixed("projection_cls", "mlp", what="a projector of another kind")
    for key in ("use_hd_transform", "with_learnable_separator"):
        p.fixed(key, True, what="an image that is not divided")
    vision = VisionTransformer(
        kind="vit", hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
        intermediate_size=4096, patch_size=14, tokens=1, positions=577, embedding_norm=True,
    )  # fmt: skip
    merged, text = 4 * c.number("image_dim_out"), whole.text.hidden_size
    ends = Sequence(kind="sequence", steps=(
        Step(name="glb_GN", op="tensor", sizes=(1, 1, merged)),
        Step(name="sub_GN", op="tensor", sizes=(1, 1, 1, merged)),
    ))  # fmt: skip
    projector = Mlp(kind="mlp", in_features=merged, sizes=(text, text))
    return {"vision": vision, "projector": projector, "ends": ends}


def minicpmv(whole: Whole) -> Towers:
    """SigLIP at 980 pixels, and queries that attend to its patches once."""
    c, top = whole.part("vision_config"), whole.top
    c.skip("attention_dropout", "layer_norm_eps")
    if top.flag("drop_vision_last_layer", False):
        top.refuse("drop_vision_last_layer", "a tower without its last layer is not accounted for")
    vision: VisionTransformer = vit(
        c, num_channels=c.number("num_channels", 3), patch_bias=True, positions=num_patches(c)
    )
    text, width = whole.text.hidden_size, vision.hidden_size
    resampler = Sequence(kind="sequence", steps=(
        Step(name="query", op="tensor", sizes=(top.number("query_num"), text)),
        Step(name="kv_proj", sizes=(text, width)),
        Step(name="attn.in_proj", sizes=(3 * text, text), bias=True),
        Step(name="attn.out_proj", sizes=(text, text), bias=True),
        Step(name="ln_q", op="norm", sizes=(text,), bias=True),
        Step(name="ln_kv", op="norm", sizes=(text,), bias=True),
        Step(name="ln_post", op="norm", sizes=(text,), bias=True),
        Step(name="proj", op="tensor", sizes=(text, text)),
    ))  # fmt: skip
    return {"vision": vision, "resampler": resampler}
