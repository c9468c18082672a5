"""Stacks that mix attention with recurrent or convolutional layers.

Source: transformers 5.23, models/jamba, zamba, zamba2, nemotron_h, lfm2, lfm2_moe, lfm3,
kimi_linear, minimax, bailing_hybrid.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.families.mamba import mamba1_fields, scaled
from kvcalc.convert.parts import (
    Layer,
    always_tied,
    crossed,
    decoder,
    dense,
    first_dense,
    gated,
    kinds,
    mla,
    mlp_kinds,
    moe,
    never_tied,
    softmax,
)
from kvcalc.recurrent.kda import KimiDeltaAttention
from kvcalc.recurrent.lightning import LightningAttention
from kvcalc.recurrent.mamba2 import Mamba2
from kvcalc.recurrent.short_conv import ShortConv
from kvcalc.spec.model import Block, ModelSpec


def jamba(c: Config) -> ModelSpec:
    """Mamba with inner norms, attention in every ``attn_layer_period``-th layer, experts in every other."""
    c.skip("mamba_inner_layernorms", "calc_logits_for_entire_prompt")
    attn_period, attn_offset = c.number("attn_layer_period"), c.count("attn_layer_offset")
    moe_period, moe_offset = c.number("expert_layer_period"), c.count("expert_layer_offset")
    for kind, offset, period in (
        ("attn", attn_offset, attn_period), ("expert", moe_offset, moe_period),
    ):  # fmt: skip
        if offset >= period:
            c.wrong(f"{kind}_layer_offset", f"{offset} is not below {kind}_layer_period, {period}")
    experts = c.number("num_experts")
    attention = softmax(c, head_dim=c.divide("hidden_size", c.hidden_size, c.num_heads))
    mixer = mamba1_fields(c, inner_norms="weighted")
    mixers = [
        "attention" if index % attn_period == attn_offset else "mamba"
        for index in range(c.num_layers)
    ]
    ffns = [
        "moe" if experts > 1 and index % moe_period == moe_offset else "dense"
        for index in range(c.num_layers)
    ]
    c.skip("num_experts_per_tok")

    def block(mixer_kind: str, ffn: str) -> Block:
        feed_forward: Any = gated(c)
        if ffn == "moe":
            feed_forward = moe(c, width="intermediate_size")
        if mixer_kind == "attention":
            return Block(attention=attention, ffn=feed_forward)
        return Block(recurrent=mixer, ffn=feed_forward)

    return decoder(c, crossed(mixers, ffns, block))


# The letters of NVIDIA's own configs, which name the blocks.
_NEMOTRON_H = {
    "linear_attention": "M", "mamba": "M", "full_attention": "*", "attention": "*", "mlp": "-",
    "moe": "E",
}  # fmt: skip


def _sublayers(c: Config) -> list[str]:
    """The letter of each layer: M, *, - or E."""
    pattern = c.word("hybrid_override_pattern", None)
    stated = c.words("layers_block_type")
    if stated is not None:
        for word in stated:
            if word not in _NEMOTRON_H:
                c.refuse("layers_block_type", f"layers of type '{word}' are not accounted for here")
        return [_NEMOTRON_H[word] for word in stated]
    if pattern:
        if set(pattern) - set(_NEMOTRON_H.values()):
            c.refuse("hybrid_override_pattern", "known letters are M * - E")
        return list(pattern)
    c.missing("hybrid_override_pattern")


def nemotron_h(c: Config) -> ModelSpec:
    """One sublayer a layer: Mamba-2, attention, feed-forward or experts, in the order of a pattern."""
    order = _sublayers(c)
    c.fixed("attention_bias", False, what="transformers' attention has no biases here")
    c.fixed("sliding_window", None, what="a window, which transformers' cache does not have here")
    if c.maybe("num_hidden_layers", None) not in (None, len(order)):
        c.wrong("num_hidden_layers", f"the pattern has {len(order)} layers")
    for old, new in (("mamba_n_groups", "n_groups"), ("mamba_d_conv", "conv_kernel")):
        if c.has(old):
            c.refuse(old, f"the old name of {new}")
    c.skip(
        "expand", "mamba_ssm_cache_dtype", "mamba_hidden_act", "moe_shared_expert_overlap",
        "mtp_layers_block_type", "mtp_hybrid_override_pattern", "use_mamba_kernels",
        "num_query_groups", "kv_channels", "time_step_rank",
    )  # fmt: skip
    c.agree("attention_head_dim", c.head_dim())
    made: dict[str, Block] = {}
    if "M" in order:
        made["M"] = Block(recurrent=Mamba2(
            kind="mamba2", num_heads=c.number("mamba_num_heads"), head_dim=c.number("mamba_head_dim"),
            state_size=c.number("ssm_state_size"), n_groups=c.number("n_groups"),
            conv_kernel=c.number("conv_kernel"), conv_bias=c.flag("use_conv_bias"),
            proj_bias=c.flag("use_bias"),
        ))  # fmt: skip
    if "*" in order:
        made["*"] = Block(attention=softmax(c))
    if "-" in order:
        made["-"] = Block(ffn=dense(c, bias=c.flag("mlp_bias")))
    if "E" in order:
        shared = c.number("moe_shared_expert_intermediate_size")
        bias = c.flag("mlp_bias")
        if bias and c.has("moe_latent_size"):
            c.refuse("mlp_bias", "biases on the projections to and from the experts' width")
        made["E"] = Block(ffn=moe(
            c, experts="n_routed_experts", expert="dense", shared=shared, router_bias="buffer",
            latent_size=c.maybe("moe_latent_size"), shared_expert_bias=bias,
        ))  # fmt: skip
    # What a kind of layer would be says nothing where no layer is of that kind.
    c.skip(
        "mamba_num_heads", "mamba_head_dim", "ssm_state_size", "n_groups", "conv_kernel",
        "use_conv_bias", "mamba_proj_bias", "num_attention_heads", "num_key_value_heads",
        "head_dim", "intermediate_size", "n_routed_experts", "n_shared_experts",
        "moe_intermediate_size", "moe_shared_expert_intermediate_size", "num_experts_per_tok",
        "mlp_bias", "attention_bias", "use_bias", "moe_latent_size",
    )  # fmt: skip
    return decoder(c, [((kind,), made[kind]) for kind in order], tie=never_tied(c))


def _lfm2_width(c: Config) -> int:
    """LFM2 adjusts the stated width: two thirds of it, scaled, rounded up to a multiple."""
    width = (
        c.number("block_ff_dim", None) if c.has("block_ff_dim") else c.number("intermediate_size")
    )
    c.skip("intermediate_size", "block_dim", "block_mlp_init_scale", "block_norm_eps",
           "block_out_init_scale", "block_use_swiglu", "block_use_xavier_init", "conv_dim",
           "conv_use_xavier_init", "use_pos_enc", "block_ff_dim", "block_multiple_of",
           "block_ffn_dim_multiplier")  # fmt: skip
    if not c.flag("block_auto_adjust_ff_dim"):
        return width
    width = int(2 * width / 3)
    factor = c.value("block_ffn_dim_multiplier")
    if factor is not None:
        width = int(c.real("block_ffn_dim_multiplier") * width)
        multiple = c.number("block_multiple_of")
        width = multiple * -(-width // multiple)
    return width


def _lfm2_tie(c: Config) -> bool:
    return c.flag("tie_embedding") if c.has("tie_embedding") else c.flag("tie_word_embeddings")


def lfm2(c: Config) -> ModelSpec:
    """Gated short convolutions, attention with QK-norm where ``layer_types`` says."""
    c.agree("num_heads", c.num_heads)
    ffn = gated(c, _lfm2_width(c))
    made = _lfm2_blocks(c)

    def pattern() -> list[str]:
        attention = c.numbers("full_attn_idxs")
        return [
            "attention" if attention is None or index in attention else "conv"
            for index in range(c.num_layers)
        ]

    c.skip("full_attn_idxs", "tie_word_embeddings")
    names = {"full_attention": "attention", "conv": "conv"}
    order = kinds(c, "layer_types", names, pattern)
    return decoder(c, [
        ((kind,), Block(**made[kind], ffn=ffn)) for kind in order
    ], tie=_lfm2_tie(c))  # fmt: skip


def _lfm2_blocks(c: Config) -> dict[str, dict[str, Any]]:
    conv = ShortConv(
        kind="short_conv", hidden_size=c.hidden_size, conv_L_cache=c.number("conv_L_cache"),
        conv_bias=c.flag("conv_bias"),
    )  # fmt: skip
    head_dim = c.divide("hidden_size", c.hidden_size, c.num_heads)
    return {
        "attention": {"attention": softmax(c, head_dim=head_dim, qk_norm="per_head")},
        "conv": {"recurrent": conv},
    }


def lfm2_moe(c: Config) -> ModelSpec:
    """LFM2 with dense layers first, then experts."""
    made = _lfm2_blocks(c)
    order = kinds(
        c, "layer_types", {"full_attention": "attention", "conv": "conv"},
        lambda: c.missing("layer_types"),
    )  # fmt: skip
    ffns = first_dense(c, c.count("num_dense_layers"))
    bias = "buffer" if c.flag("use_expert_bias") else "none"
    c.skip("tie_word_embeddings")
    return decoder(c, crossed(order, ffns, lambda mixer, ffn: Block(
        **made[mixer], ffn=moe(c, router_bias=bias) if ffn == "moe" else gated(c),
    )), tie=_lfm2_tie(c))  # fmt: skip


def lfm3(c: Config) -> ModelSpec:
    """LFM2 with sliding layers, gates per head and norms around each sublayer."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    c.skip("num_attention_heads", "num_key_value_heads", "head_dim")
    norms = 4 if c.flag("use_sandwich_norm") else 2
    gate = "per_head" if c.flag("use_attention_gate") else "none"
    conv = ShortConv(
        kind="short_conv", hidden_size=c.hidden_size, conv_L_cache=c.number("conv_L_cache"),
        conv_bias=c.flag("conv_bias"),
    )  # fmt: skip
    names = {"full_attention": "global", "sliding_attention": "local", "conv": "conv"}
    order = kinds(c, "layer_types", names, lambda: [
        "global" if index % 4 == 2 else "local" if index % 4 == 0 and index > 0 else "conv"
        for index in range(c.num_layers)
    ])  # fmt: skip

    def block(kind: str) -> Block:
        if kind == "conv":
            return Block(recurrent=conv, ffn=gated(c), norms=norms)
        attention = softmax(c, bias=bias, qk_norm="per_head", output_gate=gate,
                            sliding_window=window if kind == "local" else None)  # fmt: skip
        return Block(attention=attention, ffn=gated(c), norms=norms)

    return decoder(c, [((kind,), block(kind)) for kind in order])


