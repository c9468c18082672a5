"""BART and the encoder-decoders of its line: LayerNorm, biases everywhere, learned or fixed positions.

Source: transformers 5.23, models/bart, mbart, pegasus, marian, blenderbot, m2m_100, plbart, mvp,
whisper, ...
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kvcalc.attention.cross import CrossAttention
from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    QKVO,
    Layer,
    Side,
    always_tied,
    decoder,
    dense,
    encoder_attention,
    softmax,
    stack,
)
from kvcalc.ffn.moe import MixtureOfExperts
from kvcalc.spec.model import Block, ConvStem, Embedding, Encoder, ModelSpec


def _pair(
    c: Config,
    *,
    encoder: dict[str, Any],
    bias: tuple[Side, ...] = QKVO,
    global_projections: bool = False,
    encoder_norms: int | None = None,
    feed_forward: Callable[[Config, str, int], Any] | None = None,
    **fields: Any,
) -> ModelSpec:
    """An encoder and a decoder with heads, layers and inner widths of their own.

    feed_forward: (config, encoder or decoder, layer) -> that layer's; two matrices when absent.
    """
    width = c.hidden_size
    c.skip("num_hidden_layers", "is_encoder_decoder", "encoder_layerdrop", "decoder_layerdrop",
           "init_std", "num_labels", "classif_dropout", "add_bias_logits", "add_final_layer_norm",
           "extra_pos_embeddings", "static_position_embeddings", "scale_embedding",
           "normalize_before", "normalize_embedding", "output_past", "decoder_start_token_id")  # fmt: skip
    if c.flag("is_decoder", False):
        c.refuse("is_decoder", "a decoder alone")
    outer, inner = c.number("encoder_attention_heads"), c.number("decoder_attention_heads")
    reads = encoder_attention(c, heads=outer, head_dim=c.divide("d_model", width, outer), bias=bias,
                              global_projections=global_projections)  # fmt: skip
    head_dim = c.divide("d_model", width, inner)
    own = softmax(c, heads=inner, kv_heads=inner, head_dim=head_dim, bias=bias)
    cross = CrossAttention(
        kind="cross", num_attention_heads=inner, num_key_value_heads=inner, head_dim=head_dim,
        bias=bias,
    )  # fmt: skip
    ffn = feed_forward or (lambda c, side, index: dense(c, c.number(f"{side}_ffn_dim"), bias=True))

    def layers_of(side: str, **mixers: Any) -> list[Layer]:
        made = [ffn(c, side, index) for index in range(c.number(f"{side}_layers"))]
        return [((layer.kind,), Block(ffn=layer, **mixers)) for layer in made]

    blocks, layers = stack(
        layers_of("encoder", attention=reads, norms=encoder_norms), "encoder", _prefix(c)
    )
    writes = layers_of("decoder", attention=own, cross_attention=cross)
    spec = decoder(
        c, writes, norm="layernorm", tie=always_tied(c),
        encoder=Encoder(layers=layers, **encoder), **fields,
    )  # fmt: skip
    return replace(spec, blocks={**blocks, **spec.blocks})


def _prefix(c: Config) -> str:
    """Where layers of one stack differ, their names need the stack's."""
    return "encoder_" if c.model_type == "nllb-moe" else ""


def bart(c: Config) -> ModelSpec:
    """Norms after the sublayers and after the embeddings; two more position rows than positions."""
    rows = c.number("max_position_embeddings") + 2
    return _pair(
        c, encoder={"positions": rows, "embedding_norm": True, "final_norm": False},
        final_norm=False, embedding=Embedding(positions=rows, norm=True),
    )  # fmt: skip


def led(c: Config) -> ModelSpec:
    """BART whose encoder has Longformer's attention and longer positions."""
    windows = c.value("attention_window")
    for window in windows if isinstance(windows, list) else [windows]:
        if c.whole("attention_window", window) % 2:
            c.wrong("attention_window", f"{window} is odd: half of a window lies on each side")
    outer = c.number("max_encoder_position_embeddings")
    inner = c.number("max_decoder_position_embeddings")
    return _pair(
        c, encoder={"positions": outer, "embedding_norm": True, "final_norm": False},
        final_norm=False, embedding=Embedding(positions=inner, norm=True),
        global_projections=True, max_position_embeddings=inner,
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


def pegasus_x(c: Config) -> ModelSpec:
    """PEGASUS without biases in attention; global tokens with a norm of their own in each layer."""
    c.skip("block_size", "stagger_local_blocks", "axial_pos_shape")
    return _pair(
        c, encoder={"global_tokens": c.number("num_global_tokens")}, encoder_norms=3, bias=()
    )


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


def bigbird_pegasus(c: Config) -> ModelSpec:
    """Learned positions; one switch for the biases of attention; a norm at the end of each stack."""
    c.skip("attention_type", "block_size", "num_random_blocks")
    rows = c.number("max_position_embeddings")
    return _pair(
        c, encoder={"positions": rows}, embedding=Embedding(positions=rows),
        bias=QKVO if c.flag("use_bias") else (),
    )  # fmt: skip


def nllb_moe(c: Config) -> ModelSpec:
    """M2M-100 with experts of two matrices in every fourth layer."""
    c.skip("expert_capacity", "router_dtype", "router_ignore_padding_tokens", "num_experts",
           "second_expert_policy", "normalize_router_prob_before_dropping", "router_bias",
           "batch_prioritized_routing", "moe_eval_capacity_token_fraction", "moe_token_dropout",
           "add_router_probs")  # fmt: skip
    c.skip("max_position_embeddings")

    def feed_forward(c: Config, side: str, index: int) -> Any:
        width, step = f"{side}_ffn_dim", c.count(f"{side}_sparse_step")
        if not step or (index + 1) % step:
            return dense(c, c.number(width), bias=True)
        c.assume("num_experts_per_tok", 2, "a token of NLLB-MoE passes its two best experts")
        router: Any = "parameter" if c.flag("router_bias") else "none"
        return MixtureOfExperts(
            kind="moe", num_experts=c.number("num_experts"), num_experts_per_tok=2, expert="dense",
            moe_intermediate_size=c.number(width), expert_bias=True, router_bias=router,
        )  # fmt: skip

    return _pair(c, encoder={}, feed_forward=feed_forward)


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
