"""Qwen 2 to 3.5: biases on Q, K and V (2), QK-norm (3), experts, gated DeltaNet hybrids (Next, 3.5).

Source: transformers 5.23, models/qwen2, qwen2_moe, qwen3, qwen3_moe, qwen3_next, qwen3_5,
qwen4_exp.
"""

from typing import TYPE_CHECKING, Any

from kvcalc.attention.dsa import Indexer
from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    QKV,
    Layer,
    crossed,
    decoder,
    every,
    gated,
    kinds,
    moe,
    softmax,
    step_sparse,
    windowed,
)
from kvcalc.recurrent.gated_deltanet import GatedDeltaNet
from kvcalc.spec.model import Block, ModelSpec

if TYPE_CHECKING:
    from kvcalc.stack.ngram_embedding import NGramEmbedding


def _window(c: Config) -> int | None:
    """The window, which counts only where ``use_sliding_window`` turns it on."""
    window = c.maybe("sliding_window") if c.flag("use_sliding_window") else None
    c.skip("sliding_window", "max_window_layers")
    return window


def _late_window(c: Config, window: int | None) -> list[str]:
    """Layers from ``max_window_layers`` on have the window."""
    if window is None:
        return ["global"] * c.num_layers
    first = c.count("max_window_layers")
    return ["global" if index < first else "local" for index in range(c.num_layers)]


def _dense(c: Config, **attention: Any) -> ModelSpec:
    window = _window(c)
    return decoder(c, windowed(
        c, lambda w: softmax(c, sliding_window=w, **attention),
        lambda a: Block(attention=a, ffn=gated(c)), lambda: _late_window(c, window), window=window,
    ))  # fmt: skip


def qwen2(c: Config) -> ModelSpec:
    """Biases on Q, K and V."""
    c.agree("attention_bias", True)
    c.agree("head_dim", c.divide("hidden_size", c.hidden_size, c.num_heads))
    c.skip("use_mrope")
    return _dense(c, bias=QKV)


def qwen3(c: Config) -> ModelSpec:
    """QK-norm per head; biases where the config says so."""
    return _dense(c, bias=c.flag("attention_bias"), qk_norm="per_head")


def qwen2_moe(c: Config) -> ModelSpec:
    """Experts with a gated shared expert; biases on Q, K and V by ``qkv_bias``."""
    window = _window(c)
    bias = QKV if c.flag("qkv_bias") else ()

    def pattern() -> list[str]:
        first = c.count("max_window_layers") if window is not None else 0
        return [
            "local" if window is not None and index % 2 == 0 and index < first else "global"
            for index in range(c.num_layers)
        ]

    mixers = kinds(
        c, "layer_types", {"full_attention": "global", "sliding_attention": "local"}, pattern
    )
    if "local" in mixers and window is None:
        c.wrong("layer_types", "has sliding layers, and use_sliding_window is off")

    def block(mixer: str, ffn: str) -> Block:
        attention = softmax(c, bias=bias, sliding_window=window if mixer == "local" else None)
        return Block(attention=attention, ffn=_experts(c, True) if ffn == "moe" else gated(c))

    return decoder(c, crossed(mixers, step_sparse(c), block))


def _experts(c: Config, shared: bool) -> Any:
    if not shared:
        return moe(c)
    width = c.number("shared_expert_intermediate_size")
    return moe(c, shared=width, shared_expert_gate=True)


def qwen3_moe(c: Config) -> ModelSpec:
    """Experts without a shared one; the window, if on, holds for every layer."""
    c.agree("use_qk_norm", True)
    c.agree("qkv_bias", c.flag("attention_bias"))
    c.agree("shared_expert_intermediate_size", 0)
    attention = softmax(
        c, bias=c.flag("attention_bias"), qk_norm="per_head", sliding_window=_window(c)
    )

    def layer(kind: str) -> Layer:
        return (kind,), Block(attention=attention, ffn=moe(c) if kind == "moe" else gated(c))

    return decoder(c, [layer(kind) for kind in step_sparse(c)])


