"""Models of several towers, or of parts that stand between them: SAM, tiles, visual words, convolutions.

Source: transformers 5.23, models/mllama, got_ocr2, deepseek_vl_hybrid, minicpmv4_6, ovis2, lfm3_vl,
granite_docling, nemotron_h_omni, radio, qwen2_5_omni, qwen3_omni_moe.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers import qwen, sound
from kvcalc.convert.towers.vision import sides, vision_tower, vit, without_pooling
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sam import SegmentAnything
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.tensors import Side

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]


def _vision_steps(*steps: Step, copies: int | None = None) -> Sequence:
    return Sequence(kind="sequence", component="vision", steps=steps, copies=copies)


def mllama(whole: Whole) -> Towers:
    """Llama 3.2 Vision: layers of tiles, layers over all tiles with gates, and tables of aspect ratios."""
    c = whole.part("vision_config")
    c.skip("intermediate_layers_indices", "supported_aspect_ratios", "max_aspect_ratio_id")
    width, tiles = c.hidden_size, c.number("max_num_tiles")
    ratios = c.listed("supported_aspect_ratios") or []
    rows, (height, across) = len(ratios) + 1, sides(c, "image_size")
    patch = c.number("patch_size")
    positions = (height // patch) * (across // patch) + 1
    heads = c.number("attention_heads")
    local = vit(c, num_attention_heads=heads, tokens=1, attention_bias=(), embedding_norm=True)
    whole_image = replace(
        local, num_hidden_layers=c.number("num_global_layers"), patch_embedding="none", tokens=None,
        embedding_norm=False, final_norm=False,
    )  # fmt: skip
    gate, gates = Step(name="gate", op="tensor", sizes=(1,)), ("gate_attn", "gate_ffn")
    tile = Step(name="embedding", op="table", sizes=(rows, tiles * width))
    out = c.number("vision_output_dim")
    return {
        "vision": local,
        "global_layers": whole_image,
        "global_gates": _vision_steps(
            *(Step(name=name, op="tensor", sizes=(1,)) for name in gates),
            copies=whole_image.num_hidden_layers,
        ),
        "positions": _vision_steps(
            gate,
            Step(name="embedding", op="tensor", sizes=(positions, width)),
            Step(name="tile_embedding", op="table", sizes=(rows, tiles * positions * width)),
        ),
        "tiles_before": _vision_steps(tile, gate),
        "tiles_after": _vision_steps(tile, gate),
        "projector": Mlp(kind="mlp", in_features=out, sizes=(whole.text.hidden_size,)),
    }


def sam(c: Config) -> SegmentAnything:
    """SAM's encoder as GOT-OCR 2 and DeepSeek-VL configure it."""
    c.skip("num_pos_feats", "scale", "mlp_ratio", "downsample_channels")
    rows, columns = sides(c, "image_size")
    if rows != columns:
        c.refuse("image_size", "an image that is no square is not accounted for")
    whole_image = tuple(c.numbers("global_attn_indexes") or ())
    return SegmentAnything(
        kind="sam", hidden_size=c.hidden_size, num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_heads, mlp_dim=_sam_inner(c),
        patch_size=c.number("patch_size"), num_channels=c.number("num_channels"),
        patches=rows // c.number("patch_size"), window_size=c.number("window_size"),
        global_attn_indexes=whole_image, output_channels=c.number("output_channels"),
        qkv_bias=c.flag("qkv_bias"), absolute_positions=c.flag("use_abs_pos"),
        relative_positions=c.flag("use_rel_pos"),
    )  # fmt: skip


def _sam_inner(c: Config) -> int:
    stated = c.maybe("mlp_dim", None)
    return int(c.hidden_size * c.real("mlp_ratio")) if stated is None else stated


def got_ocr2(whole: Whole) -> Towers:
    """SAM, two convolutions that halve the rows, and one layer."""
    tower, text = sam(whole.part("vision_config")), whole.text.hidden_size
    out = tower.output_channels
    projector = Sequence(kind="sequence", steps=(
        Step(name="conv_upsampler1", op="conv", sizes=(2 * out, out, 3, 3)),
        Step(name="conv_upsampler2", op="conv", sizes=(text, 2 * out, 3, 3)),
        Step(name="multimodal_projector", sizes=(text, text), bias=True),
    ))  # fmt: skip
    return {"vision": tower, "projector": projector}


