"""The Q-Former: BERT's layers over learned queries, every few of which read the tower's output.

    a layer:  4 (d^2 + d) + 2 d  (self-attention, norm)  +  d f + f + f d + d + 2 d  (the queries' layer)
    every k-th:  2 (d^2 + d) + 2 (d e + d) + 2 d         (cross-attention to e channels, norm)

    d  hidden_size    f  intermediate_size    e  encoder_hidden_size    k  cross_attention_frequency

With a text beside the image (InstructBLIP) it has a token and a position table and a second
feed-forward layer. Norms stand behind each sublayer, as in BERT.

Li et al. 2023 (BLIP-2), arXiv 2301.12597; Dai et al. 2023 (InstructBLIP), arXiv 2305.06500. Reference
code: transformers models/blip_2/modeling_blip_2.py (Blip2QFormerModel), models/instructblip, and
models/granite_speech, whose projector it is.

Worked number: BLIP-2's, d = 768, 12 layers, f = 3072, e = 1408, k = 2, 32 queries: 12 * 7,087,872 +
6 * 3,346,944 + 1,536 + 24,576 = 105,162,240.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Inner, Layers, Positions, Rows, Scaled, Table, Taps
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor
from kvcalc.towers.tensors import TowerGroup, TowerPart, dense, norm


@frozen(kw_only=True)
class QFormer:
    """Learned queries that attend to each other and, in some layers, to the tower's output.

    Fields:
        kind: qformer.
        component: the part of the model that it counts as.
        hidden_size: width of the queries.
        num_hidden_layers: layers.
        num_attention_heads: heads of a layer.
        intermediate_size: width inside the feed-forward layers.
        encoder_hidden_size: width of the tower's output.
        cross_attention_frequency: every so many layers, the first included, read the tower.
        num_queries: learned queries.
        vocab_size: rows of a token table, where the queries read a text, too.
        positions: rows of its position table.
    """

    kind: Literal["qformer"]
    component: TowerPart = "projector"
    hidden_size: Scaled
    num_hidden_layers: Layers
    num_attention_heads: Heads
    intermediate_size: Inner
    encoder_hidden_size: Scaled
    cross_attention_frequency: Taps
    num_queries: Table
    vocab_size: Rows | None = None
    positions: Positions | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.hidden_size % self.num_attention_heads:
            heads = self.num_attention_heads
            yield "num_attention_heads", f"{self.hidden_size} is not divisible by {heads} heads"
        if (self.vocab_size is None) != (self.positions is None):
            yield "positions", "a token table and a position table go together"

    def groups(self) -> Iterator[TowerGroup]:
        """Queries and tables, all layers' own, and the cross-attention of some."""
        part, width = self.component, self.hidden_size
        before = [ParamTensor("query_tokens", (self.num_queries, width), part)]
        if self.vocab_size is not None and self.positions is not None:
            before.append(ParamTensor("embedding.weight", (self.vocab_size, width), part))
            before.append(ParamTensor("position_embedding.weight", (self.positions, width), part))
        before += norm("embedding_norm", "layernorm", width, part)
        yield TowerGroup("", (), tuple(before))
        layers = tuple(range(self.num_hidden_layers))
        yield TowerGroup("layers.{}.", layers, tuple(self._layer()))
        crossing = layers[:: self.cross_attention_frequency]
        cross = self._attention("cross_attention", self.encoder_hidden_size)
        yield TowerGroup("layers.{}.", crossing, tuple(cross))

    def _layer(self) -> Iterator[ParamTensor]:
        part, width, inner = self.component, self.hidden_size, self.intermediate_size
        yield from self._attention("attention", width)
        texts = () if self.vocab_size is None else ("ffn",)
        for name in (*texts, "query_ffn"):
            yield from dense(f"{name}.up_proj", inner, width, part, bias=True)
            yield from dense(f"{name}.down_proj", width, inner, part, bias=True)
            yield from norm(f"{name}.norm", "layernorm", width, part)

    def _attention(self, name: str, read: int) -> Iterator[ParamTensor]:
        part, width = self.component, self.hidden_size
        for side, columns in (("q", width), ("k", read), ("v", read), ("o", width)):
            yield from dense(f"{name}.{side}_proj", width, columns, part, bias=True)
        yield from norm(f"{name}.norm", "layernorm", width, part)
