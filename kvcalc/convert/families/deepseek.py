"""DeepSeek V2 to V4 and everything with latent attention: GLM-5, Kimi, MiniCPM3, Mistral 4, LongCat.

Source: transformers 5.23, models/deepseek_v2, deepseek_v3, deepseek_v32, deepseek_v4, glm4_moe_lite,
glm_moe_dsa, minicpm3, mistral4, youtu, axk1, longcat_flash, dots1.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kvcalc.convert.config import Config, short
from kvcalc.convert.parts import (
    FULL_OR_SLIDING,
    crossed,
    decoder,
    first_dense,
    gated,
    indexer,
    kinds,
    mla,
    mlp_kinds,
    moe,
    softmax,
)
from kvcalc.spec.model import Block, ModelSpec


def routed(c: Config, **fields: Any) -> Any:
    """Routed experts and ``n_shared_experts`` as wide; the router's bias is a buffer."""
    shared = c.count("n_shared_experts") * c.number("moe_intermediate_size")
    fields = {"router_bias": "buffer", **fields}
    return moe(c, experts="n_routed_experts", shared=shared, **fields)


def _latent(
    c: Config, ffns: list[str], *, bias: bool = False, experts: Callable[[Config], Any] = routed
) -> ModelSpec:  # fmt: skip
    """Latent attention in every layer, dense layers (with biases: bias) and layers with experts."""
    attention = mla(c, bias=latent_bias(c))
    c.skip("num_key_value_heads", "head_dim", "qk_head_dim", "q_head_dim", "rope_head_dim")
    return decoder(c, [
        ((kind,), Block(attention=attention, ffn=experts(c) if kind == "moe" else gated(c, bias=bias)))
        for kind in ffns
    ])  # fmt: skip


def latent_bias(c: Config) -> tuple[str, ...]:
    """Which projections of latent attention have a bias."""
    if not c.flag("attention_bias"):
        return ()
    return ("q_a", "kv_a", "o") if c.maybe("q_lora_rank") is not None else ("kv_a", "o")


def deepseek_v2(c: Config) -> ModelSpec:
    """The first ``first_k_dense_replace`` layers dense; no bias in the router."""
    c.fixed("moe_layer_freq", 1, what="experts in some of the later layers only")
    return _latent(
        c, first_dense(c, c.count("first_k_dense_replace")), bias=c.flag("mlp_bias"),
        experts=lambda c: routed(c, router_bias="none", shared_expert_bias=c.flag("mlp_bias")),
    )  # fmt: skip


def deepseek_v3(c: Config) -> ModelSpec:
    """The same with a router bias that is a buffer (Kimi K2, Moonlight)."""
    c.fixed("moe_layer_freq", 1, what="experts in some of the later layers only")
    return _latent(c, first_dense(c, c.count("first_k_dense_replace")))


def mistral4(c: Config) -> ModelSpec:
    """DeepSeek-V3's layers; the rotary widths come in pairs."""
    if c.number("qk_rope_head_dim") % 2:
        c.wrong("qk_rope_head_dim", "an odd width does not rotate in pairs")
    return deepseek_v3(c)


def glm4_moe_lite(c: Config) -> ModelSpec:
    """One dense layer, then experts, or as ``mlp_layer_types`` says."""
    return _latent(c, mlp_kinds(c, lambda: first_dense(c, c.count("first_k_dense_replace", 1))))


def sparse_indexed(c: Config) -> ModelSpec:
    """DeepSeek-V3.2 and GLM-5: latent attention with an indexer, in every layer or in some."""
    c.also("n_routed_experts", "num_experts")
    ffns = mlp_kinds(c, lambda: first_dense(c, c.count("first_k_dense_replace")))
    c.fixed("moe_layer_freq", 1, what="experts in some of the later layers only")
    c.fixed("mlp_bias", False, None, what="biases in the feed-forward layers")
    if c.has("layer_types"):
        names = dict.fromkeys(("indexed_attention", "deepseek_sparse_attention"), "indexed")
        kinds(c, "layer_types", names, list)
    c.skip("layer_types", "num_key_value_heads", "head_dim", "qk_head_dim",
           "indexer_rope_interleave", "index_share_for_mtp_iteration")  # fmt: skip
    bias = latent_bias(c)
    made = {"full": mla(c, bias=bias, indexer=indexer(c)), "shared": mla(c, bias=bias)}

    def block(mixer: str, ffn: str) -> Block:
        return Block(attention=made[mixer], ffn=routed(c) if ffn == "moe" else gated(c))

    return decoder(c, crossed(indexers(c), ffns, block))


