"""Segment Anything's image encoder: a ViT whose layers see windows, with tables of relative positions.

    layers as a ViT's (kvcalc/towers/layers.py), and in each two tables of (2 s - 1) * c:
    s = window_size, or the whole image's side in the layers of global_attn_indexes
    neck: conv 1 x 1 (d -> o), norm, conv 3 x 3 (o -> o), norm, without biases

    d  hidden_size    o  output_channels    c  hidden_size / num_attention_heads

Kirillov et al. 2023, arXiv 2304.02643; in GOT-OCR 2 (arXiv 2409.01704), DeepSeek-VL's high-resolution
tower (arXiv 2403.05525) and DeepSeek-OCR. Reference code: transformers models/sam and got_ocr2
(SamVisionEncoder, GotOcr2VisionEncoder).

Worked number: GOT-OCR 2's, d = 768, 12 layers, mlp_dim 3072, 64 x 64 patches of 16 pixels, windows of
14, global layers 2, 5, 8, 11, o = 256: 89,670,912.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Channels, Heads, Inner, Layers, Scaled, Table, Taps
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerPart, conv, dense, norm


@frozen(kw_only=True)
class SegmentAnything:
    """SAM's image encoder: windowed and global layers, and a neck of convolutions.

    Fields:
        kind: sam.
        component: the part of the model that it counts as.
        hidden_size: width of the layers.
        num_hidden_layers: layers.
        num_attention_heads: heads of a layer.
        mlp_dim: width inside the feed-forward layer.
        patch_size: pixels of a patch's side.
        num_channels: colours.
        patches: patches along a side of the image.
        window_size: patches along a side of a window.
        global_attn_indexes: layers that see the whole image.
        output_channels: width behind the neck.
        qkv_bias: q, k and v have biases.
        absolute_positions: a learned table of patches * patches positions.
        relative_positions: the two tables of each layer.
    """

    kind: Literal["sam"]
    component: TowerPart = "vision"
    hidden_size: Scaled
    num_hidden_layers: Layers
    num_attention_heads: Heads
    mlp_dim: Inner
    patch_size: Taps
    num_channels: Channels = 3
    patches: Table
    window_size: Table
    global_attn_indexes: tuple[int, ...] = ()
    output_channels: Scaled
    qkv_bias: bool = True
    absolute_positions: bool = True
    relative_positions: bool = True

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.hidden_size % self.num_attention_heads:
            heads = self.num_attention_heads
            yield "num_attention_heads", f"{self.hidden_size} is not divisible by {heads} heads"
        if any(index >= self.num_hidden_layers for index in self.global_attn_indexes):
            yield "global_attn_indexes", f"there are {self.num_hidden_layers} layers, from 0"

    def groups(self) -> Iterator[TowerGroup]:
        """Patches and positions, the layers, their tables by what they see, and the neck."""
        part, width, out = self.component, self.hidden_size, self.output_channels
        patch = (width, self.num_channels, self.patch_size, self.patch_size)
        before = list(conv("patch_embedding", patch, part, bias=True))
        if self.absolute_positions:
            shape = (self.patches, self.patches, width)
            before.append(ParamTensor("position_embedding", shape, part))
        yield TowerGroup("", (), tuple(before))
        layers = tuple(range(self.num_hidden_layers))
        yield TowerGroup("layers.{}.", layers, tuple(self._layer()))
        if self.relative_positions:
            whole = tuple(index for index in layers if index in self.global_attn_indexes)
            windowed = tuple(index for index in layers if index not in self.global_attn_indexes)
            for seen, size in ((windowed, self.window_size), (whole, self.patches)):
                if seen:
                    yield TowerGroup("layers.{}.", seen, tuple(self._tables(size)))
        yield TowerGroup("", (), (
            *conv("neck.conv1", (out, width, 1, 1), part), *norm("neck.norm1", "layernorm", out, part),
            *conv("neck.conv2", (out, out, 3, 3), part), *norm("neck.norm2", "layernorm", out, part),
        ))  # fmt: skip

    def _layer(self) -> Iterator[ParamTensor]:
        part, width = self.component, self.hidden_size
        for side in ("q", "k", "v", "o"):
            bias = self.qkv_bias or side == "o"
            yield from dense(f"attention.{side}_proj", width, width, part, bias=bias)
        yield from dense("ffn.up_proj", self.mlp_dim, width, part, bias=True)
        yield from dense("ffn.down_proj", width, self.mlp_dim, part, bias=True)
        for index in range(2):
            yield from norm(f"norms.{index}", "layernorm", width, part)

    def _tables(self, size: int) -> Iterator[ParamTensor]:
        shape = (2 * size - 1, self.hidden_size // self.num_attention_heads)
        yield ParamTensor("attention.rel_pos_h", shape, self.component)
        yield ParamTensor("attention.rel_pos_w", shape, self.component)
