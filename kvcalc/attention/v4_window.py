"""The window layers of DeepSeek-V4: one vector of the last W tokens is key and value for all heads.

Equation (DeepSeek-V4 report, arXiv 2606.19348, section 2.3, "shared key-value MQA"). Elements kept
per cached position of one layer:

    c        head_dim: the one vector that is read as key and as value, rotary part included

Positions: the last W tokens, ``sliding_window``, the current one included.

Stored: the normed and rotated projection, once. No factor 2 (the rotation is undone on the
attention's output, so the same vector serves as value), no head factor. Not stored: queries, sink
logits. transformers keeps W - 1 positions, and in these layers a second copy as "values".
Tensor parallelism replicates the vector on every rank; it divides the query heads and the groups
of the low-rank output projection.

Worked number: DeepSeek-V4-Flash, W = 128, c = 512, bf16: 128 * 512 * 2 = 131,072 bytes a layer, for
ever; transformers 5.23 measured keys of (1, 1, 127, 512). As fp8_ds_mla (vLLM): 128 * 584 = 74,752.

Reference code: transformers models/deepseek_v4/modeling_deepseek_v4.py (DeepseekV4Attention).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Width, WindowSize
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, ParamTensor, Window, linear, split


def shared_key_value_parameters(
    hidden_size: int, heads: int, head_dim: int, q_lora_rank: int, o_groups: int, o_lora_rank: int
) -> Iterator[ParamTensor]:
    """The projections that window, CSA and HCA layers of DeepSeek-V4 have in common.

    The output is projected per group of heads to ``o_lora_rank``, then mixed to ``hidden_size``.
    """
    query_dim, mixed = heads * head_dim, o_groups * o_lora_rank
    yield from linear("q_a_proj", q_lora_rank, hidden_size, "attention")
    yield ParamTensor("q_a_norm.weight", (q_lora_rank,), "attention")
    yield from linear("q_b_proj", query_dim, q_lora_rank, "attention",
                      shard=split(0, query_dim, heads))  # fmt: skip
    yield from linear("kv_proj", head_dim, hidden_size, "attention")
    yield ParamTensor("kv_norm.weight", (head_dim,), "attention")
    yield from linear("o_a_proj", mixed, query_dim // o_groups, "attention",
                      shard=split(0, mixed, o_groups))  # fmt: skip
    yield from linear("o_b_proj", hidden_size, mixed, "attention", shard=split(1, mixed, o_groups))
    yield ParamTensor("sinks", (heads,), "attention", split(0, heads))


def shared_key_value_cache(head_dim: int, sliding_window: int) -> CacheTensor:
    """The window branch that every layer of DeepSeek-V4 has."""
    return CacheTensor("key_value", (head_dim,), Window(sliding_window), "key_value")


def check_groups(heads: int, o_groups: int) -> Iterator[tuple[str, str]]:
    """Yield a problem when the heads cannot be dealt out to the output groups."""
    if heads % o_groups:
        yield "o_groups", f"{heads} heads cannot be split into {o_groups} output groups evenly"


@frozen(kw_only=True)
class SharedKeyValueWindow:
    """A window-only layer of DeepSeek-V4.

    Fields:
        kind: v4_window.
        num_attention_heads: query heads; all read the one cached vector.
        head_dim: width of a query head and of the vector that is key and value.
        q_lora_rank: width of the query latent.
        o_groups: groups of heads that the output projection compresses apart.
        o_lora_rank: width that each group is compressed to.
        sliding_window: the layer sees the last W tokens, the current one included.
    """

    kind: Literal["v4_window"]
    num_attention_heads: Heads
    head_dim: Width
    q_lora_rank: Width
    o_groups: Heads
    o_lora_rank: Width
    sliding_window: WindowSize

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        yield from check_groups(self.num_attention_heads, self.o_groups)

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``."""
        yield from shared_key_value_parameters(
            hidden_size, self.num_attention_heads, self.head_dim, self.q_lora_rank,
            self.o_groups, self.o_lora_rank,
        )  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        yield shared_key_value_cache(self.head_dim, self.sliding_window)

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="shared key-value window of DeepSeek-V4",
            symbols=(Symbol("c", "head_dim", self.head_dim, "vector that is key and value"),),
            source="DeepSeek-V4 report, arXiv 2606.19348, section 2.3; "
            "transformers models/deepseek_v4/modeling_deepseek_v4.py",
            stored="one vector per token, key and value of all heads",
            not_stored="a separate value; queries; sink logits",
            per_position="c",
            positions=str(Window(self.sliding_window)),
        )
