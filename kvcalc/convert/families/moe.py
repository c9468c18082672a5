"""Decoders with experts that belong to no larger family: Mixtral, gpt-oss, DBRX, Ernie, Hunyuan, ...

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py of each function's types.
"""

from typing import Any, Literal

from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    FULL_OR_SLIDING,
    QKV,
    crossed,
    decoder,
    every,
    first_dense,
    gated,
    kinds,
    mlp_kinds,
    moe,
    never_tied,
    softmax,
    step_sparse,
    windowed,
)
from kvcalc.spec.model import Block, ModelSpec


def mixtral(c: Config) -> ModelSpec:
    """Experts of intermediate_size in every layer; the window holds for every layer."""
    ffn = moe(c, experts="num_local_experts", width="intermediate_size")
    attention = softmax(c, sliding_window=c.maybe("sliding_window"))
    return decoder(c, Block(attention=attention, ffn=ffn))


def minimax_m2(c: Config) -> ModelSpec:
    """QK-norm over the whole width; a router bias that is a buffer."""
    c.fixed("use_qk_norm", True, what="attention without QK-norm")
    c.fixed("qk_norm_type", "per_layer", what="another QK-norm")
    c.agree("attn_type_list", [1] * c.num_layers)
    c.agree("use_routing_bias", True)
    c.fixed("shared_intermediate_size", 0, None, what="shared experts")
    c.skip("mlp_intermediate_size")
    ffn = moe(c, experts="num_local_experts", width="intermediate_size", router_bias="buffer")
    return decoder(c, Block(attention=softmax(c, qk_norm="full"), ffn=ffn))


def gpt_oss(c: Config) -> ModelSpec:
    """Sink logits; biases on attention, router and experts; every second layer slides."""
    bias = c.flag("attention_bias")
    ffn = moe(c, experts="num_local_experts", width="intermediate_size", expert_bias=True,
              router_bias="parameter")  # fmt: skip
    c.skip("swiglu_alpha", "swiglu_limit", "experts_per_token", "initial_context_length")
    return decoder(c, windowed(
        c, lambda w: softmax(c, bias=bias, sinks=True, sliding_window=w),
        lambda a: Block(attention=a, ffn=ffn), lambda: every(2, c.num_layers),
        window=c.maybe("sliding_window"),
    ))  # fmt: skip


def dbrx(c: Config) -> ModelSpec:
    """Sizes of attention and experts stand in nested objects; LayerNorm without bias."""
    attn, ffn = (
        c.inside("attn_config", "DbrxAttentionConfig"),
        c.inside("ffn_config", "DbrxFFNConfig"),
    )
    kv_heads = attn.number("kv_n_heads", 1)
    c.agree("num_key_value_heads", kv_heads)
    attention = softmax(c, kv_heads=kv_heads,
                        head_dim=c.divide("d_model", c.hidden_size, c.num_heads))  # fmt: skip
    attn.skip("attn_pdrop", "clip_qkv", "rope_theta", "model_type")
    ffn.skip("ffn_act_fn", "moe_jitter_eps", "moe_loss_weight", "moe_normalize_expert_weights",
             "uniform_expert_assignment", "hidden_size", "model_type")  # fmt: skip
    c.skip("router_aux_loss_coef", "resid_pdrop", "emb_pdrop")
    for nested, key, default in ((ffn, "moe_num_experts", 4), (ffn, "moe_top_k", 1),
                                 (ffn, "ffn_hidden_size", 3584), (attn, "kv_n_heads", 1)):  # fmt: skip
        if not nested.has(key):
            nested.assume(key, default, "not in the file; the default of transformers' class")
    from kvcalc.ffn.moe import MixtureOfExperts

    experts = MixtureOfExperts(
        kind="moe", num_experts=ffn.number("moe_num_experts", 4),
        num_experts_per_tok=ffn.number("moe_top_k", 1),
        moe_intermediate_size=ffn.number("ffn_hidden_size", 3584),
    )  # fmt: skip
    attn.finish()
    ffn.finish()
    return decoder(
        c, Block(attention=attention, ffn=experts), norm="layernorm_no_bias", tie=never_tied(c)
    )


