"""Per-layer embeddings: every layer adds a small embedding of the token of its own.

    p_l = (RMSNorm(W_m e_t)_l + E_l[t]) / sqrt(2)          x = x + RMSNorm(W_out (act(W_gate x) * p_l))

p_l is (B, T, d_p). It depends on the token alone, so nothing is kept. Checkpoints list these weights
beside the layer's others, not under a name of their own; so these are plain classes whose
``parts`` the layer or the model registers.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.stack.per_layer_embeddings import PerLayerEmbeddings as Fields
from kvcalc.verify.parts import Embedding, Linear, Norm, unfold


class PerLayerTable:
    """The model's part: the packed table and the projection of the ordinary embedding."""

    def __init__(self, c: Fields, hidden_size: int, num_layers: int) -> None:
        self.shape = (num_layers, c.hidden_size_per_layer_input)
        packed = num_layers * c.hidden_size_per_layer_input
        self.table = Embedding(c.vocab_size_per_layer_input, packed)
        self.projection = Linear(hidden_size, packed)
        self.norm = Norm(c.hidden_size_per_layer_input)

    def parts(self) -> dict[str, nn.Module]:
        return {
            "embed_tokens_per_layer": self.table,
            "per_layer_model_projection": self.projection,
            "per_layer_projection_norm": self.norm,
        }

    def look_up(self, token_ids: Tensor, embedded: Tensor) -> Tensor:
        """(B, T, L, d_p)."""
        own = unfold(self.table(token_ids % self.table.weight.shape[0]), -1, self.shape)
        return (self.norm(unfold(self.projection(embedded), -1, self.shape)) + own) * 2**-0.5


class PerLayerInput:
    """A layer's part: the gate, the way back and its norm."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        self.gate = Linear(hidden_size, c.hidden_size_per_layer_input)
        self.out = Linear(c.hidden_size_per_layer_input, hidden_size)
        self.norm = Norm(hidden_size)

    def parts(self) -> dict[str, nn.Module]:
        return {
            "per_layer_input_gate": self.gate,
            "per_layer_projection": self.out,
            "post_per_layer_input_norm": self.norm,
        }

    def added(self, x: Tensor, p: Tensor) -> Tensor:
        """What the layer adds to its stream."""
        return self.norm(self.out(F.gelu(self.gate(x)) * p))
