"""Gemma 3n and 4: towers with a matrix each, and patches and samples that pass no tower.

Source: transformers 5.23, models/gemma3n, gemma4, gemma4_unified (modeling_<type>.py).
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.mobilenet import ConvBlock, MobileNet
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.tensors import Side
from kvcalc.towers.usm import UniversalSpeech

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]


def gemma4(whole: Whole) -> Towers:
    """Each tower that the config has, and one matrix to the language model's width."""
    towers: Towers = {}
    text = whole.text.hidden_size
    if whole.has("vision_config"):
        c = whole.part("vision_config")
        c.skip("pooling_kernel_size", "use_clipped_linears", "max_position_embeddings",
               "default_output_length", "global_head_dim")  # fmt: skip
        if c.flag("standardize"):
            c.assume("standardize", True, "two vectors of the tower are buffers, not counted")
        bias: tuple[Side, ...] = ("q", "k", "v", "o") if c.flag("attention_bias") else ()
        kv_heads = c.num_kv_heads()
        tower = vit(
            c, num_channels=3, patch_embedding="linear", norm="rmsnorm", layer_norms="4",
            final_norm=False, ffn="gated", ffn_bias=False, attention_bias=bias,
            qk_norm="per_head", head_dim=c.number("head_dim"),
            num_key_value_heads=None if kv_heads == c.num_heads else kv_heads,
        )  # fmt: skip
        table = (2, c.number("position_embedding_size"), tower.hidden_size)
        towers["vision"] = tower
        towers["positions"] = _vision_steps(
            Step(name="position_embedding_table", op="tensor", sizes=table)
        )
        towers["vision_projector"] = Mlp(
            kind="mlp", in_features=tower.hidden_size, sizes=(text,), bias=False
        )
    if whole.has("audio_config"):
        c = whole.part("audio_config")
        towers["audio"] = _usm(c)
        towers["audio_projector"] = Mlp(
            kind="mlp", in_features=c.number("output_proj_dims"), sizes=(text,), bias=False
        )
    return towers


def _usm(c: Config) -> UniversalSpeech:
    c.skip("attention_chunk_size", "attention_context_left", "attention_context_right",
           "attention_invalid_logits_value", "attention_logit_cap", "gradient_clipping",
           "residual_weight", "use_clipped_linears")  # fmt: skip
    channels = tuple(c.numbers("subsampling_conv_channels", 2, least=1) or ())
    # The class works the matrix's width out of the first convolution's channels.
    return UniversalSpeech(
        kind="usm", hidden_size=c.hidden_size, num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_heads, conv_kernel_size=c.number("conv_kernel_size"),
        stem_channels=channels, stem_features=channels[0] // 4 * channels[1],
        output_size=c.number("output_proj_dims"),
    )  # fmt: skip


# The one vision tower that Gemma 3n's files name: timm's mobilenetv5_300m_enc.
_MOBILENET_V5_300M = MobileNet(
    kind="mobilenet", stem_channels=64, fused_channels=1920, output_size=2048,
    blocks=(
        ConvBlock(channels=128, expansion=4, kernel=3),
        ConvBlock(channels=128, expansion=4, kernel=3, repeat=2),
        ConvBlock(channels=256, expansion=6, start_kernel=3, mid_kernel=5),
        *(ConvBlock(channels=256, expansion=4, start_kernel=taps) for taps in (5, 3, 5, 3)),
        ConvBlock(channels=640, expansion=6, start_kernel=5, mid_kernel=5),
        ConvBlock(channels=640, expansion=4, start_kernel=5, repeat=7),
        ConvBlock(channels=640, expansion=1),
        ConvBlock(channels=640, expansion=2, heads=12, head_dim=64, kv_kernel=3, repeat=14),
        ConvBlock(channels=1280, expansion=6, start_kernel=5, mid_kernel=5),
        ConvBlock(channels=1280, expansion=2, heads=16, head_dim=96, repeat=19),
    ),
)  # fmt: skip