def indexers(c: Config) -> list[str]:
    """Which layers own an indexer (full) and which use another's selection (shared)."""
    freq = max(c.count("index_topk_freq", 1), 1)
    offset = c.count("index_skip_topk_offset", 2)
    pattern = c.value("index_topk_pattern", None)
    if isinstance(pattern, str):
        pattern = ["full" if letter == "F" else "shared" for letter in pattern]
    elif pattern is not None and not isinstance(pattern, list):
        c.wrong("index_topk_pattern", f"expected letters or a list, found {short(pattern)}")
    if pattern is not None and len(pattern) != c.num_layers:
        c.wrong("index_topk_pattern", f"has {len(pattern)} entries for {c.num_layers} layers")
    names = {"full": "full", "shared": "shared"}
    if c.model_type not in ("glm_moe_dsa", "glm5_next_text"):
        return ["full"] * c.num_layers
    return kinds(c, "indexer_types", names, lambda: pattern or [
        "shared" if max(index - offset + 1, 0) % freq else "full" for index in range(c.num_layers)
    ])  # fmt: skip


def minicpm3(c: Config) -> ModelSpec:
    """Latent attention with dense feed-forward layers."""
    c.skip("num_key_value_heads", "head_dim", "qk_head_dim", "scale_emb", "scale_depth",
           "dim_model_base")  # fmt: skip
    v_dim = c.maybe("v_head_dim") or c.divide("hidden_size", c.hidden_size, c.num_heads)
    attention = mla(c, v_head_dim=v_dim, bias=latent_bias(c))
    return decoder(c, Block(attention=attention, ffn=gated(c, bias=c.flag("mlp_bias"))))


def youtu(c: Config) -> ModelSpec:
    """Latent attention with dense feed-forward layers."""
    c.skip("num_key_value_heads", "embedding_initializer_range", "head_dim", "qk_head_dim")
    return decoder(c, Block(attention=mla(c, bias=latent_bias(c)), ffn=gated(c)))


def axk1(c: Config) -> ModelSpec:
    """DeepSeek-V3 with a norm after the experts."""
    num_dense, freq = c.count("first_k_dense_replace", 1), c.number("moe_layer_freq", 1)
    ffns = mlp_kinds(c, lambda: [
        "moe" if index >= num_dense and index % freq == 0 else "dense"
        for index in range(c.num_layers)
    ])  # fmt: skip
    c.skip("num_key_value_heads", "head_dim", "qk_head_dim")
    attention = mla(c, bias=latent_bias(c))
    return decoder(c, [
        ((kind,), Block(attention=attention, norms=3 if kind == "moe" else 2,
                        ffn=routed(c) if kind == "moe" else gated(c)))
        for kind in ffns
    ])  # fmt: skip


