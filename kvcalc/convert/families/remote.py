"""Models whose code stands in their own repositories (``trust_remote_code``): Llama's line, mostly.

Source: the modeling files beside the configs of THUDM/chatglm3-6b, baichuan-inc/Baichuan2-7B-Base,
Qwen/Qwen-7B, internlm/internlm2-7b, xverse/XVERSE-7B, openbmb/MiniCPM-2B-sft-bf16,
openbmb/MiniCPM-V-2_6, ByteDance/Ouro-1.4B, microsoft/Phi-3-vision-128k-instruct, apple/OpenELM-270M
and nvidia/Llama-3_3-Nemotron-Super-49B-v1; SGLang 0.5.23's models/nanbeige.py and spark2_5.py. A
missing size is an error; a missing flag is what the configuration file beside them makes it.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Literal

from kvcalc.convert.config import Config, reader, short
from kvcalc.convert.families.deepseek import routed
from kvcalc.convert.families.qwen import qwen2, qwen3
from kvcalc.convert.parts import (
    QKV,
    Layer,
    Side,
    decoder,
    every,
    first_dense,
    gated,
    kinds,
    moe,
    softmax,
    windowed,
)
from kvcalc.spec.model import Block, ModelSpec


def internlm2(c: Config) -> ModelSpec:
    """Llama with fused projections; one switch for attention's biases."""
    c.skip("reward_token_id")
    c.agree("head_dim", _head_dim(c))
    attention = softmax(c, head_dim=_head_dim(c), bias=c.flag("bias"))
    return decoder(c, Block(attention=attention, ffn=gated(c)))


def _head_dim(c: Config) -> int:
    return c.divide("hidden_size", c.hidden_size, c.num_heads)


def baichuan(c: Config) -> ModelSpec:
    """Llama with a KV head for each query head (also XVERSE-7B)."""
    c.skip("model_max_length", "z_loss_weight", "max_tokenizer_truncation")
    c.agree("num_key_value_heads", c.num_heads)
    attention = softmax(c, kv_heads=c.num_heads, head_dim=_head_dim(c))
    return decoder(c, Block(attention=attention, ffn=gated(c)),
                   tie=c.flag("tie_word_embeddings", False))  # fmt: skip


def minicpm(c: Config) -> ModelSpec:
    """Llama with scaled streams."""
    c.skip("scale_emb", "scale_depth", "dim_model_base")
    c.agree("head_dim", _head_dim(c))
    c.fixed("num_experts", 0, None, what="experts")
    attention = softmax(c, head_dim=_head_dim(c), bias=c.flag("attention_bias", False))
    return decoder(c, Block(attention=attention, ffn=gated(c)),
                   tie=c.flag("tie_word_embeddings", True))  # fmt: skip


def ouro(c: Config) -> ModelSpec:
    """Llama with norms before and after, its layers run ``total_ut_steps`` times with a cache each."""
    c.fixed("use_sliding_window", False, None, what="a window over a cache of all passes")
    c.skip("sliding_window", "max_window_layers", "early_exit_threshold", "early_exit_step")
    c.agree("head_dim", _head_dim(c))
    kinds(c, "layer_types", {"full_attention": "global"}, lambda: ["global"] * c.num_layers)
    block = Block(attention=softmax(c, head_dim=_head_dim(c)), ffn=gated(c), norms=4)
    loops = c.number("total_ut_steps")
    spec = decoder(c, block, tie=c.flag("tie_word_embeddings", False))
    return replace(
        spec,
        layers=tuple(replace(group, loops=loops) for group in spec.layers),
        left_out=(f"the early-exit gate: {c.hidden_size + 1:,} parameters",),
    )


def nanbeige(c: Config) -> ModelSpec:
    """Llama whose layers run ``num_loops`` times, with a cache of its own each time."""
    c.skip("skip_loop_final_norm")
    for key in ("loop_share_kv", "enable_double_loop_split", "enable_depth_attention"):
        c.fixed(key, False, None, what="loops of another kind")
    c.fixed("attention_bias", False, None, what="biases in attention")
    c.fixed("mlp_bias", False, None, what="biases in the feed-forward layers")
    block = Block(attention=softmax(c), ffn=gated(c))
    loops = c.number("num_loops")
    # mlx-lm counts the loops by it, SGLang by num_loops.
    weights = c.listed("loop_loss_weights", default=None)
    if weights and len(weights) != loops - 1:
        c.refuse("loop_loss_weights", f"of {len(weights) + 1} loops, where num_loops says {loops}")
    spec = decoder(c, block, tie=c.flag("tie_word_embeddings", False))
    return replace(spec, layers=tuple(replace(group, loops=loops) for group in spec.layers))


