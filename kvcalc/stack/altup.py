"""AltUp, alternating updates: n copies of the residual stream, of which a layer computes one.

Equation (Baykal et al. 2023, arXiv 2301.13310, algorithm 1; Gemma 3n makes p and g depend on the
token through a small router m = tanh(W_r RMSNorm(x_active) / d)):

    predict   x^_i = x_i + sum_j p_ij x_j              p = W_p m, n^2 numbers
    compute   y = layer(x^_active)
    correct   x_i = x^_i + g_i (y - x^_active)         g = 1 + W_g m, n numbers

    parameters of a layer    n^3 + n^2 + n d + 2 d     (W_p, W_g, W_r, the norm and an output scale)
    parameters of the model  2 (n - 1) d^2             (copies made after the embedding, and undone)

    n  altup_num_inputs    d  hidden_size    active  altup_active_idx

Stored: nothing between decode steps; the copies are activations, n times as wide as usual.
Tensor parallelism keeps the weights of a layer on every rank; vLLM divides the rows of the d x d
projections.

Worked number: Gemma-3n-E4B, n = 4, d = 2048: 12,368 a layer, 25,165,824 for the model.

Reference code: transformers models/gemma3n (Gemma3nTextAltUp, Gemma3nTextModel).
"""

from collections.abc import Iterator

from kvcalc.counts import StreamIndex, Streams
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, linear, split


@frozen(kw_only=True)
class AltUp:
    """Alternating updates around every layer.

    Fields:
        altup_num_inputs: copies of the residual stream (n).
        altup_active_idx: the copy that the layers compute; it changes no number.
    """

    altup_num_inputs: Streams
    altup_active_idx: StreamIndex = 0

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        if self.altup_num_inputs < 2:
            yield "altup_num_inputs", "one copy is a plain residual stream: leave altup out"
        elif not 0 <= self.altup_active_idx < self.altup_num_inputs:
            yield "altup_active_idx", f"the copies are 0 to {self.altup_num_inputs - 1}"

    def layer_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Prediction and correction of one layer."""
        copies = self.altup_num_inputs
        yield ParamTensor("altup.correct_output_scale", (hidden_size,), "other")
        yield from linear("altup.correction_coefs", copies, copies, "other")
        yield from linear("altup.prediction_coefs", copies**2, copies, "other")
        yield from linear("altup.modality_router", copies, hidden_size, "other")
        yield ParamTensor("altup.router_norm.weight", (hidden_size,), "norm")

    def model_parameters(self, hidden_size: int, num_layers: int) -> Iterator[ParamTensor]:
        """The projections that make the further copies."""
        yield from self._projections("altup_projections", hidden_size)

    def final_parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The projections that bring the copies back after the last layer."""
        yield from self._projections("altup_unembed_projections", hidden_size)

    def _projections(self, name: str, hidden_size: int) -> Iterator[ParamTensor]:
        by_row = split(0, hidden_size)
        for copy in range(self.altup_num_inputs - 1):
            yield from linear(f"{name}.{copy}", hidden_size, hidden_size, "other", shard=by_row)
