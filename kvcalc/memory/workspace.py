"""What a forward pass needs for a moment and gives back: never part of the cache.

Each item is the largest buffer of its kind in one prefill that is not chunked, with its formula; they
do not live at the same time, so a report gives the largest and the list, not a sum. An encoder runs
over its own tokens, S_e, in its own width, d_e.

Eager scores: transformers computes scores in the activation dtype, casts them to fp32 and takes an
fp32 softmax: 2 + 4 + 4 = 10 bytes a score in bf16, measured with a storage tracker on transformers
5.23; fused kernels (flash, SDPA) never write them. K and V repeated for the query heads are beside it.
"""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

from kvcalc.frozen import frozen
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import Block, LayerGroup, ModelSpec

ACTIVATION_BYTES = 2
# Tokens of one scheduler step, beyond which engines cut a prefill in chunks: vLLM's
# max_num_batched_tokens on an H100, TensorRT-LLM's max_num_tokens, SGLang's chunked_prefill_size.
STEP_TOKENS = 8192
SCORE_BYTES = 10
SCORE_NOTE = "a score: 2 bytes in bf16, 4 cast to fp32, 4 of the fp32 softmax"


@frozen
class WorkspaceItem:
    """A buffer of a step.

    Fields:
        formula: in the letters of the documents.
        substituted: the same with the numbers put in.
        eager_only: not there where a fused kernel does the work.
        note: where a constant of the formula comes from.
    """

    name: str
    formula: str
    substituted: str
    bytes: int
    eager_only: bool = False
    note: str | None = None


def workspace(spec: ModelSpec, workload: Workload) -> tuple[WorkspaceItem, ...]:
    """The large transient tensors of one prefill, largest first."""
    batch, tokens = workload.num_sequences, workload.context_tokens
    encoder, length = spec.encoder, workload.encoder_tokens
    items: list[WorkspaceItem] = []
    if encoder is not None and length:
        width = encoder.hidden_size or spec.hidden_size
        names = ("S_e", "d_e" if encoder.hidden_size else "d")
        items += _stack("encoder: ", _blocks(spec, encoder.layers), batch, length, width, names)
    blocks = _blocks(spec, spec.layers)
    items += _stack("", blocks, batch, tokens, spec.hidden_size, ("S", "d"))
    heads = max((_heads(block.cross_attention) for block in blocks), default=0)
    if heads and length:
        items.append(_scores("cross-attention scores of one layer", "S * S_e",
                             (batch, heads, tokens, length)))  # fmt: skip
    if spec.head != "none":
        items.append(_buffer("logits of every position", "B * S * V",
                             (batch, tokens, spec.vocab_size)))  # fmt: skip
        items.append(_buffer("logits of the last position", "B * V", (batch, spec.vocab_size)))
    return tuple(sorted(items, key=lambda item: -item.bytes))


def step_tokens(workload: Workload) -> int:
    """Tokens of the largest step: of all sequences, up to ``STEP_TOKENS``."""
    return min(STEP_TOKENS, workload.num_sequences * workload.context_tokens)


def step_workspace(spec: ModelSpec, workload: Workload) -> tuple[WorkspaceItem, ...]:
    """The large transient tensors of one step of an engine with fused attention, largest first.

    Its formulas count n, the tokens of the step. Logits are those of each sequence's last position; an
    encoder runs over one input at once.
    """
    tokens, sequences = step_tokens(workload), workload.num_sequences
    blocks = _blocks(spec, spec.layers)
    items: list[WorkspaceItem] = []
    encoder, length = spec.encoder, workload.encoder_tokens
    if encoder is not None and length:
        width = encoder.hidden_size or spec.hidden_size
        names = ("S_e", "d_e" if encoder.hidden_size else "d")
        items += _stack("encoder: ", _blocks(spec, encoder.layers), 1, length, width, names)
    if tokens:
        items += _stack("", blocks, 1, tokens, spec.hidden_size, ("n", "d"))
    if spec.head != "none":
        rows = min(sequences, STEP_TOKENS)
        items.append(_buffer("logits of the last positions", "B * V", (rows, spec.vocab_size)))
    kept = [
        WorkspaceItem(item.name, item.formula.replace("B * n", "n").replace("B * S_e", "S_e"),
                      item.substituted, item.bytes)
        for item in items
        if not item.eager_only
    ]  # fmt: skip
    return tuple(sorted(kept, key=lambda item: -item.bytes))


def _stack(
    where: str, blocks: list[Block], batch: int, tokens: int, width: int, names: tuple[str, str]
) -> Iterator[WorkspaceItem]:
    """What one stack of layers needs. names: the symbols of its length and its width."""
    length, hidden = names
    heads = max((_heads(block.attention) for block in blocks), default=0)
    if heads:
        yield _scores(f"{where}attention scores of one layer", f"{length} * {length}",
                      (batch, heads, tokens, tokens))  # fmt: skip
    widest, name = max((_widest(block) for block in blocks), default=(0, ""))
    if widest:
        yield _buffer(f"{where}largest activation ({name})", f"B * {length} * width",
                      (batch, tokens, widest))  # fmt: skip
    if blocks:
        yield _buffer(f"{where}residual stream", f"B * {length} * {hidden}", (batch, tokens, width))


def _scores(name: str, lengths: str, factors: tuple[int, ...]) -> WorkspaceItem:
    return _item(name, SCORE_BYTES, f"B * n_h * {lengths}", factors, True, SCORE_NOTE)


def _buffer(name: str, formula: str, factors: tuple[int, ...]) -> WorkspaceItem:
    return _item(name, ACTIVATION_BYTES, formula, factors)


def _item(
    name: str,
    each: int,
    formula: str,
    factors: tuple[int, ...],
    eager: bool = False,
    note: str = "",
) -> WorkspaceItem:
    substituted = " * ".join(map(str, (each, *factors)))
    return WorkspaceItem(
        name, f"{each} * {formula}", substituted, each * prod(factors), eager, note
    )


def _blocks(spec: ModelSpec, groups: Iterable[LayerGroup]) -> list[Block]:
    names = dict.fromkeys(name for group in groups for name in group.names)
    return [spec.blocks[name] for name in names]


def _heads(attention: Any) -> int:
    heads: int = getattr(attention, "num_attention_heads", 0)
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
