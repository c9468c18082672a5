"""Patches merged (pixel shuffle) in front of the projector: InternVL, Idefics3, Mistral 3, Llama 4, Kimi.

Source: transformers 5.23, the projectors of models/<type>/modeling_<type>.py.
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import vision_tower
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Sequence, Step

if TYPE_CHECKING:
    from kvcalc.towers import Tower


def inverse(c: Config, key: str) -> int:
    """A ratio such as 0.5 as the whole number of patches that become one, along a side."""
    ratio = c.real(key)
    side = round(1 / ratio) if ratio else 0
    if side < 1 or side * ratio != 1:
        c.refuse(key, "only one over a whole number is accounted for")
    return side


def internvl(whole: Whole) -> "dict[str, Tower]":
    """A norm over the merged patches, then two layers."""
    vision, text = vision_tower(whole.part("vision_config")), whole.text.hidden_size
    width = vision.hidden_size * inverse(whole.top, "downsample_ratio") ** 2
    projector = Mlp(kind="mlp", in_features=width, sizes=(text, text), norm="layernorm")
    return {"vision": vision, "projector": projector}


def idefics3(whole: Whole) -> "dict[str, Tower]":
    """One matrix without a bias over scale_factor^2 patches."""
    vision = vision_tower(whole.part("vision_config"))
    width = vision.hidden_size * whole.top.number("scale_factor") ** 2
    sizes = (whole.text.hidden_size,)
    return {
        "vision": vision,
        "projector": Mlp(kind="mlp", in_features=width, sizes=sizes, bias=False),
    }


def mistral3(whole: Whole) -> "dict[str, Tower]":
    """A norm of one patch, a matrix that merges them, and two layers."""
    vision, text = vision_tower(whole.part("vision_config")), whole.text.hidden_size
    width, merge = vision.hidden_size, whole.top.number("spatial_merge_size") ** 2
    chosen = whole.top.value("vision_feature_layer", -1)
    outputs = len(chosen) if isinstance(chosen, list) else 1
    merger = Mlp(kind="mlp", in_features=width * merge, sizes=(width,), bias=False, norm="rmsnorm",
                 norm_size=width)  # fmt: skip
    bias = whole.top.flag("multimodal_projector_bias", False)
    return {
        "vision": vision,
        "merger": merger,
        "projector": Mlp(kind="mlp", in_features=width * outputs, sizes=(text, text), bias=bias),
    }


def lfm2_vl(whole: Whole) -> "dict[str, Tower]":
    """A norm over the merged patches where the config asks for it, then two layers."""
    top, vision = whole.top, vision_tower(whole.part("vision_config"))
    projector = Mlp(
        kind="mlp", in_features=vision.hidden_size * top.number("downsample_factor") ** 2,
        sizes=(top.number("projector_hidden_size"), whole.text.hidden_size),
        bias=top.flag("projector_bias"),
        norm="layernorm" if top.flag("projector_use_layernorm") else "none",
    )  # fmt: skip
    return {"vision": vision, "projector": projector}


def _after_patch_norm(width: int, patches: int, inner: int, text: int) -> Mlp:
    """A norm of one patch, then two layers over the merged ones."""
    return Mlp(kind="mlp", in_features=width * patches, sizes=(inner, text), norm="layernorm",
               norm_size=width)  # fmt: skip


def kimi(whole: Whole) -> "dict[str, Tower]":
    """MoonViT: patches merged as merge_kernel_size says."""
    c = whole.part("vision_config")
    kernel = c.numbers("merge_kernel_size", least=1) or []
    if len(kernel) != 2:
        c.wrong("merge_kernel_size", "expected rows and columns")
    vision, patches = vision_tower(c), kernel[0] * kernel[1]
    width = whole.top.number("projection_hidden_size")
    if width != vision.hidden_size:
        whole.top.refuse("projection_hidden_size", "only the tower's own width is accounted for")
    projector = _after_patch_norm(width, patches, width * patches, whole.text.hidden_size)
    return {"vision": vision, "projector": projector}


def paddleocr(whole: Whole) -> "dict[str, Tower]":
    """As Kimi's, with a square of spatial_merge_size patches."""
    c = whole.part("vision_config")
    patches, vision = c.number("spatial_merge_size") ** 2, vision_tower(c)
    width, text = vision.hidden_size, whole.text.hidden_size
    return {"vision": vision, "projector": _after_patch_norm(width, patches, width * patches, text)}


