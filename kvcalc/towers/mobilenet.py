"""MobileNet-V5: convolutions and attention of one KV head over an image (Gemma 3n's vision tower).

    stem     a convolution of 3 x 3 taps with a bias, and a norm
    fused    y = W_2 act(norm(W_1 * x))          W_1 dense, k x k taps: e i i k^2, W_2: e i o
    inverted x + gamma * y, y = W_2 D(W_1 S(x))  S, D depthwise of k x k taps: i k_s^2, e i k_m^2
    attended x + gamma * Attention(norm(x)) in front of an inverted block: q and o of h c, one k and v
             of c, whose input a depthwise convolution may have made smaller (i k^2 and a norm, twice)
    fusion   the last two stages side by side: W_1 expands them, W_2 leads to output_size, and a norm

    i  channels of the block before    o  channels    e  expansion    h  heads    c  head_dim

A norm of RMS, one weight a channel, stands behind every convolution but those of q, k, v and o; gamma
has o weights, and fused blocks have none. Nothing but the stem has a bias.

Qin et al. 2024, arXiv 2404.10518 (MobileNet-V4, whose blocks these are). Reference code: timm 1.0.31
models/mobilenetv5.py (mobilenetv5_300m_enc), which transformers models/gemma3n builds.

Worked number: Gemma 3n's, by its blocks in ``kvcalc/convert/towers/gemma.py``: 294,126,912. Its fusion
of 640 + 1280 channels, twice as wide inside, to 2048: 1920 * 3840 + 3840 + 3840 * 2048 + 2 * 2048 =
15,245,056.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from kvcalc.counts import Channels, Heads, Modules, Scaled, Taps, Width
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerPart, conv, norm


@frozen(kw_only=True)
class ConvBlock:
    """One block, or several that are equal.

    Fields:
        channels: what comes out.
        expansion: how many times the channels that go in it is wide inside.
        kernel: taps along a side of a fused block's dense convolution.
        start_kernel: taps of a depthwise convolution in front of an inverted block.
        mid_kernel: taps of one in its middle.
        heads: query heads of an attention in front of it.
        head_dim: their width.
        kv_kernel: taps of the depthwise convolution in front of k and v.
        repeat: so many in a row.
    """

    channels: Channels
    expansion: Taps
    kernel: Taps | None = None
    start_kernel: Taps | None = None
    mid_kernel: Taps | None = None
    heads: Heads | None = None
    head_dim: Width | None = None
    kv_kernel: Taps | None = None
    repeat: Modules = 1


@frozen(kw_only=True)
class MobileNet:
    """Blocks of convolutions and attention, and a fusion of the last stages.

    Fields:
        kind: mobilenet.
        component: the part of the model that it counts as.
        num_channels: colours.
        stem_channels: width of the first convolution.
        blocks: what follows, in order.
        fused_channels: the stages that the fusion reads, side by side.
        fusion_expansion: how many times as wide it is inside.
        output_size: width of its output.
    """

    kind: Literal["mobilenet"]
    component: TowerPart = "vision"
    num_channels: Channels = 3
    stem_channels: Channels
    blocks: tuple[ConvBlock, ...]
    fused_channels: Channels
    fusion_expansion: Taps = 2
    output_size: Scaled

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if not self.blocks:
            yield "blocks", "a tower has blocks"
        widths = (self.stem_channels, *(block.channels for block in self.blocks))
        for index, (block, (before, after)) in enumerate(
            zip(self.blocks, pairwise(widths), strict=True)
        ):
            where = f"blocks[{index}]"
            if block.repeat > 1 and before != after:
                yield f"{where}.repeat", f"the first reads {before} channels, the others {after}"
            if (block.heads is None) != (block.head_dim is None):
                yield f"{where}.heads", "an attention has heads and head_dim"
            if block.kv_kernel is not None and block.heads is None:
                yield f"{where}.kv_kernel", "there is no attention"
            if block.kernel is not None and (block.start_kernel or block.mid_kernel or block.heads):
                yield f"{where}.kernel", "a fused block has one convolution and no attention"
        stages = {block.channels for block in self.blocks}
        if self.blocks and self.fused_channels > sum(stages):
            yield "fused_channels", f"the stages together have {sum(stages)} channels"

    def groups(self) -> Iterator[TowerGroup]:
        """The stem, the blocks, and the fusion."""
        part, width = self.component, self.stem_channels
        stem = conv("stem.conv", (width, self.num_channels, 3, 3), part, bias=True)
        yield TowerGroup("", (), (*stem, *norm("stem.norm", "rmsnorm", width, part)))
        first = 0
        for block in self.blocks:
            found = tuple(self._block(block, width))
            yield TowerGroup("blocks.{}.", tuple(range(first, first + block.repeat)), found)
            first, width = first + block.repeat, block.channels
        wide, inner = self.fused_channels, self.fused_channels * self.fusion_expansion
        yield TowerGroup("fusion.", (), (
            *self._conv("up", (inner, wide, 1, 1)), *self._conv("down", (self.output_size, inner, 1, 1)),
            *norm("norm", "rmsnorm", self.output_size, part),
        ))  # fmt: skip

    def _conv(self, name: str, shape: tuple[int, ...]) -> Iterator[ParamTensor]:
        """A convolution without a bias, and the norm behind it."""
        yield from conv(f"{name}.conv", shape, self.component)
        yield from norm(f"{name}.norm", "rmsnorm", shape[0], self.component)

    def _block(self, block: ConvBlock, width: int) -> Iterator[ParamTensor]:
        inner = block.expansion * width
        if block.kernel is not None:
            yield from self._conv("up", (inner, width, block.kernel, block.kernel))
            yield from self._conv("down", (block.channels, inner, 1, 1))
            return
        if block.heads is not None and block.head_dim is not None:
            yield from self._attention(block, width, block.heads * block.head_dim, block.head_dim)
        if block.start_kernel is not None:
            yield from self._conv("start", (width, 1, block.start_kernel, block.start_kernel))
        yield from self._conv("up", (inner, width, 1, 1))
        if block.mid_kernel is not None:
            yield from self._conv("mid", (inner, 1, block.mid_kernel, block.mid_kernel))
        yield from self._conv("down", (block.channels, inner, 1, 1))
        yield ParamTensor("gamma", (block.channels,), self.component)

    def _attention(
        self, block: ConvBlock, width: int, wide: int, head_dim: int
    ) -> Iterator[ParamTensor]:
        part = self.component
        yield from norm("attention.norm", "rmsnorm", width, part)
        yield from conv("attention.q_proj", (wide, width, 1, 1), part)
        for side in ("k", "v"):
            if block.kv_kernel is not None:
                taps = (width, 1, block.kv_kernel, block.kv_kernel)
                yield from self._conv(f"attention.{side}_down", taps)
            yield from conv(f"attention.{side}_proj", (head_dim, width, 1, 1), part)
        yield from conv("attention.o_proj", (width, wide, 1, 1), part)
        yield ParamTensor("attention.gamma", (width,), part)