def spark2_5(c: Config) -> ModelSpec:
    """Windows in three of four layers, and a gate for each head where the config says so."""
    gate: Literal["none", "per_head"] = (
        "per_head" if c.flag("headwise_attn_output_gate", True) else "none"
    )
    layers = windowed(
        c, lambda window: softmax(c, sliding_window=window, output_gate=gate),
        lambda attention: Block(attention=attention, ffn=gated(c)),
        lambda: every(4, c.num_layers), window=c.maybe("sliding_window", None),
    )  # fmt: skip
    return decoder(c, layers, tie=c.flag("tie_word_embeddings"))


def openelm(c: Config) -> ModelSpec:
    """Layers of growing width: each its own heads and feed-forward size; norms of Q and K by head."""
    for key, usual in (("ffn_with_glu", True), ("normalize_qk_projections", True)):
        c.fixed(key, usual, what="only the published layers are known")
    c.skip("num_gqa_groups", "qkv_multipliers", "normalization_layer_name", "activation_fn_name",
           "rope_freq_constant", "rope_max_length")  # fmt: skip
    c.also("num_hidden_layers", "num_transformer_layers")
    c.also("hidden_size", "model_dim")
    divisor = c.number("ffn_dim_divisor")
    heads = c.numbers("num_query_heads", c.num_layers, least=1) or ()
    kv_heads = c.numbers("num_kv_heads", c.num_layers, least=1) or ()
    factors = c.listed("ffn_multipliers", c.num_layers) or ()
    head_dim = c.number("head_dim")
    layers: list[Layer] = []
    for q, kv, factor in zip(heads, kv_heads, factors, strict=True):
        width = _divisible(c, factor, divisor)
        attention = softmax(c, heads=q, kv_heads=kv, head_dim=head_dim, qk_norm="per_head")
        layers.append(
            ((f"h{q}kv{kv}", f"f{width}"), Block(attention=attention, ffn=gated(c, width)))
        )
    return decoder(c, layers, tie=c.flag("share_input_output_layers"),
                   max_position_embeddings=c.number("max_context_length"))  # fmt: skip