def qwen3_vl_moe(c: Config) -> ModelSpec:
    """Qwen 3 with experts and without a window."""
    c.fixed("sliding_window", None, what="a window")
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head")
    return decoder(c, [
        ((kind,), Block(attention=attention, ffn=moe(c) if kind == "moe" else gated(c)))
        for kind in step_sparse(c)
    ])  # fmt: skip


def deltanet(c: Config) -> GatedDeltaNet:
    """The gated DeltaNet of Qwen3-Next and 3.5."""
    return GatedDeltaNet(
        kind="gated_deltanet",
        linear_num_key_heads=c.number("linear_num_key_heads"),
        linear_num_value_heads=c.number("linear_num_value_heads"),
        linear_key_head_dim=c.number("linear_key_head_dim"),
        linear_value_head_dim=c.number("linear_value_head_dim"),
        linear_conv_kernel_dim=c.number("linear_conv_kernel_dim"),
    )


def _hybrid(c: Config, ffns: list[str]) -> ModelSpec:
    interval = c.number("full_attention_interval", 4)
    c.fixed("attn_output_gate", True, what="attention without its output gate")
    c.fixed("mamba_ssm_dtype", "float32", what="states in another number format")
    c.skip("output_gate_type", "linear_num_key_heads", "linear_num_value_heads",
           "linear_key_head_dim", "linear_value_head_dim", "linear_conv_kernel_dim")  # fmt: skip
    mixers = kinds(
        c, "layer_types", {"full_attention": "attention", "linear_attention": "deltanet"},
        lambda: every(interval, c.num_layers, "attention", "deltanet"),
    )  # fmt: skip
    attention = softmax(
        c, bias=c.flag("attention_bias"), qk_norm="per_head", output_gate="per_element"
    )

    def block(mixer: str, ffn: str) -> Block:
        feed_forward = _experts(c, True) if ffn == "moe" else gated(c)
        if mixer == "attention":
            return Block(attention=attention, ffn=feed_forward)
        return Block(recurrent=deltanet(c), ffn=feed_forward)

    return decoder(c, crossed(mixers, ffns, block))


def qwen3_next(c: Config) -> ModelSpec:
    """Three gated DeltaNet layers, then gated attention; experts with a gated shared one."""
    return _hybrid(c, step_sparse(c))


def qwen3_5(c: Config) -> ModelSpec:
    """Qwen3-Next's mixers with dense feed-forward layers."""
    return _hybrid(c, ["dense"] * c.num_layers)


def qwen3_5_moe(c: Config) -> ModelSpec:
    """Qwen3-Next's mixers, experts in every layer."""
    c.skip("intermediate_size", "decoder_sparse_step", "mlp_only_layers")
    return _hybrid(c, ["moe"] * c.num_layers)


def qwen4_exp(c: Config) -> ModelSpec:
    """Qwen3.5's mixers on gated residual streams; attention scores pools; some layers look n-grams up."""
    from kvcalc.stack.hyper_connections import HyperConnections

    interval = c.number("full_attention_interval", 4)
    c.fixed("attn_output_gate", True, what="attention without its output gate")
    c.fixed("mamba_ssm_dtype", "float32", what="states in another number format")
    c.fixed("indexer_kv_heads", 1, what="an indexer has one key head")
    ahead = c.table("mtp")
    if ahead.get("layer_types", ["full_attention"]) != ["full_attention"]:
        c.refuse("mtp", "a prediction module of other layers than one with attention")
    # The hash and how a file is cut; the indexer's one key head.
    c.skip("seed", "split_ngram_parts", "output_gate_type", "indexer_kv_heads")
    names = dict.fromkeys(
        ("full_attention", "indexed_attention", "deepseek_sparse_attention"), "attention"
    )
    mixers = kinds(
        c, "layer_types", names | {"linear_attention": "deltanet"},
        lambda: every(interval, c.num_layers, "attention", "deltanet"),
    )  # fmt: skip
    streams = c.number("hc_count")
    looked_up = _ngrams(c, mixers, streams)
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head", output_gate="per_element",
                        indexer=_pooling(c))  # fmt: skip
    experts = moe(c, shared=c.number("shared_expert_intermediate_size"), shared_expert_gate=True)
    linear = deltanet(c)

    def layer(index: int) -> Layer:
        kind, ngram = mixers[index], looked_up.get(index)
        label = f"ngram_{ngram.ple_layer_index}" if ngram is not None else ""
        if kind == "attention":
            return (kind, label), Block(attention=attention, ffn=experts, norms=0)
        return (kind, label), Block(recurrent=linear, ffn=experts, norms=0, ngram=ngram)

    connections = HyperConnections(hc_mult=streams, hc_lowrank=c.number("hc_lowrank"))
    return decoder(c, layer, hyper_connections=connections, final_norm=False)


