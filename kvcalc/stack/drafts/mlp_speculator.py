"""MLP speculators: one small step per token, from the last hidden state and the tokens so far. No cache.

Equation (Wertheimer et al. 2024, arXiv 2404.19124, section 3):

    s_k = GELU(LN(a W_k s_(k-1) + b E_k[t_k])),  logits = H_k s_k      s_0 the model's hidden state

    parameters    n (V m + V m + 2 m) + d m + (n - 1) m^2

    n  num_lookahead_tokens    m  inner_dim    d  hidden_size    V  vocab_size

Tied weights keep one E, H and LN, and one W beside the first.
Tensor parallelism divides the rows of E and H.

Worked number: ibm's llama3-8b-accelerator, n = 4, m = 3072, d = 4096, V = 128,256: 3,192,938,496.

Reference code: vLLM to 0.32 models/mlp_speculator.py (MLPSpeculator).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner, Modules
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.ends import by_row
from kvcalc.stack.drafts.kind import DraftKind
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class MlpSpeculatorDraft(DraftKind):
    """Small steps over the last hidden state, one per token (IBM's accelerators).

    Fields:
        kind: mlp_speculator.
        num_lookahead_tokens: steps (n_predict).
        inner_dim: width of a step.
        tie_weights: all steps use the same tables, heads and norms.
    """

    kind: Literal["mlp_speculator"]
    num_lookahead_tokens: Modules
    inner_dim: Inner
    tie_weights: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.tie_weights and self.num_lookahead_tokens < 2:
            yield "tie_weights", "there is one step alone, which has nothing to share with"

    @property
    def embedding(self) -> Literal["target"]:
        """Its tables are not the model's."""
        return "target"

    @property
    def target_hidden_size(self) -> None:
        """The draft's own."""

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """All that it has."""
        inner, steps = self.inner_dim, self.num_lookahead_tokens
        shape, shard = (vocab_size, inner), by_row(vocab_size)
        own = 1 if self.tie_weights else steps
        for step in range(own):
            yield ParamTensor(f"emb.{step}.weight", shape, "embedding", shard, quantised=True)
        for step in range(min(steps, 2) if self.tie_weights else steps):
            yield from linear(f"proj.{step}", inner, inner if step else hidden_size, "other")
        for step in range(own):
            yield ParamTensor(f"head.{step}.weight", shape, "head", shard, quantised=True)
        for step in range(own):
            yield ParamTensor(f"ln.{step}.weight", (inner,), "norm")
            yield ParamTensor(f"ln.{step}.bias", (inner,), "norm")