def deepseek_vl_hybrid(whole: Whole) -> Towers:
    """SigLIP for the whole image and SAM for its details, each with a layer of its own."""
    high, low = sam(whole.part("high_res_vision_config")), vision_tower(whole.part("vision_config"))
    text, out, wide = whole.text.hidden_size, high.output_channels, high.hidden_size
    neck = _vision_steps(
        Step(name="neck.conv1", op="conv", sizes=(out, wide, 1, 1)),
        Step(name="neck.layer_norm1", op="norm", sizes=(out,), bias=True),
        Step(name="neck.conv2", op="conv", sizes=(out, out, 3, 3)),
        Step(name="neck.layer_norm2", op="norm", sizes=(out,), bias=True),
        Step(name="proj.conv1", op="conv", sizes=(2 * out, out, 3, 3)),
        Step(name="proj.conv2", op="conv", sizes=(4 * out, 2 * out, 3, 3)),
        Step(name="alpha", op="tensor", sizes=(1,)),
    )
    half = text // 2
    aligner = Sequence(kind="sequence", steps=(
        Step(name="vision_proj", sizes=(half, low.hidden_size), bias=True),
        Step(name="high_res_vision_proj", sizes=(half, 4 * out), bias=True),
        Step(name="proj", sizes=(text, text), bias=True),
    ))  # fmt: skip
    return {"vision": low, "high_resolution": high, "neck": neck, "projector": aligner}


def minicpmv(whole: Whole) -> Towers:
    """SigLIP, a merger of windows inside it, and an MLP for each further merge of four patches."""
    top, c = whole.top, whole.part("vision_config")
    c.skip("insert_layer_id")
    kernel = c.numbers("window_kernel_size", 2, least=1) or [1, 1]
    patches, vision = kernel[0] * kernel[1], without_pooling(c)
    d, inner, text = vision.hidden_size, vision.intermediate_size, whole.text.hidden_size
    square = [
        Step(name=f"self_attn.{side}", sizes=(d, d), bias=True)
        for side in ("q_proj", "k_proj", "v_proj", "out_proj")
    ]
    merger = _vision_steps(
        *square,
        Step(name="layer_norm1", op="norm", sizes=(d,), bias=True),
        Step(name="pre_norm", op="norm", sizes=(d * patches,), bias=True),
        Step(name="linear_1", sizes=(inner * patches, d * patches), bias=True),
        Step(name="linear_2", sizes=(d, inner * patches), bias=True),
    )
    towers: Towers = {"vision": vision, "merger": merger}
    times = top.number("merger_times")
    if times > 1:
        towers["downsample"] = Mlp(kind="mlp", in_features=4 * d, sizes=(4 * d, d), norm="layernorm",
                                   copies=times - 1)  # fmt: skip
    towers["projector"] = Mlp(kind="mlp", in_features=4 * d, sizes=(4 * d, text), norm="layernorm")
    return towers


def ovis2(whole: Whole) -> Towers:
    """AIMv2, a head of visual words, and a table of their embeddings."""
    c = whole.part("vision_config")
    c.skip("tokenize_function")
    side = c.number("image_size") // c.number("patch_size")
    bias: tuple[Side, ...] = ("q", "k", "v", "o") if c.flag("qkv_bias") else ()
    words, width = c.number("vocab_size"), c.hidden_size
    vision = vit(c, norm="rmsnorm", ffn="gated", patch_bias=True, positions=side * side,
                 embedding_norm=True, attention_bias=bias, ffn_bias=c.flag("mlp_bias"))  # fmt: skip
    said = words - c.number("num_visual_indicator_tokens")
    head = _vision_steps(
        Step(name="head_linear", sizes=(said, width * c.number("hidden_stride") ** 2)),
        Step(name="head_norm", op="norm", sizes=(said,), bias=True),
    )
    top = whole.top
    rows = top.values.get("vocab_size", whole.text.vocab_size)
    if not whole.text.tie_word_embeddings and rows != whole.text.vocab_size:
        top.wrong("vocab_size", f"a head of {rows} rows over {whole.text.vocab_size} tokens")
    width_out = top.number("hidden_size", whole.text.hidden_size)
    table = Step(name="visual_embeddings_table", op="table", sizes=(words, width_out))
    return {"vision": vision, "head": head, "table": Sequence(kind="sequence", steps=(table,))}


