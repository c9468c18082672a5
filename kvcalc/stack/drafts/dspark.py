"""DSpark: DFlash's layers, a bias by the token before each drafted one, and a guess of what is accepted.

Equation (DeepSeek's DSpark checkpoints; kvcalc/stack/drafts/dflash.py has the layers):

    logits_i += W_2 W_1[t_(i-1)]      W_1 in R^(V x r), W_2 in R^(V' x r)
    p_i = sigmoid(w [h_i ; W_1[t_(i-1)]] + b)

    parameters beyond DFlash's    (V + V') r + d + r + 1

    d  hidden_size    r  markov_rank    V  vocab_size    V'  draft_vocab_size    w, b  confidence_head

Gated: a matrix r x (d + r) and its bias; rnn: 3 r x (2 r + d) and its bias.
Tensor parallelism keeps the Markov head on every rank (DSparkMarkovHead: disable_tp).

Worked number: DSpark for Qwen3-8B, V = V' = 151,936, r = 256, d = 4096: 77,795,585 beyond DFlash's.

Reference code: vLLM 0.33 models/qwen3_dspark.py; speculators 0.9 models/dspark/model_definitions.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Modules, Rows, Scaled, Width
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.dflash import context_parameters
from kvcalc.stack.drafts.ends import head, vocabulary_tables
from kvcalc.stack.drafts.kind import BlockDraftKind
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class DSparkDraft(BlockDraftKind):
    """Layers that draft a block at once, and a Markov head over their logits (DSpark).

    Fields:
        kind: dspark.
        num_target_states: of how many of the model's layers it reads the hidden states.
        target_hidden_size: their width; the draft's own when absent.
        draft_vocab_size: rows of a head of its own; absent where it takes the model's.
        embedding: own, where the checkpoint stores a token table, or the target's.
        markov_rank: width of the Markov head.
        markov_head: vanilla, gated or rnn.
        confidence_head: a guess whether a token is accepted; hidden reads hidden states alone, markov
            the Markov head's as well.
    """

    kind: Literal["dspark"]
    num_target_states: Modules
    target_hidden_size: Scaled | None = None
    draft_vocab_size: Rows | None = None
    embedding: Literal["own", "target"] = "target"
    markov_rank: Width
    markov_head: Literal["vanilla", "gated", "rnn"] = "vanilla"
    confidence_head: Literal["none", "hidden", "markov"] = "none"

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """What the draft has around its layers."""
        width, rank = self.target_hidden_size or hidden_size, self.markov_rank
        yield from context_parameters(hidden_size, self.num_target_states, width)
        rows = self.draft_vocab_size or vocab_size
        yield ParamTensor("markov_head.markov_w1.weight", (vocab_size, rank), "embedding")
        yield from linear("markov_head.markov_w2", rows, rank, "head")
        if self.markov_head == "gated":
            yield from linear("markov_head.gate_proj", rank, hidden_size + rank, "head", bias=True)
        elif self.markov_head == "rnn":
            yield from linear("markov_head.joint_proj", 3 * rank, 2 * rank + hidden_size, "head",
                              bias=True)  # fmt: skip
        if self.confidence_head != "none":
            inputs = hidden_size + (rank if self.confidence_head == "markov" else 0)
            yield from linear("confidence_head.proj", 1, inputs, "head", bias=True, quantised=False)
        if self.draft_vocab_size is not None:
            yield from head(hidden_size, self.draft_vocab_size)
            yield from vocabulary_tables(vocab_size, self.draft_vocab_size)
