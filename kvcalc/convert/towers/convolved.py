"""Towers of convolutions: Florence-2's DaViT, VibeVoice's tokenizers of sound.

Source: transformers 5.23, models/florence2, vibevoice_asr, vibevoice_acoustic_tokenizer
(modeling_<type>.py).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.tensors import TowerPart

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]


def steps_of(part: TowerPart, *steps: Step, copies: int | None = None) -> Sequence:
    return Sequence(kind="sequence", component=part, steps=steps, copies=copies)


def norm(name: str, width: int) -> Step:
    return Step(name=name, op="norm", sizes=(width,), bias=True)


def linear(name: str, out: int, width: int, bias: bool = True) -> Step:
    return Step(name=name, sizes=(out, width), bias=bias)


def conv(name: str, *sizes: int) -> Step:
    return Step(name=name, op="conv", sizes=sizes, bias=True)


# ------------------------------------------------------------------ Florence-2


def florence2(whole: Whole) -> Towers:
    """DaViT: stages of attention in windows and attention over channels, and a projector with positions."""
    c = whole.part("vision_config")
    c.skip("patch_stride", "patch_padding", "num_heads", "num_groups", "window_size",
           "max_temporal_embeddings")  # fmt: skip
    depths = c.numbers("depths", least=1) or []
    widths, taps = (
        c.numbers("embed_dim", len(depths)) or [],
        c.numbers("patch_size", len(depths)) or [],
    )
    before, bias = c.listed("patch_prenorm", len(depths)) or [], c.flag("qkv_bias")
    ratio, colours, towers = c.real("mlp_ratio"), c.number("in_channels"), dict[str, "Tower"]()
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        normed = colours if before[stage] else width
        towers[f"patches_{stage}"] = steps_of(
            "vision", conv("conv", width, colours, taps[stage], taps[stage]), norm("norm", normed)
        )
        halves = (("spatial_block", "window_attn"), ("channel_block", "channel_attn"))
        layer = [step for half in halves for step in _half(*half, width, int(width * ratio), bias)]
        towers[f"stage_{stage}"] = steps_of("vision", *layer, copies=depth)
        colours = width
    out, rows = c.number("projection_dim"), c.number("max_position_embeddings")
    towers["projector"] = steps_of(
        "projector",
        linear("image_projection", out, colours, bias=False),
        norm("image_proj_norm", out),
        Step(name="row_embeddings", op="table", sizes=(rows, colours // 2)),
        Step(name="column_embeddings", op="table", sizes=(rows, colours - colours // 2)),
    )
    return towers


def _half(name: str, attention: str, width: int, inner: int, bias: bool) -> Iterator[Step]:
    """A depthwise convolution and attention, a depthwise convolution and a feed-forward layer."""
    yield conv(f"{name}.conv1", width, 1, 3, 3)
    yield norm(f"{name}.norm1", width)
    yield linear(f"{name}.{attention}.qkv", 3 * width, width, bias)
    yield linear(f"{name}.{attention}.proj", width, width)
    yield conv(f"{name}.conv2", width, 1, 3, 3)
    yield norm(f"{name}.norm2", width)
    yield linear(f"{name}.ffn.fc1", inner, width)
    yield linear(f"{name}.ffn.fc2", width, inner)


# ------------------------------------------------------------------ VibeVoice


def vibevoice_asr(whole: Whole) -> Towers:
    """A tokenizer of how it sounds and one of what is said, each with two layers and a norm between."""
    towers: Towers = {}
    text = whole.text.hidden_size
    for name in ("acoustic", "semantic"):
        c = whole.part(f"{name}_tokenizer_encoder_config")
        towers |= _tokenizer(c, name)
        towers[f"{name}_projector"] = steps_of(
            "projector",
            linear("linear_1", text, c.hidden_size),
            Step(name="norm", op="norm", sizes=(text,)),
            linear("linear_2", text, text),
        )
    return towers


def _tokenizer(c: Config, name: str) -> Towers:
    """A stem and stages, each of a convolution twice as wide as the one before, and ConvNeXt layers."""
    c.skip("vae_std", "layer_scale_init_value")
    ratios, taps = c.numbers("downsampling_ratios", least=1) or [], c.number("kernel_size")
    depths, times = c.numbers("depths", len(ratios) + 1) or [], c.number("ffn_expansion")
    width, first, towers = c.number("num_filters"), c.number("channels"), dict[str, "Tower"]()
    for stage, depth in enumerate(depths):
        long = taps if stage == 0 else 2 * ratios[stage - 1]
        towers[f"{name}_conv_{stage}"] = steps_of("audio", conv("conv", width, first, long))
        towers[f"{name}_stage_{stage}"] = steps_of(
            "audio",
            Step(name="gamma", op="tensor", sizes=(width,)),
            Step(name="ffn_gamma", op="tensor", sizes=(width,)),
            Step(name="norm", op="norm", sizes=(width,)),
            Step(name="ffn_norm", op="norm", sizes=(width,)),
            linear("ffn.linear1", times * width, width),
            linear("ffn.linear2", width, times * width),
            conv("mixer.conv", width, 1, taps),
            copies=depth,
        )
        first, width = width, 2 * width
    towers[f"{name}_head"] = steps_of("audio", conv("conv", c.hidden_size, first, taps))
    return towers
