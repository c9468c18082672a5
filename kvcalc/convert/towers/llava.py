"""LLaVA and its line: a vision tower, and a projector of one or two linear layers.

Source: transformers 5.23, models/llava, llava_next, llava_onevision, video_llava, vipllava,
paligemma, gemma3, deepseek_vl, video_llama_3, fuyu (the projectors of modeling_<type>.py).
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import vision_tower
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Sequence, Step

if TYPE_CHECKING:
    from kvcalc.towers import Tower


def _read_layers(top: Config) -> int:
    """How many layers' outputs stand side by side in front of the projector."""
    chosen = top.value("vision_feature_layer")
    return len(chosen) if isinstance(chosen, list) else 1


def llava(whole: Whole) -> "dict[str, Tower]":
    """Two layers from the tower's width to the language model's."""
    vision, text = vision_tower(whole.part("vision_config")), whole.text.hidden_size
    projector = Mlp(
        kind="mlp", in_features=vision.hidden_size * _read_layers(whole.top), sizes=(text, text),
        bias=whole.top.flag("multimodal_projector_bias", True),
    )  # fmt: skip
    return {"vision": vision, "projector": projector}


def with_newline(whole: Whole) -> "dict[str, Tower]":
    """LLaVA-NeXT: a learned embedding for the end of a row of patches."""
    step = Step(name="image_newline", op="tensor", sizes=(whole.text.hidden_size,))
    return {**llava(whole), "newline": Sequence(kind="sequence", steps=(step,))}


def video_llava(whole: Whole) -> "dict[str, Tower]":
    """A tower for images and an equal one for frames."""
    found = llava(whole)
    return {"vision": found["vision"], "video": found["vision"], "projector": found["projector"]}


def vipllava(whole: Whole) -> "dict[str, Tower]":
    """Several layers of the tower side by side, and a norm over them."""
    vision, text = vision_tower(whole.part("vision_config")), whole.text.hidden_size
    chosen = whole.top.value("vision_feature_layers")
    width = vision.hidden_size * (len(chosen) if isinstance(chosen, list) else 1)
    projector = Mlp(kind="mlp", in_features=width, sizes=(text, text), norm="layernorm")
    return {"vision": vision, "projector": projector}


def paligemma(whole: Whole) -> "dict[str, Tower]":
    """One layer, as wide as ``projection_dim`` of the vision config says."""
    c = whole.part("vision_config")
    width = c.number("projection_dim", whole.top.number("projection_dim"))
    vision = vision_tower(c)
    projector = Mlp(kind="mlp", in_features=vision.hidden_size, sizes=(width,))
    return {"vision": vision, "projector": projector}


def gemma3(whole: Whole) -> "dict[str, Tower]":
    """A norm and one matrix, which the class holds as (in, out)."""
    vision = vision_tower(whole.part("vision_config"))
    width = vision.hidden_size
    matrix = Step(name="mm_input_projection_weight", op="tensor",
                  sizes=(width, whole.text.hidden_size))  # fmt: skip
    norm = Step(name="mm_soft_emb_norm", op="norm", sizes=(width,))
    return {"vision": vision, "projector": Sequence(kind="sequence", steps=(norm, matrix))}


def deepseek_vl(whole: Whole) -> "dict[str, Tower]":
    """Two layers with biases, whatever the config says."""
    vision, text = vision_tower(whole.part("vision_config")), whole.text.hidden_size
    projector = Mlp(kind="mlp", in_features=vision.hidden_size, sizes=(text, text))
    return {"vision": vision, "projector": projector}


def fuyu(whole: Whole) -> "dict[str, Tower]":
    """No tower: a patch's pixels through one matrix."""
    top = whole.top
    pixels = top.number("patch_size") ** 2 * top.number("num_channels")
    return {"projector": Mlp(kind="mlp", in_features=pixels, sizes=(whole.text.hidden_size,))}
