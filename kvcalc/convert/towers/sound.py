"""Audio configs -> speech encoders and their projectors: Whisper's line.

Source: transformers 5.23, models/qwen2_audio, audioflamingo3, voxtral, glmasr, qwen3_asr,
moss_transcribe_diarize (modeling_<type>.py: the encoder and the projector).
"""

from typing import TYPE_CHECKING, Any

from kvcalc.convert.config import Config
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.speech import SpeechEncoder

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]


def whisper(c: Config, **fields: Any) -> SpeechEncoder:
    """Whisper's encoder: keys without a bias, sinusoids that are a table of the checkpoint."""
    c.skip("scale_embedding", "encoder_layerdrop", "layerdrop", "vocab_size")
    usual: dict[str, Any] = {
        "hidden_size": c.hidden_size, "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads, "intermediate_size": c.number("intermediate_size"),
        "num_mel_bins": c.number("num_mel_bins"), "attention_bias": ("q", "v", "o"),
    }  # fmt: skip
    if "positions" not in fields:
        usual["positions"] = c.number("max_source_positions")
    return SpeechEncoder(kind="speech", **{**usual, **fields})


def qwen2_audio(whole: Whole) -> Towers:
    """One layer."""
    audio = whisper(whole.part("audio_config"))
    sizes = (whole.text.hidden_size,)
    return {
        "audio": audio,
        "projector": Mlp(kind="mlp", in_features=audio.hidden_size, sizes=sizes),
    }


def audioflamingo3(whole: Whole) -> Towers:
    """Two layers."""
    audio, text = whisper(whole.part("audio_config")), whole.text.hidden_size
    bias = whole.top.flag("projector_bias")
    projector = Mlp(kind="mlp", in_features=audio.hidden_size, sizes=(text, text), bias=bias)
    return {"audio": audio, "projector": projector}


def voxtral(whole: Whole) -> Towers:
    """Two matrices over ``intermediate_size`` channels: four frames side by side."""
    audio, text = whisper(whole.part("audio_config")), whole.text.hidden_size
    width = audio.intermediate_size
    projector = Mlp(kind="mlp", in_features=width, sizes=(text, text), bias=False)
    return {"audio": audio, "projector": projector}


def glmasr(whole: Whole) -> Towers:
    """Rotary positions, so no table; two layers over four frames side by side."""
    c, text = whole.part("audio_config"), whole.text.hidden_size
    c.skip("max_position_embeddings")
    c.agree("head_dim", c.divide("hidden_size", c.hidden_size, c.num_heads))
    kv_heads = c.num_kv_heads()
    audio = whisper(c, positions=None,
                    num_key_value_heads=None if kv_heads == c.num_heads else kv_heads)  # fmt: skip
    projector = Mlp(kind="mlp", in_features=audio.intermediate_size, sizes=(2 * text, text))
    return {"audio": audio, "projector": projector}


def conv2d(c: Config) -> SpeechEncoder:
    """Three convolutions over frames and bins, eight times fewer bins behind them."""
    c.skip("n_window", "n_window_infer", "conv_chunksize", "max_position_embeddings", "output_dim",
           "max_source_positions")  # fmt: skip
    inner, bins = c.number("downsample_hidden_size"), c.number("num_mel_bins")
    left = (((bins + 1) // 2 + 1) // 2 + 1) // 2
    return whisper(c, positions=None, stem="conv2d", conv_channels=inner,
                   conv_out_features=inner * left, attention_bias=("q", "k", "v", "o"))  # fmt: skip


def qwen3_asr(whole: Whole) -> Towers:
    """Two layers that end in the language model's width."""
    c = whole.part("audio_config")
    audio = conv2d(c)
    sizes = (audio.hidden_size, c.number("output_dim"))
    return {
        "audio": audio,
        "projector": Mlp(kind="mlp", in_features=audio.hidden_size, sizes=sizes),
    }


def moss(whole: Whole) -> Towers:
    """Two layers over merged frames, and a norm behind them."""
    audio, text, top = whisper(whole.part("audio_config")), whole.text.hidden_size, whole.top
    projector = Mlp(
        kind="mlp", in_features=audio.hidden_size * top.number("audio_merge_size"),
        sizes=(text, text), bias=top.flag("projector_bias"), final_norm="layernorm",
    )  # fmt: skip
    return {"audio": audio, "projector": projector}