def ernie4_5_moe(c: Config) -> ModelSpec:
    """Experts from ``moe_layer_start_index`` to ``moe_layer_end_index``, every ``moe_layer_interval``."""
    bias = c.flag("use_bias")
    start, step = c.count("moe_layer_start_index"), c.number("moe_layer_interval")
    end = c.number("moe_layer_end_index", -1, least=-1)
    end = c.num_layers - 1 if end == -1 else end
    for key in ("moe_num_experts", "moe_intermediate_size"):
        if isinstance(c.value(key), list):
            c.refuse(key, "experts for text and for images apart")
    shared = c.count("moe_num_shared_experts") * c.number("moe_intermediate_size")
    c.skip(
        "moe_norm_min",
        "moe_capacity",
        "moe_gate",
        "moe_use_aux_free",
        "compression_ratio",
        "freq_allocation",
        "weight_share_add_bias",
        "intermediate_size",
    )
    attention = softmax(c, bias=bias)
    experts = moe(c, experts="moe_num_experts", chosen="moe_k", shared=shared,
                  router_bias="parameter", shared_expert_bias=bias)  # fmt: skip

    def kind(index: int) -> str:
        return "moe" if (index + 1) % step == 0 and start <= index <= end else "dense"

    return decoder(c, lambda index: (
        (kind(index),),
        Block(attention=attention, ffn=experts if kind(index) == "moe" else gated(c, bias=bias)),
    ), head_bias=bias)  # fmt: skip


def hunyuan_moe(c: Config) -> ModelSpec:
    """Experts beside a dense layer of the same width, in every layer."""
    width = c.number("intermediate_size")
    for key in ("num_experts", "moe_topk"):
        stated = c.value(key)
        if isinstance(stated, list) and len(set(map(str, stated))) != 1:
            c.refuse(key, "layers with different numbers of experts")
    experts, top = _scalar(c, "num_experts"), _scalar(c, "moe_topk")
    from kvcalc.ffn.moe import MixtureOfExperts

    ffn = MixtureOfExperts(
        kind="moe", num_experts=experts, num_experts_per_tok=top, moe_intermediate_size=width,
        shared_expert_intermediate_size=width,
    )  # fmt: skip
    for key, expected in (
        ("use_qk_norm", True), ("norm_type", "rms"), ("use_cla", False), ("use_mla", False),
        ("use_mixed_mlp_moe", True), ("attention_head_dim", c.head_dim()), ("mlp_bias", False),
        ("moe_layer_num_skipped", 0), ("moe_intermediate_size", [width] * c.num_layers),
        ("num_shared_expert", 1 if c.values.get("num_shared_expert") == 1 else [1] * c.num_layers),
        ("add_classification_head", False),
    ):  # fmt: skip
        c.agree(key, expected)
    c.skip("cla_share_factor", "dense_list", "num_media_embeds", "org_vocab_size", "vit_norm_type",
           "moe_random_routing_dropped_token", "moe_drop_tokens", "mask_init_id",
           "position_embedding_xdrope", "use_rotary_pos_emb", "anyres_vit_max_image_size",
           "vit_input_resolution", "vit_mapping_type", "vit_patch", "vit_path", "vit_token",
           "vit_type", "vit_used_rms_norm", "vit_add_patchemb_bias", "vit_remove_prenorm",
           "anyres_pooling_size", "max_image_size", "xdrope_section", "pool_type")  # fmt: skip
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head")
    return decoder(c, Block(attention=attention, ffn=ffn))


def _scalar(c: Config, key: str) -> int:
    value = c.value(key)
    return c.whole(key, value[0] if isinstance(value, list) else value)


def exaone_moe(c: Config) -> ModelSpec:
    """EXAONE 4's windows; dense layers first, then experts with shared ones."""
    window = c.maybe("sliding_window")
    period = c.number("sliding_window_pattern") if window is not None else 1
    c.skip("sliding_window_pattern")
    mixers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: every(period, c.num_layers))
    ffns = mlp_kinds(c, lambda: first_dense(c, c.count("first_k_dense_replace")))
    return decoder(c, crossed(mixers, ffns, lambda mixer, ffn: Block(
        attention=softmax(c, qk_norm="per_head", sliding_window=_where(mixer, window)),
        ffn=shared_experts(c, "num_experts") if ffn == "moe" else gated(c),
    )))  # fmt: skip