def minimax(c: Config) -> ModelSpec:
    """Lightning attention, softmax attention where ``layer_types`` says; experts in every layer."""
    old = c.numbers("attn_type_list", c.num_layers, None)
    c.skip(
        "block_size", "full_attn_alpha_factor", "full_attn_beta_factor", "linear_attn_alpha_factor",
        "linear_attn_beta_factor", "mlp_alpha_factor", "mlp_beta_factor", "postnorm",
        "layernorm_full_attention_alpha", "layernorm_full_attention_beta",
        "layernorm_linear_attention_alpha", "layernorm_linear_attention_beta",
        "layernorm_mlp_alpha", "layernorm_mlp_beta", "shared_intermediate_size", "shared_moe_mode",
        "rms_norm_eps",
    )  # fmt: skip
    if c.maybe("shared_intermediate_size", 0, least=0):
        c.refuse("shared_intermediate_size", "shared experts")

    def pattern() -> list[str]:
        if old is not None:
            return ["attention" if kind else "lightning" for kind in old]
        return ["lightning" if index % 2 else "attention" for index in range(c.num_layers)]

    c.fixed("sliding_window", None, what="transformers masks by this window and keeps every token")
    order = kinds(
        c, "layer_types", {"full_attention": "attention", "linear_attention": "lightning"}, pattern
    )
    ffn = moe(c, experts="num_local_experts", width="intermediate_size")
    head_dim = c.head_dim()
    made = {
        "attention": Block(attention=softmax(c, head_dim=head_dim), ffn=ffn),
        "lightning": Block(
            recurrent=LightningAttention(
                kind="lightning", num_attention_heads=c.num_heads, head_dim=head_dim
            ),
            ffn=ffn,
        ),
    }
    return decoder(c, [((kind,), made[kind]) for kind in order])


