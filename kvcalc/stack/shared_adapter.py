"""What each use of a shared transformer block has of its own: a projection and adapters (Zamba).

Equation (Glorioso et al. 2024, arXiv 2411.15242, section 2 and figure 2). The shared block F reads
the stream beside the embedding, 2 d wide, and each use l adds a low-rank map to its projections:

    x = Mamba(x + W_l F_l([x, e]))          W <- W + B_l A_l for gate and up, and for Q, K, V if set

    parameters of one use    d^2  +  r (d + 2 f)  +  3 * 2 r * 2d with attention adapters

    d  hidden_size    r  adapter_rank    f  intermediate_size

The block itself (attention of attention_hidden_size 2 d, gated MLP, norms of 2 d and d) is counted
once by ``share_weights``. Where num_mem_blocks blocks take turns (Zamba2-2.7B and 7B: two, ABAB)
the spec has as many blocks; each use still has one adapter, so the number changes nothing here.
Zamba has one block and no adapters: W_l alone, d^2 parameters a use (arXiv 2405.16712, section 2).
Stored: nothing of its own; each use of the block's attention keeps its own K and V.
Tensor parallelism divides the rows of both adapter matrices (as vLLM does); W_l is on every rank.

Worked number: Zamba2-7B, d = 3584, r = 128, f = 14,336: 16,973,824 for each of its 13 uses.

Reference code: transformers models/zamba2 (Zamba2HybridLayer, Zamba2MLP, Zamba2Attention).
"""

from collections.abc import Iterator

from kvcalc.counts import Inner, Scaled
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class SharedAdapter:
    """The own weights of one use of a shared block.

    Fields:
        adapter_rank: rank of the adapters (r); absent where a use has only its projection (Zamba).
        intermediate_size: width of each of gate and up in the shared block (f).
        use_shared_attention_adapter: Q, K and V of the shared block have adapters too; they are
            2 * hidden_size wide on both sides.
    """

    adapter_rank: Scaled | None = None
    intermediate_size: Inner
    use_shared_attention_adapter: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.adapter_rank is None:
            if self.use_shared_attention_adapter:
                yield "use_shared_attention_adapter", "adapters need an adapter_rank"
        elif self.adapter_rank >= self.intermediate_size:
            yield "adapter_rank", f"a rank of {self.intermediate_size} or more saves nothing"

    def layer_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The projection after the block and the adapters of one use."""
        width = 2 * hidden_size
        yield from linear("linear", hidden_size, hidden_size, "other")
        if self.adapter_rank is None:
            return
        if self.use_shared_attention_adapter:
            for side in ("q", "k", "v"):
                own = (Part(width, width),)
                yield from _adapter(f"linear_{side}_adapter", self.adapter_rank, width, own)
        halves = (Part(self.intermediate_size, self.intermediate_size),) * 2
        yield from _adapter("gate_up_proj_adapter", self.adapter_rank, hidden_size, halves)

    def model_parameters(self, hidden_size: int, num_layers: int) -> Iterator[ParamTensor]:
        """Nothing stands beside the layers."""
        yield from ()


def _adapter(name: str, rank: int, width: int, rows: tuple[Part, ...]) -> Iterator[ParamTensor]:
    out = sum(part.size for part in rows)
    yield from linear(f"{name}.0", rank, width, "other", shard=split(0, rank))
    yield from linear(f"{name}.1", out, rank, "other", shard=Shard(0, rows))
