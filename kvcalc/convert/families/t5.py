"""T5 and its heirs: encoder-decoders with relative position biases, and T5Gemma.

Source: transformers 5.23, models/t5, mt5, umt5, longt5, switch_transformers, t5gemma.
"""

from collections.abc import Callable
from typing import Any

from kvcalc.attention.cross import CrossAttention
from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    Layer,
    always_tied,
    decoder,
    dense,
    encoder_attention,
    every,
    gated,
    softmax,
    stack,
    windowed,
)
from kvcalc.ffn.moe import MixtureOfExperts
from kvcalc.spec.model import Block, Encoder, ModelSpec


def _feed_forward(c: Config) -> Any:
    """The feed_forward_proj says ``gated-gelu`` or ``relu``; is_gated_act, where stated, wins."""
    c.skip("dense_act_fn")
    word = c.word("feed_forward_proj") or ""
    parts = word.split("-")
    if len(parts) > 2 or (len(parts) == 2 and parts[0] != "gated"):
        c.wrong(
            "feed_forward_proj", f"expected an activation or gated-<activation>, found '{word}'"
        )
    width = c.number("d_ff")
    return gated(c, width) if c.flag("is_gated_act", len(parts) == 2) else dense(c, width)


def t5(
    c: Config, *, own_bias: bool = False, sparse: Callable[[str, int], list[bool]] | None = None
) -> ModelSpec:
    """RMSNorm, no biases, one relative position bias a stack.

    own_bias: every self-attention has a relative position bias of its own (UMT5).
    sparse: (encoder or decoder, layers) -> which of them have experts (Switch Transformers).
    """
    c.skip("relative_attention_max_distance", "output_past", "tokenizer_class",
           "local_radius", "global_block_size", "scalable_attention")  # fmt: skip
    c.fixed("encoder_attention_type", "local", what="a global attention with weights of its own")
    c.fixed("is_decoder", False, what="a decoder alone")
    c.fixed("is_encoder_decoder", True, None, what="one stack alone")
    tied = sparse is not None or c.value("tie_word_embeddings", True) is not False
    if not tied:
        c.assumptions.append(
            "tie_word_embeddings = false: the checkpoint has a head of its own, which is counted; "
            "transformers 5.23 ties it whatever the file says"
        )
    if c.spelling("num_hidden_layers") == "num_hidden_layers" and (
        sparse or not c.has("num_decoder_layers")
    ):
        c.refuse("num_hidden_layers", "what follows from it is read of num_layers, the usual name")
    heads, head_dim, buckets = (
        c.num_heads,
        c.number("d_kv"),
        c.number("relative_attention_num_buckets"),
    )
    own: dict[str, Any] = {"relative_attention_num_buckets": buckets} if own_bias else {}
    ffns = {False: _feed_forward(c)} if sparse is None else _switch_ffns(c)
    reads = encoder_attention(c, heads=heads, head_dim=head_dim, bias=False, **own)
    writes = softmax(c, heads=heads, kv_heads=heads, head_dim=head_dim, **own)
    cross = CrossAttention(
        kind="cross", num_attention_heads=heads, num_key_value_heads=heads, head_dim=head_dim
    )

    def layers_of(side: str, number: int, **mixers: Any) -> list[Layer]:
        which = [False] * number if sparse is None else sparse(side, number)
        return [(("moe" if moe else "dense",), Block(ffn=ffns[moe], **mixers)) for moe in which]

    num_layers = c.num_layers
    num_decoder = c.maybe("num_decoder_layers") or num_layers
    per_stack = None if own_bias else buckets
    prefix = "encoder_" if sparse else ""
    blocks, layers = stack(layers_of("encoder", num_layers, attention=reads), "encoder", prefix)
    spec = decoder(
        c, layers_of("decoder", num_decoder, attention=writes, cross_attention=cross), tie=tied,
        max_position_embeddings=None, relative_attention_num_buckets=per_stack,
        encoder=Encoder(layers=layers, relative_attention_num_buckets=per_stack),
    )  # fmt: skip
    c.skip("n_positions")
    from dataclasses import replace

    return replace(spec, blocks={**blocks, **spec.blocks})


def _switch_ffns(c: Config) -> dict[bool, Any]:
    """Layers of two matrices, and experts of two matrices of which a token passes one."""
    width, router = c.number("d_ff"), c.flag("router_bias")
    experts = MixtureOfExperts(
        kind="moe", num_experts=c.number("num_experts"), num_experts_per_tok=1, expert="dense",
        moe_intermediate_size=width, router_bias="parameter" if router else "none",
    )  # fmt: skip
    return {False: dense(c, width), True: experts}


def switch_transformers(c: Config) -> ModelSpec:
    """T5 with experts in some layers, as many in each stack as the config says."""
    c.skip("num_sparse_encoder_layers", "num_sparse_decoder_layers", "expert_capacity",
           "router_dtype", "router_type", "router_ignore_padding_tokens", "add_router_probs",
           "dense_act_fn", "is_gated_act", "feed_forward_proj", "num_experts", "router_bias",
           "num_selected_experts")  # fmt: skip
    c.fixed("add_cross_attention", False, what="a decoder alone")
    always_tied(c)
    c.fixed("num_selected_experts", 1, None, what="a token passes one expert")

    def sparse(side: str, number: int) -> list[bool]:
        experts = c.count(f"num_sparse_{side}_layers")
        step = c.count(f"{side}_sparse_step", number // experts if experts else number)
        return [step == 1 or (step > 0 and index % step == 1) for index in range(number)]

    return t5(c, sparse=sparse)


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