def cosmos3_edge(whole: Whole) -> "dict[str, Tower]":
    """As Kimi's, with a width of its own between the layers."""
    c = whole.part("vision_config")
    patches, vision = c.number("spatial_merge_size") ** 2, vision_tower(c)
    inner = whole.top.number("projector_hidden_size")
    projector = _after_patch_norm(vision.hidden_size, patches, inner, whole.text.hidden_size)
    return {"vision": vision, "projector": projector}


def minimax_m3(whole: Whole) -> "dict[str, Tower]":
    """Two layers for each patch, then two over the merged ones."""
    c = whole.part("vision_config")
    patches, text = c.number("spatial_merge_size") ** 2, whole.text.hidden_size
    vision, inner = vision_tower(c), whole.top.number("projector_hidden_size", text)
    merged = text * patches  # The class works it out, whatever the file says.
    whole.top.agree("merged_hidden_size", merged)
    return {
        "vision": vision,
        "projector": Mlp(kind="mlp", in_features=vision.hidden_size, sizes=(inner, text)),
        "merger": Mlp(kind="mlp", in_features=merged, sizes=(inner, text)),
    }


def cohere2_vision(whole: Whole) -> "dict[str, Tower]":
    """Two layers with a gate between them: the second reads half of what the first writes."""
    top, vision = whole.top, vision_tower(whole.part("vision_config"))
    width = vision.hidden_size * top.number("downsample_factor") ** 2
    inner = top.number("alignment_intermediate_size")
    if inner % 2:
        top.wrong("alignment_intermediate_size", "half of it is a gate: it must be even")
    return {"vision": vision, "projector": _halved(width, inner, whole.text.hidden_size)}


def _halved(width: int, inner: int, text: int, norm: bool = False) -> Sequence:
    first = (Step(name="layernorm", op="norm", sizes=(width,), bias=True),) if norm else ()
    return Sequence(kind="sequence", steps=(
        *first,
        Step(name="linear_1", sizes=(inner, width), bias=True),
        Step(name="linear_2", sizes=(text, inner // 2), bias=True),
    ))  # fmt: skip


def aya_vision(whole: Whole) -> "dict[str, Tower]":
    """As Command A Vision's, with a norm in front."""
    top, vision = whole.top, vision_tower(whole.part("vision_config"))
    width = vision.hidden_size * top.number("downsample_factor") ** 2
    text = whole.text.hidden_size
    inner = top.number("alignment_intermediate_size", text)
    return {"vision": vision, "projector": _halved(width, inner, text, norm=True)}


def llama4(whole: Whole) -> "dict[str, Tower]":
    """An adapter inside the tower over the merged patches, and one matrix outside."""
    c = whole.part("vision_config")
    first, last = c.number("projector_input_dim"), c.number("projector_output_dim")
    merge, vision = inverse(c, "pixel_shuffle_ratio") ** 2, vision_tower(c)
    # The class takes intermediate_size for the merged width; it must be that to run.
    merged = vision.intermediate_size
    if merge < 1:
        c.wrong("pixel_shuffle_ratio", "merges no patches")
    if first != last:
        c.refuse("projector_input_dim", "the adapter runs only where projector_output_dim is equal")
    adapter = Mlp(
        kind="mlp", component="vision", in_features=merged, sizes=(first, last), bias=False
    )
    out = Mlp(kind="mlp", in_features=c.number("vision_output_dim"),
              sizes=(whole.text.hidden_size,), bias=False)  # fmt: skip
    return {"vision": vision, "adapter": adapter, "projector": out}


def muse_glimmer(whole: Whole) -> "dict[str, Tower]":
    """Three matrices over the merged patches."""
    top, vision = whole.top, vision_tower(whole.part("vision_config"))
    inner = top.number("projector_hidden_size")
    sizes = (inner, inner, whole.text.hidden_size)
    width = top.number("out_hidden_size")
    return {
        "vision": vision,
        "projector": Mlp(kind="mlp", in_features=width, sizes=sizes, bias=False),
    }


def step3(whole: Whole) -> "dict[str, Tower]":
    """Two convolutions inside the tower, each of which halves the rows, and one matrix outside."""
    vision, text = vision_tower(whole.part("vision_config")), whole.text.hidden_size
    width = vision.hidden_size
    down = Sequence(kind="sequence", component="vision", steps=(
        Step(name="downsampler1", op="conv", sizes=(2 * width, width, 3, 3), bias=True),
        Step(name="downsampler2", op="conv", sizes=(4 * width, 2 * width, 3, 3), bias=True),
    ))  # fmt: skip
    bias = whole.top.flag("projector_bias")
    projector = Mlp(kind="mlp", in_features=4 * width, sizes=(text,), bias=bias)
    return {"vision": vision, "downsampler": down, "projector": projector}
