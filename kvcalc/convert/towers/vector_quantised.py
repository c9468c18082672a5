"""Images as words: Janus's and Emu3's tokenizers, an encoder, a codebook and a decoder of convolutions.

Source: transformers 5.23, models/janus, emu3 (modeling_<type>.py). Esser et al. 2021, arXiv 2012.09841.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.convolved import conv, linear, norm, steps_of
from kvcalc.convert.towers.vision import num_patches, vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Step
from kvcalc.towers.tensors import Side

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]

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
        "image_tokenizer": steps_of("vision", *_vq(q)),
        "generation_embeddings": steps_of(
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
    yield conv("encoder.conv_in", width, q.number("in_channels"), 3, 3)
    for level, out in enumerate(widths):
        where = f"encoder.down.{level}"
        yield from _level(where, blocks, width, out, attended=level == last)
        if level != last:
            yield conv(f"{where}.downsample.conv", out, out, 3, 3)
        width = out
    yield from _middle("encoder.mid", width)
    yield norm("encoder.norm_out", width)
    yield conv("encoder.conv_out", wide, width, 3, 3)
    yield Step(name="quantize.embedding", op="table", sizes=(q.number("num_embeddings"), code))
    yield conv("quant_conv", code, latent, 1, 1)
    yield conv("post_quant_conv", latent, code, 1, 1)
    yield conv("decoder.conv_in", width, latent, 3, 3)
    yield from _middle("decoder.mid", width)
    for level, out in enumerate(reversed(widths)):
        where = f"decoder.up.{level}"
        yield from _level(where, blocks + 1, width, out, attended=level == 0)
        if level != last:
            yield conv(f"{where}.upsample.conv", out, out, 3, 3)
        width = out
    yield norm("decoder.norm_out", width)
    yield conv("decoder.conv_out", q.number("out_channels"), width, 3, 3)


def _level(where: str, blocks: int, width: int, out: int, *, attended: bool) -> Iterator[Step]:
    for index in range(blocks):
        yield from _block(f"{where}.block.{index}", width, out)
        if attended:
            yield from _attention(f"{where}.attn.{index}", out)
        width = out


def _block(where: str, width: int, out: int) -> Iterator[Step]:
    """Two convolutions with norms; where the width changes, one of 1 x 1 beside them."""
    yield norm(f"{where}.norm1", width)
    yield conv(f"{where}.conv1", out, width, 3, 3)
    yield norm(f"{where}.norm2", out)
    yield conv(f"{where}.conv2", out, out, 3, 3)
    if width != out:
        yield conv(f"{where}.nin_shortcut", out, width, 1, 1)


def _attention(where: str, width: int) -> Iterator[Step]:
    yield norm(f"{where}.norm", width)
    for side in ("q", "k", "v", "proj_out"):
        yield conv(f"{where}.{side}", width, width, 1, 1)


def _middle(where: str, width: int) -> Iterator[Step]:
    yield from _block(f"{where}.block_1", width, width)
    yield from _attention(f"{where}.attn_1", width)
    yield from _block(f"{where}.block_2", width, width)


# ------------------------------------------------------------------ Emu3


def emu3(whole: Whole) -> Towers:
    """The tokenizer alone: a picture's words are rows of the language model's own table."""
    whole.top.skip("vocabulary_map")
    q = whole.part("vq_config")
    return {"image_tokenizer": steps_of("vision", *_emu3(q))}


def _emu3(q: Config) -> Iterator[Step]:
    """As Janus's, with attention where attn_resolutions says, frames, and norms that read the codes."""
    times, blocks = q.numbers("channel_multiplier", least=1) or [1], q.number("num_res_blocks")
    base, latent, code = (
        q.number("base_channels"),
        q.number("latent_channels"),
        q.number("embed_dim"),
    )
    widths, wide = [base * each for each in times], latent * (1 + q.flag("double_latent"))
    attended = q.numbers("attn_resolutions") or []
    # The class makes every attention as wide as hidden_size, whatever the channels are.
    inner, frames = q.hidden_size, q.number("temporal_downsample_factor").bit_length() - 1
    q.skip("num_attention_heads")
    width, last = base, len(widths) - 1
    yield conv("encoder.conv_in", width, q.number("in_channels"), 3, 3)
    for level, out in enumerate(widths):
        where = f"encoder.down.{level}"
        yield from _emu3_level(where, blocks, width, out, inner if level in attended else None)
        if level != last:
            yield conv(f"{where}.downsample.conv", out, out, 3, 3)
        width = out
    yield from _emu3_middle("encoder.middle", width, inner)
    yield norm("encoder.norm_out", width)
    yield conv("encoder.conv_out", wide, width, 3, 3)
    for index in range(frames):
        yield conv(f"encoder.time_conv.{index}.conv", wide, wide, 4, 3, 3)
    yield from _through_time("encoder", blocks, wide)
    yield Step(name="quantize.embedding", op="table", sizes=(q.number("codebook_size"), code))
    yield conv("quant_conv", code, latent, 3, 1, 1)
    yield conv("post_quant_conv", latent, code, 3, 1, 1)
    yield from _through_time("decoder", blocks, latent)
    for index in range(frames):
        yield conv(f"decoder.time_conv.{index}.conv", latent, latent, 3, 3, 3)
    yield conv("decoder.conv_in", width, latent, 3, 3)
    yield from _emu3_middle("decoder.middle", width, inner, code)
    for level, out in reversed([*enumerate(widths)]):
        where = f"decoder.up.{level}"
        size = inner if level in attended else None
        yield from _emu3_level(where, blocks + 1, width, out, size, code)
        if level:
            yield conv(f"{where}.upsample.conv", out, out, 3, 3)
        width = out
    yield from _read_norm("decoder.norm_out", width, code)
    yield conv("decoder.conv_out", q.number("out_channels"), width, 3, 3)