def _where(mixer: str, window: int | None) -> int | None:
    return window if mixer == "local" else None


def shared_experts(c: Config, experts: str = "n_routed_experts", **fields: Any) -> Any:
    """Routed experts with shared ones of the same width, and a router bias that is a buffer."""
    count = c.count("num_shared_experts")
    shared = count * c.number("moe_intermediate_size")
    return moe(c, experts=experts, shared=shared, router_bias="buffer", **fields)


def solar_open(c: Config) -> ModelSpec:
    """Experts with shared ones in every layer."""
    c.skip("intermediate_size", "first_k_dense_replace", "use_qk_norm")
    shared = c.count("n_shared_experts") * c.number("moe_intermediate_size")
    ffn = moe(c, experts="n_routed_experts", shared=shared, router_bias="buffer")
    bias = c.flag("attention_bias")
    return decoder(c, Block(attention=softmax(c, bias=QKV if bias else ()), ffn=ffn))


def hy_v3(c: Config) -> ModelSpec:
    """One dense layer, then experts with a shared one; QK-norm."""
    c.skip("router_scaling_factor", "enable_moe_fp32_combine")
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head")
    bias = c.flag("mlp_bias")
    # Without shared experts the class builds a layer of the dense width in their place.
    shared = c.count("num_shared_experts") * c.number("moe_intermediate_size")
    shared = shared or c.number("intermediate_size")
    experts = moe(c, shared=shared, router_bias="buffer", shared_expert_bias=bias)
    return decoder(c, [
        ((kind,), Block(attention=attention, ffn=experts if kind == "moe" else gated(c, bias=bias)))
        for kind in mlp_kinds(c, lambda: first_dense(c, 1))
    ])  # fmt: skip


def afmoe(c: Config) -> ModelSpec:
    """Gated attention, four norms, a router bias that is a parameter apart from the router."""
    c.skip("mup_enabled", "route_scale")
    period, window = c.number("global_attn_every_n_layers"), c.maybe("sliding_window")
    mixers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: every(period, c.num_layers))
    ffns = first_dense(c, c.count("num_dense_layers"))
    bias = c.flag("attention_bias")

    def block(mixer: str, ffn: str) -> Block:
        attention = softmax(c, bias=bias, qk_norm="per_head", output_gate="separate",
                            sliding_window=_where(mixer, window))  # fmt: skip
        shared = c.count("num_shared_experts") * c.number("moe_intermediate_size")
        experts = moe(c, shared=shared, router_bias="parameter")
        return Block(attention=attention, ffn=experts if ffn == "moe" else gated(c), norms=4)

    return decoder(c, crossed(mixers, ffns, block))


def aria_text(c: Config) -> ModelSpec:
    """Experts of intermediate_size with shared ones in every layer."""
    shared, bias = c.count("moe_num_shared_experts"), c.flag("mlp_bias")
    if bias and not shared:
        c.refuse("mlp_bias", "without shared experts transformers keeps a bias for none")
    ffn = moe(c, experts="moe_num_experts", chosen="moe_topk", width="intermediate_size",
              shared=shared * c.number("intermediate_size"), shared_expert_bias=bias)  # fmt: skip
    return decoder(c, Block(attention=softmax(c, bias=c.flag("attention_bias")), ffn=ffn))


def kolibri1(c: Config) -> ModelSpec:
    """Four norms; four sliding layers, then one that sees everything; experts with a shared one."""
    shared = c.number("shared_expert_intermediate_size")
    ffn = moe(c, experts="num_local_experts", shared=shared, router_bias="buffer")
    return decoder(c, windowed(
        c, lambda w: softmax(c, qk_norm="per_head", sliding_window=w),
        lambda a: Block(attention=a, ffn=ffn, norms=4), lambda: every(5, c.num_layers),
        window=c.maybe("sliding_window"),
    ))  # fmt: skip


