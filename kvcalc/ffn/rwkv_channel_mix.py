"""RWKV channel mixing: a squared-ReLU feed-forward layer that mixes in the last token's input.

    y = sigmoid(W_r x_r) * W_v relu(W_k x_k)^2          parameters: 2 * d * f + d * d + 2 * d

    d  hidden_size    f  intermediate_size    x_r, x_k  this token's input mixed with the last's

RWKV-7 has no receptance gate W_r: 2 * d * f + d.

Source: Peng et al. 2023, RWKV, arXiv 2305.13048, equations 17 and 18; RWKV-7: arXiv 2503.14456.
Stored: the last token's input, d elements per sequence and layer, in the KV dtype; the state of
the time mixing is its own (kvcalc/recurrent/rwkv4.py, rwkv6.py, rwkv7.py).
Tensor parallelism divides f; gate, mixing weights and token shift are whole on each rank.
Worked number: RWKV-4-169m, d = 768, f = 3072: 5,309,952 a layer and 1,536 bytes of token shift.

Reference code: transformers models/rwkv (RwkvFeedForward); BlinkDL/RWKV-LM RWKV_CMix_x060, x070.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner, Scaled
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class RwkvChannelMix:
    """The channel mixing of RWKV.

    Fields:
        kind: rwkv_channel_mix.
        hidden_size: width of the token shift; the model's hidden_size.
        intermediate_size: width between the two matrices.
        receptance: a sigmoid gate of hidden_size (RWKV-4 and RWKV-6; not RWKV-7).
    """

    kind: Literal["rwkv_channel_mix"]
    hidden_size: Scaled
    intermediate_size: Inner
    receptance: bool = True

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a channel mixing."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer; all belong to ``ffn``."""
        width = self.intermediate_size
        yield ParamTensor("time_mix_key", (1, 1, hidden_size), "ffn")
        if self.receptance:
            yield ParamTensor("time_mix_receptance", (1, 1, hidden_size), "ffn")
        yield from linear("key", width, hidden_size, "ffn", shard=split(0, width))
        if self.receptance:
            yield from linear("receptance", hidden_size, hidden_size, "ffn")
        yield from linear("value", hidden_size, width, "ffn", shard=split(1, width))

    def cache(self) -> Iterator[CacheTensor]:
        """The token shift, once per sequence."""
        yield CacheTensor("token_shift", (self.hidden_size,), ONCE, "conv")
