"""What a forward pass needs for a moment and gives back: never part of the cache.

Each item is one allocation's peak with its formula; they do not live at the same time, so the
report gives the largest and the list, not a sum.

Eager scores: transformers computes scores in the activation dtype, casts them to fp32 and takes an
fp32 softmax: 2 + 4 + 4 = 10 bytes a score in bf16, measured with a storage tracker on transformers
5.23; fused kernels (flash, SDPA) never write them. K and V repeated for the query heads are beside it.
"""

from kvcalc.frozen import dataclass
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import Block, ModelSpec

ACTIVATION_BYTES = 2


@dataclass(frozen=True)
class WorkspaceItem:
    """One transient allocation during a prefill of the whole context.

    formula: with names; substituted: the same with numbers. eager_only: not with fused attention.
    """

    name: str
    formula: str
    substituted: str
    bytes: int
    eager_only: bool = False


def workspace(spec: ModelSpec, workload: Workload) -> tuple[WorkspaceItem, ...]:
    """The large transient tensors of one prefill, largest first."""
    batch, tokens = workload.num_sequences, workload.context_tokens
    if spec.encoder is not None and not tokens:
        tokens = workload.encoder_tokens
    items: list[WorkspaceItem] = []
    heads = max((_heads(block) for block in spec.blocks.values()), default=0)
    if heads:
        items.append(WorkspaceItem(
            "attention scores of one layer", "10 * B * n_h * S * S",
            f"10 * {batch} * {heads} * {tokens} * {tokens}",
            10 * batch * heads * tokens * tokens, eager_only=True))  # fmt: skip
    if spec.head != "none":
        items.append(WorkspaceItem(
            "logits of every position", "2 * B * S * V",
            f"2 * {batch} * {tokens} * {spec.vocab_size}",
            ACTIVATION_BYTES * batch * tokens * spec.vocab_size))  # fmt: skip
        items.append(WorkspaceItem(
            "logits of the last position", "2 * B * V", f"2 * {batch} * {spec.vocab_size}",
            ACTIVATION_BYTES * batch * spec.vocab_size))  # fmt: skip
    width, name = max((_widest(block) for block in spec.blocks.values()), default=(0, ""))
    if width:
        items.append(WorkspaceItem(
            f"largest activation ({name})", "2 * B * S * width",
            f"2 * {batch} * {tokens} * {width}", ACTIVATION_BYTES * batch * tokens * width))  # fmt: skip
    items.append(WorkspaceItem(
        "residual stream", "2 * B * S * d", f"2 * {batch} * {tokens} * {spec.hidden_size}",
        ACTIVATION_BYTES * batch * tokens * spec.hidden_size))  # fmt: skip
    return tuple(sorted(items, key=lambda item: -item.bytes))


def _heads(block: Block) -> int:
    heads: int = getattr(block.attention, "num_attention_heads", 0)
    return heads


def _widest(block: Block) -> tuple[int, str]:
    """The widest activation that a token has inside the feed-forward layer."""
    ffn = block.ffn
    if ffn is None:
        return (0, "")
    if ffn.kind == "moe":
        halves = 2 if ffn.expert == "gated" else 1
        width = halves * ffn.moe_intermediate_size * ffn.num_experts_per_tok
        return (width, "routed experts")
    if ffn.kind == "gated":
        return (2 * ffn.intermediate_size, "gate and up")
    return (ffn.intermediate_size, "feed-forward")