def nemotron_omni(whole: Whole) -> Towers:
    """RADIO, with a patch embedding for frames of its own, and a projector without biases."""
    top, c = whole.top, whole.part("vision_config")
    c.skip("max_img_size", "summary_idxs", "norm_mean", "norm_std", "patch_dim", "video_patch_dim",
           "layerscale_value", "drop_path_rate", "hidden_dropout_prob", "image_size")  # fmt: skip
    if c.flag("use_swiglu_ffn"):
        c.refuse("use_swiglu_ffn", "only dense layers are accounted for")
    width, patch = c.hidden_size, c.number("patch_size")
    largest = c.number("max_img_size") // patch
    bias: tuple[Side, ...] = ("q", "k", "v", "o") if c.flag("qkv_bias") else ("o",)
    tower = vit(
        c, intermediate_size=int(width * c.real("mlp_ratio")), patch_embedding="linear",
        tokens=c.number("num_cls_tokens") + c.number("num_registers"), positions=largest**2,
        layer_scale=True, final_norm=False, attention_bias=bias,
    )  # fmt: skip
    towers: Towers = {"vision": tower}
    if whole.raw("text_config").get("num_nextn_predict_layers"):
        # Megatron's shared config puts a norm behind the tower where the decoder predicts ahead.
        after = Step(name="vision_final_layernorm", op="norm", sizes=(width,), bias=True)
        towers["final_norm"] = _vision_steps(after)
    frames = c.maybe("video_temporal_patch_size", least=1) or 1
    if frames > 1:
        pixels = frames * tower.patch_shape[1]
        towers["video_patches"] = _vision_steps(
            Step(name="video_patch_projection", sizes=(width, pixels))
        )
    merged = width * _inverse(top, "downsample_ratio") ** 2
    sizes = (top.number("projector_hidden_size"), whole.text.hidden_size)
    towers["projector"] = Mlp(
        kind="mlp", in_features=merged, sizes=sizes, bias=False, norm="rmsnorm"
    )
    return towers


def _inverse(c: Config, key: str) -> int:
    from kvcalc.convert.towers.merged import inverse

    return inverse(c, key)


def omni_thinker(whole: Whole) -> Towers:
    """Qwen2.5-Omni's thinker: Whisper's layers without a table, and Qwen2.5-VL's tower."""
    c = whole.part("audio_config")
    c.skip("n_window", "max_source_positions")
    audio, out = sound.whisper(c, positions=None), c.number("output_dim")
    ends = Sequence(kind="sequence", component="audio", steps=(
        Step(name="audio_bos_eos_token", op="table", sizes=(2, out)),
        Step(name="proj", sizes=(out, audio.hidden_size), bias=True),
    ))  # fmt: skip
    return {"audio": audio, "audio_ends": ends, **qwen.vision(whole)}


def omni_moe_thinker(whole: Whole) -> Towers:
    """Qwen3-Omni's thinker: convolutions over frames and bins, and Qwen3-VL's tower."""
    c = whole.part("audio_config")
    out, audio = c.number("output_dim"), sound.conv2d(c)
    ends = Mlp(kind="mlp", component="audio", in_features=audio.hidden_size,
               sizes=(audio.hidden_size, out))  # fmt: skip
    return {"audio": audio, "audio_ends": ends, **qwen.vision(whole)}


