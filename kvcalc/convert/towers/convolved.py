"""Towers of convolutions: Florence-2's DaViT, VibeVoice's tokenizers of sound, Janus's tokenizer of images.

Source: transformers 5.23, models/florence2, vibevoice_asr, vibevoice_acoustic_tokenizer, janus
(modeling_<type>.py).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import num_patches, vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.tensors import Side, TowerPart

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]


def _steps(part: TowerPart, *steps: Step, copies: int | None = None) -> Sequence:
    return Sequence(kind="sequence", component=part, steps=steps, copies=copies)


def _norm(name: str, width: int) -> Step:
    return Step(name=name, op="norm", sizes=(width,), bias=True)


def _linear(name: str, out: int, width: int, bias: bool = True) -> Step:
    return Step(name=name, sizes=(out, width), bias=bias)


def _conv(name: str, *sizes: int) -> Step:
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
        towers[f"patches_{stage}"] = _steps(
            "vision", _conv("conv", width, colours, taps[stage], taps[stage]), _norm("norm", normed)
        )
        halves = (("spatial_block", "window_attn"), ("channel_block", "channel_attn"))
        layer = [step for half in halves for step in _half(*half, width, int(width * ratio), bias)]
        towers[f"stage_{stage}"] = _steps("vision", *layer, copies=depth)
        colours = width
    out, rows = c.number("projection_dim"), c.number("max_position_embeddings")
    towers["projector"] = _steps(
        "projector",
        _linear("image_projection", out, colours, bias=False),
        _norm("image_proj_norm", out),
        Step(name="row_embeddings", op="table", sizes=(rows, colours // 2)),
        Step(name="column_embeddings", op="table", sizes=(rows, colours - colours // 2)),
    )
    return towers


def _half(name: str, attention: str, width: int, inner: int, bias: bool) -> Iterator[Step]:
    """A depthwise convolution and attention, a depthwise convolution and a feed-forward layer."""
    yield _conv(f"{name}.conv1", width, 1, 3, 3)
    yield _norm(f"{name}.norm1", width)
    yield _linear(f"{name}.{attention}.qkv", 3 * width, width, bias)
    yield _linear(f"{name}.{attention}.proj", width, width)
    yield _conv(f"{name}.conv2", width, 1, 3, 3)
    yield _norm(f"{name}.norm2", width)
    yield _linear(f"{name}.ffn.fc1", inner, width)
    yield _linear(f"{name}.ffn.fc2", width, inner)


# ------------------------------------------------------------------ VibeVoice


def vibevoice_asr(whole: Whole) -> Towers:
    """A tokenizer of how it sounds and one of what is said, each with two layers and a norm between."""
    towers: Towers = {}
    text = whole.text.hidden_size
    for name in ("acoustic", "semantic"):
        c = whole.part(f"{name}_tokenizer_encoder_config")
        towers |= _tokenizer(c, name)
        towers[f"{name}_projector"] = _steps(
            "projector",
            _linear("linear_1", text, c.hidden_size),
            Step(name="norm", op="norm", sizes=(text,)),
            _linear("linear_2", text, text),
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
        towers[f"{name}_conv_{stage}"] = _steps("audio", _conv("conv", width, first, long))
        towers[f"{name}_stage_{stage}"] = _steps(
            "audio",
            Step(name="gamma", op="tensor", sizes=(width,)),
            Step(name="ffn_gamma", op="tensor", sizes=(width,)),
            Step(name="norm", op="norm", sizes=(width,)),
            Step(name="ffn_norm", op="norm", sizes=(width,)),
            _linear("ffn.linear1", times * width, width),
            _linear("ffn.linear2", width, times * width),
            _conv("mixer.conv", width, 1, taps),
            copies=depth,
        )
        first, width = width, 2 * width
    towers[f"{name}_head"] = _steps("audio", _conv("conv", c.hidden_size, first, taps))
    return towers


# ------------------------------------------------------------------ Janus


def janus(whole: Whole) -> Towers:
    """A vision tower with an aligner, and a tokenizer of images with what makes images of tokens."""
    c, q = whole.part("vision_config"), whole.part("vq_config")
    c.skip("hidden_dropout_rate", "projection_dropout", "num_image_tokens")
    if c.flag("use_qk_norm"):
        c.refuse("use_qk_norm", "norms of q and k are not accounted for")
    bias: tuple[Side, ...] = ("q", "k", "v", "o") if c.flag("attention_bias") else ("o",)
    inner = int(c.hidden_size * c.real("mlp_ratio"))
    vision = vit(c, intermediate_size=inner, patch_bias=True, positions=num_patches(c),
                 attention_bias=bias)  # fmt: skip
    wide, deep = c.number("projection_dim"), c.number("depth")
    out, layers = q.number("projection_dim"), q.number("num_hidden_layers")
    words, code = q.number("num_embeddings"), q.number("embed_dim")
    q.skip("num_patches")
    return {
        "vision": vision,
        "projector": Mlp(kind="mlp", in_features=vision.hidden_size, sizes=(wide,) * deep),
        "image_tokenizer": _steps("vision", *_vq(q)),
        "generation_embeddings": _steps(
            "projector", Step(name="generation_embeddings", op="table", sizes=(words, code))
        ),
        "generation_aligner": Mlp(kind="mlp", in_features=code, sizes=(out,) * layers),
        "generation_head": Mlp(
            kind="mlp", in_features=q.number("image_token_embed_dim"), sizes=(out, words)
        ),
    }


def _vq(q: Config) -> Iterator[Step]:
    """An encoder that halves the image at each level, a codebook, and a decoder that doubles it."""
    times, blocks = q.numbers("channel_multiplier", least=1) or [1], q.number("num_res_blocks")
    widths = [q.number("base_channels") * each for each in times]
    latent, code = q.number("latent_channels"), q.number("embed_dim")
    wide = latent * (1 + q.flag("double_latent"))
    width = widths[0] // times[0]
    last = len(widths) - 1
    yield _conv("encoder.conv_in", width, q.number("in_channels"), 3, 3)
    for level, out in enumerate(widths):
        where = f"encoder.down.{level}"
        yield from _level(where, blocks, width, out, attended=level == last)
        if level != last:
            yield _conv(f"{where}.downsample.conv", out, out, 3, 3)
        width = out
    yield from _middle("encoder.mid", width)
    yield _norm("encoder.norm_out", width)
    yield _conv("encoder.conv_out", wide, width, 3, 3)
    yield Step(name="quantize.embedding", op="table", sizes=(q.number("num_embeddings"), code))
    yield _conv("quant_conv", code, latent, 1, 1)
    yield _conv("post_quant_conv", latent, code, 1, 1)
    yield _conv("decoder.conv_in", width, latent, 3, 3)
    yield from _middle("decoder.mid", width)
    for level, out in enumerate(reversed(widths)):
        where = f"decoder.up.{level}"
        yield from _level(where, blocks + 1, width, out, attended=level == 0)
        if level != last:
            yield _conv(f"{where}.upsample.conv", out, out, 3, 3)
        width = out
    yield _norm("decoder.norm_out", width)
    yield _conv("decoder.conv_out", q.number("out_channels"), width, 3, 3)


def _level(where: str, blocks: int, width: int, out: int, *, attended: bool) -> Iterator[Step]:
    for index in range(blocks):
        yield from _block(f"{where}.block.{index}", width, out)
        if attended:
            yield from _attention(f"{where}.attn.{index}", out)
        width = out


def _block(where: str, width: int, out: int) -> Iterator[Step]:
    """Two convolutions with norms; where the width changes, one of 1 x 1 beside them."""
    yield _norm(f"{where}.norm1", width)
    yield _conv(f"{where}.conv1", out, width, 3, 3)
    yield _norm(f"{where}.norm2", out)
    yield _conv(f"{where}.conv2", out, out, 3, 3)
    if width != out:
        yield _conv(f"{where}.nin_shortcut", out, width, 1, 1)


def _attention(where: str, width: int) -> Iterator[Step]:
    yield _norm(f"{where}.norm", width)
    for side in ("q", "k", "v", "proj_out"):
        yield _conv(f"{where}.{side}", width, width, 1, 1)


def _middle(where: str, width: int) -> Iterator[Step]:
    yield from _block(f"{where}.block_1", width, width)
    yield from _attention(f"{where}.attn_1", width)
    yield from _block(f"{where}.block_2", width, width)
