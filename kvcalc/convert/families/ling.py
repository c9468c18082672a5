"""Ling and Ring (bailing_moe): Llama's attention with one switch for norms of Q and K, then experts.

Source: the modeling files beside the configs of inclusionAI/Ling-lite and inclusionAI/Ling-mini-2.0, and
vLLM 0.33.0's models/bailing_moe.py. What vLLM reads without a default a config has to say; the rest is
what vLLM makes of it.
"""

from kvcalc.convert.config import Config
from kvcalc.convert.parts import QKV, decoder, first_dense, gated, moe, softmax
from kvcalc.spec.model import Block, ModelSpec


def bailing_moe(c: Config) -> ModelSpec:
    """The first ``first_k_dense_replace`` layers dense; shared experts as one of their joint width."""
    c.skip("norm_head", "norm_softmax", "max_window_layers", "router_dtype", "score_function",
           "multi_gate", "expert_capacity")  # fmt: skip
    c.fixed("use_sliding_window", False, None, what="a sliding window")
    c.fixed("moe_layer_freq", 1, None, what="experts in some of the later layers only")
    if c.flag("use_bias"):
        c.refuse("use_bias", "biases in every projection, experts' among them")
    norms = c.flag("use_qk_norm", False)
    if norms:
        c.fixed("use_rmsnorm", True, what="norms of Q and K with a bias")
    attention = softmax(c, bias=QKV if c.flag("use_qkv_bias") else (),
                        qk_norm="per_head" if norms else "none")  # fmt: skip
    width = c.number("moe_intermediate_size")
    one = c.maybe("moe_shared_expert_intermediate_size", None) or width
    shared = c.count("num_shared_experts") * one
    corrected = c.flag("moe_router_enable_expert_bias", False)

    def block(kind: str) -> Block:
        if kind == "dense":
            return Block(attention=attention, ffn=gated(c))
        experts = moe(c, shared=shared, router_bias="buffer" if corrected else "none")
        return Block(attention=attention, ffn=experts)

    layers = first_dense(c, c.count("first_k_dense_replace"))
    return decoder(c, [((kind,), block(kind)) for kind in layers],
                   tie=c.flag("tie_word_embeddings", False))  # fmt: skip
