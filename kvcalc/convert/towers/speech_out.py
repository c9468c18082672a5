"""What speaks beside a model that hears and sees: counted to say what a checkpoint's part of it is.

Qwen2.5-Omni's talker is a small Qwen2 with a codebook, and its vocoder a diffusion transformer with a
speaker's encoder in front and BigVGAN behind. Qwen3-Omni's talker has experts, and a smaller model that
predicts the codes of a group one after another; its vocoder is a transformer and convolutions. Servers
load none of them; what is said of them are parameters.

Source: transformers 5.23.0, models/qwen2_5_omni/modeling_qwen2_5_omni.py
(Qwen2_5OmniTalkerForConditionalGeneration, Qwen2_5OmniToken2WavModel),
models/qwen3_omni_moe/modeling_qwen3_omni_moe.py (Qwen3OmniMoeTalkerForConditionalGeneration,
Qwen3OmniMoeCode2Wav).
"""

from collections.abc import Mapping, Sequence
from typing import Any

# Frequencies of the diffusion's time, and taps of BigVGAN's first and last convolutions.
_TIME, _TAPS = 256, 7
_MOST = 1 << 32


def parameters_of(key: str, values: Any) -> int | None:
    """The parameters that a nested config describes; None where it leaves out what they follow from."""
    read = {
        "talker_config": _talker, "token2wav_config": _token2wav, "code2wav_config": _code2wav
    }.get(key)  # fmt: skip
    if read is None or not isinstance(values, Mapping) or _biased(values):
        return None
    try:
        return read(_sizes(values))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None


def _sizes(value: Any) -> Any:
    """A config with the sizes that it states alone: text, multiplied, would be as long as they are."""
    if isinstance(value, Mapping):
        found = {key: _sizes(each) for key, each in value.items()}
        return {key: each for key, each in found.items() if each is not None}
    if isinstance(value, list):
        sizes = [_sizes(each) for each in value]
        return None if None in sizes else sizes
    return value if type(value) is int and 0 < value < _MOST else None