def mellum(c: Config) -> ModelSpec:
    """Experts in every layer that is not dense; QK-norm; windows by ``layer_types``."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    c.skip("mtp_layer_types", "mtp_mlp_layer_types")
    mixers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: ["global"] * c.num_layers)
    ffns = mlp_kinds(c, lambda: ["moe"] * c.num_layers)
    return decoder(c, crossed(mixers, ffns, lambda mixer, ffn: Block(
        attention=softmax(c, bias=bias, qk_norm="per_head", sliding_window=_where(mixer, window)),
        ffn=moe(c) if ffn == "moe" else gated(c),
    )))  # fmt: skip


def flint(c: Config) -> ModelSpec:
    """Sinks, QK-norm, windows; dense layers first, then experts with a shared one."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    last = c.num_layers - 1
    mixers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: [
        "global" if index < 2 or index % 4 == 1 or index == last else "local"
        for index in range(c.num_layers)
    ])  # fmt: skip
    ffns = step_sparse(c, only_dense=[0, 1])
    shared = c.number("shared_expert_intermediate_size")
    return decoder(c, crossed(mixers, ffns, lambda mixer, ffn: Block(
        attention=softmax(c, bias=bias, qk_norm="per_head", sinks=True,
                          sliding_window=_where(mixer, window)),
        ffn=moe(c, shared=shared) if ffn == "moe" else gated(c),
    )))  # fmt: skip


def mimo_v2_flash(c: Config) -> ModelSpec:
    """Sliding layers have twice the KV heads and sinks; values are narrower than keys."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    # The checkpoint's own key counts the tokens before the current one.
    before = c.maybe("sliding_window_size", None)
    window = window if before is None else before + 1
    usual = [
        "global" if index == 0 or not (index + 1) % 6 else "local" for index in range(c.num_layers)
    ]
    c.agree("hybrid_layer_pattern", [int(kind == "local") for kind in usual])
    c.agree("moe_layer_freq", [0] + [1] * (c.num_layers - 1))
    mixers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: usual)
    ffns = mlp_kinds(c, lambda: first_dense(c, 1))
    v_dim = c.maybe("v_head_dim")
    c.skip("attention_value_scale", "attention_chunk_size", "swa_rope_theta")
    for key, expected in (
        ("swa_num_attention_heads", c.num_heads), ("swa_head_dim", c.head_dim()),
        ("swa_num_key_value_heads", 2 * c.num_kv_heads()), ("swa_v_head_dim", v_dim),
        ("add_swa_attention_sink_bias", True), ("add_full_attention_sink_bias", False),
        ("n_shared_experts", None),
    ):  # fmt: skip
        c.agree(key, expected)

    def block(mixer: str, ffn: str) -> Block:
        kv_heads = c.num_kv_heads()
        local = mixer == "local"
        attention = softmax(
            c, kv_heads=2 * kv_heads if local else kv_heads,
            v_head_dim=v_dim, bias=QKV if bias else (), sinks=local, sliding_window=_where(mixer, window),
        )  # fmt: skip
        experts = moe(c, experts="n_routed_experts", router_bias="buffer")
        return Block(attention=attention, ffn=experts if ffn == "moe" else gated(c))

    return decoder(c, crossed(mixers, ffns, block))


def laguna(c: Config) -> ModelSpec:
    """Per-head output gates, heads that may differ by layer, experts with a shared one."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    c.skip("moe_routed_scaling_factor", "moe_apply_router_weight_on_input",
           "moe_router_logit_softcapping")  # fmt: skip
    mixers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: ["global"] * c.num_layers)
    ffns = mlp_kinds(c, lambda: first_dense(c, 1))
    heads = c.numbers("num_attention_heads_per_layer", c.num_layers, least=1)
    if heads is not None:
        c.skip("num_attention_heads")
    gate: Literal["per_head", "separate"] = (
        "per_head" if c.value("gating") in (True, "per-head") else "separate"
    )
    shared = c.number("shared_expert_intermediate_size")

    def block(mixer: str, ffn: str, num_heads: int) -> Block:
        attention = softmax(
            c, heads=num_heads, bias=bias, qk_norm="per_head",
            output_gate=gate, sliding_window=_where(mixer, window),
        )  # fmt: skip
        experts = moe(c, shared=shared, router_bias="parameter")
        return Block(attention=attention, ffn=experts if ffn == "moe" else gated(c))

    return decoder(c, [
        ((mixer, ffn, f"{num_heads}heads"), block(mixer, ffn, num_heads))
        for mixer, ffn, num_heads in zip(
            mixers, ffns, heads or [c.num_heads] * c.num_layers, strict=True
        )
    ])  # fmt: skip