def granite_docling(whole: Whole) -> Towers:
    """SigLIP with a coarse and a fine route behind it, each with mergers of earlier layers."""
    c = whole.part("vision_config")
    early, scale = c.listed("deepstack_visual_indexes") or [], c.number("scale_factor")
    out, fine = c.number("out_hidden_size"), c.flag("use_fine_route")
    vision = without_pooling(c)
    d = vision.hidden_size
    towers: Towers = {"vision": vision}
    for name, factor in (("coarse", scale), *((("fine", scale // 2),) if fine else ())):
        merged = d * factor**2
        matrix = Step(name="projection", sizes=(out, merged))
        towers[name] = _vision_steps(matrix)
        if early:
            towers[f"{name}_mergers"] = Mlp(
                kind="mlp", component="vision", in_features=merged, sizes=(out, out),
                norm="layernorm", copies=len(early),
            )  # fmt: skip
    towers["ends"] = _vision_steps(
        Step(name="ln_in", op="norm", sizes=(d,), bias=True),
        Step(name="ln_mid", op="norm", sizes=(out,), bias=True),
        Step(name="mlp_fc2", sizes=(out, out)),
        Step(name="ln_out", op="norm", sizes=(out,), bias=True),
    )
    router = whole.top.maybe("density_router_hidden_size", None)
    if router is not None:
        towers["density_router"] = _vision_steps(
            Step(name="att", sizes=(1, d), bias=True),
            Step(name="norm", op="norm", sizes=(d,), bias=True),
            Step(name="fc1", sizes=(router, d), bias=True),
            Step(name="fc2", sizes=(1, router), bias=True),
        )
    return towers


def lfm3_vl(whole: Whole) -> Towers:
    """Convolutions and attention by layer_types, with gated layers, and a projector as Kimi's."""
    c, top = whole.part("vision_config"), whole.top
    width, heads, kv_heads = c.hidden_size, c.num_heads, c.num_kv_heads()
    inner, taps = c.number("intermediate_size"), c.number("conv_kernel_size")
    kinds = c.words("layer_types", c.num_layers)
    if kinds is None:
        c.refuse("layer_types", "which layers are convolutions is not stated")
    head_dim = c.divide("hidden_size", width, heads)
    usual = (
        Step(name="feed_forward.w1", sizes=(inner, width)),
        Step(name="feed_forward.w3", sizes=(inner, width)),
        Step(name="feed_forward.w2", sizes=(width, inner)),
        Step(name="operator_norm", op="norm", sizes=(width,)),
        Step(name="ffn_norm", op="norm", sizes=(width,)),
    )
    convolved = (
        Step(name="conv.in_proj", sizes=(3 * width, width)),
        Step(name="conv.spatial_conv", op="conv", sizes=(width, 1, taps, taps)),
        Step(name="conv.out_proj", sizes=(width, width)),
    )
    attended = (
        Step(name="self_attn.q_proj", sizes=(width, width)),
        Step(name="self_attn.k_proj", sizes=(kv_heads * head_dim, width)),
        Step(name="self_attn.v_proj", sizes=(kv_heads * head_dim, width)),
        Step(name="self_attn.out_proj", sizes=(width, width)),
        Step(name="self_attn.q_norm", op="norm", sizes=(head_dim,)),
        Step(name="self_attn.k_norm", op="norm", sizes=(head_dim,)),
    )
    pixels = c.number("in_channels") * c.number("temporal_patch_size") * c.number("patch_size") ** 2
    towers: Towers = {"patches": _vision_steps(
        Step(name="patch_embed", sizes=(width, pixels)),
        Step(name="embedding_norm", op="norm", sizes=(width,)),
    )}  # fmt: skip
    for name, own, steps in (
        ("conv_layers", "conv", convolved), ("attention_layers", "full_attention", attended),
    ):  # fmt: skip
        if own in kinds:
            towers[name] = _vision_steps(*steps, *usual, copies=kinds.count(own))
    for kind in kinds:
        if kind not in ("conv", "full_attention"):
            c.refuse("layer_types", f"layers of type '{kind}' are not accounted for here")
    merged = width * c.number("spatial_merge_size") ** 2
    towers["projector"] = Mlp(
        kind="mlp", in_features=merged, norm="layernorm", norm_size=width,
        sizes=(top.number("projector_hidden_size"), whole.text.hidden_size),
        bias=top.flag("projector_bias"),
    )  # fmt: skip
    return towers