def _numbered(c: Config, linear: Config) -> list[str] | None:
    """kimi_linear's lists of layers, which count from 1."""
    full, delta = (
        linear.numbers("full_attn_layers", None, None),
        linear.numbers("kda_layers", None, None),
    )
    if full is None or delta is None:
        return None
    if sorted([*full, *delta]) != list(range(1, c.num_layers + 1)):
        linear.wrong("full_attn_layers", f"with kda_layers they are not 1 to {c.num_layers}")
    return ["mla" if index + 1 in full else "kda" for index in range(c.num_layers)]


def kimi_linear(c: Config) -> ModelSpec:
    """Kimi Delta Attention, latent attention in every fourth layer, one dense layer, then experts."""
    linear = c.inside("linear_attn_config", "KimiLinearConfig")
    listed = _numbered(c, linear)
    order = kinds(
        c, "layer_types", {"full_attention": "mla", "linear_attention": "kda"},
        lambda: listed or [
            "mla" if index and index % 4 == 0 else "kda" for index in range(c.num_layers)
        ],
    )  # fmt: skip
    kda = KimiDeltaAttention(
        kind="kda",
        num_heads=linear.number("num_heads") if linear.has("num_heads") else c.number("linear_num_heads"),
        head_dim=linear.number("head_dim") if linear.has("head_dim") else c.number("linear_head_dim"),
        short_conv_kernel_size=linear.number("short_conv_kernel_size")
        if linear.has("short_conv_kernel_size") else c.number("linear_conv_kernel_dim"),
        full_rank_gate=linear.flag("use_full_rank_gate", False),
    )  # fmt: skip
    linear.skip("gate_lower_bound")
    linear.finish()
    c.skip("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim", "num_key_value_heads",
           "head_dim", "qk_head_dim", "mla_use_nope", "use_grouped_topk", "num_nextn_predict_layers",
           "first_k_dense_replace", "topk_method")  # fmt: skip
    c.fixed("moe_layer_freq", 1, what="experts in some of the later layers only")
    ffns = mlp_kinds(c, lambda: first_dense(c, c.count("first_k_dense_replace", 1)))
    bias: tuple[str, ...] = ("kv_a", "o") if c.flag("attention_bias") else ()
    if bias and c.maybe("q_lora_rank") is not None:
        bias = ("q_a", *bias)
    gate = "per_element" if c.flag("mla_use_output_gate", False) else "none"
    latent = mla(c, bias=bias, output_gate=gate)
    shared = c.count("n_shared_experts") * c.number("moe_intermediate_size")
    width = c.maybe("routed_expert_hidden_size", None)

    def block(mixer: str, ffn: str) -> Block:
        experts = moe(c, experts="num_local_experts", shared=shared, router_bias="buffer",
                      latent_size=width)  # fmt: skip
        feed_forward = experts if ffn == "moe" else gated(c)
        if mixer == "mla":
            return Block(attention=latent, ffn=feed_forward)
        return Block(recurrent=kda, ffn=feed_forward)

    left_out = tuple(_kimi_k3(c))
    spec = decoder(c, crossed(order, ffns, block), tie=never_tied(c))
    return replace(spec, left_out=left_out)


