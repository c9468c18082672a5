"""Shapes and parameters of every kind of tower, as literal numbers.

Totals of whole towers: transformers 5.23.0, the classes named, on the meta device.
"""

from typing import Any

import pytest

from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.model import ModelSpec
from kvcalc.towers.conformer import ConformerEncoder
from kvcalc.towers.gated_conformer import GatedConformer
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.mobilenet import ConvBlock, MobileNet
from kvcalc.towers.perceiver import Perceiver
from kvcalc.towers.qformer import QFormer
from kvcalc.towers.sam import SegmentAnything
from kvcalc.towers.sequence import Sequence, Step
from kvcalc.towers.speech import SpeechEncoder
from kvcalc.towers.usm import UniversalSpeech
from kvcalc.towers.vit import VisionTransformer

CLIP: dict[str, Any] = {
    "kind": "vit", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096, "patch_size": 14, "tokens": 1, "positions": 577,
    "embedding_norm": True,
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "kind": "speech", "hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20,
    "intermediate_size": 5120, "num_mel_bins": 128, "positions": 1500,
    "attention_bias": ("q", "v", "o"),
}  # fmt: skip
LLAVA: dict[str, Any] = {"kind": "mlp", "in_features": 1024, "sizes": (4096, 4096)}


QUERIES: dict[str, Any] = {
    "kind": "qformer", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "encoder_hidden_size": 1408, "cross_attention_frequency": 2,
    "num_queries": 32,
}  # fmt: skip
SAM: dict[str, Any] = {
    "kind": "sam", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "mlp_dim": 3072, "patch_size": 16, "patches": 64, "window_size": 14,
    "global_attn_indexes": (2, 5, 8, 11), "output_channels": 256,
}  # fmt: skip
USM: dict[str, Any] = {
    "kind": "usm", "hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 8,
    "conv_kernel_size": 5, "stem_channels": (128, 32), "stem_features": 1024, "output_size": 1536,
}  # fmt: skip


BLOCKS = (
    ConvBlock(channels=8, expansion=2, kernel=3),
    ConvBlock(channels=8, expansion=4, start_kernel=5, mid_kernel=3, repeat=2),
    ConvBlock(channels=12, expansion=2, heads=3, head_dim=4, kv_kernel=3),
)
MOBILE: dict[str, Any] = {
    "kind": "mobilenet", "stem_channels": 4, "blocks": BLOCKS, "fused_channels": 20,
    "output_size": 24,
}  # fmt: skip


def total(tower: Any) -> int:
    return sum(
        tensor.numel * (len(group.layers) or 1)
        for group in tower.groups()
        for tensor in group.tensors
    )


def shapes(tower: Any) -> dict[str, tuple[int, ...]]:
    return {
        group.prefix.format(0) + tensor.name: tensor.shape
        for group in tower.groups()
        for tensor in group.tensors
    }


@pytest.mark.parametrize(
    ("tower", "expected"),
    [
        # CLIPVisionModel of LLaVA-1.5
        (VisionTransformer(**CLIP), 303_507_456),
        # SiglipVisionModel of Gemma 3 (27 layers, no head): towers.json of the published 4B
        (
            VisionTransformer(**{
                **CLIP, "hidden_size": 1152, "num_hidden_layers": 27, "intermediate_size": 4304,
                "tokens": None, "positions": 4096, "embedding_norm": False, "patch_bias": True,
            }),
            416_866_032,
        ),
        # Qwen2AudioEncoder, VoxtralEncoder
        (SpeechEncoder(**WHISPER), 636_968_960),
        # Blip2QFormerModel with its queries, and InstructBLIP's with a text beside them
        (QFormer(**QUERIES), 105_162_240),
        (QFormer(**QUERIES, vocab_size=30_522, positions=512), 185_683_968),
        # GotOcr2VisionEncoder: towers.json's figure
        (SegmentAnything(**SAM), 89_670_912),
        # Gemma4AudioModel of the defaults, Idefics2PerceiverResampler of the defaults
        (UniversalSpeech(**USM), 304_824_608),
        (
            Perceiver(
                kind="perceiver", hidden_size=4096, num_latents=64, num_hidden_layers=3,
                num_attention_heads=16, num_key_value_heads=4, head_dim=96,
                intermediate_size=16_384,
            ),
            651_468_800,
        ),
        # Phi4MultimodalAudioModel of the defaults, its two buffers of 80 beside it
        (
            GatedConformer(
                kind="gated_conformer", num_mel_bins=80, conv_channels=1024, hidden_size=1024,
                num_hidden_layers=24, num_attention_heads=16, intermediate_size=1536, kernel_size=3,
                relative_positions=2000,
            ),
            441_254_144 + 160,
        ),
        # LlavaMultiModalProjector, Qwen2_5_VLPatchMerger, Qwen3VL's three deepstack mergers (4B)
        (Mlp(**LLAVA), 20_979_712),
        (
            Mlp(kind="mlp", in_features=5120, sizes=(5120, 3584), norm="rmsnorm", norm_size=1280),
            44_574_464,
        ),
        (
            Mlp(kind="mlp", in_features=4096, sizes=(4096, 2560), norm="layernorm", copies=3),
            81_833_472,
        ),
        (
            Sequence(kind="sequence", steps=(
                Step(name="downsample", op="conv", sizes=(4096, 1536, 2, 2), bias=True),
            )),
            25_169_920,
        ),
    ],
)  # fmt: skip
def test_totals(tower: Any, expected: int) -> None:
    assert total(tower) == expected