def llama4(c: Config) -> ModelSpec:
    """Chunked attention but for every fourth layer; experts with a shared one in some layers."""
    chunk, bias = c.maybe("attention_chunk_size"), c.flag("attention_bias")
    rope = c.numbers("no_rope_layers", None, None)
    c.skip("attn_temperature_tuning", "floor_scale", "attn_scale", "use_qk_norm",
           "no_rope_layer_interval", "for_llm_compressor", "intermediate_size_mlp",
           "intermediate_size")  # fmt: skip
    interval = c.number("no_rope_layer_interval", 4)
    if not rope:
        rope = [int((index + 1) % interval != 0) for index in range(c.num_layers)]
    elif len(rope) != c.num_layers:
        c.wrong("no_rope_layers", f"has {len(rope)} entries for {c.num_layers} layers")
    mixers = kinds(
        c, "layer_types", {"full_attention": "global", "chunked_attention": "chunked"},
        lambda: ["chunked" if rotary else "global" for rotary in rope],
    )  # fmt: skip
    step = c.number("interleave_moe_layer_step")
    stated = c.numbers("moe_layers")
    layers = set(range(step - 1, c.num_layers, step) if stated is None else stated)
    width = c.number("intermediate_size")

    def block(mixer: str, ffn: str) -> Block:
        attention = softmax(
            c, bias=bias, attention_chunk_size=chunk if mixer == "chunked" else None,
            qk_norm="l2" if c.flag("use_qk_norm") else "none",
        )  # fmt: skip
        experts = moe(c, experts="num_local_experts", width="intermediate_size", shared=width)
        return Block(attention=attention, ffn=experts if ffn == "moe"
                     else gated(c, c.number("intermediate_size_mlp")))  # fmt: skip

    ffns = ["moe" if index in layers else "dense" for index in range(c.num_layers)]
    return decoder(c, crossed(mixers, ffns, block))


def jetmoe(c: Config) -> ModelSpec:
    """Experts for queries and outputs too; a token's query heads are those of its experts."""
    from kvcalc.attention.moa import MixtureOfAttentionHeads

    kv_heads, chosen = c.number("num_key_value_heads"), c.number("num_experts_per_tok")
    if c.maybe("num_attention_heads", None) not in (None, kv_heads * chosen):
        c.wrong("num_attention_heads", f"{chosen} experts of {kv_heads} heads are not as many")
    attention = MixtureOfAttentionHeads(
        kind="moa", num_attention_heads=kv_heads * chosen, num_key_value_heads=kv_heads,
        head_dim=c.number("kv_channels"), num_experts=c.number("num_local_experts"),
        num_experts_per_tok=chosen,
    )  # fmt: skip
    ffn = moe(c, experts="num_local_experts", width="intermediate_size", output_bias=True)
    return decoder(c, Block(attention=attention, ffn=ffn))


