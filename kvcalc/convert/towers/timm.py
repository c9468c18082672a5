"""Vision towers of timm's, which a config names by ``architecture`` and changes by ``model_args``.

Source: timm 1.0.31, models/eva.py (vit_pe_core_*, vit_pe_lang_*), fastvit.py (fastvit_mci3); transformers
5.23, models/perception_lm, fast_vlm, timm_wrapper (modeling_<type>.py). Bolya et al. 2025, arXiv
2504.13181; Vasu et al. 2023, arXiv 2303.14189.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kvcalc.convert.config import Config
from kvcalc.convert.towers.convolved import conv, norm, steps_of
from kvcalc.convert.towers.vision import sides
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Step
from kvcalc.towers.vit import VisionTransformer

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]

# What timm builds where model_args say nothing: width, layers, heads, inner width, image's side, and
# whether there is a class token. A gigantic one is wider inside by 8960 / 1536.
_LARGE = {"embed_dim": 1024, "depth": 24, "num_heads": 16, "img_size": 336, "class_token": True}
_GIGANTIC = {"embed_dim": 1536, "depth": 50, "num_heads": 16, "img_size": 448, "class_token": False}
# Without the pooling head, and with scaled layers.
_SPOKEN = {
    "img_size": 448,
    "use_post_transformer_norm": False,
    "init_values": True,
    "global_pool": "",
}
_ENCODERS: dict[str, dict[str, Any]] = {
    "vit_pe_core_large_patch14_336": _LARGE,
    "vit_pe_core_gigantic_patch14_448": _GIGANTIC,
    "vit_pe_lang_large_patch14_448": _LARGE | _SPOKEN | {"depth": 23},
    "vit_pe_lang_gigantic_patch14_448": _GIGANTIC | _SPOKEN | {"depth": 47},
}
_PATCH = 14
# What transformers says of a tower of timm's beside its arguments changes none of its weights.
_BESIDE = ("do_pooling", "global_pool", "hidden_size", "label_names", "num_classes", "num_labels",
           "num_features", "pretrained_cfg")  # fmt: skip
# fastvit_mci3: the layers and the channels of each stage; the last two attend.
_FASTVIT_MCI3 = ((2, 96), (12, 192), (24, 384), (4, 768), (2, 1536))
_ATTENDED, _TIMES, _SQUEEZED = 2, 4, 16


def perception_lm(whole: Whole) -> Towers:
    """Meta's Perception Encoder, and two layers behind it."""
    whole.top.skip("projector_pooling_ratio", "vision_use_cls_token")
    vision, text = _encoder(whole.part("vision_config")), whole.text.hidden_size
    projector = Mlp(kind="mlp", in_features=vision.hidden_size, sizes=(text, text))
    return {"vision": vision, "projector": projector}