def test_a_vision_transformer() -> None:
    tower = VisionTransformer(**{
        **CLIP, "temporal_patch_size": 2, "patch_bias": True, "ffn": "gated", "norm": "rmsnorm",
        "layer_scale": True, "qk_norm": "per_head", "attention_bias": ("q",), "ffn_bias": False,
    })  # fmt: skip
    found = shapes(tower)
    assert found == {
        "patch_embedding.weight": (1024, 3, 2, 14, 14),
        "patch_embedding.bias": (1024,),
        "tokens": (1, 1024),
        "position_embedding.weight": (577, 1024),
        "embedding_norm.weight": (1024,),
        "layers.0.attention.q_proj.weight": (1024, 1024),
        "layers.0.attention.q_proj.bias": (1024,),
        "layers.0.attention.k_proj.weight": (1024, 1024),
        "layers.0.attention.v_proj.weight": (1024, 1024),
        "layers.0.attention.o_proj.weight": (1024, 1024),
        "layers.0.attention.q_norm.weight": (64,),
        "layers.0.attention.k_norm.weight": (64,),
        "layers.0.ffn.gate_proj.weight": (4096, 1024),
        "layers.0.ffn.up_proj.weight": (4096, 1024),
        "layers.0.ffn.down_proj.weight": (1024, 4096),
        "layers.0.norms.0.weight": (1024,),
        "layers.0.norms.1.weight": (1024,),
        "layers.0.lambda_1": (1024,),
        "layers.0.lambda_2": (1024,),
        "final_norm.weight": (1024,),
    }
    assert {tensor.component for group in tower.groups() for tensor in group.tensors} == {"vision"}


def test_patches_as_rows_and_a_pooling_head() -> None:
    tower = VisionTransformer(**{
        **CLIP, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072,
        "patch_size": 16, "patch_embedding": "linear", "pooling": "attention",
    })  # fmt: skip
    found = shapes(tower)
    assert found["patch_embedding.weight"] == (768, 768)
    assert found["pooling.probe"] == (1, 1, 768)
    assert found["pooling.ffn.up_proj.weight"] == (3072, 768)
    # Siglip's head: probe, four square matrices with biases, a norm and an MLP
    pooled = sum(
        tensor.numel
        for group in tower.groups()
        for tensor in group.tensors
        if tensor.name.startswith("pooling")
    )
    assert pooled == 7_086_336 + 768


def test_a_stem_over_frames_and_bins() -> None:
    tower = SpeechEncoder(**{
        **WHISPER, "hidden_size": 1024, "num_attention_heads": 16, "stem": "conv2d",
        "conv_channels": 480, "conv_out_features": 7680, "positions": None,
    })  # fmt: skip
    found = shapes(tower)
    assert found["conv2d1.weight"] == (480, 1, 3, 3)
    assert found["conv2d3.weight"] == (480, 480, 3, 3)
    assert found["conv_out.weight"] == (1024, 7680)
    assert "conv_out.bias" not in found


def test_a_conformer_keeps_statistics_as_buffers() -> None:
    # GraniteSpeechCTCEncoder of the defaults: 274,808,106 parameters, towers.json's figure
    tower = ConformerEncoder(
        kind="conformer", input_size=160, hidden_size=1024, num_hidden_layers=10,
        num_attention_heads=8, head_dim=128, intermediate_size=4096, relative_positions=1025,
        conv_kernel_size=15, output_size=42,
    )  # fmt: skip
    found = [(group, tensor) for group in tower.groups() for tensor in group.tensors]
    assert (
        sum(tensor.numel * (len(group.layers) or 1) for group, tensor in found if not tensor.buffer)
        == 274_808_106
    )
    assert sum(tensor.numel for _, tensor in found if tensor.buffer) == 2 * 2048