def _kimi_k3(c: Config) -> Iterator[str]:
    """What Kimi K3's own code adds to Kimi Linear that no field says: a ten-thousandth of a percent."""
    if c.maybe("attn_res_block_size", None) is not None:
        yield "attention residuals (attn_res_block_size of the config)"
    if c.flag("latent_moe_use_norm", False):
        yield "the norm of the latent experts (latent_moe_use_norm of the config)"


def zamba2(c: Config) -> ModelSpec:
    """Mamba-2 layers; some of them first pass a transformer block whose weights they share."""
    from kvcalc.stack.shared_adapter import SharedAdapter

    width = c.hidden_size
    inner = int(c.real("mamba_expand") * width)
    heads = c.number("n_mamba_heads")
    mamba = Mamba2(
        kind="mamba2", num_heads=heads, head_dim=c.divide("n_mamba_heads", inner, heads),
        state_size=c.number("mamba_d_state"), n_groups=c.number("mamba_ngroups"),
        conv_kernel=c.number("mamba_d_conv"), proj_bias=c.flag("add_bias_linear"),
    )  # fmt: skip
    c.fixed("use_conv_bias", True, what="transformers' Zamba2 always has the convolution's bias")
    c.skip("use_mem_eff_path", "use_long_context", "mamba_headdim", "kv_channels",
           "num_query_groups", "hybrid_layer_ids",
           "ffn_hidden_size", "num_mem_blocks", "use_shared_mlp_adapter", "use_mem_rope",
           "rope_theta", "gated_linear_unit", "layers_block_type", "lora_rank",
           "ft_lora", "state_size", "expansion_factor", "vocab_pad")  # fmt: skip
    order = kinds(c, "layers_block_type", _ZAMBA, lambda: _zamba2_default(c))
    size = c.maybe("intermediate_size") or 4 * width
    adapter = SharedAdapter(
        adapter_rank=c.number("adapter_rank"), intermediate_size=size,
        use_shared_attention_adapter=c.flag("use_shared_attention_adapter"),
    )  # fmt: skip
    head_dim = c.divide("hidden_size", 2 * width, c.num_heads)
    attention = softmax(c, head_dim=head_dim, attention_hidden_size=2 * width)
    c.agree("attention_hidden_size", 2 * width)
    for key in ("attention_head_dim", "head_dim"):
        c.agree(key, head_dim)
    # The block norms its input, twice as wide as the stream, and what its attention gives.
    blocks = c.number("num_mem_blocks")
    layers: list[Layer] = []
    uses = 0
    for kind in order:
        if kind == "hybrid":
            name = f"shared{uses % blocks + 1}" if blocks > 1 else "shared"
            layers.append(((name,), Block(
                attention=attention, ffn=gated(c, size, bias=c.flag("add_bias_linear")), norms=3,
                share_weights=True, adapter=adapter,
            )))  # fmt: skip
            uses += 1
        layers.append((("mamba",), Block(recurrent=mamba)))
    return decoder(c, layers, tie=always_tied(c))


