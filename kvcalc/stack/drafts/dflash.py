"""DFlash: a few layers that draft a whole block of tokens at once, from hidden states of several depths.

Equation (Chen et al. 2026, DFlash, arXiv 2602.06036, section 4): keys and values of each layer come from
the hidden states of the model that it drafts for, once a token; the block's masked tokens attend to them.

    c = norm(W [h^1 ; ... ; h^a])      W in R^(d x a D)

    parameters around the layers    a d D + d

    d  hidden_size    D  target_hidden_size    a  num_target_states    W  fc    the norm  hidden_norm

A norm follows the last layer. The token table is the model's, and the head, too, unless the draft has
fewer tokens (V' of them: V' d more, and the tables d2t and t2d).
Each layer keeps keys and values of every token, or of its window, in widths of its own.
Tensor parallelism keeps fc on every rank.

Worked number: DFlash for Qwen3-8B, d = D = 4096, a = 5: 83,890,176 around five layers.

Reference code: vLLM 0.33 models/qwen3_dflash.py; z-lab's modeling file dflash.py; speculators 0.9
models/dflash/core.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Modules, Rows, Scaled
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.ends import head, vocabulary_tables
from kvcalc.stack.drafts.kind import BlockDraftKind
from kvcalc.tensors import ParamTensor, linear


def context_parameters(hidden_size: int, states: int, width: int) -> Iterator[ParamTensor]:
    """The projection of the model's hidden states, and its norm."""
    yield from linear("fc", hidden_size, states * width, "other")
    yield ParamTensor("hidden_norm.weight", (hidden_size,), "norm")


@frozen(kw_only=True)
class DFlashDraft(BlockDraftKind):
    """Layers that draft a block at once (DFlash).

    Fields:
        kind: dflash.
        num_target_states: of how many of the model's layers it reads the hidden states.
        target_hidden_size: their width; the draft's own when absent.
        draft_vocab_size: rows of a head of its own; absent where it takes the model's.
        embedding: own, where the checkpoint stores a token table, or the target's.
    """

    kind: Literal["dflash"]
    num_target_states: Modules
    target_hidden_size: Scaled | None = None
    draft_vocab_size: Rows | None = None
    embedding: Literal["own", "target"] = "target"

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """What the draft has around its layers."""
        width = self.target_hidden_size or hidden_size
        yield from context_parameters(hidden_size, self.num_target_states, width)
        if self.draft_vocab_size is not None:
            yield from head(hidden_size, self.draft_vocab_size)
            yield from vocabulary_tables(vocab_size, self.draft_vocab_size)
