"""RWKV-4 time mixing: three numbers per channel and the last token's input; no per-token cache.

Equation (Peng et al. 2023, RWKV, arXiv 2305.13048, equation 16 and appendix D: numerator a_t,
denominator b_t and running maximum p_t of the wkv average). Elements kept per sequence and layer:

    d  +  3 * d_a

    d  hidden_size    d_a  attention_hidden_size

Stored: a, b and p of each channel (fp32 unless ``state_dtype`` says otherwise), and the last
token's input, with which the next one is mixed (token shift), in the KV dtype. Not stored: keys and
values. The channel mixing that follows is a feed-forward layer with a token shift of its own: see
kvcalc/ffn/rwkv_channel_mix.py.
Tensor parallelism divides channels; the token shift is the layer's input and whole on each rank.

Worked number: RWKV-4-169m, d = d_a = 768, 12 layers: 12 * (768*2 + 3*768*4) = 129,024 bytes; with
the channel mixing's 12 * 768*2 it is 147,456, as measured with transformers 5.23.

Reference code: transformers models/rwkv/modeling_rwkv.py (RwkvSelfAttention).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Inner, Scaled
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import ONCE, CacheTensor, ParamTensor, linear, split


@frozen(kw_only=True)
class Rwkv4:
    """The time mixing of RWKV-4.

    Fields:
        kind: rwkv4.
        hidden_size: width of the token shift; the model's hidden_size.
        attention_hidden_size: channels of the recurrence (d_a); usually hidden_size.
        state_dtype: what the state is kept in; fp32 when absent.
    """

    kind: Literal["rwkv4"]
    hidden_size: Scaled
    attention_hidden_size: Inner
    state_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"

    def check(self) -> Iterator[tuple[str, str]]:
        """Any positive sizes make a time mixing."""
        yield from ()

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the mixer; all belong to ``recurrent``."""
        width = self.attention_hidden_size
        by_channel = split(0, width)
        for name in ("time_decay", "time_first"):
            yield ParamTensor(name, (width,), "recurrent", by_channel)
        for name in ("time_mix_key", "time_mix_value", "time_mix_receptance"):
            yield ParamTensor(name, (1, 1, hidden_size), "recurrent")
        for name in ("key", "value", "receptance"):
            yield from linear(name, width, hidden_size, "recurrent", shard=by_channel)
        yield from linear("output", hidden_size, width, "recurrent", shard=split(1, width))

    def cache(self) -> Iterator[CacheTensor]:
        """The token shift and the recurrence's three vectors, once per sequence."""
        width = self.attention_hidden_size
        yield CacheTensor("token_shift", (self.hidden_size,), ONCE, "conv")
        for name in ("numerator", "denominator", "maximum"):
            yield CacheTensor(name, (width,), ONCE, "state", split(0, width),
                              dtype=self.state_dtype)  # fmt: skip

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="RWKV-4 time mixing",
            symbols=(
                Symbol("d", "hidden_size", self.hidden_size, "input width"),
                Symbol("d_a", "attention_hidden_size", self.attention_hidden_size, "channels"),
            ),
            source="Peng et al. 2023, arXiv 2305.13048, equation 16; transformers models/rwkv",
            stored=f"three numbers per channel ({self.state_dtype}) and the last token's input",
            not_stored="anything per token",
            fixed="d + 3 * d_a",
        )
