"""BART and the encoder-decoders of its line: LayerNorm, biases everywhere, learned or fixed positions.

Source: transformers 5.23, models/bart, mbart, pegasus, marian, blenderbot, m2m_100, plbart, mvp,
whisper, ...
"""

from dataclasses import replace
from typing import Any

from kvcalc.attention.cross import CrossAttention
from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    QKVO,
    Side,
    always_tied,
    decoder,
    dense,
    encoder_attention,
    softmax,
    stack,
)
from kvcalc.spec.model import Block, ConvStem, Embedding, Encoder, ModelSpec


def _pair(
    c: Config,
    *,
    encoder: dict[str, Any],
    bias: tuple[Side, ...] = QKVO,
    **fields: Any,
) -> ModelSpec:
    """An encoder and a decoder with heads, layers and inner widths of their own."""
    width = c.hidden_size
    c.skip("num_hidden_layers", "is_encoder_decoder", "encoder_layerdrop", "decoder_layerdrop",
           "init_std", "num_labels", "classif_dropout", "add_bias_logits", "add_final_layer_norm",
           "extra_pos_embeddings", "static_position_embeddings", "scale_embedding",
           "normalize_before", "normalize_embedding", "output_past", "decoder_start_token_id")  # fmt: skip
    if c.flag("is_decoder", False):
        c.refuse("is_decoder", "a decoder alone")
    outer, inner = c.number("encoder_attention_heads"), c.number("decoder_attention_heads")
    reads = Block(
        attention=encoder_attention(c, heads=outer, head_dim=c.divide("d_model", width, outer), bias=bias),
        ffn=dense(c, c.number("encoder_ffn_dim"), bias=True),
    )  # fmt: skip
    head_dim = c.divide("d_model", width, inner)
    writes = Block(
        attention=softmax(c, heads=inner, kv_heads=inner, head_dim=head_dim, bias=bias),
        cross_attention=CrossAttention(
            kind="cross", num_attention_heads=inner, num_key_value_heads=inner, head_dim=head_dim,
            bias=bias,
        ),
        ffn=dense(c, c.number("decoder_ffn_dim"), bias=True),
    )  # fmt: skip
    blocks, layers = stack([((), reads)] * c.number("encoder_layers"), "encoder")
    spec = decoder(
        c, [((), writes)] * c.number("decoder_layers"), norm="layernorm", tie=always_tied(c),
        encoder=Encoder(layers=layers, **encoder), **fields,
    )  # fmt: skip
    return replace(spec, blocks={**blocks, **spec.blocks})


def bart(c: Config) -> ModelSpec:
    """Norms after the sublayers and after the embeddings; two more position rows than positions."""
    rows = c.number("max_position_embeddings") + 2
    return _pair(
        c, encoder={"positions": rows, "embedding_norm": True, "final_norm": False},
        final_norm=False, embedding=Embedding(positions=rows, norm=True),
    )  # fmt: skip


def mbart(c: Config) -> ModelSpec:
    """Norms before the sublayers, after the embeddings and at the end."""
    rows = c.number("max_position_embeddings") + 2
    return _pair(
        c, encoder={"positions": rows, "embedding_norm": True},
        embedding=Embedding(positions=rows, norm=True),
    )  # fmt: skip


def pegasus(c: Config) -> ModelSpec:
    """Norms before the sublayers and at the end; fixed sinusoidal positions, stored as weights."""
    rows = c.number("max_position_embeddings")
    return _pair(c, encoder={"positions": rows}, embedding=Embedding(positions=rows))


def marian(c: Config) -> ModelSpec:
    """Norms after the sublayers; fixed sinusoidal positions, stored as weights."""
    rows = c.number("max_position_embeddings")
    c.fixed("share_encoder_decoder_embeddings", True, what="a vocabulary for each side")
    c.skip("decoder_vocab_size")
    if c.maybe("decoder_vocab_size", None) not in (None, c.number("vocab_size")):
        c.refuse("decoder_vocab_size", "a vocabulary for each side")
    return _pair(
        c, encoder={"positions": rows, "final_norm": False}, final_norm=False,
        embedding=Embedding(positions=rows),
    )  # fmt: skip


def blenderbot_small(c: Config) -> ModelSpec:
    """BART with as many position rows as positions."""
    rows = c.number("max_position_embeddings")
    return _pair(
        c, encoder={"positions": rows, "embedding_norm": True, "final_norm": False},
        final_norm=False, embedding=Embedding(positions=rows, norm=True),
    )  # fmt: skip


def m2m_100(c: Config) -> ModelSpec:
    """Norms before the sublayers and at the end; sinusoidal positions without weights."""
    return _pair(c, encoder={})


def whisper(c: Config) -> ModelSpec:
    """Two convolutions in front of the encoder; no bias on K; the encoder is always as long."""
    c.skip("num_mel_bins", "max_source_positions", "apply_spec_augment", "classifier_proj_size",
           "mask_time_prob", "mask_time_length", "mask_time_min_masks", "mask_feature_prob",
           "mask_feature_length", "mask_feature_min_masks", "median_filter_width",
           "use_weighted_layer_sum", "max_length")  # fmt: skip
    tokens = c.number("max_source_positions")
    targets = c.number("max_target_positions")
    return _pair(
        c, bias=("q", "v", "o"), max_position_embeddings=targets,
        embedding=Embedding(positions=targets),
        encoder={
            "tokens": tokens, "positions": tokens, "embedding": "none",
            "conv_stem": ConvStem(in_channels=c.number("num_mel_bins"), kernel=3),
        },
    )  # fmt: skip
