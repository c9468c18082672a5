"""PLE of Qwen4-Exp: hashed n-grams of the last tokens, looked up in a great table, beside a layer.

Equation (transformers models/qwen4_exp, Qwen4ExpTextPLELayer), before the layer, for each of n streams:

    e_t = the H = (N - 1) h rows that the hashes of (t, t-1), ..., (t, ..., t-N+1) choose, side by side
    v_t = sigmoid(s(norm(W_k e_t) . norm(x_t) / sqrt(d))) * W_v e_t          s(z) = sign(z) sqrt(|z|)
    x_t = x_t + v_t + silu(conv(norm(v)))_t          depthwise, K taps, every N-th token

    parameters    rows * d_e / H  +  (n + 1) d d_e  +  3 n d  +  n d K
    kept          n d * (K - 1) N

    N  ngram_size    h  heads_per_ngram    d_e  ple_embed_dim    n  hc_mult    d  hidden_size
    K  ple_conv_kernel_size

Each of the H hashes has rows of its own: the first H primes from ngram_vocab_size_base on (the next H for
the second such layer, ``ple_layer_index`` 1), all together rounded up to a multiple.
Stored: the inputs of the convolution over the last (K - 1) N tokens, in the KV dtype. Not stored: the
gates; the N - 1 token ids that the next hash needs are the sequence itself (transformers keeps their
integers). The table is only looked up, so runtimes keep it in host memory. Tensor parallelism divides the
table's columns in transformers; here every rank holds the whole, as of the rest.

Worked number: Qwen3.8-Flash-Next, N = 3, h = 8, d_e = d = 2560, n = 4, K = 4: 320,001,536 rows of 160,
51,200,245,760 parameters, 32,839,680 beside them; 10,240 * 9 * 2 = 184,320 bytes a sequence in bf16.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import isqrt
from typing import Literal

from kvcalc.counts import Modules, Rows, Scaled, StreamIndex, Streams, Table, Taps, WholeHeads
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear


@frozen(kw_only=True)
class NGramEmbedding:
    """An n-gram embedding that a layer adds to every residual stream.

    Fields:
        kind: ngram.
        hidden_size: the model's hidden_size (d).
        hc_mult: residual streams (n).
        ple_embed_dim: width of all looked-up rows together (d_e).
        ple_conv_kernel_size: taps of the convolution (K).
        ngram_size: tokens of the longest n-gram (N); also how far apart the taps are.
        heads_per_ngram: hashes of each length (h).
        ngram_vocab_size_base: the number that each hash's prime number of rows is not below.
        make_ngram_vocab_size_divisible_by: what the rows of the table are rounded up to.
        ple_layer_index: how many layers with such an embedding come before.
    """

    kind: Literal["ngram"] = "ngram"
    hidden_size: Scaled
    hc_mult: Streams
    ple_embed_dim: Scaled
    ple_conv_kernel_size: Taps
    ngram_size: Modules
    heads_per_ngram: WholeHeads
    ngram_vocab_size_base: Rows
    make_ngram_vocab_size_divisible_by: Table = 128
    ple_layer_index: StreamIndex = 0

    @property
    def num_hashes(self) -> int:
        return (self.ngram_size - 1) * self.heads_per_ngram

    @property
    def rows(self) -> int:
        """Rows of the table: the hashes' primes, rounded up."""
        sizes = primes_from(self.ngram_vocab_size_base, self.num_hashes, self.ple_layer_index)
        multiple = self.make_ngram_vocab_size_divisible_by
        return -(-sum(sizes) // multiple) * multiple

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.ngram_size < 2:
            yield "ngram_size", "an n-gram has two tokens at least"
        elif self.ple_embed_dim % self.num_hashes:
            yield (
                "ple_embed_dim",
                f"{self.num_hashes} hashes do not share {self.ple_embed_dim} channels",
            )

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The table, what makes keys and values of its rows, and the convolution."""
        wide, looked_up = self.hc_mult * hidden_size, self.ple_embed_dim
        table = (self.rows, looked_up // self.num_hashes)
        yield ParamTensor(
            "ple_embedding.ngram_embedding.weight", table, "embedding", quantised=True
        )
        yield from linear("key_proj", wide, looked_up, "other")
        yield from linear("value_proj", hidden_size, looked_up, "other")
        for name in ("norm_key", "norm_query", "norm_conv"):
            yield ParamTensor(f"{name}.weight", (wide,), "other")
        yield ParamTensor("conv1d.weight", (wide, 1, self.ple_conv_kernel_size), "other")

    def cache(self) -> Iterator[CacheTensor]:
        """The convolution's past inputs, once per sequence."""
        columns = (self.ple_conv_kernel_size - 1) * self.ngram_size
        yield CacheTensor("conv_state", (self.hc_mult * self.hidden_size, columns), ONCE, "conv",
                          row_axis=0)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="n-gram embedding beside a layer",
            symbols=(
                Symbol("n", "hc_mult", self.hc_mult, "residual streams"),
                Symbol("d", "hidden_size", self.hidden_size, "width of a stream"),
                Symbol("K", "ple_conv_kernel_size", self.ple_conv_kernel_size, "convolution taps"),
                Symbol("N", "ngram_size", self.ngram_size, "tokens between two taps"),
            ),
            source="transformers models/qwen4_exp (Qwen4ExpTextPLELayer)",
            stored="the convolution's inputs of the last (K - 1) N tokens",
            not_stored="the token ids of the last n-gram, which are the sequence itself",
            fixed="n * d * (K - 1) * N",
        )


@lru_cache(maxsize=64)
def primes_from(least: int, count: int, turn: int) -> tuple[int, ...]:
    """``count`` primes in order: the first that are not below ``least``, for turn 0; the next, for 1."""
    found: list[int] = []
    number = least
    while len(found) < count * (turn + 1):
        if _is_prime(number):
            found.append(number)
        number += 1
    return tuple(found[count * turn :])


def _is_prime(number: int) -> bool:
    if number < 4:
        return number > 1
    return number % 2 > 0 and all(number % each for each in range(3, isqrt(number) + 1, 2))
