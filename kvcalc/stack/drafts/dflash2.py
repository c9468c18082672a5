"""DFlash2: DFlash's layers with two convolutions each, and a selector among the likeliest tokens.

Equation (speculators 0.9, DFlash2; kvcalc/stack/drafts/dflash.py has the layers and what is around them):

    y_t = sum_k (B_k + U_k x_t) x_(t-k)        k = 0 .. K - 1, before and after a sublayer
    score(u, v) += (P_u * W h) . S_v            P, S in R^(V x r), W in R^(r x d)

    parameters beyond DFlash's    L * 2 * (2 K d + 2 K (d / g) d) + 2 V r + r d

    d  hidden_size    L  num_layers    K  conv_kernel_size    g  conv_group_size    r  selector_rank
    V  vocab_size     B  base_kernel   U  kernel_projection   P, S  predecessor and successor codebook

The draft has all of the model's tokens, and the model's head. Nothing of the convolutions is kept between
steps: they see one block of drafted tokens. Tensor parallelism keeps all of it on every rank.

Worked number: five layers of d = 4096, K = 2, g = 16, r = 256, V = 151,936: 120,946,688 beyond DFlash's.

Reference code: speculators 0.9 models/dflash2/model_definitions.py; vLLM 0.33 models/qwen3_dflash2.py.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Modules, Scaled, Width
from kvcalc.frozen import frozen
from kvcalc.stack.drafts.dflash import context_parameters
from kvcalc.stack.drafts.kind import BlockDraftKind
from kvcalc.tensors import ParamTensor, linear


@frozen(kw_only=True)
class DFlash2Draft(BlockDraftKind):
    """Layers with convolutions that draft a block at once, and a selector (DFlash2).

    Fields:
        kind: dflash2.
        num_target_states: of how many of the model's layers it reads the hidden states.
        num_layers: layers, each with a convolution around its attention and one around its MLP.
        conv_kernel_size: taps of a convolution.
        conv_group_size: channels that share what is added to a tap.
        selector_rank: width of the selector's tables.
        target_hidden_size: width of the model's hidden states; the draft's own when absent.
        embedding: own, where the checkpoint stores a token table, or the target's.
    """

    kind: Literal["dflash2"]
    num_target_states: Modules
    num_layers: Modules
    conv_kernel_size: Modules
    conv_group_size: Modules
    selector_rank: Width
    target_hidden_size: Scaled | None = None
    embedding: Literal["own", "target"] = "target"

    def parameters(self, hidden_size: int, vocab_size: int) -> Iterator[ParamTensor]:
        """What the draft has around its layers, their convolutions included."""
        width = self.target_hidden_size or hidden_size
        yield from context_parameters(hidden_size, self.num_target_states, width)
        taps, groups = self.conv_kernel_size, hidden_size // self.conv_group_size
        for layer in range(self.num_layers):
            for name in (f"layers.{layer}.attention_conv", f"layers.{layer}.mlp_conv"):
                yield ParamTensor(f"{name}.base_kernel", (2, taps, hidden_size), "other")
                yield from linear(
                    f"{name}.kernel_projection", 2 * taps * groups, hidden_size, "other"
                )
        for book in ("predecessor", "successor"):
            shape = (vocab_size, self.selector_rank)
            yield ParamTensor(f"candidate_selector.{book}_codebook", shape, "embedding")
        yield from linear(
            "candidate_selector.hidden_projection", self.selector_rank, hidden_size, "head"
        )