def test_blocks_of_convolutions() -> None:
    found = shapes(MobileNet(**MOBILE))
    assert found["stem.conv.weight"] == (4, 3, 3, 3)
    assert found["stem.conv.bias"] == (4,)
    tower = MobileNet(**MOBILE)
    fused, inverted, attended = list(tower.groups())[1:4]
    assert {tensor.name: tensor.shape for tensor in fused.tensors} == {
        "up.conv.weight": (8, 4, 3, 3), "up.norm.weight": (8,),
        "down.conv.weight": (8, 8, 1, 1), "down.norm.weight": (8,),
    }  # fmt: skip
    assert inverted.layers == (1, 2)
    assert {tensor.name: tensor.shape for tensor in inverted.tensors} == {
        "start.conv.weight": (8, 1, 5, 5), "start.norm.weight": (8,),
        "up.conv.weight": (32, 8, 1, 1), "up.norm.weight": (32,),
        "mid.conv.weight": (32, 1, 3, 3), "mid.norm.weight": (32,),
        "down.conv.weight": (8, 32, 1, 1), "down.norm.weight": (8,), "gamma": (8,),
    }  # fmt: skip
    names = {tensor.name: tensor.shape for tensor in attended.tensors}
    assert names["attention.q_proj.weight"] == (12, 8, 1, 1)
    assert names["attention.k_proj.weight"] == (4, 8, 1, 1)
    assert names["attention.v_down.conv.weight"] == (8, 1, 3, 3)
    assert names["attention.gamma"] == (8,)
    assert names["gamma"] == (12,)


def test_gemma_3n() -> None:
    # Gemma3nForConditionalGeneration of the defaults, transformers 5.23.0 and timm 1.0.31: 294,126,912
    # of the vision tower and 681,348,640 of the audio tower.
    from kvcalc.memory.weights import summarise
    from kvcalc.spec.catalog import load

    parts = summarise(load("gemma-3n-e4b")).by_component
    assert (parts["vision"], parts["audio"]) == (294_126_912, 681_348_640)


def test_only_some_layers_of_a_q_former_read_the_tower() -> None:
    [cross] = [
        group
        for group in QFormer(**QUERIES).groups()
        if any(tensor.name.startswith("cross_attention") for tensor in group.tensors)
    ]
    assert cross.layers == (0, 2, 4, 6, 8, 10)


def test_a_gated_projector() -> None:
    found = shapes(Mlp(kind="mlp", in_features=768, gated=14336, gated_out=4096))
    assert found == {
        "gate_proj.weight": (14336, 768),
        "up_proj.weight": (14336, 768),
        "down_proj.weight": (4096, 14336),
    }


@pytest.mark.parametrize(
    ("tower", "field"),
    [
        (VisionTransformer(**{**CLIP, "num_attention_heads": 15}), "num_attention_heads"),
        (VisionTransformer(**{**CLIP, "num_key_value_heads": 3}), "num_key_value_heads"),
        (SpeechEncoder(**{**WHISPER, "stem": "conv2d"}), "conv_channels"),
        (SpeechEncoder(**{**WHISPER, "conv_channels": 480}), "conv_channels"),
        (Mlp(kind="mlp", in_features=8), "sizes"),
        (Mlp(**{**LLAVA, "norm_size": 8}), "norm_size"),
        (Mlp(**{**LLAVA, "gated_out": 8}), "gated_out"),
        (Sequence(kind="sequence", steps=()), "steps"),
        (QFormer(**QUERIES, vocab_size=100), "positions"),
        (QFormer(**{**QUERIES, "num_attention_heads": 7}), "num_attention_heads"),
        (SegmentAnything(**{**SAM, "global_attn_indexes": (12,)}), "global_attn_indexes"),
        (MobileNet(**{**MOBILE, "blocks": ()}), "blocks"),
        (MobileNet(**{**MOBILE, "fused_channels": 29}), "fused_channels"),
        (
            MobileNet(
                **{
                    **MOBILE,
                    "stem_channels": 8,
                    "blocks": (ConvBlock(channels=12, expansion=1, repeat=2),),
                }
            ),
            "blocks[0].repeat",
        ),
        (
            MobileNet(**{**MOBILE, "blocks": (ConvBlock(channels=20, expansion=1, heads=2),)}),
            "blocks[0].heads",
        ),
        (
            MobileNet(**{**MOBILE, "blocks": (ConvBlock(channels=20, expansion=1, kv_kernel=3),)}),
            "blocks[0].kv_kernel",
        ),
        (
            MobileNet(
                **{
                    **MOBILE,
                    "blocks": (ConvBlock(channels=20, expansion=1, kernel=3, mid_kernel=3),),
                }
            ),
            "blocks[0].kernel",
        ),
        (UniversalSpeech(**{**USM, "stem_channels": (128,)}), "stem_channels"),
        (
            Sequence(kind="sequence", steps=(Step(name="a", sizes=(2, 2, 2)),)),
            "steps[0].sizes",
        ),
        (
            Sequence(kind="sequence", steps=(Step(name="a", sizes=(2, 2)),) * 2),
            "steps[1].name",
        ),
    ],
)
def test_what_is_refused(tower: Any, field: str) -> None:
    assert field in [name for name, _ in tower.check()]


