"""Per-layer embeddings: every layer adds a small embedding of the token of its own (Gemma 3n, 4 E).

Equation (transformers models/gemma3n and models/gemma4; there is no paper with a formula). With the
token t, its embedding e_t, and layer l of L:

    p_l = (RMSNorm(W_m e_t)_l + E_l[t]) / sqrt(2)              p_l in R^(d_p)
    x   = x + RMSNorm(W_out (act(W_gate x) * p_l))

    parameters of the model    V_p * L d_p  +  L d_p * d  +  d_p      (E, W_m and its norm)
    parameters of a layer      2 d d_p + d                            (W_gate, W_out and their norm)

    V_p  vocab_size_per_layer_input    d_p  hidden_size_per_layer_input    d  hidden_size

The table E is most of a small model and is only looked up, so runtimes may keep it off the GPU;
that is why these models have an "effective" size. Here it counts, as ``embedding``.
Stored: nothing between decode steps. Tensor parallelism divides the rows of E and of W_m (as vLLM
does); the weights of a layer are on every rank.

Worked number: Gemma-3n-E4B, V_p = 262,144, d_p = 256, L = 35, d = 2048: table 2,348,810,240,
W_m and norm 18,350,336; 1,050,624 a layer.
"""

from collections.abc import Iterator

from kvcalc.counts import Rows, Scaled
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class PerLayerEmbeddings:
    """A token embedding for each layer, gated by the layer's own stream.

    Fields:
        vocab_size_per_layer_input: rows of the table (V_p).
        hidden_size_per_layer_input: width of one layer's embedding (d_p).
    """

    vocab_size_per_layer_input: Rows
    hidden_size_per_layer_input: Scaled

    def check(self) -> Iterator[tuple[str, str]]:
        """A table has nothing to contradict."""
        yield from ()

    def layer_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The gate, the way back and its norm."""
        width = self.hidden_size_per_layer_input
        yield from linear("per_layer_input_gate", width, hidden_size, "other")
        yield from linear("per_layer_projection", hidden_size, width, "other")
        yield ParamTensor("post_per_layer_input_norm.weight", (hidden_size,), "norm")

    def model_parameters(self, hidden_size: int, num_layers: int) -> Iterator[ParamTensor]:
        """The packed table and the projection of the ordinary embedding."""
        rows, width = self.vocab_size_per_layer_input, self.hidden_size_per_layer_input
        packed = num_layers * width
        by_row = Shard(0, (Part(rows, rows, pad=True),))
        yield ParamTensor("embed_tokens_per_layer.weight", (rows, packed), "embedding", by_row,
                          quantised=True)  # fmt: skip
        yield from linear("per_layer_model_projection", packed, hidden_size, "other",
                          shard=split(0, packed))  # fmt: skip
        yield ParamTensor("per_layer_projection_norm.weight", (width,), "norm")
