"""Gemma 4 and its kin: towers with a matrix each, and patches and samples that pass no tower.

Source: transformers 5.23, models/gemma4, gemma4_unified (modeling_<type>.py).
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
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
        audio = _usm(whole.part("audio_config"))
        towers["audio"] = audio
        towers["audio_projector"] = Mlp(
            kind="mlp", in_features=audio.output_size, sizes=(text,), bias=False
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
        c.skip("hidden_size", "output_proj_dims", "audio_samples_per_token")
        samples = c.number("audio_embed_dim")
        towers["audio"] = Mlp(
            kind="mlp", component="audio", in_features=samples, sizes=(text,), bias=False
        )
    return towers


def _vision_steps(*steps: Step) -> Sequence:
    return Sequence(kind="sequence", component="vision", steps=steps)