TEXT = """\
name: small
source: a test
hidden_size: 64
vocab_size: 100
tie_word_embeddings: true
blocks:
  decoder:
    attention: {kind: mha, num_attention_heads: 4, num_key_value_heads: 4, head_dim: 16}
    ffn: {kind: gated, intermediate_size: 128}
layers: [{repeat: 2, blocks: [decoder]}]
towers:
  vision: {kind: vit, hidden_size: 32, num_hidden_layers: 3, num_attention_heads: 4,
           intermediate_size: 64, patch_size: 4}
  projector: {kind: mlp, in_features: 32, sizes: [64]}
"""


def small() -> ModelSpec:
    return load_spec_text(TEXT, "small.yaml")


def test_a_spec_with_towers() -> None:
    from kvcalc.memory.weights import ledger, summarise

    found = summarise(small())
    # embedding 6,400, two layers of 16,384 + 24,576 + 128, a last norm of 64
    assert found.language_model == 6_400 + 2 * 41_088 + 64
    # patches 1,536, three layers of 4,224 + 4,192 + 128, a last norm of 64
    assert found.by_component["vision"] == 1_536 + 3 * 8_544 + 64
    assert found.by_component["projector"] == 32 * 64 + 64
    assert found.by_component["audio"] == 0
    assert found.total == 88_640 + 27_232 + 2_112
    # A text token passes no tower.
    assert found.active == found.language_model
    assert ledger(small(), "bf16").bytes == 2 * found.total
    assert ledger(small(), "fp32").bytes == 4 * found.total
    # Quantised checkpoints keep the towers: the matrices of the decoder's layers shrink, nothing else.
    assert ledger(small(), "fp8").bytes == 2 * found.total - 2 * 40_960


def test_an_unknown_kind_says_what_there_is() -> None:
    from kvcalc.errors import SpecError

    with pytest.raises(SpecError) as error:
        load_spec_text(TEXT.replace("kind: vit", "kind: resnet"), "small.yaml")
    assert "towers.vision.kind" in str(error.value.problems[0].field)
    assert "vit" in str(error.value)


def test_round_trip() -> None:
    from kvcalc.spec.dump import dump

    assert load_spec_text(dump(small()), "small.yaml") == small()


def test_the_language_model_alone() -> None:
    import kvcalc
    from kvcalc.errors import UsageError

    found = kvcalc.estimate(small(), only="language")
    assert found.parameters.total == found.parameters.language_model == 88_640
    assert found.weight_bytes == 177_280
    assert any("29,344 parameters of vision, projector not counted" in a for a in found.assumptions)
    # A model without towers has nothing to leave out, which is said.
    plain, whole = kvcalc.estimate("gpt2", only="language"), kvcalc.estimate("gpt2")
    assert set(plain.assumptions) - set(whole.assumptions) == {
        "--only changes nothing here (parts beside the language model): without it the answer is the same"
    }
    assert plain.weight_bytes == whole.weight_bytes
    with pytest.raises(UsageError, match="language"):
        kvcalc.estimate(small(), only="vision")


def test_the_answer_shows_each_part() -> None:
    import kvcalc
    from kvcalc.report.answers.estimate import to_object

    found = to_object(kvcalc.estimate(small()))
    parameters = found["parameters"]
    assert parameters["total"] == 117_984
    assert parameters["language_model"] == 88_640
    assert parameters["by_component"]["vision"] == 27_232
    assert parameters["by_component"]["projector"] == 2_112
    assert "audio" not in parameters["by_component"]
    assert found["weights"]["bytes"] == 235_968
    assert found["weights"]["by_component"]["vision"] == 54_464
    plain = to_object(kvcalc.estimate("gpt2"))
    assert plain["parameters"]["language_model"] == plain["parameters"]["total"] == 124_439_808
    assert not {"vision", "audio", "projector"} & plain["parameters"]["by_component"].keys()


def test_explain_lists_the_towers_tensors() -> None:
    import kvcalc

    text = kvcalc.explain(small(), context_tokens=8)
    assert "vision: vit, vision, 27,232 parameters" in text
    assert "    patch_embedding.weight: 32 * 3 * 4 * 4 = 1,536\n" in text
    assert "    layers.N.attention.q_proj.weight: 32 * 32 * 3 layers = 3,072\n" in text
    assert "  together 29,344 parameters\n" in text
    assert "towers" not in kvcalc.explain("gpt2", context_tokens=8)