def _pooling(c: Config) -> Indexer:
    """The indexer of QSA: keys are averaged over pools."""
    budget, pool = c.number("indexer_budget"), c.number("indexer_compress_ratio")
    if budget % pool:
        c.wrong("indexer_budget", f"{budget} tokens are no whole blocks of {pool}")
    return Indexer(
        index_n_heads=c.number("indexer_n_heads"), index_head_dim=c.number("indexer_head_dim"),
        index_topk=budget, norm=False, qk_norm=True, head_weights=False, index_kpool=pool,
        pooling="mean",
    )  # fmt: skip


def _ngrams(c: Config, mixers: list[str], streams: int) -> "dict[int, NGramEmbedding]":
    """The n-gram embeddings of the layers that ``ple_layer_ids`` counts from 1."""
    from kvcalc.stack.ngram_embedding import NGramEmbedding

    layers = sorted(set(c.numbers("ple_layer_ids", least=1) or ()))
    width = c.maybe("ple_embed_dim") or c.hidden_size
    taps, size, heads = (
        c.number("ple_conv_kernel_size"),
        c.number("ngram_size"),
        c.number("heads_per_ngram"),
    )
    base, multiple = (
        c.number("ngram_vocab_size_base"),
        c.number("make_ngram_vocab_size_divisible_by"),
    )
    found = {}
    for index, layer in enumerate(layers):
        if layer > len(mixers) or mixers[layer - 1] != "deltanet":
            c.wrong("ple_layer_ids", f"layer {layer} is no layer of linear attention")
        found[layer - 1] = NGramEmbedding(
            hidden_size=c.hidden_size, hc_mult=streams, ple_embed_dim=width, ple_conv_kernel_size=taps,
            ngram_size=size, heads_per_ngram=heads, ngram_vocab_size_base=base,
            make_ngram_vocab_size_divisible_by=multiple, ple_layer_index=index,
        )  # fmt: skip
    return found


def lara_mini(c: Config) -> ModelSpec:
    """Gated DeltaNet, windows and layers that see everything; QK-norm, experts in every layer.

    transformers 5.24, models/lara_mini; neither attention nor the shared expert has a gate.
    """
    window = c.maybe("sliding_window")
    c.skip("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim",
           "linear_value_head_dim", "linear_conv_kernel_dim", "intermediate_size",
           "decoder_sparse_step", "mlp_only_layers")  # fmt: skip
    names = {
        "full_attention": "global",
        "sliding_attention": "local",
        "linear_attention": "deltanet",
    }
    period = ["deltanet", "local", "deltanet", "global", "local"]
    mixers = kinds(
        c, "layer_types", names, lambda: [period[index % 5] for index in range(c.num_layers)]
    )
    if "local" in mixers and window is None:
        c.wrong("sliding_window", "layer_types has sliding layers, and there is no window")

    experts = moe(c, shared=c.number("shared_expert_intermediate_size"))

    def block(mixer: str, _: str) -> Block:
        if mixer == "deltanet":
            return Block(recurrent=deltanet(c), ffn=experts)
        attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head",
                            sliding_window=window if mixer == "local" else None)  # fmt: skip
        return Block(attention=attention, ffn=experts)

    return decoder(c, crossed(mixers, ["moe"] * c.num_layers, block))
