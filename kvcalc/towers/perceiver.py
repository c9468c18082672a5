"""The perceiver resampler: a few learned latents read all patches, whatever their number.

    q = W_q norm(latents)      k, v = W_k, W_v [norm(patches); norm(latents)]      then a gated layer

    n * d                      latents
    a layer:  d * h * c (q)  +  2 * d * g * c (k, v)  +  h * c * d (o)  +  3 * d * f  +  3 norms of d

    d  hidden_size    n  num_latents    h  num_attention_heads    g  num_key_value_heads    c  head_dim
    f  intermediate_size

Alayrac et al. 2022 (Flamingo), arXiv 2204.14198; Laurençon et al. 2024 (Idefics2), arXiv 2405.02246.
Reference code: transformers models/idefics2/modeling_idefics2.py (Idefics2PerceiverResampler).

Worked number: Idefics2's defaults, d = 4096, n = 64, 3 layers, h = 16, g = 4, c = 96, f = 16,384:
64 * 4096 + 3 * 217,067,520 + 4096 = 651,468,800.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Inner, KVHeads, Layers, Scaled, Table, Width
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerPart, dense, norm


@frozen(kw_only=True)
class Perceiver:
    """Learned latents that attend to a tower's patches and to themselves.

    Fields:
        kind: perceiver.
        component: the part of the model that it counts as.
        hidden_size: width of the latents.
        num_latents: how many there are, and so tokens of an image.
        num_hidden_layers: layers.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads.
        head_dim: width of a head.
        intermediate_size: width inside the gated layer.
    """

    kind: Literal["perceiver"]
    component: TowerPart = "projector"
    hidden_size: Scaled
    num_latents: Table
    num_hidden_layers: Layers
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    intermediate_size: Inner

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if heads % kv_heads:
            yield (
                "num_key_value_heads",
                f"{heads} query heads cannot share {kv_heads} KV heads evenly",
            )

    def groups(self) -> Iterator[TowerGroup]:
        """The latents, the layers and the last norm."""
        part, width = self.component, self.hidden_size
        latents = ParamTensor("latents", (self.num_latents, width), part)
        yield TowerGroup("", (), (latents,))
        layers = tuple(range(self.num_hidden_layers))
        yield TowerGroup("layers.{}.", layers, tuple(self._layer()))
        yield TowerGroup("", (), tuple(norm("final_norm", "rmsnorm", width, part)))

    def _layer(self) -> Iterator[ParamTensor]:
        part, width = self.component, self.hidden_size
        query, key = (
            heads * self.head_dim for heads in (self.num_attention_heads, self.num_key_value_heads)
        )
        for name in ("input_latents_norm", "input_context_norm", "post_attention_norm"):
            yield from norm(name, "rmsnorm", width, part)
        yield from dense("attention.q_proj", query, width, part)
        yield from dense("attention.k_proj", key, width, part)
        yield from dense("attention.v_proj", key, width, part)
        yield from dense("attention.o_proj", width, query, part)
        yield from dense("ffn.gate_proj", self.intermediate_size, width, part)
        yield from dense("ffn.up_proj", self.intermediate_size, width, part)
        yield from dense("ffn.down_proj", width, self.intermediate_size, part)
