"""Medusa: heads on the last hidden state, one for each further token. No layers, no cache.

Equation (Cai et al. 2024, Medusa, arXiv 2401.10774, section 2.1):

    p_k = softmax(W_k (SiLU(U_k h) + h))      U_k in R^(d x d), W_k in R^(V x d)

    parameters    K (n (d^2 + d) + V d)        without biases K (n d^2 + V d)

    K  num_heads    n  num_residual_layers    d  hidden_size    V  vocab_size

With one head for all (original_lm_head) W is there once, draft_vocab_size rows of it.
Tensor parallelism divides the rows of W_k.

Worked number: Medusa for Vicuna-7B, K = 5, n = 1, d = 4096, V = 32,000, with biases: 739,266,560.

Reference code: FasterDecoding/Medusa medusa/model/medusa_model.py (with biases); vLLM to 0.32
models/medusa.py (medusa_fc_bias).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Modules, Rows
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.ends import by_row
from kvcalc.stack.drafts.kind import DraftKind
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class MedusaDraft(DraftKind):
    """Heads that each predict one further token from the last hidden state (Medusa).

    Fields:
        kind: medusa.
        num_heads: heads, each for one token.
        num_residual_layers: residual blocks of a head (medusa_num_layers).
        bias: the residual blocks have biases.
        original_lm_head: one matrix over the vocabulary for all heads.
        draft_vocab_size: its rows; vocab_size when absent.
    """

    kind: Literal["medusa"]
    num_heads: Modules
    num_residual_layers: Modules = 1
    bias: bool = True
    original_lm_head: bool = False
    draft_vocab_size: Rows | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.draft_vocab_size is not None and not self.original_lm_head:
            yield "draft_vocab_size", "each head has all tokens unless original_lm_head is true"

    @property
    def embedding(self) -> Literal["target"]:
        """It reads no tokens."""
        return "target"

    @property
    def target_hidden_size(self) -> None:
        """The draft's own."""

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """All that it has."""
        for number in range(self.num_heads):
            for layer in range(self.num_residual_layers):
                yield from linear(f"blocks.{number}.layers.{layer}", hidden_size, hidden_size,
                                  "head", bias=self.bias)  # fmt: skip
        rows = self.draft_vocab_size or vocab_size
        for number in range(1 if self.original_lm_head else self.num_heads):
            name = "lm_head" if self.original_lm_head else f"lm_heads.{number}"
            yield ParamTensor(f"{name}.weight", (rows, hidden_size), "head", by_row(rows),
                              quantised=True)  # fmt: skip