def gemma3n(whole: Whole) -> Towers:
    """MobileNet-V5 and a Conformer; each has a table of its own tokens, two norms and a matrix."""
    text = whole.text.hidden_size
    c, a = whole.part("vision_config"), whole.part("audio_config")
    c.skip("do_pooling", "model_args", "vocab_offset", "label_names", "num_classes")
    if (
        c.word("architecture", "mobilenetv5_300m_enc") != "mobilenetv5_300m_enc"
        or c.hidden_size != 2048
    ):
        c.refuse("architecture", "only mobilenetv5_300m_enc, 2,048 wide, is accounted for")
    return {
        "vision": _MOBILENET_V5_300M,
        "vision_projector": _own_tokens(c, text),
        "audio": _usm_3n(a),
        "audio_projector": _own_tokens(a, text),
    }


def _own_tokens(c: Config, text: int) -> Sequence:
    width = c.hidden_size
    return Sequence(kind="sequence", steps=(
        Step(name="embedding", op="table", sizes=(c.number("vocab_size"), width)),
        Step(name="hard_embedding_norm", op="norm", sizes=(width,)),
        Step(name="soft_embedding_norm", op="norm", sizes=(width,)),
        Step(name="embedding_projection", sizes=(text, width)),
    ))  # fmt: skip


def _usm_3n(c: Config) -> UniversalSpeech:
    c.skip("vocab_offset", "gradient_clipping", "conf_attention_chunk_size",
           "conf_attention_context_left", "conf_attention_context_right", "conf_attention_logit_cap",
           "conf_reduction_factor", "conf_residual_weight", "sscp_conv_group_norm_eps",
           "sscp_conv_eps")  # fmt: skip
    for key, usual in (
        ("sscp_conv_kernel_size", [[3, 3]] * 2),
        ("sscp_conv_stride_size", [[2, 2]] * 2),
    ):
        if [list(pair) for pair in c.listed(key) or []] != usual:
            c.refuse(key, f"only {usual} is accounted for")
    channels = tuple(c.numbers("sscp_conv_channel_size", 2, least=1) or ())
    bins = c.number("input_feat_size")
    left = ((bins - 1) // 2 + 1 - 1) // 2 + 1
    return UniversalSpeech(
        kind="usm", hidden_size=c.hidden_size, num_hidden_layers=c.number("conf_num_hidden_layers"),
        num_attention_heads=c.number("conf_num_attention_heads"),
        conv_kernel_size=c.number("conf_conv_kernel_size"), stem_channels=channels,
        stem_features=left * channels[-1],
    )  # fmt: skip


def gemma4_unified(whole: Whole) -> Towers:
    """No tower: merged patches through a matrix with norms and positions, samples through one matrix."""
    towers: Towers = {}
    text = whole.text.hidden_size
    if whole.has("vision_config"):
        c = whole.part("vision_config")
        c.skip("model_patch_size", "num_soft_tokens")
        pixels = 3 * (c.number("patch_size") * c.number("pooling_kernel_size")) ** 2
        width, out = c.number("mm_embed_dim"), c.number("output_proj_dims")
        table = (c.number("mm_posemb_size"), 2, width)
        towers["patches"] = _vision_steps(
            Step(name="patch_ln1", op="norm", sizes=(pixels,), bias=True),
            Step(name="patch_dense", sizes=(width, pixels), bias=True),
            Step(name="patch_ln2", op="norm", sizes=(width,), bias=True),
            Step(name="pos_embedding", op="tensor", sizes=table),
            Step(name="pos_norm", op="norm", sizes=(width,), bias=True),
        )
        towers["vision_projector"] = Mlp(kind="mlp", in_features=out, sizes=(text,), bias=False)
    if whole.has("audio_config"):
        c = whole.part("audio_config")
        samples = c.number("audio_embed_dim")
        for key in ("hidden_size", "output_proj_dims", "audio_samples_per_token"):
            c.agree(key, samples)
        towers["audio"] = Mlp(
            kind="mlp", component="audio", in_features=samples, sizes=(text,), bias=False
        )
    return towers


def _vision_steps(*steps: Step) -> Sequence:
    return Sequence(kind="sequence", component="vision", steps=steps)
