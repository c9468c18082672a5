"""NSA, native sparse attention: raw keys and values, and compressed ones once per stride.

Equation (Yuan et al. 2025, arXiv 2502.11089, section 3.3, equations 7 to 12). Three gated branches:
compressed blocks of l tokens that begin every s tokens, selected blocks, a sliding window. Elements
kept per layer:

    s * n_kv * (d_k + d_v) + n_kv * (d_k + d_v)      per s tokens: their own and a compressed pair
    (w + l - 1) * n_kv * (d_k + d_v)                 fixed, only when ``branches`` is separate

    n_kv  num_key_value_heads    d_k  head_dim    d_v  v_head_dim, or head_dim
    l  kernel_size    s  kernel_stride (the paper's d)    w  window_size

Stored: K and V of every token, since any block may be selected; compressed K and V of each whole
block, floor((T - l) / s) + 1 of them (equation 7). With the paper's independent keys and values for
three branches (section 3.3.3) also the window's own, and the raw keys and values of the block that
is being filled. Not stored: block scores, gates. Sparsity saves reading, not room.
Tensor parallelism divides KV heads.

Worked number: the paper's 27B model, n_kv = 4, d_k = 192, d_v = 128, l = 32, s = 16: 1,280
elements a token and 1,280 more every 16 tokens.

Reference code: fla-org/native-sparse-attention modeling_nsa.py (shared keys and values; block
means, which it computes anew instead of keeping); XunhaoLai/native-sparse-attention-triton (a
linear map per block). The paper does not give the shape of its compression MLP.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Kernel, KVHeads, Selected, Stride, TopBlocks, Width, WindowSize
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import (
    EVERY_TOKEN,
    CacheTensor,
    Extent,
    ParamTensor,
    PerBlock,
    Window,
    linear,
    split,
    split_kv_heads,
)


@frozen(kw_only=True)
class NativeSparseAttention:
    """Native sparse attention.

    Fields:
        kind: nsa.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads that are cached.
        head_dim: width of a query and key head.
        v_head_dim: width of a value head; head_dim when absent.
        kernel_size: tokens that are compressed into one key and one value (l).
        kernel_stride: tokens between the beginnings of two compressed blocks (the paper's d).
        block_size: tokens of a selected block; it does not change the cache.
        topk: blocks that a query selects; it does not change the cache.
        window_size: tokens that the window branch sees, the current one included.
        branches: shared (one K and V for all three) or separate (one each, as in the paper).
        compression: mean (no weights) or linear (a matrix per KV head over the block's tokens).
        gate: per_head (three gates for each head) or per_token (three for all heads).
        bias: which projections carry a bias.
    """

    kind: Literal["nsa"]
    num_attention_heads: Heads
    num_key_value_heads: KVHeads
    head_dim: Width
    kernel_size: Kernel
    kernel_stride: Stride
    block_size: Selected
    topk: TopBlocks
    window_size: WindowSize
    v_head_dim: Width | None = None
    branches: Literal["shared", "separate"] = "shared"
    compression: Literal["mean", "linear"] = "mean"
    gate: Literal["per_head", "per_token"] = "per_head"
    bias: tuple[Literal["q", "k", "v"], ...] = ()

    @property
    def value_dim(self) -> int:
        return self.head_dim if self.v_head_dim is None else self.v_head_dim

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if kv_heads > heads or heads % kv_heads:
            yield "num_key_value_heads", f"{heads} heads cannot share {kv_heads} KV heads evenly"
        if self.kernel_stride > self.kernel_size:
            yield "kernel_stride", f"tokens between blocks of {self.kernel_size} would be left out"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        d_k, d_v = self.head_dim, self.value_dim
        query_dim, out_dim = heads * d_k, heads * d_v
        yield from linear("q_proj", query_dim, hidden_size, "attention",
                          bias="q" in self.bias, shard=split(0, query_dim, heads))  # fmt: skip
        for branch in ("",) if self.branches == "shared" else ("cmp_", "slc_", "win_"):
            for side, width in (("k", kv_heads * d_k), ("v", kv_heads * d_v)):
                yield from linear(f"{branch}{side}_proj", width, hidden_size, "attention",
                                  bias=side in self.bias,
                                  shard=split_kv_heads(0, width, kv_heads))  # fmt: skip
        if self.gate == "per_head":
            yield from linear("g_proj", 3 * heads, hidden_size, "attention",
                              shard=split(0, 3 * heads, heads))  # fmt: skip
        else:
            yield from linear("g_proj", 3, hidden_size, "attention")
        if self.compression == "linear":
            by_head, block = split_kv_heads(0, kv_heads, kv_heads), self.kernel_size
            yield ParamTensor("compress_key", (kv_heads, block * d_k, d_k), "attention", by_head)
            yield ParamTensor("compress_value", (kv_heads, block * d_v, d_v), "attention", by_head)
            yield ParamTensor("intra_block_pe", (kv_heads, block, d_k), "attention", by_head)
        yield from linear("o_proj", hidden_size, out_dim, "attention",
                          shard=split(1, out_dim, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        yield from self._pair("", EVERY_TOKEN)
        yield from self._pair("compressed_", PerBlock(self.kernel_size, self.kernel_stride))
        if self.branches == "separate":
            yield from self._pair("window_", Window(self.window_size))
            if self.kernel_size > 1:
                yield from self._pair("unfinished_", Window(self.kernel_size - 1))

    def _pair(self, prefix: str, extent: Extent) -> Iterator[CacheTensor]:
        heads = self.num_key_value_heads
        shard = split_kv_heads(0, heads, heads)
        yield CacheTensor(f"{prefix}key", (heads, self.head_dim), extent, "key", shard, 1)
        yield CacheTensor(f"{prefix}value", (heads, self.value_dim), extent, "value", shard, 1)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        symbols = [
            Symbol("n_kv", "num_key_value_heads", self.num_key_value_heads, "KV heads"),
            Symbol("d_k", "head_dim", self.head_dim, "key head width"),
            Symbol("d_v", "v_head_dim", self.value_dim, "value head width"),
            Symbol("s", "kernel_stride", self.kernel_stride, "tokens per compressed block"),
        ]
        separate = self.branches == "separate"
        if separate:
            symbols.append(Symbol("w", "window_size", self.window_size, "window"))
            symbols.append(Symbol("l", "kernel_size", self.kernel_size, "tokens of a block"))
        return Explanation(
            title="native sparse attention",
            symbols=tuple(symbols),
            source="Yuan et al. 2025, arXiv 2502.11089, section 3.3, equations 7 to 12; "
            "fla-org/native-sparse-attention modeling_nsa.py",
            stored="K and V of every token, and a compressed K and V per block"
            + ("; the window's and the unfinished block's own K and V" if separate else ""),
            not_stored="block scores, gates; selecting blocks saves reading, not room",
            per_position="s * n_kv * (d_k + d_v) + n_kv * (d_k + d_v)",
            fixed="(w + l - 1) * n_kv * (d_k + d_v)" if separate else "",
            positions=f"every token; counted per {self.kernel_stride} tokens",
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {
    "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128,
    "kernel_size": 32, "kernel_stride": 16, "block_size": 64, "topk": 16, "window_size": 512,
}  # fmt: skip
