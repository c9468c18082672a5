"""PLE: the last N tokens choose rows of a table, whose value every residual stream takes by its own gate.

    x_t + v_t + silu(conv(norm(v)))_t          v_t = gate(W_k e_t, x_t) W_v e_t

Kept: ``conv_state`` (B, n d, (K - 1) N), the convolution's past inputs. The ids of the last tokens are the
sequence itself. The hash here is another than the library's: any will do that goes by the n-gram alone.
"""

from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.stack.ngram_embedding import NGramEmbedding as Fields
from kvcalc.stack.ngram_embedding import primes_from
from kvcalc.verify.parts import (
    Embedding,
    Linear,
    Module,
    State,
    Step,
    remember,
    rms,
    unfold,
    weight,
)


class HashTable(Module):
    """Rows of all hashes, one table."""

    def __init__(self, c: Fields) -> None:
        super().__init__()
        hashes = (c.ngram_size - 1) * c.heads_per_ngram
        self.c, self.sizes = c, primes_from(c.ngram_vocab_size_base, hashes, c.ple_layer_index)
        multiple = c.make_ngram_vocab_size_divisible_by
        rows = -(-sum(self.sizes) // multiple) * multiple
        self.ngram_embedding = Embedding(rows, c.ple_embed_dim // hashes)

    def forward(self, ids: Tensor, tokens: int) -> Tensor:
        """(B, T, d_e) of the last ``tokens`` of ids (B, S)."""
        c, rows = self.c, []
        padded = F.pad(ids, (c.ngram_size - 1, 0))
        size, offset = padded.shape[1], 0
        for index, prime in enumerate(self.sizes):
            length = 2 + index // c.heads_per_ngram
            mixed = torch.zeros_like(padded[:, size - tokens :])
            for back in range(length):
                mixed = mixed * (31 + 2 * index) + padded[:, size - tokens - back : size - back]
            rows.append(mixed % prime + offset)
            offset += prime
        return self.ngram_embedding(torch.stack(rows, -1)).flatten(2)


class Scale(Module):
    """A norm of each stream, whose weights lie side by side."""

    def __init__(self, streams: int, width: int) -> None:
        super().__init__()
        self.streams, self.width = streams, width
        self.weight = weight(streams * width)

    def forward(self, X: Tensor) -> Tensor:
        return rms(X) * self.weight.view(self.streams, self.width)


class Taps(Module):
    """A depthwise convolution."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = weight(channels, 1, kernel)


class NGramEmbedding(Module):
    """What a layer adds to its streams before it reads them."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        wide = c.hc_mult * hidden_size
        self.ple_embedding = HashTable(c)
        self.key_proj = Linear(c.ple_embed_dim, wide)
        self.value_proj = Linear(c.ple_embed_dim, hidden_size)
        self.norm_key = Scale(c.hc_mult, hidden_size)
        self.norm_query = Scale(c.hc_mult, hidden_size)
        self.norm_conv = Scale(c.hc_mult, hidden_size)
        self.conv1d = Taps(wide, c.ple_conv_kernel_size)

    def forward(self, X: Tensor, cache: State | None, step: Step) -> Tensor:
        """X: (B, T, n, d)."""
        n, d = X.shape[2], X.shape[3]
        ids = step.token_ids if step.history is None else step.history
        e = self.ple_embedding(ids, X.shape[1])  # (B, T, d_e)
        key = self.norm_key(unfold(self.key_proj(e), -1, (n, d)))
        gate = (key * self.norm_query(X)).sum(-1, keepdim=True) / sqrt(d)  # (B, T, n, 1)
        gate = (gate.sign() * gate.abs().clamp_min(1e-6).sqrt()).sigmoid()
        V = gate * self.value_proj(e).unsqueeze(2)  # (B, T, n, d)
        return X + V + unfold(self._conv(self.norm_conv(V).flatten(2), cache), -1, (n, d))

    def _conv(self, x: Tensor, cache: State | None) -> Tensor:
        """(B, T, n d): K taps, N tokens apart."""
        taps: Tensor = self.conv1d.weight.squeeze(1)  # (n d, K)
        apart = self.c.ngram_size
        kernel = taps.shape[1]
        if cache is not None and "conv_state" in cache:
            past = cache["conv_state"]
        else:
            past = x.new_zeros((x.shape[0], x.shape[2], (kernel - 1) * apart))
        columns = torch.cat((past, x.transpose(1, 2)), 2)
        remember(cache, "conv_state", columns[:, :, columns.shape[2] - past.shape[2] :])
        y = torch.zeros_like(columns[:, :, : x.shape[1]])
        for tap in range(kernel):
            y = y + taps[:, tap, None] * columns[:, :, tap * apart : tap * apart + x.shape[1]]
        return F.silu(y).transpose(1, 2)