def _read_norm(where: str, width: int, code: int | None) -> Iterator[Step]:
    """A norm; in the decoder its scale and its offset are convolutions of the codes."""
    if code is None:
        yield norm(where, width)
        return
    yield norm(f"{where}.norm_layer", width)
    yield conv(f"{where}.conv_y", width, code, 1, 1)
    yield conv(f"{where}.conv_b", width, code, 1, 1)


def _emu3_block(where: str, width: int, out: int, code: int | None) -> Iterator[Step]:
    yield from _read_norm(f"{where}.norm1", width, code)
    yield conv(f"{where}.conv1", out, width, 3, 3)
    yield from _read_norm(f"{where}.norm2", out, code)
    yield conv(f"{where}.conv2", out, out, 3, 3)
    if width != out:
        yield conv(f"{where}.nin_shortcut", out, width, 1, 1)


def _emu3_level(
    where: str, blocks: int, width: int, out: int, inner: int | None, code: int | None = None
) -> Iterator[Step]:
    for index in range(blocks):
        yield from _emu3_block(f"{where}.block.{index}", width, out, code)
        if inner is not None:
            yield from _emu3_attention(f"{where}.attn.{index}", inner)
            yield from _read_norm(f"{where}.attn_norms.{index}", out, code)
        width = out


def _emu3_attention(where: str, inner: int) -> Iterator[Step]:
    for side in ("k_proj", "v_proj", "q_proj", "out_proj"):
        yield linear(f"{where}.{side}", inner, inner)


def _emu3_middle(where: str, width: int, inner: int, code: int | None = None) -> Iterator[Step]:
    yield from _emu3_block(f"{where}.block_1", width, width, code)
    yield from _emu3_attention(f"{where}.attn_1", inner)
    yield from _read_norm(f"{where}.attn_norm", width, code)
    yield from _emu3_block(f"{where}.block_2", width, width, code)


def _through_time(where: str, blocks: int, width: int) -> Iterator[Step]:
    """Convolutions over three frames, with norms over the batch: weights and biases, buffers apart."""
    for index in range(blocks):
        for half in ("1", "2"):
            yield norm(f"{where}.time_res_stack.{index}.norm{half}", width)
            yield conv(f"{where}.time_res_stack.{index}.conv{half}.conv", width, width, 3, 3, 3)
