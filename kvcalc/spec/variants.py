"""What if: the same model with another attention mechanism."""

from collections.abc import Iterator
from typing import Any, Literal

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed
from kvcalc.spec.model import Expect, ModelSpec, TensorFormat
from kvcalc.spec.words import near

AttentionChoice = Literal["mha", "gqa", "mqa", "mla"]
CHOICES: tuple[AttentionChoice, ...] = ("mha", "gqa", "mqa", "mla")

# Llama 2 70B, Llama 3, Mistral, Qwen: the most common number of KV heads.
USUAL_KV_HEADS = 8
# As much as any of them has, and more: a larger one is a slip.
MAX_SIZE = 1 << 20


def attention_choice(text: str) -> tuple[AttentionChoice, int | None]:
    """``gqa``, ``gqa:4`` (KV heads) or ``mla:512`` (kv_lora_rank). Raises UsageError for any other."""
    word, colon, size = text.strip().lower().partition(":")
    choice = next((known for known in CHOICES if known == word), None)
    if choice is None:
        raise UsageError(f"{text}: choose from {', '.join(CHOICES)}{near(word, CHOICES)}")
    if not colon:
        return choice, None
    if choice not in _SIZED:
        said = "a KV head for every query head" if choice == "mha" else "one KV head"
        raise UsageError(f"{text}: {choice} is {said} and takes no number; gqa:N has N")
    if not (size.isascii() and size.isdigit() and 0 < int(size[:9]) <= MAX_SIZE and len(size) < 9):
        raise UsageError(f"{text}: {_SIZED[choice]}, not '{size}'")
    return choice, int(size)


def attention_word(text: str) -> str:
    """An attention as ``--attention`` takes it. Raises UsageError for none, and for several."""
    if "," in text:
        raise UsageError(f"--attention {text}: one here; 'kvcalc compare' takes several")
    try:
        attention_choice(text)
    except UsageError as error:
        raise UsageError(f"--attention {error.message}") from None
    return text.strip().lower()


_SIZED = {
    "gqa": "gqa:N is N KV heads, a whole number",
    "mla": "mla:N is a latent of N elements (kv_lora_rank), a whole number",
}


def with_attention(spec: ModelSpec, text: str) -> tuple[ModelSpec, tuple[str, ...]]:
    """The model with all its softmax and latent attention replaced, and how that was derived.

    text: as ``attention_choice`` reads it. Windows, chunks, sharing and layers without attention stay
    as they are. Raises UnsupportedError when the model has no attention that the choice could
    replace, or has what MLA is not defined with; UsageError for no choice.
    """
    choice, size = attention_choice(text)
    notes: list[str] = []
    blocks = dict(spec.blocks)
    for name, block in spec.blocks.items():
        attention = block.attention
        if attention is None or (attention.kind == choice and size is None):
            continue
        if attention.kind not in CHOICES:
            raise UnsupportedError(
                f"{spec.name}: block '{name}' has {attention.kind} attention, "
                f"which has no {choice} counterpart"
            )
        other, note = _convert(attention, choice, size, f"{spec.name}: block '{name}'")
        blocks[name] = changed(block, attention=other)
        where = text if len(spec.blocks) == 1 else f"{text} in '{name}'"
        if getattr(attention, "indexer", None) is not None:
            note += ", without its sparse-attention indexer"
        notes.append(f"{where}: {note}")
    if not any(block.attention is not None for block in spec.blocks.values()):
        raise UnsupportedError(f"{spec.name} has no attention to turn into {choice}")
    if not notes:
        return spec, (f"--attention {text} changes nothing: it is the model's own",)
    spec = changed(spec, weight_formats=tuple(_carried(spec.weight_formats)))
    # What was known of the model is not known of the variant.
    return changed(spec, blocks=blocks, checkpoint=None, expect=Expect()), tuple(notes)


