"""T5 and its heirs: encoder-decoders with relative position biases, and T5Gemma.

Source: transformers 5.23, models/t5, mt5, umt5, longt5, switch_transformers, t5gemma.
"""

from typing import Any

from kvcalc.attention.cross import CrossAttention
from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    decoder,
    dense,
    encoder_attention,
    every,
    gated,
    softmax,
    stack,
    windowed,
)
from kvcalc.spec.model import Block, Encoder, ModelSpec


def _feed_forward(c: Config) -> Any:
    """The feed_forward_proj says ``gated-gelu`` or ``relu``."""
    c.skip("dense_act_fn", "is_gated_act")
    word = c.word("feed_forward_proj") or ""
    parts = word.split("-")
    if len(parts) > 2 or (len(parts) == 2 and parts[0] != "gated"):
        c.wrong(
            "feed_forward_proj", f"expected an activation or gated-<activation>, found '{word}'"
        )
    width = c.number("d_ff")
    return gated(c, width) if len(parts) == 2 else dense(c, width)


def t5(c: Config, *, own_bias: bool = False) -> ModelSpec:
    """RMSNorm, no biases, one relative position bias a stack; transformers ties the head always.

    own_bias: every self-attention has a relative position bias of its own (UMT5).
    """
    c.skip("relative_attention_max_distance", "output_past", "tokenizer_class",
           "local_radius", "global_block_size", "is_encoder_decoder", "scalable_attention")  # fmt: skip
    c.fixed("encoder_attention_type", "local", what="a global attention with weights of its own")
    c.fixed("is_decoder", False, what="a decoder alone")
    if c.value("tie_word_embeddings", True) is False:
        c.assumptions.append(
            "tie_word_embeddings = true: transformers 5.23 ties the head of this type whatever the "
            "file says; the checkpoint has a head of its own"
        )
    heads, head_dim, buckets = (
        c.num_heads,
        c.number("d_kv"),
        c.number("relative_attention_num_buckets"),
    )
    own: dict[str, Any] = {"relative_attention_num_buckets": buckets} if own_bias else {}
    ffn = _feed_forward(c)
    reads = Block(
        attention=encoder_attention(c, heads=heads, head_dim=head_dim, bias=False, **own), ffn=ffn
    )
    writes = Block(
        attention=softmax(c, heads=heads, kv_heads=heads, head_dim=head_dim, **own),
        cross_attention=CrossAttention(
            kind="cross", num_attention_heads=heads, num_key_value_heads=heads, head_dim=head_dim
        ),
        ffn=ffn,
    )
    num_layers = c.num_layers
    num_decoder = c.maybe("num_decoder_layers") or num_layers
    per_stack = None if own_bias else buckets
    blocks, layers = stack([((), reads)] * num_layers, "encoder")
    spec = decoder(
        c, [((), writes)] * num_decoder, tie=True, max_position_embeddings=None,
        relative_attention_num_buckets=per_stack,
        encoder=Encoder(layers=layers, relative_attention_num_buckets=per_stack),
    )  # fmt: skip
    c.skip("n_positions")
    from dataclasses import replace

    return replace(spec, blocks={**blocks, **spec.blocks})


def umt5(c: Config) -> ModelSpec:
    """A relative position bias in every layer."""
    return t5(c, own_bias=True)


def t5gemma(c: Config) -> ModelSpec:
    """Gemma 2's layers in an encoder and a decoder, each with a config and a token table of its own."""
    from dataclasses import replace

    outer, inner = c.child("encoder", "t5_gemma_module"), c.child("decoder", "t5_gemma_module")
    c.skip("is_encoder_decoder", "vocab_size")
    if outer.number("vocab_size") != inner.number("vocab_size"):
        c.refuse("encoder", "a vocabulary for each side")
    outer.skip(
        "max_position_embeddings",
        "tie_word_embeddings",
        "is_decoder",
        "cross_attention_hidden_size",
    )
    inner.skip("tie_word_embeddings", "is_decoder", "cross_attention_hidden_size")
    reads, groups = stack(_gemma_layers(outer, False), "encoder", "encoder_")
    spec = decoder(
        inner, _gemma_layers(inner, True), tie=c.flag("tie_word_embeddings"),
        encoder=Encoder(layers=groups, embedding="own", hidden_size=outer.hidden_size),
    )  # fmt: skip
    outer.finish()
    inner.finish()
    return replace(spec, model_type=c.model_type, blocks={**reads, **spec.blocks})


def _gemma_layers(c: Config, writes: bool) -> Any:
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")

    def block(attention: Any) -> Block:
        cross = CrossAttention(
            kind="cross", num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads(),
            head_dim=c.head_dim(), bias=("q", "k", "v", "o") if bias else (),
        )  # fmt: skip
        return Block(
            attention=attention, cross_attention=cross if writes else None, ffn=gated(c),
            norms=6 if writes else 4,
        )  # fmt: skip

    def attend(w: int | None) -> Any:
        if writes:
            return softmax(c, bias=bias, sliding_window=w)
        return softmax(c, bias=bias, sliding_window=w, mask="bidirectional")

    return windowed(c, attend, block, lambda: every(2, c.num_layers), window=window)
