"""Phi-4-multimodal: SigLIP with a projector, and a Conformer with two.

Source: transformers 5.23, models/phi4_multimodal (Phi4MultimodalFeatureEmbedding). The published files
hold LoRA adapters for either beside them, which the class does not build.
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import num_patches, vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.gated_conformer import GatedConformer
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.sequence import Sequence, Step

if TYPE_CHECKING:
    from kvcalc.towers import Tower


def phi4_multimodal(whole: Whole) -> "dict[str, Tower]":
    """Two layers behind the vision tower, and two pairs behind the audio tower: with images or without."""
    text, c = whole.text.hidden_size, whole.part("vision_config")
    c.skip("crop_size", "image_token_id", "feature_layer")
    vision = vit(c, patch_bias=True, positions=num_patches(c), pooling="attention")
    width, audio = vision.hidden_size, _conformer(whole.part("audio_config"))
    ends = Sequence(kind="sequence", steps=(
        Step(name="global_img_feature_extensor", op="tensor", sizes=(1, 1, width)),
        Step(name="sub_img_feature_extensor", op="tensor", sizes=(1, 1, 1, width)),
    ))  # fmt: skip
    projector = Mlp(kind="mlp", in_features=audio.hidden_size, sizes=(text, text))
    return {
        "vision": vision,
        "ends": ends,
        "vision_projector": Mlp(kind="mlp", in_features=width, sizes=(text, text)),
        "audio": audio,
        "audio_projector": projector,
        "audio_projector_with_images": projector,
    }


def _conformer(c: Config) -> GatedConformer:
    c.skip("activation", "chunk_size", "left_chunk", "dropout_rate", "conv_activation",
           "conv_glu_type", "nemo_activation", "audio_token_id", "feature_layer")  # fmt: skip
    c.fixed("downsample_rate", 1, what="a projector of several steps of sound")
    width = c.hidden_size
    for key in ("ext_pw_out_channel", "depthwise_separable_out_channel"):
        if c.number(key) != width:
            c.refuse(key, "only convolutions as wide as the layers are accounted for")
    c.fixed("depthwise_multiplier", 1, what="several channels of each in the depthwise convolution")
    times = c.number("time_reduction")
    halvings = times.bit_length() - 1
    if 2**halvings != times or not halvings:
        c.refuse("time_reduction", "only powers of two are accounted for")
    c.agree("nemo_final_size", -(-c.number("input_size") // times))
    both = 1 if c.flag("bias_symmetric") else 2
    return GatedConformer(
        kind="gated_conformer", num_mel_bins=c.number("input_size"),
        conv_channels=c.number("nemo_conv_channels"), halvings=halvings, hidden_size=width,
        num_hidden_layers=c.number("num_blocks"), num_attention_heads=c.num_heads,
        intermediate_size=c.number("intermediate_size"), kernel_size=c.number("kernel_size"),
        relative_positions=both * c.number("bias_max_distance"),
    )  # fmt: skip