def minimax_m3(c: Config) -> ModelSpec:
    """Dense layers, then experts; sparse layers have an indexer whose keys are cached."""
    sparse = c.inside("sparse_attention_config", "MiniMaxM3VLTextConfig")
    c.skip("swiglu_alpha", "swiglu_limit", "index_block_size", "index_local_blocks",
           "sparse_attention_config", "use_gemma_norm", "moe_intermediate_size",
           "moe_layer_freq", "intermediate_size")  # fmt: skip
    c.agree("use_qk_norm", True)
    c.agree("qk_norm_type", "per_head")
    c.agree("use_routing_bias", True)
    c.agree("n_shared_experts", 1)
    c.fixed("attention_output_gate", False, what="gated attention")
    freq = sparse.numbers("sparse_attention_freq", c.num_layers, None)
    mixers = kinds(
        c, "layer_types", {"full_attention": "full", "minimax_m3_sparse": "sparse"},
        lambda: ["sparse" if flag else "full" for flag in freq or [0] * c.num_layers],
    )  # fmt: skip
    dense = c.numbers("moe_layer_freq", c.num_layers, None)
    ffns = mlp_kinds(
        c, lambda: ["moe" if flag else "dense" for flag in dense or [1] * c.num_layers]
    )

    def sized(old: str, new: str) -> int:
        return sparse.number(old) if sparse.has(old) else c.number(new)

    from kvcalc.attention.dsa import Indexer

    index = Indexer(
        index_n_heads=sized("sparse_num_index_heads", "index_n_heads"),
        index_head_dim=sized("sparse_index_dim", "index_head_dim"),
        index_topk=sized("sparse_topk_blocks", "index_topk_blocks")
        * sized("sparse_block_size", "index_block_size"),
        norm=False, qk_norm=True, head_weights=False,
    )  # fmt: skip
    sparse.skip("sparse_local_block", "sparse_init_block", "sparse_score_type",
                "sparse_disable_index_value", "use_sparse_attention")  # fmt: skip
    sparse.finish()
    shared = c.count("shared_intermediate_size")

    def block(mixer: str, ffn: str) -> Block:
        attention = softmax(c, qk_norm="per_head", indexer=index if mixer == "sparse" else None)
        experts = moe(c, experts="num_local_experts", width="intermediate_size", shared=shared,
                      router_bias="buffer")  # fmt: skip
        wide = gated(c, c.number("dense_intermediate_size"))
        return Block(attention=attention, ffn=experts if ffn == "moe" else wide)

    c.skip("dense_intermediate_size", "shared_intermediate_size")
    return decoder(c, crossed(mixers, ffns, block))


def step3(c: Config) -> ModelSpec:
    """Step 3.5: a gate per head, windows with query heads of their own; three dense layers first."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    mtp, number = c.count("num_nextn_predict_layers", 0), c.num_layers
    c.skip("query_pre_attn_scalar", "swiglu_limits", "swiglu_limits_shared", "mtp_layer_types",
           "mtp_mlp_layer_types", "moe_router_scaling_factor", "share_expert_dims",
           "num_local_experts", "partial_rotary_factors", "yarn_only_types", "use_rope_layers",
           "att_impl_type", "use_moe", "moe_every_n_layer", "norm_expert_weight",
           "need_fp32_gate", "zero_centered", "max_seq_len", "num_attention_heads")  # fmt: skip
    c.agree("use_moe_router_bias", True)
    c.agree("use_head_wise_attn_gate", True)
    stated = c.words("layer_types") or ["full_attention"] * number
    if len(stated) not in (number, number + mtp) or set(stated) - set(FULL_OR_SLIDING):
        c.wrong("layer_types", f"has {len(stated)} entries for {number} layers and {mtp} more")
    chosen = c.value("moe_layers_enum", None)
    if isinstance(chosen, str):
        chosen = [int(index) for index in chosen.split(",") if index.strip().isdigit()]
    sparse = range(3, number) if chosen is None else chosen
    ffns = c.words("mlp_layer_types") or [
        "sparse" if index in sparse else "dense" for index in range(number)
    ]
    other = c.inside("attention_other_setting", "Step3p7TextConfig")
    local_heads = c.maybe("num_sliding_attention_heads") or other.number(
        "num_attention_heads", c.num_heads
    )
    other.agree("num_attention_groups", c.num_kv_heads())
    other.agree("head_dim", c.head_dim())
    other.skip("attention_type", "true_head_dim")
    other.finish()

    def block(mixer: str, ffn: str) -> Block:
        local = mixer == "sliding_attention"
        attention = softmax(
            c, heads=local_heads if local else c.num_heads, bias=bias, qk_norm="per_head",
            output_gate="per_head", sliding_window=window if local else None,
        )  # fmt: skip
        experts = moe(c, experts="n_routed_experts", shared=c.count("share_expert_dim"),
                      router_bias="buffer", shared_expert_bias=c.flag("mlp_bias"))  # fmt: skip
        return Block(attention=attention,
                     ffn=experts if ffn == "sparse" else gated(c, bias=c.flag("mlp_bias")))  # fmt: skip

    names = {
        "full_attention": "global",
        "sliding_attention": "local",
        "dense": "dense",
        "sparse": "moe",
    }
    pairs = list(zip(stated[:number], ffns[:number], strict=True))
    return decoder(c, [
        ((names[mixer], names[ffn]), block(mixer, ffn)) for mixer, ffn in pairs
    ])  # fmt: skip
