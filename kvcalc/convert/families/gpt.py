"""GPT-2 and the decoders of its time: LayerNorm with biases, two matrices, learned positions or ALiBi.

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py of each function's types.
"""

from dataclasses import replace
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.parts import QKV, Side, decoder, dense, softmax
from kvcalc.spec.model import Block, Embedding, ModelSpec


def _head_dim(c: Config) -> int:
    return c.divide("hidden_size", c.hidden_size, c.num_heads)


def _four_times(c: Config, key: str = "n_inner") -> int:
    """The inner width: as stated, or 4 * hidden_size where the class says null."""
    return c.maybe(key) or 4 * c.hidden_size


def _mha(c: Config, bias: tuple[Side, ...] | bool = True, **fields: Any) -> Any:
    return softmax(c, kv_heads=c.num_heads, head_dim=_head_dim(c), bias=bias, **fields)


def _no_cross_attention(c: Config) -> None:
    if c.flag("add_cross_attention", False):
        c.refuse("add_cross_attention", "a decoder that attends to an encoder outside this config")


def gpt2(c: Config) -> ModelSpec:
    """Learned positions; biases everywhere but on the head."""
    _no_cross_attention(c)
    c.skip("n_ctx")
    block = Block(attention=_mha(c), ffn=dense(c, _four_times(c), bias=True))
    return decoder(c, block, norm="layernorm",
                   embedding=Embedding(positions=c.number("max_position_embeddings")))  # fmt: skip


def gpt_bigcode(c: Config) -> ModelSpec:
    """GPT-2 with one KV head where ``multi_query`` is set (StarCoder)."""
    _no_cross_attention(c)
    c.skip("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "n_ctx",
           "inference_runner", "validate_runner_input", "pre_allocate_kv_cache",
           "max_sequence_length", "max_batch_size", "pad_key_length", "attention_type")  # fmt: skip
    kv_heads = 1 if c.flag("multi_query") else c.num_heads
    c.agree("num_key_value_heads", kv_heads)
    attention = softmax(c, kv_heads=kv_heads, head_dim=_head_dim(c), bias=True)
    block = Block(attention=attention, ffn=dense(c, _four_times(c), bias=True))
    return decoder(c, block, norm="layernorm",
                   embedding=Embedding(positions=c.number("max_position_embeddings")))  # fmt: skip


def gpt_neo(c: Config) -> ModelSpec:
    """Global and local layers in turn; transformers' cache keeps every token of a local one too."""
    attention, window = _mha(c, ("o",)), c.number("window_size")
    ffn = dense(c, _four_times(c, "intermediate_size"), bias=True)
    made = {
        "global": Block(attention=attention, ffn=ffn),
        "local": Block(attention=replace(attention, sliding_window=window), ffn=ffn),
    }
    return decoder(c, [((kind,), made[kind]) for kind in _neo_kinds(c)], norm="layernorm",
                   embedding=Embedding(positions=c.number("max_position_embeddings")))  # fmt: skip


