"""The speech encoder: convolutions over mel frames, then transformer layers (Whisper and its line).

    mel -> conv -> conv -> (+ positions) -> layers (kvcalc/towers/layers.py) -> norm

    conv1d  two convolutions of ``kernel`` taps: (d, mel, k) and (d, d, k), with biases
    conv2d  three convolutions of 3 x 3 taps over frames and mel bins, c channels wide, and a matrix
            (d, c * mel bins left) without a bias (Qwen3-ASR, Qwen3-Omni)

    d  hidden_size    k  kernel    c  conv_channels

Positions are learned, or sinusoids that a checkpoint stores as a table all the same (1,500 rows in
Whisper): a row counts where the class has it as a parameter. Whisper's keys have no bias.

Radford et al. 2022, arXiv 2212.04356. Reference code: transformers models/whisper, qwen2_audio,
voxtral, qwen2_5_omni, qwen3_asr, glmasr, audioflamingo3 (their encoders).

Worked number: Whisper large-v3's encoder, d = 1280, 32 layers, 5,120 inside, 128 mel bins, k = 3:
32 * 19,676,160 + 492,800 + 4,916,480 + 1,920,000 + 2,560 = 636,968,960.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Channels, Positions, Scaled, Taps
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.layers import TransformerLayers
from kvcalc.towers.tensors import TowerGroup, TowerPart, conv, dense, norm


@frozen(kw_only=True)
class SpeechEncoder(TransformerLayers):
    """Convolutions over mel frames and a transformer.

    Fields:
        kind: speech.
        component: the part of the model that it counts as.
        num_mel_bins: channels of the sound that goes in.
        stem: conv1d (Whisper's two) or conv2d (three over frames and bins, and a matrix).
        kernel: taps of each convolution.
        conv_channels: width of the conv2d stem.
        conv_out_features: what the matrix after the conv2d stem reads.
        positions: rows of the position table, where it is a parameter.
    """

    kind: Literal["speech"]
    component: TowerPart = "audio"
    num_mel_bins: Channels
    stem: Literal["conv1d", "conv2d"] = "conv1d"
    kernel: Taps = 3
    conv_channels: Scaled | None = None
    conv_out_features: Scaled | None = None
    positions: Positions | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        yield from self.check_layers()
        for field in ("conv_channels", "conv_out_features"):
            if (getattr(self, field) is None) == (self.stem == "conv2d"):
                yield field, "goes with stem: conv2d, which needs it"

    def groups(self) -> Iterator[TowerGroup]:
        """The stem, the layers and the last norm."""
        part, width = self.component, self.hidden_size
        yield TowerGroup("", (), tuple(self._stem()))
        yield TowerGroup(
            "layers.{}.", tuple(range(self.num_hidden_layers)), tuple(self.layer(part))
        )
        last = self.norm if self.final_norm else "none"
        yield TowerGroup("", (), tuple(norm("final_norm", last, width, part)))

    def _stem(self) -> Iterator[ParamTensor]:
        part, width, taps = self.component, self.hidden_size, self.kernel
        if self.stem == "conv1d":
            yield from conv("conv1", (width, self.num_mel_bins, taps), part, bias=True)
            yield from conv("conv2", (width, width, taps), part, bias=True)
        elif self.conv_channels is not None and self.conv_out_features is not None:
            inner = self.conv_channels
            for index, channels in enumerate((1, inner, inner), 1):
                yield from conv(f"conv2d{index}", (inner, channels, taps, taps), part, bias=True)
            yield from dense("conv_out", width, self.conv_out_features, part)
        if self.positions is not None:
            yield ParamTensor("position_embedding.weight", (self.positions, width), part)