def _encoder(c: Config) -> VisionTransformer:
    name = c.word("architecture") or ""
    usual = _ENCODERS.get(name)
    if usual is None:
        c.refuse(
            "architecture", f"of timm's towers only {', '.join(_ENCODERS)} are accounted for here"
        )
    c.skip(*_BESIDE)
    a = c.inside("model_args", "timm's arguments")
    a.skip("ref_feat_shape", "dynamic_img_size")
    width, heads = (
        a.number("embed_dim", usual["embed_dim"]),
        a.number("num_heads", usual["num_heads"]),
    )
    pool = a.word("global_pool", usual.get("global_pool", "map"))
    if pool != "":
        a.refuse("global_pool", "only a tower without pooling is accounted for")
    # timm multiplies by 8960 / 1536 as a float, and cuts.
    inner = int(width * (8960 / 1536)) if "gigantic" in name else 4 * width
    rows, columns = _side(a, usual["img_size"])
    tokens = 1 if a.flag("class_token", usual["class_token"]) else 0
    scaled = a.value("init_values", usual.get("init_values"))
    found = VisionTransformer(
        kind="vit", hidden_size=width, num_hidden_layers=a.number("depth", usual["depth"]),
        num_attention_heads=heads, intermediate_size=inner, patch_size=_PATCH, tokens=tokens or None,
        positions=(rows // _PATCH) * (columns // _PATCH) + tokens, embedding_norm=True,
        layer_scale=scaled not in (None, False),
        final_norm=a.flag("use_post_transformer_norm", usual.get("use_post_transformer_norm", True)),
    )  # fmt: skip
    a.finish()
    return found


def _side(a: Config, usual: int) -> tuple[int, int]:
    return sides(a, "img_size") if a.has("img_size") else (usual, usual)


def fast_vlm(whole: Whole) -> Towers:
    """FastViT, folded for inference, and two layers behind it."""
    c, text = whole.part("vision_config"), whole.text.hidden_size
    if c.word("architecture") != "fastvit_mci3":
        c.refuse("architecture", "of timm's towers only fastvit_mci3 is accounted for here")
    c.skip(*_BESIDE)
    a = c.inside("model_args", "timm's arguments")
    if not a.flag("inference_mode", False):
        a.refuse("inference_mode", "its branches of training are not accounted for")
    a.finish()
    towers = _fastvit()
    # The projector reads what the config says, which must be the tower's own width for it to run.
    width = 2 * _FASTVIT_MCI3[-1][1]
    if c.hidden_size != width:
        c.refuse("hidden_size", f"the tower is {width} wide")
    bias = whole.top.flag("multimodal_projector_bias")
    projector = Mlp(kind="mlp", in_features=width, sizes=(text, text), bias=bias)
    return {**towers, "projector": projector}


def _fastvit() -> Towers:
    """Convolutions folded into one each, and stages of depthwise layers, the last of attention."""
    first = _FASTVIT_MCI3[0][1]
    towers: Towers = {"stem": steps_of("vision", *_folded("stem", 3, first, 3))}
    for stage, (depth, width) in enumerate(_FASTVIT_MCI3):
        attended = stage >= len(_FASTVIT_MCI3) - _ATTENDED
        layer = _attended(width) if attended else _mixed(width)
        towers[f"stage_{stage}"] = steps_of("vision", *layer, copies=depth)
    for stage, (_, width) in enumerate(_FASTVIT_MCI3[1:], 1):
        down = [conv("proj.0", width, 1, 7, 7), conv("proj.1", width, width, 1, 1)]
        if stage >= len(_FASTVIT_MCI3) - _ATTENDED:
            down.append(conv("pos_emb", width, 1, 7, 7))
        towers[f"downsample_{stage}"] = steps_of("vision", *down)
    last = _FASTVIT_MCI3[-1][1]
    out = 2 * last
    towers["final_conv"] = steps_of(
        "vision", conv("se.fc1", out // _SQUEEZED, out, 1, 1), conv("se.fc2", out, out // _SQUEEZED, 1, 1),
        conv("conv", out, 1, 3, 3),
    )  # fmt: skip
    return towers


def _folded(where: str, colours: int, width: int, taps: int) -> Iterator[Step]:
    """A convolution of all channels, one of each by itself, and one of 1 x 1."""
    yield conv(f"{where}.0", width, colours, taps, taps)
    yield conv(f"{where}.1", width, 1, taps, taps)
    yield conv(f"{where}.2", width, width, 1, 1)


def _feed_forward(width: int) -> Iterator[Step]:
    yield Step(name="mlp.conv.conv", op="conv", sizes=(width, 1, 7, 7))
    yield norm("mlp.conv.bn", width)
    yield conv("mlp.fc1", _TIMES * width, width, 1, 1)
    yield conv("mlp.fc2", width, _TIMES * width, 1, 1)


def _mixed(width: int) -> Iterator[Step]:
    """A depthwise convolution that mixes neighbours, and a feed-forward layer."""
    yield conv("token_mixer", width, 1, 3, 3)
    yield from _feed_forward(width)
    yield Step(name="layer_scale", op="tensor", sizes=(width,))


def _attended(width: int) -> Iterator[Step]:
    yield norm("norm", width)
    yield Step(name="token_mixer.qkv", sizes=(3 * width, width))
    yield Step(name="token_mixer.proj", sizes=(width, width), bias=True)
    yield Step(name="layer_scale_1", op="tensor", sizes=(width,))
    yield from _feed_forward(width)
    yield Step(name="layer_scale_2", op="tensor", sizes=(width,))
