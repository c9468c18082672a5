"""The vision transformer: patches of an image as tokens.

    x_0 = [tokens; E patches] + positions        then layers (kvcalc/towers/layers.py), then a norm

    E          hidden_size x (channels * frames * patch_size^2), with a bias or without
    positions  a learned row of hidden_size each, where there is a table
    tokens     learned rows in front of the patches: a class token, registers
    head       attention of one learned query over all patches, a norm and an MLP (SigLIP's pooling)

Dosovitskiy et al. 2021, arXiv 2010.11929; CLIP: arXiv 2103.00020; SigLIP: arXiv 2303.15343. Reference
code: transformers models/clip, siglip, siglip2, idefics2, internvl, pixtral, qwen2_vl, qwen2_5_vl,
qwen3_vl, glm4v, kimi_k25, llama4, ovis2 (their vision models). Windows of attention and rotary
positions have no weights. A merger that lies inside the tower is an entry of its own with
``component: vision`` (kvcalc/towers/mlp.py).

Worked number: CLIP ViT-L/14 at 336 pixels (hidden_size 1024, 24 layers, intermediate_size 4096, 577
positions): 24 * 12,596,224 + 602,112 (patches) + 590,848 + 1,024 + 2 norms of 2,048 = 303,507,456.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Channels, Positions, Table, Taps
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.layers import TransformerLayers
from kvcalc.towers.tensors import TowerGroup, TowerPart, dense, norm


@frozen(kw_only=True)
class VisionTransformer(TransformerLayers):
    """A transformer over the patches of an image.

    Fields:
        kind: vit.
        component: the part of the model that it counts as.
        patch_size: pixels of a patch's side.
        temporal_patch_size: frames of a patch, where it spans several (Qwen2-VL).
        num_channels: colours.
        patch_embedding: conv (channels, frames and rows kept apart) or linear (one row a patch);
            none where it reads another tower's output.
        patch_bias: the patch embedding has a bias.
        tokens: learned tokens in front of the patches: 1 is a class token.
        positions: rows of the learned position table.
        embedding_norm: a norm between the patches and the first layer.
        patch_norm: a norm of the pixels in front of the patch embedding and one behind it.
        pooling: attention is SigLIP's pooling head, with an MLP of intermediate_size.
    """

    kind: Literal["vit"]
    component: TowerPart = "vision"
    patch_size: Taps
    temporal_patch_size: Taps | None = None
    num_channels: Channels = 3
    patch_embedding: Literal["conv", "linear", "none"] = "conv"
    patch_bias: bool = False
    tokens: Table | None = None
    positions: Positions | None = None
    embedding_norm: bool = False
    patch_norm: bool = False
    pooling: Literal["none", "attention"] = "none"

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        yield from self.check_layers()

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """The weight of the patch embedding."""
        frames = () if self.temporal_patch_size is None else (self.temporal_patch_size,)
        pixels = (self.num_channels, *frames, self.patch_size, self.patch_size)
        if self.patch_embedding == "conv":
            return (self.hidden_size, *pixels)
        size = 1
        for axis in pixels:
            size *= axis
        return (self.hidden_size, size)

    def groups(self) -> Iterator[TowerGroup]:
        """What comes before the layers, the layers, and what comes after them."""
        part, width = self.component, self.hidden_size
        yield TowerGroup("", (), tuple(self._before()))
        yield TowerGroup(
            "layers.{}.", tuple(range(self.num_hidden_layers)), tuple(self.layer(part))
        )
        after = tuple(norm("final_norm", self.norm if self.final_norm else "none", width, part))
        if self.pooling == "attention":
            after += tuple(self._pooling())
        yield TowerGroup("", (), after)

    def _before(self) -> Iterator[ParamTensor]:
        part, width = self.component, self.hidden_size
        if self.patch_norm:
            yield from norm("patch_norm_in", self.norm, self.patch_shape[1], part)
        if self.patch_embedding != "none":
            yield ParamTensor("patch_embedding.weight", self.patch_shape, part)
            if self.patch_bias:
                yield ParamTensor("patch_embedding.bias", (width,), part)
        if self.patch_norm:
            yield from norm("patch_norm_out", self.norm, width, part)
        if self.tokens is not None:
            yield ParamTensor("tokens", (self.tokens, width), part)
        if self.positions is not None:
            yield ParamTensor("position_embedding.weight", (self.positions, width), part)
        if self.embedding_norm:
            yield from norm("embedding_norm", self.norm, width, part)

    def _pooling(self) -> Iterator[ParamTensor]:
        part, width, inner = self.component, self.hidden_size, self.intermediate_size
        yield ParamTensor("pooling.probe", (1, 1, width), part)
        for side in ("q", "k", "v", "o"):
            yield from dense(f"pooling.attention.{side}_proj", width, width, part, bias=True)
        yield from norm("pooling.norm", "layernorm", width, part)
        yield from dense("pooling.ffn.up_proj", inner, width, part, bias=True)
        yield from dense("pooling.ffn.down_proj", width, inner, part, bias=True)