def _divisible(c: Config, factor: Any, divisor: int) -> int:
    """As the modeling file rounds: to the nearest multiple, but not by more than a tenth down."""
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 1000:
        c.wrong("ffn_multipliers", f"expected factors of model_dim, found {short(factor)}")
    asked = factor * c.hidden_size
    width = max(divisor, int(asked + divisor / 2) // divisor * divisor)
    return c.whole("ffn_multipliers", width + divisor if width < 0.9 * asked else width)


def deepseek(c: Config) -> ModelSpec:
    """DeepSeekMoE: a key and value per head, the first layers dense, experts with shared ones.

    DeepSeek-VL2-tiny and DeepSeek-OCR hold it as a deepseek_v2 with ``use_mla: false``.
    """
    c.fixed("use_mla", False, what="latent attention")
    c.fixed("moe_layer_freq", 1, what="experts in some of the later layers only")
    c.skip("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
           "lm_head", "rm_head", "topk_method")  # fmt: skip
    attention = softmax(c, head_dim=_head_dim(c), bias=c.flag("attention_bias", False))
    return decoder(c, [
        ((kind,), Block(
            attention=attention,
            ffn=routed(c, router_bias="none") if kind == "moe" else gated(c),
        ))
        for kind in first_dense(c, c.count("first_k_dense_replace"))
    ])  # fmt: skip


def phi3_v(c: Config) -> ModelSpec:
    """Phi-3 with an image embedding beside it, which kvcalc/convert/towers/remote.py reads."""
    c.skip("img_processor", "embd_layer", "full_attn_mod", "interpolate_factor")
    attention = softmax(c, head_dim=_head_dim(c), sliding_window=c.maybe("sliding_window", None))
    return decoder(c, Block(attention=attention, ffn=gated(c)))


# MiniCPM-V's version -> the language model whose keys stand beside its own.
_MINICPMV = {2.6: ("qwen2", qwen2), 4.5: ("qwen3", qwen3)}
_MINICPMV_OWN = (
    "version", "query_num", "slice_mode", "slice_config", "vision_config", "batch_vision_input",
    "drop_vision_last_layer", "image_size", "patch_size", "use_image_id", "vision_batch_size",
    "batch_3d_resampler", "vision_model", "mm_use_im_start_end", "architectures", "model_type",
)  # fmt: skip


def dots_ocr(c: Config) -> ModelSpec:
    """Qwen2 with a vision_config beside its keys."""
    return _inside(c, "qwen2", qwen2, ("vision_config", "architectures", "model_type"))


def _inside(
    c: Config, inner: str, read: Callable[[Config], ModelSpec], own: Collection[str]
) -> ModelSpec:
    """A language model of transformers' whose keys stand beside the whole model's own."""
    values = {key: value for key, value in c.values.items() if key not in own}
    text = reader(values, inner, path=c.path, assumptions=c.assumptions)
    spec = read(text)
    text.finish()
    c.skip(*c.values)
    return spec


def minicpmv(c: Config) -> ModelSpec:
    """Qwen2 (version 2.6) or Qwen3 (4.5) with keys of the whole model beside theirs."""
    version = c.value("version", None)
    found = _MINICPMV.get(float(version)) if isinstance(version, int | float) else None
    if found is None:
        c.refuse("version", f"only {' and '.join(map(str, _MINICPMV))} are accounted for")
    return _inside(c, *found, _MINICPMV_OWN)


def qwen(c: Config) -> ModelSpec:
    """Qwen 1: biases on Q, K and V; intermediate_size counts gate and up together."""
    c.skip("max_position_embeddings", "use_dynamic_ntk", "use_logn_attn", "onnx_safe", "fp32",
           "use_cache_quantization", "use_cache_kernel", "seq_length", "rotary_pct", "bf16", "fp16",
           "attn_dropout_prob", "emb_dropout_prob")  # fmt: skip
    c.fixed("no_bias", True, None, what="biases on the output projections")
    width, rest = divmod(c.number("intermediate_size"), 2)
    if rest:
        c.wrong("intermediate_size", "gate and up are not equally wide")
    attention = softmax(c, kv_heads=c.num_heads, head_dim=c.number("kv_channels"), bias=QKV)
    return decoder(
        c, Block(attention=attention, ffn=gated(c, width)),
        tie=c.flag("tie_word_embeddings", False),
        max_position_embeddings=c.maybe("seq_length", None),
    )  # fmt: skip


def chatglm(c: Config) -> ModelSpec:
    """ChatGLM 2 and 3, GLM-4-9B: biases on Q, K and V, few KV heads, Megatron's names."""
    c.also("num_hidden_layers", "num_layers")
    c.also("vocab_size", "padded_vocab_size")
    c.skip("original_rope", "apply_query_key_layer_scaling", "attention_softmax_in_fp32",
           "bias_dropout_fusion", "fp32_residual_connection", "num_layers", "padded_vocab_size",
           "pre_seq_len", "prefix_projection", "interleaved_qkv", "multi_query_group_num")  # fmt: skip
    for key, usual in (("rmsnorm", True), ("post_layer_norm", True), ("add_bias_linear", False),
                       ("apply_residual_connection_post_layernorm", False)):  # fmt: skip
        c.fixed(key, usual, None, what="only ChatGLM2's and its heirs' layers are known")
    if c.has("pre_seq_len"):
        c.refuse("pre_seq_len", "a prefix encoder")
    grouped = c.flag("multi_query_attention")
    attention = softmax(
        c, kv_heads=c.number("multi_query_group_num") if grouped else c.num_heads,
        head_dim=c.number("kv_channels"), bias=QKV if c.flag("add_qkv_bias") else (),
    )  # fmt: skip
    block = Block(attention=attention, ffn=gated(c, c.number("ffn_hidden_size")))
    return decoder(c, block, tie=c.flag("tie_word_embeddings", False),
                   max_position_embeddings=c.maybe("seq_length", None))  # fmt: skip


def nemotron_nas(c: Config) -> ModelSpec:
    """Llama whose layers were searched: each its own KV heads and width, some without attention."""
    c.skip("num_key_value_heads", "intermediate_size", "rope_scaling")
    c.fixed("attention_bias", False, None, what="biases in attention")
    c.fixed("mlp_bias", False, None, what="biases in the feed-forward layers")
    layers: list[Layer] = []
    for stated in c.listed("block_configs", c.num_layers) or ():
        attention, ffn = _searched(c, stated, "attention"), _searched(c, stated, "ffn")
        kv_heads = width = 0
        made: dict[str, Any] = {}
        if not attention.get("no_op"):
            group = c.whole("block_configs", attention.get("n_heads_in_group"))
            kv_heads = c.divide("block_configs", c.num_heads, group)
            made["attention"] = softmax(c, kv_heads=kv_heads, head_dim=_head_dim(c))
        if not ffn.get("no_op"):
            factor = ffn.get("ffn_mult")
            if isinstance(factor, bool) or not isinstance(factor, int | float):
                c.wrong("block_configs", "a feed-forward layer without its ffn_mult")
            if not 0 < factor < 1000:
                c.wrong("block_configs", f"an ffn_mult of {short(factor)}")
            # As the modeling file rounds: down to a whole number, then up to a multiple of 256.
            width = -(-int(2 * factor * c.hidden_size / 3) // 256) * 256
            made["ffn"] = gated(c, c.whole("block_configs", width))
        if made:
            labels = (f"kv{kv_heads}" if kv_heads else "none", f"f{width}" if width else "none")
            layers.append((labels, Block(**made)))
    return decoder(c, layers)


def _searched(c: Config, stated: Any, key: str) -> dict[str, Any]:
    found = stated.get(key) if isinstance(stated, dict) else None
    if not isinstance(found, dict):
        c.wrong("block_configs", f"expected an object with {key} for every layer")
    if found.get("replace_with_linear") or found.get("sparsify"):
        c.refuse("block_configs", "a linear layer in place of a sublayer")
    if found.get("window_length") or found.get("num_sink_tokens"):
        c.refuse("block_configs", "layers with a window")
    return found


def mimo_v2(c: Config) -> ModelSpec:
    """MiMo-V2.5 and V2.6: lists say which layers have a window, heads of their own and sinks, and experts.

    Source: vLLM 0.33, model_executor/models/mimo_v2.py; MiMo-V2-Flash is transformers' mimo_v2_flash.
    """
    number = c.num_layers
    local = c.numbers("hybrid_layer_pattern", number) or c.missing("hybrid_layer_pattern")
    sparse = c.numbers("moe_layer_freq", number) or c.missing("moe_layer_freq")
    c.fixed("n_shared_experts", None, 0, what="shared experts")
    # How files lay the projections out, and what changes no shape.
    c.skip("attention_value_scale", "attention_projection_layout", "attention_chunk_size", "swa_rope_theta",
           "sliding_window", "vision_config", "audio_config", "processor_config")  # fmt: skip
    bias: tuple[Side, ...] = ("q", "k", "v") if c.flag("attention_bias", False) else ()
    # The window counts the tokens before the current one.
    window = c.number("sliding_window_size", c.number("sliding_window", None)) + 1
    heads, width, values = c.num_heads, c.head_dim(), c.number("v_head_dim", None)
    made = {
        0: softmax(c, v_head_dim=values, bias=bias, sinks=c.flag("add_full_attention_sink_bias", False)),
        1: softmax(
            c, heads=c.number("swa_num_attention_heads", heads), bias=bias,
            kv_heads=c.number("swa_num_key_value_heads", None),
            head_dim=c.number("swa_head_dim", width), v_head_dim=c.number("swa_v_head_dim", values),
            sinks=c.flag("add_swa_attention_sink_bias", False), sliding_window=window,
        ),
    }  # fmt: skip
    for key, each in (("hybrid_layer_pattern", local), ("moe_layer_freq", sparse)):
        if set(each) - {0, 1}:
            c.refuse(key, "each layer is of kind 0 or 1")

    def layer(index: int) -> Layer:
        names = ("window" if local[index] else "full", "moe" if sparse[index] else "dense")
        ffn = (
            moe(c, experts="n_routed_experts", router_bias="buffer") if sparse[index] else gated(c)
        )
        return names, Block(attention=made[local[index]], ffn=ffn)

    towers = {"vision_config": "vision tower", "audio_config": "audio tower"}
    left_out = tuple(f"{name} ({key} of the config)" for key, name in towers.items() if c.has(key))
    return decoder(c, layer, left_out=left_out)
