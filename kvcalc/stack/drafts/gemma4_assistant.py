"""Gemma 4's assistants: a few narrow layers that read the keys and values of the model they draft for.

Equation: the next token's embedding, as wide as the model's, and the model's last hidden state make the
input; what comes out of the layers is the next hidden state, and the logits, with the draft's own table.

    x = P [Emb(t) ; f]      P in R^(d x 2D)        f' = Q norm(x_n)      Q in R^(D x d)

    parameters around the layers    3 d D, with centroids + C d

    d  hidden_size    D  target_hidden_size    P  pre_projection    Q  post_projection
    C  num_centroids: rows whose best few say which tokens' logits are computed

Every layer has queries alone (shared_kv: target): it reads the latest layer of the model that has the
same reach and keeps keys and values, so there is no cache. The token table, V d, is the draft's head too.
Tensor parallelism divides both projections; centroids stay on every rank.

Worked number: beside Gemma 4 E2B, d = 256, D = 1536, C = 2048: 1,703,936 around the layers, and a table
of 262,144 * 256.

Reference code: transformers 5.23 models/gemma4_assistant; vLLM 0.33 models/gemma4_mtp.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Rows, Scaled
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.kind import DraftKind
from kvcalc.tensors import ParamTensor, linear, split


@frozen(kw_only=True)
class Gemma4AssistantDraft(DraftKind):
    """Layers that read the model's own keys and values (Gemma 4's assistants).

    Fields:
        kind: gemma4_assistant.
        target_hidden_size: the model's hidden_size.
        num_centroids: rows that choose among the tokens; absent where all logits are computed.
        embedding: own: the token table, which is the head as well.
    """

    kind: Literal["gemma4_assistant"]
    target_hidden_size: Scaled
    num_centroids: Rows | None = None
    embedding: Literal["own"] = "own"

    @property
    def reads_target(self) -> bool:
        """The layers keep nothing: ``shared_kv: target``."""
        return True

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """What the draft has around its layers."""
        width = self.target_hidden_size
        yield from linear("pre_projection", hidden_size, 2 * width, "other",
                          shard=split(0, hidden_size))  # fmt: skip
        yield from linear("post_projection", width, hidden_size, "other",
                          shard=split(1, hidden_size))  # fmt: skip
        if self.num_centroids is not None:
            yield from linear(
                "masked_embedding.centroids", self.num_centroids, hidden_size, "other"
            )
            yield ParamTensor(
                "masked_embedding.token_ordering", (vocab_size,), "other", buffer=True
            )