_ZAMBA = {
    "mamba": "mamba", "linear_attention": "mamba", "hybrid": "hybrid", "m": "mamba", "g": "hybrid",
}  # fmt: skip


def _zamba2_default(c: Config) -> list[str]:
    """The class lays down 54 layers, whatever their number."""
    if c.num_layers != 54:
        c.missing("layers_block_type")
    mamba = ["mamba"]
    return [
        *mamba,
        *(mamba * 5 + ["hybrid"]) * 7,
        *mamba * 4,
        "hybrid",
        *mamba * 3,
        "hybrid",
        *mamba * 2,
    ]


def zamba(c: Config) -> ModelSpec:
    """Mamba layers; some of them first pass the one transformer block, whose weights they share."""
    from kvcalc.stack.shared_adapter import SharedAdapter

    width = c.maybe("attention_hidden_size") or 2 * c.hidden_size
    head_dim = c.maybe("attention_head_dim") or c.divide("hidden_size", width, c.num_heads)
    if width != 2 * c.hidden_size:
        c.refuse("attention_hidden_size", "the block reads the stream beside the embedding")
    # Heads of the mixer divide the channels and change no tensor's size.
    c.divide("n_mamba_heads", scaled(c, "mamba_expand"), c.number("n_mamba_heads"))
    c.skip("ffn_hidden_size", "hidden_mamba_act", "attn_layer_period", "attn_layer_offset")
    period, offset = c.number("attn_layer_period"), c.count("attn_layer_offset")
    later = range(max(c.num_layers - 3, 0))
    order = kinds(c, "layers_block_type", _ZAMBA, lambda: [
        "mamba", "mamba", "hybrid",
        *("hybrid" if index % period == offset else "mamba" for index in later),
    ])  # fmt: skip
    shared = Block(
        attention=softmax(c, head_dim=head_dim, attention_hidden_size=width), ffn=gated(c), norms=3,
        share_weights=True, adapter=SharedAdapter(intermediate_size=c.number("intermediate_size")),
    )  # fmt: skip
    mamba = Block(recurrent=mamba1_fields(c))
    layers: list[Layer] = []
    for kind in order:
        if kind == "hybrid":
            layers.append((("shared",), shared))
        layers.append((("mamba",), mamba))
    return decoder(c, layers, tie=always_tied(c))