def _carried(rules: tuple[TensorFormat, ...]) -> Iterator[TensorFormat]:
    """A model's formats for other attention: its matrices take the first that attention's had."""
    of_attention = [
        rule.format
        for rule in rules
        if rule.format and any(name.startswith("attention.") for name in rule.tensors)
    ]
    if of_attention:
        yield TensorFormat(tensors=("attention.*",), format=of_attention[0])
    for rule in rules:
        left = tuple(name for name in rule.tensors if not name.startswith("attention."))
        if left:
            yield changed(rule, tensors=left)


def _convert(
    attention: Any, choice: AttentionChoice, size: int | None, where: str
) -> tuple[Any, str]:
    from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
    from kvcalc.attention.mla import MultiHeadLatentAttention

    heads: int = attention.num_attention_heads
    latent = isinstance(attention, MultiHeadLatentAttention)
    if choice == "mla" and latent:
        # Another latent, and the rest as the model has it.
        return changed(attention, kv_lora_rank=size), f"kv_lora_rank = {size}"
    if choice == "mla":
        for field in ("attention_chunk_size", "sink_tokens", "shared_kv", "attention_hidden_size"):
            if getattr(attention, field) is not None:
                raise UnsupportedError(f"{where} has {field}, which mla is not defined with")
        if attention.mask == "bidirectional":
            raise UnsupportedError(f"{where} is bidirectional, which mla is not defined for")
        width = attention.head_dim
        note = (
            f"kv_lora_rank = 4 * head_dim = {4 * width} and qk_rope_head_dim = head_dim / 2 = "
            f"{width // 2}, DeepSeek-V2's choice (4.5 * head_dim per layer holds by construction)"
        )
        if size is not None:
            note = (
                f"kv_lora_rank = {size} and qk_rope_head_dim = head_dim / 2 = {width // 2}, the "
                "latter DeepSeek-V2's choice"
            )
        if width % 2:
            raise UnsupportedError(f"{where}: half of head_dim {width} is no width of a rotary key")
        return MultiHeadLatentAttention(
            kind="mla", num_attention_heads=heads, q_lora_rank=None,
            kv_lora_rank=4 * width if size is None else size,
            qk_nope_head_dim=width, qk_rope_head_dim=width // 2, v_head_dim=attention.value_dim,
            sliding_window=attention.sliding_window,
        ), note  # fmt: skip
    if latent:
        kv_heads, how = _kv_heads(heads, None, choice, size)
        widths = f"keys {attention.qk_head_dim} and values {attention.v_head_dim} wide"
        note = f"{how}; {widths}, as MLA rebuilds them"
        return SoftmaxAttention(
            kind=choice, num_attention_heads=heads, num_key_value_heads=kv_heads,
            head_dim=attention.qk_head_dim, v_head_dim=attention.v_head_dim,
            sliding_window=attention.sliding_window,
        ), note  # fmt: skip
    kv_heads, how = _kv_heads(heads, attention.num_key_value_heads, choice, size)
    return changed(attention, kind=choice, num_key_value_heads=kv_heads, indexer=None), how


def _kv_heads(
    heads: int, own: int | None, choice: AttentionChoice, size: int | None
) -> tuple[int, str]:
    if size is not None:
        if heads % size:
            shares = [str(each) for each in range(1, heads + 1) if not heads % each]
            raise UnsupportedError(
                f"gqa:{size}: {heads} query heads cannot share {size} KV heads evenly; "
                f"{', '.join(shares)} can be shared"
            )
        return size, f"{size} KV heads for {heads} query heads"
    if choice == "mha":
        return heads, f"a KV head for each of the {heads} query heads"
    if choice == "mqa":
        return 1, "one KV head"
    if own is not None and 1 < own < heads:
        return own, f"the model's own {own} KV heads"
    if heads % USUAL_KV_HEADS or heads <= USUAL_KV_HEADS:
        raise UnsupportedError(
            f"gqa: {heads} query heads cannot share the usual {USUAL_KV_HEADS} KV heads; say how "
            f"many with gqa:N"
        )
    return USUAL_KV_HEADS, f"{USUAL_KV_HEADS} KV heads, the usual number; the model itself has none"
