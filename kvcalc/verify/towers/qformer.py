"""The Q-Former: BERT's layers over learned queries, some of which read a tower's output."""

import torch
from torch import Tensor, nn

from kvcalc.towers.qformer import QFormer as Fields
from kvcalc.verify.parts import Embedding, Module, Norm, weight
from kvcalc.verify.towers.parts import Attention, Ffn, TowerModule, like


class NormedAttention(Attention):
    """Attention with a norm behind it."""

    def __init__(self, c: Fields, read: int) -> None:
        super().__init__(c.hidden_size, read, c.num_attention_heads, bias=True)
        self.norm = Norm(c.hidden_size, "layernorm")

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        return self.norm(x + super().forward(x, source))


class NormedFfn(Ffn):
    """A feed-forward layer with a norm behind it."""

    def __init__(self, c: Fields) -> None:
        super().__init__(c.hidden_size, c.intermediate_size, bias=True)
        self.norm = Norm(c.hidden_size, "layernorm")

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + super().forward(x))


class QFormerLayer(Module):
    """Self-attention of queries and text, the queries' look at the tower, a layer for each of both."""

    def __init__(self, c: Fields, crosses: bool) -> None:
        super().__init__()
        self.queries = c.num_queries
        self.attention = NormedAttention(c, c.hidden_size)
        self.cross_attention = NormedAttention(c, c.encoder_hidden_size) if crosses else None
        self.query_ffn = NormedFfn(c)
        self.ffn = NormedFfn(c) if c.vocab_size is not None else None

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        x = self.attention(x, x)
        queries, text = x[:, : self.queries], x[:, self.queries :]
        if self.cross_attention is not None:
            queries = self.cross_attention(queries, source)
        text = text if self.ffn is None else self.ffn(text)
        return torch.cat([self.query_ffn(queries), text], 1)


class QFormer(TowerModule):
    """Learned queries, with a text beside them where there is a token table."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        self.c, width = c, c.hidden_size
        self.query_tokens = weight(c.num_queries, width)
        if c.vocab_size is not None and c.positions is not None:
            self.embedding = Embedding(c.vocab_size, width)
            self.position_embedding = Embedding(c.positions, width)
        self.embedding_norm = Norm(width, "layernorm")
        every = c.cross_attention_frequency
        self.layers = nn.ModuleList(
            QFormerLayer(c, index % every == 0) for index in range(c.num_hidden_layers)
        )

    def example(self) -> Tensor:
        """Three positions of a tower."""
        return like(self, 1, 3, self.c.encoder_hidden_size)

    def forward(self, source: Tensor) -> Tensor:
        x = self.query_tokens.expand(source.shape[0], -1, -1)
        if self.c.vocab_size is not None:
            ids = torch.zeros((source.shape[0], 2), dtype=torch.long, device=source.device)
            x = torch.cat([x, self.embedding(ids) + self.position_embedding(ids)], 1)
        x = self.embedding_norm(x)
        for layer in self.layers:
            x = layer(x, source)
        return x