def dots1(c: Config) -> ModelSpec:
    """Softmax attention with QK-norm; DeepSeek's experts; the window, if any, from a layer on."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    c.skip("max_window_layers", "moe_layer_freq")
    c.fixed("moe_layer_freq", 1, what="experts in some of the later layers only")

    def pattern() -> list[str]:
        first = c.count("max_window_layers")
        return [
            "local" if window is not None and index >= first else "global"
            for index in range(c.num_layers)
        ]

    mixers = kinds(c, "layer_types", FULL_OR_SLIDING, pattern)
    ffns = first_dense(c, c.count("first_k_dense_replace"))
    return decoder(c, crossed(mixers, ffns, lambda mixer, ffn: Block(
        attention=softmax(c, bias=bias, qk_norm="per_head",
                          sliding_window=window if mixer == "local" else None),
        ffn=routed(c) if ffn == "moe" else gated(c),
    )))  # fmt: skip


def longcat_flash(c: Config) -> ModelSpec:
    """Each layer of the config is two attentions and two dense layers, with experts across."""
    c.agree("num_hidden_layers", 2 * c.number("num_layers"))
    c.agree("qk_head_dim", c.number("qk_nope_head_dim") + c.number("qk_rope_head_dim"))
    c.fixed("router_bias", False, None, what="a bias of the router's matrix")
    c.skip("head_dim", "num_key_value_heads", "mla_scale_q_lora", "mla_scale_kv_lora",
           "zero_expert_type", "attention_method", "intermediate_size",
           "moe_intermediate_size")  # fmt: skip
    zero = c.count("zero_expert_num")
    width = c.number("ffn_hidden_size")
    attention = mla(c, bias=latent_bias(c))
    experts = moe(
        c, experts="n_routed_experts", chosen="moe_topk", width="expert_ffn_hidden_size",
        shared=width, num_zero_experts=zero or None, router_bias="buffer",
    )  # fmt: skip
    extra = 2 * zero * c.number("expert_ffn_hidden_size") * c.hidden_size
    if zero:
        c.assumptions.append(
            f"{zero} identity experts have no weights: transformers 5.23 allocates gate and up "
            f"matrices for them all the same, {extra} parameters a layer, which are not counted"
        )
    first = Block(attention=attention, ffn=experts)
    second = Block(attention=attention, ffn=gated(c, width))
    layers = c.number("num_layers")
    spec = decoder(c, [(("first",), first), (("second",), second)] * layers)
    if not zero:
        return spec
    unused = (
        f"matrices of {zero} identity experts: {extra * layers:,} parameters of the class alone"
    )
    return replace(spec, left_out=(unused,))


_V4_KINDS = {
    "compressed_sparse_attention": "csa", "heavily_compressed_attention": "hca",
    "sliding_attention": "window",
}  # fmt: skip


def deepseek_v4(c: Config) -> ModelSpec:
    """Compressed attention (csa, hca) or a window only; the first layers route by token id."""
    from kvcalc.stack.hyper_connections import HyperConnections

    _v4_ignored(c)
    ratios = c.numbers("compress_ratios", None, None)
    number = c.num_layers
    if ratios is not None and set(ratios) - {0, 4, 128}:
        c.refuse("compress_ratios", "known ratios are 0, 4 and 128")
    by_ratio = {0: "window", 4: "csa", 128: "hca"}

    def pattern() -> list[str]:
        if ratios is not None:
            return [by_ratio[ratio] for ratio in ratios[:number]]
        later = ["csa" if index % 2 else "hca" for index in range(max(number - 2, 0))]
        return [*["hca"] * min(number, 2), *later]

    mixers = kinds(c, "layer_types", _V4_KINDS, pattern)
    if len(mixers) != number:
        c.wrong("compress_ratios", f"has {len(mixers)} entries for {number} layers")
    num_hash = c.count("num_hash_layers", 3)
    ffns = kinds(c, "mlp_layer_types", {"moe": "", "hash_moe": "hash"}, lambda: [
        "hash" if index < num_hash else "" for index in range(number)
    ])  # fmt: skip
    spec = decoder(
        c, crossed(mixers, ffns, lambda mixer, ffn: _v4_block(c, mixer, ffn)),
        hyper_connections=HyperConnections(hc_mult=c.number("hc_mult")),
    )  # fmt: skip
    return spec


def _v4_ignored(c: Config) -> None:
    c.skip("num_key_value_heads", "qk_rope_head_dim", "swiglu_limit", "hc_sinkhorn_iters", "hc_eps",
           "compress_rope_theta", "expert_dtype", "index_topk_freq", "scale_fmt")  # fmt: skip
    c.fixed("attention_bias", False, None, what="biases in attention")
    c.fixed("mlp_bias", False, None, what="biases in the feed-forward layers")


def _v4_block(c: Config, mixer: str, ffn: str) -> Block:
    from kvcalc.attention.csa import CompressedSparseAttention
    from kvcalc.attention.hca import HeavilyCompressedAttention
    from kvcalc.attention.v4_window import SharedKeyValueWindow

    shape: dict[str, Any] = {
        "num_attention_heads": c.num_heads, "head_dim": c.head_dim(),
        "q_lora_rank": c.number("q_lora_rank"), "o_groups": c.number("o_groups"),
        "o_lora_rank": c.number("o_lora_rank"), "sliding_window": c.number("sliding_window"),
    }  # fmt: skip
    rates = c.inside("compress_rates", "DeepseekV4Config")
    csa_rate = rates.number("compressed_sparse_attention", 4)
    hca_rate = rates.number("heavily_compressed_attention", 128)
    rates.finish()
    csa_rate, hca_rate = (
        c.number("compress_rate_csa", csa_rate),
        c.number("compress_rate_hca", hca_rate),
    )
    attention: Any = SharedKeyValueWindow(kind="v4_window", **shape)
    if mixer == "hca":
        attention = HeavilyCompressedAttention(kind="hca", compress_rate=hca_rate, **shape)
    elif mixer == "csa":
        attention = CompressedSparseAttention(
            kind="csa", compress_rate=csa_rate, index_n_heads=c.number("index_n_heads"),
            index_head_dim=c.number("index_head_dim"), index_topk=c.number("index_topk"), **shape,
        )  # fmt: skip
    c.skip("index_n_heads", "index_head_dim", "index_topk")
    c.fixed("n_shared_experts", 1, what="transformers always builds one shared expert")
    by_token: dict[str, Any] = {"router_bias": "none", "hash_vocab_size": c.number("vocab_size")}
    return Block(attention=attention, ffn=routed(c, **(by_token if ffn == "hash" else {})))