def _neo_kinds(c: Config) -> list[str]:
    """``attention_types``: runs of kinds with a count each; [[["global", "local"], 12]] by default."""
    c.skip("attention_layers")
    runs = c.value("attention_types")
    if runs is None:
        runs = [[["global", "local"], c.num_layers // 2]]
    kinds: list[str] = []
    for run in runs if isinstance(runs, list) else [runs]:
        match run:
            case [list() as names, int() as count] if 0 < count <= c.num_layers:
                kinds += names * count
            case _:
                c.wrong("attention_types", "expected runs such as [[[global, local], 12]]")
    if not set(map(str, kinds)) <= {"global", "local"}:
        c.wrong("attention_types", "a layer is global or local")
    if len(kinds) != c.num_layers:
        c.wrong("attention_types", f"{len(kinds)} kinds for {c.num_layers} layers")
    return kinds


def gpt_neox(c: Config) -> ModelSpec:
    """Rotary embeddings; two norms whether or not the sublayers run in parallel."""
    c.skip("use_parallel_residual")
    block = Block(attention=_mha(c, c.flag("attention_bias")), ffn=dense(c, bias=True))
    return decoder(c, block, norm="layernorm")


def gptj(c: Config) -> ModelSpec:
    """One norm for sublayers that run in parallel; no biases in attention, one on the head."""
    c.skip("n_ctx")
    block = Block(attention=_mha(c, False), ffn=dense(c, _four_times(c), bias=True), norms=1)
    return decoder(c, block, norm="layernorm", head_bias=True)


def bloom(c: Config) -> ModelSpec:
    """ALiBi; a norm after the embeddings."""
    c.also("hidden_size", "n_embed")
    c.skip("apply_residual_connection_post_layernorm", "slow_but_exact", "seq_length",
           "masked_softmax_fusion", "unk_token_id", "n_inner", "attention_softmax_in_fp32",
           "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "bias_dropout_fusion")  # fmt: skip
    if c.has("n_inner") and c.maybe("n_inner", None) != 4 * c.hidden_size:
        c.refuse("n_inner", "transformers always uses 4 * hidden_size")
    block = Block(attention=_mha(c), ffn=dense(c, 4 * c.hidden_size, bias=True))
    return decoder(c, block, norm="layernorm", embedding=Embedding(norm=True))


def opt(c: Config) -> ModelSpec:
    """Two more position rows than positions; OPT-350m has narrow embeddings and norms afterwards."""
    c.skip("init_std", "layerdrop")
    c.fixed("layer_norm_elementwise_affine", True, what="norms without weights")
    bias = c.flag("enable_bias")
    width, size = c.hidden_size, c.maybe("word_embed_proj_dim") or c.hidden_size
    narrow = size != width
    block = Block(attention=_mha(c, bias), ffn=dense(c, c.number("ffn_dim"), bias=bias))
    final = c.flag("do_layer_norm_before") and not c.flag("_remove_final_layer_norm", False)
    return decoder(c, block, norm="layernorm", final_norm=final, embedding=Embedding(
        size=size if narrow else None, projection="in_out" if narrow else "none",
        positions=c.number("max_position_embeddings") + 2,
    ))  # fmt: skip


def mpt(c: Config) -> ModelSpec:
    """ALiBi; norms without biases; an inner width of 4 * d_model."""
    attn = c.inside("attn_config", "MptAttentionConfig")
    attn.fixed("attn_type", "multihead_attention", what="attention with fewer KV heads")
    attn.fixed("qk_ln", False, what="QK-norm, which transformers' MPT leaves out")
    attn.fixed("kv_n_heads", None, c.num_heads, what="fewer KV heads, which transformers ignores")
    attn.skip("attn_pdrop", "attn_impl", "clip_qkv", "softmax_scale", "prefix_lm",
              "attn_uses_sequence_id", "alibi", "alibi_bias_max", "model_type")  # fmt: skip
    attn.finish()
    c.fixed("no_bias", True, what="transformers never has biases here")
    c.fixed("embedding_fraction", 1.0, 1)
    c.skip("learned_pos_emb", "init_config", "norm_type", "verbose", "ffn_config", "fc_type")
    c.fixed("expansion_ratio", 4, what="transformers always uses 4 * d_model")
    block = Block(attention=_mha(c, False), ffn=dense(c, 4 * c.hidden_size))
    return decoder(c, block, norm="layernorm_no_bias",
                   max_position_embeddings=c.maybe("max_seq_len"))  # fmt: skip


def ctrl(c: Config) -> ModelSpec:
    """Sinusoidal positions; biases everywhere, the head's too."""
    c.skip("n_ctx")
    block = Block(attention=_mha(c), ffn=dense(c, c.number("dff"), bias=True))
    return decoder(c, block, norm="layernorm", head_bias=True)


def openai_gpt(c: Config) -> ModelSpec:
    """Norms after the sublayers, none at the end; learned positions."""
    c.skip("n_ctx", "afn")
    block = Block(attention=_mha(c), ffn=dense(c, 4 * c.hidden_size, bias=True),
                  norm_position="post")  # fmt: skip
    return decoder(c, block, norm="layernorm", final_norm=False,
                   embedding=Embedding(positions=c.number("max_position_embeddings")))  # fmt: skip


def xglm(c: Config) -> ModelSpec:
    """Sinusoidal positions."""
    _no_cross_attention(c)
    c.skip("init_std")
    block = Block(attention=_mha(c), ffn=dense(c, c.number("ffn_dim"), bias=True))
    return decoder(c, block, norm="layernorm")


def biogpt(c: Config) -> ModelSpec:
    """Two more position rows than positions."""
    block = Block(attention=_mha(c), ffn=dense(c, bias=True))
    return decoder(c, block, norm="layernorm",
                   embedding=Embedding(positions=c.number("max_position_embeddings") + 2))  # fmt: skip


def gpt_neox_japanese(c: Config) -> ModelSpec:
    """No biases but on the last layer's output projection."""
    size = int(c.real("intermediate_multiple_size") * c.hidden_size)
    last = c.num_layers - 1
    if c.flag("is_decoder", False):
        c.skip("is_decoder")
    return decoder(c, lambda index: (
        ("last" if index == last else "decoder",),
        Block(attention=_mha(c, ("o",) if index == last else ()), ffn=dense(c, size)),
    ), norm="layernorm")  # fmt: skip


def persimmon(c: Config) -> ModelSpec:
    """QK-norm with biases; biases everywhere."""
    qk_norm = "per_head_layernorm" if c.flag("qk_layernorm") else "none"
    block = Block(attention=_mha(c, qk_norm=qk_norm), ffn=dense(c, bias=True))
    return decoder(c, block, norm="layernorm")


def stablelm(c: Config) -> ModelSpec:
    """LayerNorm around Llama's layers; one norm where the sublayers run in parallel."""
    from kvcalc.convert.parts import gated

    attention = softmax(
        c, head_dim=_head_dim(c), bias=QKV if c.flag("use_qkv_bias") else (),
        qk_norm="full" if c.flag("qk_layernorm") else "none",
    )  # fmt: skip
    norms = 1 if c.flag("use_parallel_residual") else 2
    return decoder(c, Block(attention=attention, ffn=gated(c), norms=norms), norm="layernorm")


def starcoder2(c: Config) -> ModelSpec:
    """Grouped queries, a window for every layer, one switch for all biases."""
    c.fixed("mlp_type", "default", what="a gated feed-forward layer")
    c.fixed("norm_type", "layer_norm", what="another norm")
    bias = c.flag("use_bias")
    attention = softmax(c, head_dim=_head_dim(c), bias=bias,
                        sliding_window=c.maybe("sliding_window"))  # fmt: skip
    return decoder(c, Block(attention=attention, ffn=dense(c, bias=bias)), norm="layernorm")