def _biased(values: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether a part has biases of attention, which none that is published has."""
    inside = [each for each in values.values() if isinstance(each, Mapping)] if depth < 2 else []
    return bool(values.get("attention_bias")) or any(_biased(each, depth + 1) for each in inside)


def _first(values: Mapping[str, Any], *keys: str) -> Any:
    """The value of the first key that the file has."""
    return next((values[key] for key in keys if key in values), None)


def _linear(out: int, width: int) -> int:
    return out * width + out


def _talker(c: Mapping[str, Any]) -> int:
    """A codebook, a matrix from the thinker's width, Qwen2's layers and a head over the codebook."""
    if "code_predictor_config" in c:
        return _talker_of_experts(c)
    width, codes, wide = c["hidden_size"], c["vocab_size"], c["embedding_size"]
    query = c["num_attention_heads"] * c["head_dim"]
    key = c["num_key_value_heads"] * c["head_dim"]
    layer = _linear(query, width) + 2 * _linear(key, width) + query * width + 2 * width
    layer += 3 * width * c["intermediate_size"]
    ends = codes * wide + _linear(width, wide) + codes * width + width
    return int(c["num_hidden_layers"] * layer + ends)


def _talker_of_experts(c: Mapping[str, Any]) -> int:
    """A codebook and its head, two MLPs from the thinker's width, layers of experts, and the predictor."""
    t, p = c["text_config"], c["code_predictor_config"]
    if t.get("decoder_sparse_step", 1) != 1 or t.get("mlp_only_layers"):
        raise KeyError("layers without experts")
    width, experts = t["hidden_size"], _first(t, "num_local_experts", "num_experts")
    layer = _attention(t) + width * (experts + 1) + 2 * width
    layer += (
        3 * width * (experts * t["moe_intermediate_size"] + t["shared_expert_intermediate_size"])
    )
    read = _linear(t["intermediate_size"], c["thinker_hidden_size"])
    read += _linear(width, t["intermediate_size"])
    own = t["num_hidden_layers"] * layer + width + 2 * t["vocab_size"] * width + 2 * read
    inner = p["hidden_size"]
    small = _attention(p) + 3 * inner * p["intermediate_size"] + 2 * inner
    codes = 2 * (p["num_code_groups"] - 1) * p["vocab_size"] * inner
    return int(own + p["num_hidden_layers"] * small + inner + codes)


def _attention(c: Mapping[str, Any], normed: bool = True) -> int:
    """Q, K, V and O without biases, and norms of a head of Q and of K."""
    width, heads = c["hidden_size"], c["num_attention_heads"]
    size = c.get("head_dim", width // heads)
    return int(width * size * 2 * (heads + c["num_key_value_heads"]) + 2 * size * normed)


def _code2wav(c: Mapping[str, Any]) -> int:
    """Codes of all quantisers, a transformer, ConvNeXt layers that make frames longer, and a decoder."""
    width, inner = c["hidden_size"], c["intermediate_size"]
    layer = _attention(c, normed=False) + 3 * width * inner + 4 * width
    total = (
        c["codebook_size"] * c["num_quantizers"] * width + c["num_hidden_layers"] * layer + width
    )
    for ratio in c["upsampling_ratios"]:
        total += _linear(width, width * ratio) + _linear(width, _TAPS) + 3 * width
        total += _linear(4 * width, width) + _linear(width, 4 * width)
    channels = c["decoder_dim"]
    total += _linear(channels, width * _TAPS)
    for rate in c["upsample_rates"]:
        out = channels // 2
        # Each activation has two learned vectors; a residual unit two of them.
        total += 2 * channels + channels * out * 2 * rate + out
        total += 3 * (4 * out + _linear(out, out * _TAPS) + _linear(out, out))
        channels = out
    return int(total + 2 * channels + _linear(1, channels * _TAPS))


def _token2wav(c: Mapping[str, Any]) -> int:
    return _dit(c["dit_config"]) + _bigvgan(c["bigvgan_config"])


def _dit(c: Mapping[str, Any]) -> int:
    """Layers whose norms are made from the time, over mel frames, codes and a speaker."""
    width, layers = _first(c, "hidden_size", "dim"), _first(c, "num_hidden_layers", "depth")
    inner = _first(c, "num_attention_heads", "heads") * c["head_dim"]
    mel, wide = c["mel_dim"], c["ff_mult"] * width
    read = mel + c["enc_dim"] + c["emb_dim"] + c["enc_emb_dim"]
    layer = _linear(6 * width, width) + 3 * _linear(inner, width) + _linear(width, inner)
    layer += _linear(wide, width) + _linear(width, wide)
    ends = _linear(width, _TIME) + _linear(width, width) + (c["num_embeds"] + 1) * c["emb_dim"]
    ends += _linear(width, read) + _linear(2 * width, width) + _linear(mel, width)
    return int(layers * layer + ends + _speaker(c))


def _speaker(c: Mapping[str, Any]) -> int:
    """ECAPA-TDNN: convolutions, blocks of several scales, and statistics over time."""
    channels, taps = c["enc_channels"], c["enc_kernel_sizes"]
    last, scale, squeezed = channels[-1], c["enc_res2net_scale"], c["enc_se_channels"]
    total = _linear(channels[0], c["mel_dim"] * taps[0])
    for before, width, size in zip(channels, channels[1:-1], taps[1:-1], strict=False):
        part = width // scale
        total += _linear(width, before) + (scale - 1) * _linear(part, part * size)
        total += _linear(width, width) + _linear(squeezed, width) + _linear(width, squeezed)
    total += _linear(last, last * taps[-1])
    attended = c["enc_attention_channels"]
    total += _linear(attended, 3 * last) + _linear(last, attended)
    return int(total + _linear(c["enc_dim"], 2 * last))


def _bigvgan(c: Mapping[str, Any]) -> int:
    """Convolutions that make frames longer, and behind each blocks of every kernel and dilation."""
    width = c["upsample_initial_channel"]
    total = _linear(width, c["mel_dim"] * _TAPS)
    kernels: Sequence[int] = c["resblock_kernel_sizes"]
    dilated: Sequence[Sequence[int]] = c["resblock_dilation_sizes"]
    for taps in c["upsample_kernel_sizes"]:
        total += width * (width // 2) * taps + width // 2
        width //= 2
        for kernel, dilations in zip(kernels, dilated, strict=True):
            total += 2 * len(dilations) * (_linear(width, width * kernel) + 2 * width)
    return int(total + 2 * width + width * _TAPS)
