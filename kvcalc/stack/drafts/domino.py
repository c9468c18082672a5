"""Domino: DFlash's layers, and a recurrent correction of their logits by the tokens drafted so far.

Equation (SpecForge's DominoDraftModel; kvcalc/stack/drafts/dflash.py has the layers):

    logits_i += W_2 SiLU(W_1 [h_i ; GRU(Emb(t_1), ..., Emb(t_(i-1)))])

    parameters beyond DFlash's    3 g (d + g) + e (d + g) + V e

    d  hidden_size    g  gru_hidden_dim    e  emb_dim    V  vocab_size    W_1, W_2  embed_proj

The GRU has no biases, and its state lives for a block alone.
Tensor parallelism keeps the correction on every rank.

Worked number: Domino for Qwen3-8B, d = 4096, g = 1024, e = 256, V = 151,936: 55,934,976 beyond DFlash's.

Reference code: sgl-project/SpecForge specforge/modeling/draft/domino.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Modules, Rows, Scaled, Width
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.dflash import context_parameters
from kvcalc.stack.drafts.kind import BlockDraftKind
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class DominoDraft(BlockDraftKind):
    """Layers that draft a block at once, and a recurrent correction of their logits (Domino).

    Fields:
        kind: domino.
        num_target_states: of how many of the model's layers it reads the hidden states.
        target_hidden_size: their width; the draft's own when absent.
        embedding: own, where the checkpoint stores a token table, or the target's.
        gru_hidden_dim: width of the recurrent state.
        emb_dim: width between the state and the logits.
    """

    kind: Literal["domino"]
    num_target_states: Modules
    target_hidden_size: Scaled | None = None
    embedding: Literal["own", "target"] = "target"
    gru_hidden_dim: Width
    emb_dim: Width

    @property
    def draft_vocab_size(self) -> Rows | None:
        """It takes the model's head."""
        return None

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """What the draft has around its layers."""
        width, state = self.target_hidden_size or hidden_size, self.gru_hidden_dim
        yield from context_parameters(hidden_size, self.num_target_states, width)
        for name, inputs in (("weight_ih_l0", hidden_size), ("weight_hh_l0", state)):
            yield ParamTensor(f"prefix_gru.{name}", (3 * state, inputs), "head")
        yield from linear("embed_proj.0", self.emb_dim, hidden_size + state, "head")
        yield from linear("embed_proj.2", vocab_size, self.emb_dim, "head")
