"""EAGLE and EAGLE-2: a decoder layer that predicts the next hidden state of the model it drafts for.

Equation (Li et al. 2024, EAGLE, arXiv 2401.15077, section 4; EAGLE-2: arXiv 2406.16858):

    x_i = W [Emb(t_(i+1)) ; f_i] + b      W in R^(d x 2d), then the layers, then the model's own head

    parameters around the layers    2 d^2, with the bias + d

    d  hidden_size, which is the model's    f  its last hidden states    W  fc

The first layer has no norm before its attention, and there is none after the last.
The checkpoint stores a copy of the model's token table; engines that find the two equal keep one
(vLLM, _maybe_share_embeddings). The head is the model's.
Tensor parallelism keeps fc on every rank.

Worked number: EAGLE for Llama-3-8B, d = 4096: fc 33,554,432 beside a layer of 218,107,904 (its one
norm included) and a table of 128,256 * 4096.

Reference code: SafeAILab/EAGLE eagle/model/cnets1.py; vLLM 0.33 models/llama_eagle.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.stack.drafts.kind import DraftKind
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class EagleDraft(DraftKind):
    """A head that predicts hidden states (EAGLE, EAGLE-2).

    Fields:
        kind: eagle.
        fc_bias: the projection in front of the layers has a bias.
        embedding: own, where the checkpoint stores a token table, or the target's.
    """

    kind: Literal["eagle"]
    fc_bias: bool = False
    embedding: Literal["own", "target"] = "own"

    @property
    def target_hidden_size(self) -> int | None:
        """The model's hidden_size must be this; None: the draft's own."""
        return None

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """What the draft has around its layers."""
        yield from linear("fc", hidden_size, 2 * hidden_size, "other", bias=self.fc_bias)
