"""EAGLE-3: a decoder layer over hidden states of several depths, with a head over fewer tokens.

Equation (Li et al. 2025, EAGLE-3, arXiv 2503.01840, section 3.1):

    g_i = W [h_i^low ; h_i^mid ; h_i^high]      W in R^(d x a D)
    the first layer's q, k and v read [norm Emb(t_(i+1)) ; norm g_i], 2d wide

    parameters around the layers    a d D + d + V' d      and V' + V entries of two tables

    d  hidden_size    D  target_hidden_size    a  num_aux_hidden_states
    V'  draft_vocab_size    V  vocab_size    W  fc

Each layer has a norm of g beside its two (``norms: 3``); a norm follows the last layer.
d2t and t2d map between both vocabularies: buffers of int64 and of bytes, where V' < V.
The token table is the model's unless the checkpoint stores one.
Tensor parallelism divides the head's rows, and keeps fc on every rank.

Worked number: EAGLE-3 for Llama-3.1-8B, d = D = 4096, V' = 32,000: fc 50,331,648 and a head of
131,072,000 beside a layer of 243,281,920 with three norms, and the last norm: 424,689,664.

Reference code: SafeAILab/EAGLE eagle/model/cnets.py; vLLM 0.33 models/llama_eagle3.py;
speculators 0.9 models/eagle3/core.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Modules, Rows, Scaled
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.ends import head, vocabulary_tables
from kvcalc.stack.drafts.kind import DraftKind
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class Eagle3Draft(DraftKind):
    """A head over hidden states of several depths (EAGLE-3, P-EAGLE).

    Fields:
        kind: eagle3.
        target_hidden_size: width of the model's hidden states; the draft's own when absent.
        num_aux_hidden_states: of how many layers it reads them; absent where it reads the last alone.
        draft_vocab_size: rows of its head; vocab_size when absent.
        embedding: own, where the checkpoint stores a token table, or the target's.
        norm_before_fc: a norm over all the hidden states before fc.
        fc_norm: a norm over those of each layer before fc.
        mask_hidden: a learned hidden state for tokens drafted at once (P-EAGLE).
    """

    kind: Literal["eagle3"]
    target_hidden_size: Scaled | None = None
    num_aux_hidden_states: Modules | None = None
    draft_vocab_size: Rows | None = None
    embedding: Literal["own", "target"] = "target"
    norm_before_fc: bool = False
    fc_norm: bool = False
    mask_hidden: bool = False

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        for name in ("norm_before_fc", "fc_norm", "mask_hidden"):
            if getattr(self, name) and self.num_aux_hidden_states is None:
                yield name, "there is no fc where the draft reads the last hidden states alone"

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """What the draft has around its layers."""
        width, count = self.target_hidden_size or hidden_size, self.num_aux_hidden_states
        if count is not None:
            yield from linear("fc", hidden_size, count * width, "other")
            if self.norm_before_fc:
                yield ParamTensor("input_norm.weight", (count * width,), "norm")
            if self.fc_norm:
                for index in range(count):
                    yield ParamTensor(f"fc_norm.{index}.weight", (width,), "norm")
            if self.mask_hidden:
                yield ParamTensor("mask_hidden", (1, 1, count * width), "other")
        rows = self.draft_vocab_size or vocab_size
        yield from head(hidden_size, rows)
        yield from vocabulary_tables(vocab_size, rows)