def bailing_hybrid(c: Config) -> ModelSpec:
    """Ling hybrid: KDA with full gates, latent attention with a gate per head; dense, then experts."""
    c.skip("kda_safe_gate", "kda_lower_bound", "mtp_loss_scaling_factor", "num_key_value_heads",
           "qk_head_dim", "use_qk_norm")  # fmt: skip
    # The published configs (Ling 3.0) say what the class does without being asked; its norms of Q and
    # K in KDA have no weights.
    c.agree("no_kda_lora", True)
    c.agree("gated_attention_proj_granularity_type", "head_wise")
    c.agree("moe_router_enable_expert_bias", True)
    period = c.number("layer_group_size")
    order = kinds(
        c, "layer_types", {"full_attention": "mla", "linear_attention": "kda"},
        lambda: ["kda" if (index + 1) % period else "mla" for index in range(c.num_layers)],
    )  # fmt: skip
    ffns = mlp_kinds(c, lambda: first_dense(c, c.count("first_k_dense_replace")))
    kda = KimiDeltaAttention(
        kind="kda", full_rank_gate=True, full_rank_decay=True,
        # The class's own names, under which it writes these back.
        num_heads=c.number("linear_num_heads", c.num_heads),
        head_dim=c.number("linear_head_dim", c.head_dim()),
        short_conv_kernel_size=c.number("linear_conv_kernel_dim", c.number("short_conv_kernel_size")),
    )  # fmt: skip
    bias = ("kv_a", "o") if c.flag("attention_bias") else ()
    latent = mla(c, q_lora_rank=c.maybe("q_lora_rank", None), bias=bias, output_gate="per_head")
    shared = c.count("n_shared_experts") * c.number("moe_intermediate_size")
    c.agree("moe_shared_expert_intermediate_size", c.number("moe_intermediate_size"))

    def block(mixer: str, ffn: str) -> Block:
        experts = moe(c, experts="num_local_experts", shared=shared, router_bias="buffer")
        feed_forward = experts if ffn == "moe" else gated(c)
        if mixer == "mla":
            return Block(attention=latent, ffn=feed_forward)
        return Block(recurrent=kda, ffn=feed_forward)

    return decoder(c, crossed(order, ffns, block), tie=never_tied(c))
