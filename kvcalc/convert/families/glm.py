"""Zhipu GLM 4 to 4.7: biases on Q, K and V; sandwich norms; experts with a buffer in the router.

GLM-5.3-Flash: Kimi Delta Attention and latent attention without a rotary key, on residual streams.
Source: transformers 5.23, models/glm, glm4, glm4_moe, glm5_next (GLM with latent attention: deepseek.py).
"""

from kvcalc.convert.config import Config
from kvcalc.convert.families.deepseek import indexers, latent_bias, routed
from kvcalc.convert.parts import (
    QKV,
    crossed,
    decoder,
    every,
    first_dense,
    gated,
    indexer,
    kinds,
    mla,
    mlp_kinds,
    softmax,
)
from kvcalc.recurrent.kda import KimiDeltaAttention
from kvcalc.spec.model import Block, ModelSpec


def glm(c: Config) -> ModelSpec:
    """Biases on Q, K and V by ``attention_bias``."""
    attention = softmax(c, bias=QKV if c.flag("attention_bias") else ())
    return decoder(c, Block(attention=attention, ffn=gated(c)))


def glm4(c: Config) -> ModelSpec:
    """Norms before and after each sublayer."""
    attention = softmax(c, bias=QKV if c.flag("attention_bias") else ())
    return decoder(c, Block(attention=attention, ffn=gated(c), norms=4))


def glm4v(c: Config) -> ModelSpec:
    """GLM 4 with biases on Q, K and V always."""
    return decoder(c, Block(attention=softmax(c, bias=QKV), ffn=gated(c), norms=4))


def glm_ocr(c: Config) -> ModelSpec:
    """GLM 4 without biases."""
    return decoder(c, Block(attention=softmax(c), ffn=gated(c), norms=4))


def glm4_moe(c: Config) -> ModelSpec:
    """Dense layers first, then experts with shared ones."""
    attention = softmax(
        c, bias=QKV if c.flag("attention_bias") else (),
        qk_norm="per_head" if c.flag("use_qk_norm", False) else "none",
    )  # fmt: skip
    kinds = first_dense(c, c.count("first_k_dense_replace"))
    return decoder(c, [
        ((kind,), Block(attention=attention, ffn=routed(c) if kind == "moe" else gated(c)))
        for kind in kinds
    ])  # fmt: skip


def glm5_next(c: Config) -> ModelSpec:
    """Kimi Delta Attention, in every fourth layer latent attention that scores pools of tokens."""
    from kvcalc.stack.hyper_connections import HyperConnections

    c.fixed("mhc", True, what="without residual streams")
    c.fixed("mla_use_nope", True, what="latent attention with a rotary key")
    c.fixed("index_kpool_compress", True, what="pools that are not weighed by gates")
    c.fixed("moe_layer_freq", 1, what="experts in some of the later layers only")
    if c.count("qk_rope_head_dim"):
        c.refuse("qk_rope_head_dim", "the class has no rotary key in latent attention")
    c.agree("num_key_value_heads", c.num_heads)
    if not c.has("num_key_value_heads") and c.num_heads != 64:
        c.wrong("num_attention_heads", "the class's 64 num_key_value_heads must be as many")
    if not c.has("mlp_layer_types"):
        c.agree("first_k_dense_replace", 3)
    c.skip("hc_sinkhorn_iters", "hc_eps", "swiglu_limit", "head_dim", "qk_head_dim",
           "index_kpool_always_select_tail", "indexer_rope_interleave", "linear_lower_bound",
           "index_share_for_mtp_iteration", "first_k_dense_replace")  # fmt: skip
    names = {"linear_attention": "kda"} | dict.fromkeys(
        ("full_attention", "indexed_attention", "deepseek_sparse_attention"), "mla"
    )
    order = kinds(c, "layer_types", names, lambda: every(4, c.num_layers, "mla", "kda"))
    owners = indexers(c)
    mixers = [kind if kind == "kda" else own for kind, own in zip(order, owners, strict=True)]
    ffns = mlp_kinds(c, lambda: first_dense(c, 3))
    kda = _delta(c, order)
    pool, bias = c.number("index_kpool"), latent_bias(c)
    own = indexer(c, index_kpool=pool, pooling="gated")
    if own.index_topk % pool:
        c.wrong("index_topk", f"{own.index_topk} tokens are no whole pools of {pool}")
    if c.maybe("q_lora_rank") is None:
        c.wrong("q_lora_rank", "the indexer makes its queries from the query latent")
    made = {
        "full": mla(c, bias=bias, indexer=own, rope_dim=0), "shared": mla(c, bias=bias, rope_dim=0)
    }  # fmt: skip

    def block(mixer: str, ffn: str) -> Block:
        feed_forward = routed(c) if ffn == "moe" else gated(c)
        if mixer == "kda":
            return Block(recurrent=kda, ffn=feed_forward)
        return Block(attention=made[mixer], ffn=feed_forward)

    return decoder(
        c, crossed(mixers, ffns, block),
        hyper_connections=HyperConnections(hc_mult=c.number("hc_mult"), fold="mean"),
    )  # fmt: skip


def _delta(c: Config, order: list[str]) -> KimiDeltaAttention:
    """The delta layers: the fields of linear_attn_config where the file has it, else the class's own."""
    linear = c.inside("linear_attn_config", "Glm5NextTextConfig")

    def size(old: str, new: str) -> int:
        return linear.number(old) if linear.has(old) else c.number(new)

    kda = KimiDeltaAttention(
        kind="kda", num_heads=size("num_heads", "linear_num_heads"),
        head_dim=size("head_dim", "linear_head_dim"),
        short_conv_kernel_size=size("short_conv_kernel_size", "linear_conv_kernel_dim"),
    )  # fmt: skip
    for key, kind in (("kda_layers", "kda"), ("full_attn_layers", "mla")):
        stated = linear.numbers(key, None, None)
        if stated is not None and stated != [at for at, own in enumerate(order) if own == kind]:
            linear.wrong(key, "layer_types says otherwise")
    linear.skip("gate_lower_bound", "safe_gate")
    linear.finish()
    c.skip("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim")
    return kda
